//! Whether this machine has what the experiments need.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::accel::{self, AccelChoice};
use crate::qemu::{OLDEST, PROGRAM, Qemu};

/// Memory that a run takes, MiB: a guest, a backend, and its page cache.
const MEMORY_MIB: u64 = 1536;

/// Room that a run takes in the temporary folder, MiB: a full vSSD of 1 GiB.
const TEMPORARY_MIB: u64 = 1200;

/// Room that a run's results take, MiB.
const RESULTS_MIB: u64 = 20;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, but could be better.
    Warn,
    /// The experiments cannot run.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
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
    pub fn is_fine(&self) -> bool {
        self.health != Health::Fail
    }
}

fn at_least(have: u64, need: u64) -> Health {
    match have >= need {
        true => Health::Ok,
        false => Health::Fail,
    }
}

fn free_mib(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some((stat.f_bavail * stat.f_frsize) >> 20)
}

fn available_memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Looks at everything.
pub fn examine(program: Option<&Path>, choice: AccelChoice) -> Vec<Check> {
    let mut checks = Vec::new();
    let install = format!("run ./setup, or name a {PROGRAM} of at least {}.{} with --qemu", OLDEST.0, OLDEST.1);
    match Qemu::find(program) {
        Err(error) => checks.push(Check::new("QEMU", Health::Fail, format!("{error:#}"), &install)),
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
        Ok((accel, why)) => checks.push(Check::new("accelerator", Health::Ok, format!("{accel}: {why}"), "")),
        Err(error) => checks.push(Check::new("accelerator", Health::Fail, format!("{error:#}"), "use --accel tcg")),
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let health = if cpus >= 2 { Health::Ok } else { Health::Warn };
    checks.push(Check::new(
        "processors",
        health,
        cpus.to_string(),
        "guest and backend share one processor: times will be long and uneven",
    ));
    let memory = available_memory_mib().unwrap_or(0);
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
        let free = free_mib(&folder).unwrap_or(0);
        checks.push(Check::new(
            what,
            at_least(free, need),
            format!("{}: {free} MiB free, {need} needed", folder.display()),
            "free some room, or choose another disk (TMPDIR, --out)",
        ));
    }
    checks.push(sparse_check());
    checks
}

/// Whether the temporary folder keeps holes: the overhead experiment makes a
/// file of 32 GiB that must not take that much.
fn sparse_check() -> Check {
    let sparse = || -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile()?;
        file.set_len(1 << 30)?;
        Ok(file.metadata()?.blocks() < 1 << 11)
    };
    let (health, found) = match sparse() {
        Ok(true) => (Health::Ok, "supported".to_owned()),
        Ok(false) => (Health::Fail, "a file of 1 GiB with nothing in it takes room".to_owned()),
        Err(error) => (Health::Fail, error.to_string()),
    };
    Check::new("sparse files", health, found, "set TMPDIR to a folder on ext4, xfs, btrfs or tmpfs")
}

/// The checks for a person.
pub fn describe(checks: &[Check]) -> String {
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
