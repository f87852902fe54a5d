//! `sweep.json`: what a sweep's folder holds, and how far it is.

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

/// The manifest's own version.
const SCHEMA: u32 = 1;

/// File name in a sweep's folder.
pub(crate) const FILE: &str = "sweep.json";

/// What made rows of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    /// Git revision of the harness.
    pub git_revision: String,
    /// The machine.
    #[serde(flatten)]
    pub host: Host,
}

/// How many cells of a shard are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Cells of the shard.
    pub all: u32,
    /// Those with rows.
    pub done: u32,
    /// Those that could not be run.
    pub failed: u32,
}

impl Counts {
    /// Cells that are neither done nor failed.
    pub(crate) fn missing(self) -> u32 {
        self.all - self.done - self.failed
    }
}

/// What a sweep's folder holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SweepManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the harness.
    pub harness_version: String,
    /// What is run, whole.
    pub plan: Plan,
    /// The part of it that this folder is for.
    pub shard: Shard,
    /// When it was first started, UTC.
    pub started: String,
    /// When it last ended, UTC; empty while it runs.
    pub ended: String,
    /// How it went.
    pub status: State,
    /// Cells when it last ended.
    pub cells: Counts,
    /// Whatever made rows of it, in the order in which they came.
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
            format!("{} holds no sweep: {FILE} cannot be read", folder.display())
        })?;
        let manifest: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(
            manifest.schema == SCHEMA,
            "{} is of schema {}, and this harness knows {SCHEMA}",
            path.display(),
            manifest.schema
        );
        let plan = manifest.plan.check();
        plan.with_context(|| format!("{} is damaged", path.display()))?;
        Ok(manifest)
    }

    /// Writes it to a sweep's folder, all or nothing.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the manifest")?;
        text.push('\n');
        replace_file(&folder.join(FILE), text.as_bytes())
    }

    /// Notes that this program on this machine makes rows of it.
    pub(crate) fn sign(&mut self) {
        self.add_maker(Maker {
            git_revision: git_revision(),
            host: Host::this(),
        });
    }

    /// Notes a maker, once.
    pub(crate) fn add_maker(&mut self, maker: Maker) {
        if !self.made_by.contains(&maker) {
            self.made_by.push(maker);
        }
    }

    /// A sentence about rows that different sources made, if they did: a version
    /// that is the same says less than a revision that is.
    pub(crate) fn mixture(&self) -> Option<String> {
        let makers = self.made_by.iter();
        let revisions: BTreeSet<&str> = makers.map(|maker| maker.git_revision.as_str()).collect();
        let text = revisions.iter().copied().collect::<Vec<_>>().join(", ");
        (revisions.len() > 1)
            .then(|| format!("rows of this sweep were made by different revisions: {text}"))
    }

    /// The first thing in which rows of two sweeps are not comparable: its name,
    /// and what it is here and there. Shards are for the caller to compare.
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
