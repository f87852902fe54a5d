//! Whether this machine has what the experiments need.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lab::accel::{self, AccelChoice};
use lab::qemu::{OLDEST, PROGRAM, Qemu};
use lab::resources;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// Memory that a run takes, MiB: a guest, a backend, and its page cache.
const MEMORY_MIB: u64 = 1536;

/// Room that a run takes in the temporary folder, MiB: a full vSSD of 1 GiB.
const TEMPORARY_MIB: u64 = 1200;

/// Room that a run's results take, MiB.
const RESULTS_MIB: u64 = 20;

/// Files that the harness and a backend have open at once, with room.
const OPEN_FILES: u64 = 256;

/// Size of the largest backing file of the experiments: 32 GiB.
const SPARSE_BYTES: u64 = 32 << 30;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// As it should be.
    Ok,
    /// Works, but could be better.
    Warn,
    /// The experiments cannot run.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What.
    pub what: String,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when nothing.
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

    /// True unless the experiments cannot run.
    pub(crate) fn is_fine(&self) -> bool {
        self.health != Health::Fail
    }
}

fn at_least(have: u64, need: u64) -> Health {
    match have >= need {
        true => Health::Ok,
        false => Health::Fail,
    }
}

/// Looks at everything.
pub(crate) fn examine(program: Option<&Path>, choice: AccelChoice) -> Vec<Check> {
    let mut checks = Vec::new();
    let install = format!(
        "run ./setup, or name a {PROGRAM} of at least {}.{} with --qemu; without it runs are of twins",
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
                    Ok(true) => (Health::Ok, "there".to_owned()),
                    Ok(false) => (Health::Fail, "this QEMU was built without it".to_owned()),
                    Err(error) => (Health::Fail, format!("{error:#}")),
                };
                checks.push(Check::new(device, health, found, &install));
            }
        }
    }
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
        "guest and backend share one processor: times will be long and uneven",
    ));
    let memory = resources::memory().map_or(0, |free| free.0 >> 20);
    checks.push(Check::new(
        "memory",
        at_least(memory, MEMORY_MIB),
        format!("{memory} MiB available, {MEMORY_MIB} needed"),
        "end other programs",
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
            "free some room, or choose another disk (TMPDIR, --out)",
        ));
    }
    checks.push(memfd_check());
    checks.push(open_files_check());
    checks.push(sparse_check());
    checks
}

/// Guest memory is shared with the backend through a memfd.
fn memfd_check() -> Check {
    let memfd = rustix::fs::memfd_create("vssd-doctor", rustix::fs::MemfdFlags::CLOEXEC);
    let (health, found) = match memfd {
        Ok(_) => (Health::Ok, "memfd is there".to_owned()),
        Err(error) => (Health::Fail, format!("no memfd: {error}")),
    };
    let advice = "use a Linux kernel with memfd (3.17 or newer) that a container does not filter";
    Check::new("shared memory", health, found, advice)
}

/// Sockets, guest memory, eventfds: each vSSD takes about a dozen.
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

/// Whether the temporary folder keeps holes: the overhead experiment makes a
/// file of its whole device that must not take that much.
fn sparse_check() -> Check {
    // A file made larger than its limit would end this program by a signal.
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit) = limit.filter(|limit| *limit < SPARSE_BYTES) {
        let found = format!("files are limited to {limit} bytes, {SPARSE_BYTES} needed");
        return Check::new("sparse files", Health::Fail, found, "ulimit -f unlimited");
    }
    let taken = || -> std::io::Result<u64> {
        let file = tempfile::tempfile()?;
        file.set_len(SPARSE_BYTES)?;
        // Linux counts blocks of 512 bytes here, whatever the file system's.
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

/// The checks for a person.
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
    fn a_missing_qemu_is_named_with_what_to_do() {
        let checks = examine(Some(Path::new("/nonexistent/qemu")), AccelChoice::Tcg);
        let qemu = checks.iter().find(|check| check.what == "QEMU").unwrap();
        assert_eq!(qemu.health, Health::Fail);
        assert!(!qemu.is_fine());
        assert!(qemu.advice.contains("./setup"), "{}", qemu.advice);
        let text = describe(&checks);
        assert!(text.contains("FAIL  QEMU"), "{text}");
        // Nothing else of QEMU is looked at, and every lack has advice.
        assert!(checks.iter().all(|check| check.what != "isa-debug-exit"));
        assert!(
            checks
                .iter()
                .all(|check| (check.health == Health::Ok) == check.advice.is_empty())
        );
    }

    #[test]
    fn programs_can_read_it() {
        let json = serde_json::to_string(&open_files_check()).unwrap();
        assert!(json.contains("\"what\":\"open files\""), "{json}");
    }
}
