//! `manifest.json`: under which conditions a run was made, and how it went.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file::replace_file;
use crate::host::{Host, VERSION, git_revision, now_utc};

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
    /// The machine on which it was made.
    #[serde(flatten)]
    pub host: Host,
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
    /// What the run says of itself that is no row, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Every claim and requirement that does not hold, with what was measured.
    pub missed: Vec<String>,
}

/// Under which conditions a run starts; what it can find out itself, it does.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The experiment.
    pub experiment: &'static str,
    /// Whether it is the full form.
    pub full: bool,
    /// Where all randomness comes from.
    pub seed: u64,
    /// The parameters, by name.
    pub parameters: toml::Table,
    /// The command line that runs this again.
    pub reproduce: String,
    /// How guests and devices are joined.
    pub transport: String,
    /// Why that way.
    pub transport_reason: String,
    /// Under what QEMU guests run.
    pub qemu: Option<QemuFacts>,
}

impl Manifest {
    /// The manifest of a run that starts now.
    pub fn new(run: Conditions) -> Self {
        Self {
            schema: SCHEMA,
            experiment: run.experiment.to_owned(),
            form: if run.full { "full" } else { "quick" }.to_owned(),
            seed: run.seed,
            parameters: run.parameters,
            reproduce: run.reproduce,
            harness_version: VERSION.to_owned(),
            git_revision: git_revision(),
            transport: run.transport,
            transport_reason: run.transport_reason,
            qemu: run.qemu,
            host: Host::this(),
            started: now_utc(),
            ended: String::new(),
            wall_seconds: 0.0,
            status: State::Running,
            rows: BTreeMap::new(),
            facts: BTreeMap::new(),
            missed: Vec::new(),
        }
    }

    /// What the run says of itself under this name; `None` where it says nothing, or
    /// something of another type.
    pub fn fact<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.facts.get(name)?).ok()
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
pub(crate) fn example() -> Manifest {
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
        host: Host {
            host_kernel: "6.1.0".to_owned(),
            cpu_model: "a processor".to_owned(),
            cpus: 2,
            memory_mib: 4096,
        },
        started: "2026-01-31T12:00:00Z".to_owned(),
        ended: String::new(),
        wall_seconds: 0.0,
        status: State::Running,
        rows: BTreeMap::new(),
        facts: BTreeMap::new(),
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
