//! Rows of the knowledge experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, VariantNames};

use crate::experiments::common::observers::ObserverRow;

/// What the guest knows and the hypervisor cannot see.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
    VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Condition {
    /// Memory above the vSSD absorbs the hottest reads, so the host sees misses only.
    #[default]
    Memory,
    /// The guest's cache evicts by a policy that the host may not assume.
    Policy,
    /// Temporary files among all files are deleted, which the guest's cache knows.
    Files,
    /// The same, and DISCARD tells the host.
    FilesTold,
    /// Blocks that were just written are deleted, all at once.
    Death,
    /// The same, and DISCARD tells the host.
    DeathTold,
    /// The application announces a scan, whose blocks are not read again.
    Scan,
    /// A second application ends, and announces it.
    Phase,
    /// The application announces blocks that it is about to read.
    Pinned,
    /// Blocks are dirty: the guest can give up clean ones first.
    Dirty,
}

impl Condition {
    /// What its value is a share of; for values that are numbers.
    pub(crate) fn unit(self) -> Option<&'static str> {
        Some(match self {
            Self::Memory => "% of the working set in memory",
            Self::Policy => return None,
            Self::Files | Self::FilesTold => "% of the written blocks in temporary files",
            Self::Death | Self::DeathTold => "% of the vSSD deleted",
            Self::Scan => "% of the vSSD scanned",
            Self::Phase => "% of the accesses made by the application that ends",
            Self::Pinned => "% of the vSSD announced",
            Self::Dirty => "% writes among the accesses",
        })
    }
}

/// Which side picks.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Side {
    /// The guest's cache.
    #[default]
    Guest,
    /// The hypervisor.
    Host,
}

/// What a shrink is for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The choice of the best way of each side.
    Tuning,
    /// The comparison of the two.
    #[default]
    Comparison,
    /// One of the tuning, under QEMU.
    Repetition,
}

/// One row for each condition, value, pick and seed: a shrink, and the accesses after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KnowledgeRow {
    /// Where the row was counted: `twin`, or `qemu` for those that repeat one.
    pub transport: String,
    /// What the shrink is for.
    pub stage: Stage,
    /// What varies.
    pub condition: Condition,
    /// Its value.
    pub value: String,
    /// Which side picked the blocks of the shrink.
    pub side: Side,
    /// How. Of the guest: what it used besides its eviction policy. Of the host: the policy, and
    /// what the guest's memory shared if anything.
    pub pick: String,
    /// Seed of the accesses.
    pub seed: u64,
    /// Blocks of the vSSD before the shrink.
    pub from_blocks: u32,
    /// Blocks after it.
    pub held_blocks: u32,
    /// Accesses after the shrink.
    pub accesses: u64,
    /// Of these, reads served from memory.
    pub memory_hits: u64,
    /// Reads and writes of blocks on the vSSD.
    pub hits: u64,
    /// Those of others, which went to the origin disk.
    pub misses: u64,
    /// Blocks of deleted files, which are accesses too.
    pub discards: u64,
    /// Accesses that failed or returned wrong data.
    pub failed: u64,
    /// Blocks read from the origin disk, from the shrink on.
    pub origin_reads: u64,
    /// Blocks written to it, from the shrink on until none was dirty.
    pub origin_writes: u64,
    /// Accesses until a window had at most 1.1 times the misses of an average window in the last
    /// half.
    pub recovery_accesses: u64,
}

impl Row for KnowledgeRow {
    const FILE: &'static str = "knowledge.csv";
}

/// One row for each shrink under QEMU: its cost, and how long each tier took to serve the reads
/// after it, by the guest's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KnowledgeTimingRow {
    /// As in `knowledge.csv`.
    pub condition: Condition,
    /// As in `knowledge.csv`.
    pub value: String,
    /// As in `knowledge.csv`.
    pub side: Side,
    /// As in `knowledge.csv`.
    pub pick: String,
    /// Median of the reads served from memory; 0 without any.
    pub memory_p50_ns: u64,
    /// Median of the reads served from the vSSD; 0 without any.
    pub vssd_p50_ns: u64,
    /// Median of the reads served from the origin disk; 0 without any.
    pub origin_p50_ns: u64,
    /// Duration of the shrink by the backend, from the command until both lists agreed.
    pub shrink_ns: u64,
    /// Of this, what the backend itself took.
    pub backend_ns: u64,
    /// Bytes of the messages of the shrink.
    pub message_bytes: u64,
}

impl Row for KnowledgeTimingRow {
    const FILE: &'static str = "knowledge_timing.csv";
}

/// One row for each repetition of a measurement that feeds the requests of the workload to a tracker
/// of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct KnowledgeTrackerRow(pub(super) ObserverRow);

impl Row for KnowledgeTrackerRow {
    const FILE: &'static str = "knowledge_trackers.csv";
}
