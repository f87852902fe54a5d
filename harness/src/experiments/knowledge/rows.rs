//! Rows of the knowledge experiment.

use std::fmt;

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What varies.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// Memory above the vSSD absorbs the hottest reads, so the host sees misses only.
    Memory,
    /// The guest's cache evicts by a policy that the host may not assume.
    Policy,
    /// Temporary files are deleted, which the guest's cache knows and the host does not.
    Death,
    /// The same, and DISCARD tells the host.
    DeathTold,
}

impl Condition {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Policy => "policy",
            Self::Death => "death",
            Self::DeathTold => "death-told",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which side picks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// The guest's cache.
    Guest,
    /// The hypervisor.
    Host,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest",
            Self::Host => "host",
        })
    }
}

/// One row for each condition, value, pick and seed: a shrink, and the accesses after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KnowledgeRow {
    /// Where the row was counted: `twin`, or `qemu` for those that repeat one.
    pub transport: String,
    /// What varies.
    pub condition: Condition,
    /// Its value.
    pub value: String,
    /// Which side picked the blocks of the shrink.
    pub side: Side,
    /// How. Of the guest: what its memory shared with its cache. Of the host: the policy, and what
    /// the guest's memory shared if anything.
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
    /// Accesses until a window had at most 1.1 times the misses of an average window in the last
    /// half.
    pub recovery_accesses: u64,
}

impl Row for KnowledgeRow {
    const FILE: &'static str = "knowledge.csv";
}

/// One row for each shrink under QEMU: how long each tier took to serve the reads after it, by the
/// guest's clock.
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
}

impl Row for KnowledgeTimingRow {
    const FILE: &'static str = "knowledge_timing.csv";
}
