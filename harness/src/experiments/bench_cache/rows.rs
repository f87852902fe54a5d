//! What it records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// The guest's cache.
    Ours,
    /// libCacheSim.
    Peer,
}

/// One row for each pass over all requests, from an empty cache on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassRow {
    /// Eviction policy.
    pub policy: String,
    /// Passes of one round are compared with each other.
    pub round: u32,
    /// What was measured.
    pub who: Who,
    /// Requests of single blocks.
    pub requests: u64,
    /// Requests of blocks that were not cached.
    pub misses: u64,
    /// Duration of the pass, by the clock of its own process.
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
    /// How long giving up took.
    pub elapsed_ns: u64,
}

impl Row for SurrenderRow {
    const FILE: &'static str = "bench_surrender.csv";
}

/// A walk over memory in random order, as `bench_walk.csv` has it: the yardstick of
/// giving up as many blocks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WalkRow {
    /// Counts from 0.
    pub round: u32,
    /// The policy whose blocks were given up just before.
    pub policy: String,
    /// Bytes that the walk is spread over: about what the table of the cache takes.
    pub memory_bytes: u64,
    /// Cache lines that it visits, each named by the one before.
    pub steps: u32,
    /// How long it took, nanoseconds.
    pub elapsed_ns: u64,
}

impl Row for WalkRow {
    const FILE: &'static str = "bench_walk.csv";
}
