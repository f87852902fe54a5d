//! What it records.

use results::row::Row;
use serde::{Deserialize, Serialize};
use simulate::replay::Outcome;

/// A policy at a size, as `sim.csv` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimRow {
    /// What goes when room is needed.
    pub policy: String,
    /// Blocks that the cache may have.
    pub cache_blocks: u32,
    /// Reads that count.
    pub reads: u64,
    /// Of these, of blocks that were not cached.
    pub read_misses: u64,
    /// Writes that count.
    pub writes: u64,
    /// Of these, of blocks that were not cached.
    pub write_misses: u64,
    /// Memory that the cache took, bytes; of the bound, with what it knows beforehand.
    pub memory_bytes: u64,
    /// How long the accesses took, nanoseconds.
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

/// A step of a curve, as `mrc.csv` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// How the curve was counted.
    pub method: String,
    /// Blocks of a cache from which on the ratio holds, to the next step's; none in the
    /// one row of a method that sampled no block.
    pub cache_blocks: Option<u64>,
    /// Share of all accesses that miss, from an empty cache on.
    pub miss_ratio: Option<f64>,
}

impl Row for StepRow {
    const FILE: &'static str = "mrc.csv";
}

/// A curve, as `mrc_methods.csv` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodRow {
    /// How it was counted.
    pub method: String,
    /// Blocks that it saw: if none, there is no curve. Early runs have not recorded it.
    #[serde(default)]
    pub sampled_blocks: Option<u64>,
    /// Mean of the absolute differences to the exact curve, over all sizes up to the
    /// number of different blocks; none without both curves.
    pub mean_absolute_error: Option<f64>,
    /// How long counting took, nanoseconds.
    pub elapsed_ns: u64,
}

impl Row for MethodRow {
    const FILE: &'static str = "mrc_methods.csv";
}
