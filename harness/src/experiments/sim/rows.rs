//! What it records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simulate::replay::Outcome;

/// One row for each policy at each size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SimRow {
    /// Eviction policy; `belady`, which knows the accesses to come.
    pub policy: String,
    /// Blocks of 4 KiB that the cache may have.
    pub cache_blocks: u32,
    /// Reads of single blocks that count.
    pub reads: u64,
    /// Reads of blocks that were not cached.
    pub read_misses: u64,
    /// Writes of single blocks that count.
    pub writes: u64,
    /// Writes of blocks that were not cached.
    pub write_misses: u64,
    /// Memory of the cache; of `belady`, with the accesses to come.
    pub memory_bytes: u64,
    /// How long the accesses took on one processor.
    pub elapsed_ns: u64,
}

impl Row for SimRow {
    const FILE: &'static str = "sim.csv";
}

impl From<Outcome> for SimRow {
    fn from(of: Outcome) -> Self {
        Self {
            policy: of.policy,
            cache_blocks: of.cache_blocks,
            reads: of.reads,
            read_misses: of.read_misses,
            writes: of.writes,
            write_misses: of.write_misses,
            memory_bytes: of.memory_bytes,
            elapsed_ns: of.elapsed_ns,
        }
    }
}

impl SimRow {
    /// Reads and writes that missed.
    pub fn misses(&self) -> u64 {
        self.read_misses + self.write_misses
    }

    /// Share of the accesses that missed.
    pub fn miss_ratio(&self) -> f64 {
        self.misses() as f64 / (self.reads + self.writes) as f64
    }
}

/// One row for each step of the miss-ratio curve of LRU; curves of more than a thousand steps are
/// thinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRow {
    /// `exact`; `shards:RATE`: from that share of the blocks; `fixed:BLOCKS`: from so many blocks.
    pub method: String,
    /// Cache size from which on the ratio holds; empty in the one row of a curve that sampled no
    /// block.
    pub cache_blocks: Option<u64>,
    /// Share of all accesses that miss; empty likewise.
    pub miss_ratio: Option<f64>,
}

impl Row for StepRow {
    const FILE: &'static str = "mrc.csv";
}

/// One row for each method: how its curve was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MethodRow {
    /// As in `mrc.csv`.
    pub method: String,
    /// Blocks that the curve saw; with 0 there is no curve. Empty in early runs.
    #[serde(default)]
    pub sampled_blocks: Option<u64>,
    /// Mean difference to the exact curve over all sizes; empty without one of the two curves.
    pub mean_absolute_error: Option<f64>,
    /// How long counting took.
    pub elapsed_ns: u64,
}

impl Row for MethodRow {
    const FILE: &'static str = "mrc_methods.csv";
}
