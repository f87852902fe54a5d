//! What a result says of the machine and the source that it came from.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Version of the harness.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How the harness was built.
pub const BUILD: &str = if cfg!(debug_assertions) {
    "development, with checks of overflow and assertions"
} else {
    "release"
};

/// The time, UTC, to the second.
pub fn now_utc() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Git revision of the source, with `-dirty` when it was changed since;
/// `unknown` outside a clone.
pub fn git_revision() -> String {
    REVISION.clone()
}

/// Asked for once: it takes programs that start, and a sweep has many runs.
static REVISION: LazyLock<String> = LazyLock::new(|| {
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => revision,
        _ => format!("{revision}-dirty"),
    }
});

/// The value of the first line of a /proc file that starts with `key`.
fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The machine on which this runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Version of its kernel.
    pub host_kernel: String,
    /// Model of its processor.
    pub cpu_model: String,
    /// Its processors.
    pub cpus: usize,
    /// Its memory, MiB.
    pub memory_mib: u64,
}

impl Host {
    /// What this machine says of itself.
    pub fn this() -> Self {
        let memory = proc_value("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            host_kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            cpu_model: proc_value("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.unwrap_or(0) / 1024,
        }
    }
}
