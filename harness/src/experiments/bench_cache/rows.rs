//! What it records.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// Who made a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// The guest's cache.
    Ours,
    /// libCacheSim.
    Peer,
}

/// A pass over all requests, as `bench_cache.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PassRow {
    /// The policy.
    pub policy: String,
    /// Counts from 0.
    pub round: u32,
    /// Who made it.
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Of these, of blocks that were not cached.
    pub misses: u64,
    /// How long it took, nanoseconds.
    pub elapsed_ns: u64,
}

impl Row for PassRow {
    const FILE: &'static str = "bench_cache.csv";
}

/// A full cache that gave up a quarter of its slots, as `bench_surrender.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SurrenderRow {
    /// The policy.
    pub policy: String,
    /// Counts from 0.
    pub round: u32,
    /// Slots that it had.
    pub slots: u32,
    /// Slots that it gave up, all with a block in them.
    pub given_up: u32,
    /// How long it took, nanoseconds.
    pub elapsed_ns: u64,
}

impl Row for SurrenderRow {
    const FILE: &'static str = "bench_surrender.csv";
}

/// A walk over memory in random order, as `bench_walk.csv` has it: the yardstick of
/// giving up as many blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
