//! `harness doctor`: checks whether this machine meets the requirements of the experiments.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lab::accel::{self, AccelChoice};
use lab::qemu::{OLDEST, PROGRAM, Qemu};
use lab::resources;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// Memory of a run, MiB: a guest, a backend and its page cache.
const MEMORY_MIB: u64 = 1536;

/// Space of a run in the temporary folder, MiB: a full vSSD of 1 GiB.
const TEMPORARY_MIB: u64 = 1200;

/// Space of a run's results, MiB.
const RESULTS_MIB: u64 = 20;

/// Files that the harness and a backend have open at the same time, with a margin.
const OPEN_FILES: u64 = 256;

/// Size of the largest backing file of the experiments: 32 GiB.
const SPARSE_BYTES: u64 = 32 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    Ok,
    /// Experiments run, but their results suffer.
    Warn,
    /// Experiments cannot run.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub what: String,
    pub health: Health,
    pub found: String,
    /// How to fix it; empty if the check passed.
    pub advice: String,
}

impl Check {
    fn new(what: &str, health: Health, found: impl Into<String>, advice: &str) -> Self {
        let advice = if health == Health::Ok { "" } else { advice };
        Self {
            what: what.to_owned(),
            health,
            found: found.into(),
            advice: advice.to_owned(),
        }
    }

    /// Whether experiments can run.
    pub(crate) fn is_fine(&self) -> bool {
        self.health != Health::Fail
    }
}

fn at_least(have: u64, need: u64) -> Health {
    if have >= need {
        Health::Ok
    } else {
        Health::Fail
    }
}

fn qemu_checks(program: Option<&Path>) -> Vec<Check> {
    let mut checks = Vec::new();
    let install = format!(
        "run ./setup, or set --qemu to {PROGRAM} {}.{} or newer; without QEMU only twins can run",
        OLDEST.0, OLDEST.1
    );
    match Qemu::find(program) {
        Err(error) => checks.push(Check::new(
            "QEMU",
            Health::Fail,
            format!("{error:#}"),
            &install,
        )),
        Ok(qemu) => {
            checks.push(Check::new("QEMU", Health::Ok, &qemu.version, ""));
            for device in ["vhost-user-blk-pci", "virtio-serial-pci", "isa-debug-exit"] {
                let (health, found) = match qemu.has_device(device) {
                    Ok(true) => (Health::Ok, "supported".to_owned()),
                    Ok(false) => (Health::Fail, "not supported by this QEMU".to_owned()),
                    Err(error) => (Health::Fail, format!("{error:#}")),
                };
                checks.push(Check::new(device, health, found, &install));
            }
        }
    }
    checks
}

