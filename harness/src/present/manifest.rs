//! `manifest.json`: under which conditions a run was made, and how it went.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::experiment::{Joined, Lab};
use crate::vm_host::VmHost;

/// The manifest's own version.
const SCHEMA: u32 = 2;

/// File name in a run's folder.
pub const FILE: &str = "manifest.json";

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum State {
    /// It was started; if nothing runs any more, it was killed.
    Running,
    /// It measured all that it set out to.
    Complete,
    /// It stopped early, for this reason.
    Failed(String),
}

/// Under what QEMU guests ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuFacts {
    /// What QEMU says its version is.
    pub version: String,
    /// Its machine type.
    pub machine: String,
    /// `tcg` or `kvm`.
    pub accelerator: String,
    /// Why that one.
    pub accelerator_reason: String,
}

/// The conditions of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The experiment.
    pub experiment: String,
    /// `quick` or `full`.
    pub form: String,
    /// Where all randomness came from.
    pub seed: u64,
    /// The parameters, by name.
    pub parameters: toml::Table,
    /// The command line that runs this again.
    pub reproduce: String,
    /// Version of the harness.
    pub harness_version: String,
    /// Git revision of the source, with `-dirty` when it was changed since;
    /// `unknown` outside a clone.
    pub git_revision: String,
    /// How guests and devices were joined: `qemu` or `twin`.
    pub transport: String,
    /// Why that way.
    pub transport_reason: String,
    /// Under what QEMU guests ran; none for twins.
    pub qemu: Option<QemuFacts>,
    /// Version of the host's kernel.
    pub host_kernel: String,
    /// Model of the host's processor.
    pub cpu_model: String,
    /// Processors of the host.
    pub cpus: usize,
    /// Memory of the host, MiB.
    pub memory_mib: u64,
    /// When it started, UTC.
    pub started: String,
    /// When it ended, UTC; empty while it runs.
    pub ended: String,
    /// How long it took, seconds.
    pub wall_seconds: f64,
    /// How it went.
    pub status: State,
    /// Rows recorded in each CSV file, by its name; empty until the run ends.
    pub rows: BTreeMap<String, u64>,
    /// Every claim and requirement that does not hold, with what was measured.
    pub missed: Vec<String>,
}

/// The time, UTC, to the second.
pub fn now_utc() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
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
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => revision,
        _ => format!("{revision}-dirty"),
    }
}

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

/// Writes a file, all or nothing: whoever reads it finds the old or the new, and a full
/// disk is not left with a part of the new beside the old.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("write {}: is the disk full?", path.display()))
}

impl Manifest {
    /// The manifest of a run that starts now.
    pub fn new(
        lab: &Lab,
        transport_reason: &str,
        experiment: &str,
        full: bool,
        parameters: &toml::Table,
    ) -> Self {
        let form = if full { "full" } else { "quick" };
        let mut reproduce = format!(
            "cargo run --bin harness -- run {experiment} --seed {} --transport {}",
            lab.seed,
            lab.transport()
        );
        let qemu = match &lab.joined {
            Joined::Twin => None,
            Joined::Qemu(vm_host) => {
                let VmHost { accel, machine, .. } = vm_host;
                reproduce.push_str(&format!(" --accel {accel} --machine {machine}"));
                Some(QemuFacts {
                    version: vm_host.qemu.version.clone(),
                    machine: machine.to_string(),
                    accelerator: accel.to_string(),
                    accelerator_reason: vm_host.accel_reason.clone(),
                })
            }
        };
        if full {
            reproduce.push_str(" --full");
        }
        for (key, value) in parameters {
            reproduce.push_str(&format!(" --set '{key}={value}'"));
        }
        let host = Host::this();
        Self {
            schema: SCHEMA,
            experiment: experiment.to_owned(),
            form: form.to_owned(),
            seed: lab.seed,
            parameters: parameters.clone(),
            reproduce,
            harness_version: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: git_revision(),
            transport: lab.transport().to_string(),
            transport_reason: transport_reason.to_owned(),
            qemu,
            host_kernel: host.host_kernel,
            cpu_model: host.cpu_model,
            cpus: host.cpus,
            memory_mib: host.memory_mib,
            started: now_utc(),
            ended: String::new(),
            wall_seconds: 0.0,
            status: State::Running,
            rows: BTreeMap::new(),
            missed: Vec::new(),
        }
    }

    /// Reads the manifest of a run.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} holds no run: {FILE} cannot be read", folder.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it to a run's folder, all or nothing.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the manifest")?;
        text.push('\n');
        replace_file(&folder.join(FILE), text.as_bytes())
    }
}

/// The manifest of a run that was never made.
#[cfg(test)]
pub(super) fn example() -> Manifest {
    Manifest {
        schema: SCHEMA,
        experiment: "correctness".to_owned(),
        form: "quick".to_owned(),
        seed: 1,
        parameters: toml::toml! { size = "1GiB" },
        reproduce: "cargo run --bin harness -- run correctness --seed 1".to_owned(),
        harness_version: "0.1.0".to_owned(),
        git_revision: "unknown".to_owned(),
        transport: "qemu".to_owned(),
        transport_reason: "asked for".to_owned(),
        qemu: Some(QemuFacts {
            version: "QEMU emulator version 7.2.22".to_owned(),
            machine: "q35".to_owned(),
            accelerator: "tcg".to_owned(),
            accelerator_reason: "asked for".to_owned(),
        }),
        host_kernel: "6.1.0".to_owned(),
        cpu_model: "a processor".to_owned(),
        cpus: 2,
        memory_mib: 4096,
        started: "2026-01-31T12:00:00Z".to_owned(),
        ended: String::new(),
        wall_seconds: 0.0,
        status: State::Running,
        rows: BTreeMap::new(),
        missed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = example();
        manifest.status = State::Failed("the guest fell silent".to_owned());
        manifest.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), manifest);
        // Nothing half-written is left beside it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_without_a_run_and_a_damaged_manifest_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = format!("{:#}", Manifest::read(folder.path()).unwrap_err());
        assert!(error.contains("holds no run"), "{error}");
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = format!("{:#}", Manifest::read(folder.path()).unwrap_err());
        assert!(error.contains("manifest.json is damaged"), "{error}");
    }
}
