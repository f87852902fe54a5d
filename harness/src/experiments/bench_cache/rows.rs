//! Rows of the bench-cache experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measured side.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// The guest's cache.
    Ours,
    /// libCacheSim.
    Peer,
}

/// One row for each pass over all requests, starting with an empty cache.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassRow {
    /// Eviction policy.
    pub policy: String,
    /// Round; passes are compared within a round.
    pub round: u32,
    /// Measured side.
    pub who: Side,
    /// Requests of single blocks.
    pub requests: u64,
    /// Requests for blocks that were not cached.
    pub misses: u64,
    /// Duration of the pass, by the clock of its process.
    pub elapsed_ns: u64,
}

impl Row for PassRow {
    const FILE: &'static str = "bench_cache.csv";
}

/// One row for each full cache that gives up a quarter of its slots.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SurrenderRow {
    /// Eviction policy.
    pub policy: String,
    /// Counts from 0.
    pub round: u32,
    /// Slots of the cache.
    pub slots: u32,
    /// Slots given up, each with a block in it.
    pub given_up: u32,
    /// Time to give them up.
    pub elapsed_ns: u64,
}

impl Row for SurrenderRow {
    const FILE: &'static str = "bench_surrender.csv";
}

/// One row for each walk over memory in random order: the yardstick for giving up as many
/// blocks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WalkRow {
    /// Counts from 0.
    pub round: u32,
    /// Policy of the cache that gave up blocks just before.
    pub policy: String,
    /// Bytes that the walk covers: about the size of the cache's table.
    pub memory_bytes: u64,
    /// Dependent accesses: each cache line names the next.
    pub steps: u32,
    /// Duration of the walk, nanoseconds.
    pub elapsed_ns: u64,
}

impl Row for WalkRow {
    const FILE: &'static str = "bench_walk.csv";
}
