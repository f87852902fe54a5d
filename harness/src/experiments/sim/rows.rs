//! Rows of the sim experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simulate::replay::Outcome;

/// One row for each policy at each size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SimRow {
    /// Eviction policy; `belady`, the optimum, which knows all future accesses.
    pub policy: String,
    /// Size of the cache, blocks of 4 KiB.
    pub cache_blocks: u32,
    /// Reads of single blocks after the warm-up.
    pub reads: u64,
    /// Reads of blocks that were not cached.
    pub read_misses: u64,
    /// Writes of single blocks after the warm-up.
    pub writes: u64,
    /// Writes of blocks that were not cached.
    pub write_misses: u64,
    /// Memory of the cache; for `belady`, including the future accesses.
    pub memory_bytes: u64,
    /// Time for all accesses on one processor.
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
    /// `exact`; `shards:RATE`: from that share of the blocks; `fixed:BLOCKS`: from that number of
    /// blocks.
    pub method: String,
    /// Smallest cache size with this miss ratio; empty in the only row of a curve without a sampled
    /// block.
    pub cache_blocks: Option<u64>,
    /// Share of all accesses that miss; empty in the same case.
    pub miss_ratio: Option<f64>,
}

impl Row for StepRow {
    const FILE: &'static str = "mrc.csv";
}

/// One row for each method: cost and error of its curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MethodRow {
    /// As in `mrc.csv`.
    pub method: String,
    /// Blocks behind the curve; with 0 there is no curve. Empty in early runs.
    #[serde(default)]
    pub sampled_blocks: Option<u64>,
    /// Mean absolute difference to the exact curve over all sizes; empty if either is missing.
    pub mean_absolute_error: Option<f64>,
    /// Time to compute the curve.
    pub elapsed_ns: u64,
}

impl Row for MethodRow {
    const FILE: &'static str = "mrc_methods.csv";
}