/// Runs all checks.
pub(crate) fn examine(program: Option<&Path>, choice: AccelChoice) -> Vec<Check> {
    let mut checks = qemu_checks(program);
    match accel::choose(choice) {
        Ok((accel, why)) => checks.push(Check::new(
            "accelerator",
            Health::Ok,
            format!("{accel}: {why}"),
            "",
        )),
        Err(error) => checks.push(Check::new(
            "accelerator",
            Health::Fail,
            format!("{error:#}"),
            "use --accel tcg",
        )),
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let health = if cpus >= 2 { Health::Ok } else { Health::Warn };
    checks.push(Check::new(
        "processors",
        health,
        cpus.to_string(),
        "guest and backend share one processor: expect long and variable times",
    ));
    let memory = resources::memory().map_or(0, |free| free.0 >> 20);
    checks.push(Check::new(
        "memory",
        at_least(memory, MEMORY_MIB),
        format!("{memory} MiB available, {MEMORY_MIB} needed"),
        "close other programs",
    ));
    for (what, folder, need) in [
        ("temporary folder", std::env::temp_dir(), TEMPORARY_MIB),
        ("results folder", Path::new(".").to_owned(), RESULTS_MIB),
    ] {
        let free = resources::room(&folder).map_or(0, |free| free.0 >> 20);
        checks.push(Check::new(
            what,
            at_least(free, need),
            format!("{}: {free} MiB free, {need} needed", folder.display()),
            "free space, or use another disk (TMPDIR, --out)",
        ));
    }
    checks.push(memfd_check());
    checks.push(open_files_check());
    checks.push(sparse_check());
    checks
}

/// Guest memory is shared with the backend by a memfd.
fn memfd_check() -> Check {
    let memfd = rustix::fs::memfd_create("vssd-doctor", rustix::fs::MemfdFlags::CLOEXEC);
    let (health, found) = match memfd {
        Ok(_) => (Health::Ok, "memfd works".to_owned()),
        Err(error) => (Health::Fail, format!("no memfd: {error}")),
    };
    let advice = "use Linux 3.17 or newer, and no container that blocks memfd_create";
    Check::new("shared memory", health, found, advice)
}

/// Sockets, guest memory, eventfds: about a dozen per vSSD.
fn open_files_check() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    Check::new(
        "open files",
        at_least(limit.unwrap_or(u64::MAX), OPEN_FILES),
        limit.map_or("no limit".to_owned(), |limit| {
            format!("limit of {limit}, {OPEN_FILES} needed")
        }),
        "raise the limit: ulimit -n 1024",
    )
}

/// Whether the temporary folder supports sparse files: the overhead experiment creates a backing
/// file of its whole device, which must not take that much space.
fn sparse_check() -> Check {
    // Exceeding the limit would raise SIGXFSZ.
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit) = limit.filter(|limit| *limit < SPARSE_BYTES) {
        let found = format!("files are limited to {limit} bytes, {SPARSE_BYTES} needed");
        return Check::new("sparse files", Health::Fail, found, "ulimit -f unlimited");
    }
    let taken = || -> std::io::Result<u64> {
        let file = tempfile::tempfile()?;
        file.set_len(SPARSE_BYTES)?;
        // st_blocks counts units of 512 bytes on every file system.
        Ok(file.metadata()?.blocks() * 512)
    };
    let (health, found) = match taken() {
        Ok(taken) if taken < SPARSE_BYTES / 1024 => (Health::Ok, "supported".to_owned()),
        Ok(taken) => (
            Health::Fail,
            format!("an empty file of {SPARSE_BYTES} bytes takes {taken}"),
        ),
        Err(error) => (Health::Fail, error.to_string()),
    };
    Check::new(
        "sparse files",
        health,
        found,
        "set TMPDIR to a folder on ext4, xfs, btrfs or tmpfs",
    )
}

/// The checks as text.
pub(crate) fn describe(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.health {
            Health::Ok => "ok  ",
            Health::Warn => "warn",
            Health::Fail => "FAIL",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark}  {:<20} {}", check.what, check.found);
        if !check.advice.is_empty() {
            let _ = writeln!(text, "      {:<20} {}", "", check.advice);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_qemu_is_reported_with_advice() {
        let checks = examine(Some(Path::new("/nonexistent/qemu")), AccelChoice::Tcg);
        let qemu = checks.iter().find(|check| check.what == "QEMU").unwrap();
        assert_eq!(qemu.health, Health::Fail);
        assert!(!qemu.is_fine());
        assert!(qemu.advice.contains("./setup"), "{}", qemu.advice);
        let text = describe(&checks);
        assert!(text.contains("FAIL  QEMU"), "{text}");
        // No device is checked then, and every failed check has advice.
        assert!(checks.iter().all(|check| check.what != "isa-debug-exit"));
        assert!(
            checks
                .iter()
                .all(|check| (check.health == Health::Ok) == check.advice.is_empty())
        );
    }

    #[test]
    fn checks_serialize_to_json() {
        let json = serde_json::to_string(&open_files_check()).unwrap();
        assert!(json.contains("\"what\":\"open files\""), "{json}");
    }
}
