//! `sweep.json`: the plan and status of a sweep's folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use results::file::replace_file;
use results::host::{Host, VERSION, git_revision, now_utc};
use results::manifest::State;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::shard::Shard;

/// Format version of the manifest.
const SCHEMA: u32 = 1;

/// File name in a sweep's folder.
pub(crate) const FILE: &str = "sweep.json";

/// Harness revision and machine that produced rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    pub git_revision: String,
    #[serde(flatten)]
    pub host: Host,
}

/// Cells of a shard, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub all: u32,
    /// Cells with rows.
    pub done: u32,
    pub failed: u32,
}

impl Counts {
    /// Cells neither done nor failed.
    pub(crate) fn missing(self) -> u32 {
        self.all - self.done - self.failed
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SweepManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    pub harness_version: String,
    /// The whole sweep.
    pub plan: Plan,
    /// The shard in this folder.
    pub shard: Shard,
    /// Time of the first start, UTC.
    pub started: String,
    /// Time of the last end, UTC; empty while the sweep runs.
    pub ended: String,
    pub status: State,
    /// Cells at the last end.
    pub cells: Counts,
    /// In order of first use.
    pub made_by: Vec<Maker>,
}

impl SweepManifest {
    /// The manifest of a sweep that starts now.
    pub(crate) fn new(plan: Plan, shard: Shard) -> Self {
        Self {
            schema: SCHEMA,
            harness_version: VERSION.to_owned(),
            plan,
            shard,
            started: now_utc(),
            ended: String::new(),
            status: State::Running,
            cells: Counts::default(),
            made_by: Vec::new(),
        }
    }

    /// Reads the manifest in a sweep's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is not the folder of a sweep: cannot read {FILE}",
                folder.display()
            )
        })?;
        let manifest: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(
            manifest.schema == SCHEMA,
            "{} has schema {}; this harness supports {SCHEMA}",
            path.display(),
            manifest.schema
        );
        let plan = manifest.plan.check();
        plan.with_context(|| format!("{} is damaged", path.display()))?;
        Ok(manifest)
    }

    /// Replaces the manifest in a sweep's folder atomically.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the manifest")?;
        text.push('\n');
        replace_file(&folder.join(FILE), text.as_bytes())
    }

    /// Adds this harness and machine to the makers.
    pub(crate) fn add_this_maker(&mut self) {
        self.add_maker(Maker {
            git_revision: git_revision(),
            host: Host::this(),
        });
    }

    /// Adds a maker, once.
    pub(crate) fn add_maker(&mut self, maker: Maker) {
        if !self.made_by.contains(&maker) {
            self.made_by.push(maker);
        }
    }

    /// A warning if different revisions produced the rows. The version alone may hide that.
    pub(crate) fn mixed_revisions(&self) -> Option<String> {
        let makers = self.made_by.iter();
        let revisions: BTreeSet<&str> = makers.map(|maker| maker.git_revision.as_str()).collect();
        let text = revisions.iter().copied().collect::<Vec<_>>().join(", ");
        (revisions.len() > 1)
            .then(|| format!("different revisions produced the rows of this sweep: {text}"))
    }

    /// The first difference that makes rows of two sweeps incomparable: its name, and the value
    /// in each. Shards are not compared.
    pub(crate) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        if self.harness_version != other.harness_version {
            return Some((
                "harness_version".to_owned(),
                self.harness_version.clone(),
                other.harness_version.clone(),
            ));
        }
        self.plan.difference(&other.plan)
    }
}
