//! Rows of the writepolicy experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each write policy: a load on an empty cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicyRow {
    /// Write policy of the cache.
    pub policy: String,
    /// Medium that the origin disk emulates; `none` without emulation.
    pub medium: String,
    /// Accesses in flight.
    pub depth: u32,
    /// Slots of the cache.
    pub slots: u32,
    /// Reads.
    pub reads: u64,
    /// Of these, served from the vSSD.
    pub read_hits: u64,
    /// Writes.
    pub writes: u64,
    /// Accesses that failed, were refused, or returned other data than were last written.
    pub failed: u64,
    /// Duration of all accesses by the guest's clock, like the times below.
    pub elapsed_ns: u64,
    /// Median read from the vSSD.
    pub hit_p50_ns: u64,
    /// Median read from the origin disk.
    pub miss_p50_ns: u64,
    /// Median write.
    pub write_p50_ns: u64,
    /// 99th percentile of writes.
    pub write_p99_ns: u64,
    /// Longest time that an acknowledged write was not on the origin disk.
    pub stale_ns_max: u64,
    /// Most blocks whose last write was not on the origin disk.
    pub dirty_max_blocks: u32,
    /// Dirty blocks at the end of the load.
    pub written_back_blocks: u64,
    /// Time to write these back, by the host's clock.
    pub write_back_ns: u64,
}

impl WritePolicyRow {
    /// Accesses per second.
    pub(crate) fn rate(&self) -> f64 {
        (self.reads + self.writes) as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

impl Row for WritePolicyRow {
    const FILE: &'static str = "writepolicy.csv";
}

/// One row for each sample during these loads, taken every few accesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicySampleRow {
    /// As in `writepolicy.csv`.
    pub policy: String,
    /// Completed accesses.
    pub accesses: u64,
    /// Time since the start of the load, by the guest's clock.
    pub at_ns: u64,
    /// Blocks whose last write was not on the origin disk.
    pub dirty_blocks: u32,
    /// Age of the oldest acknowledged write that was not on the origin disk.
    pub stale_ns: u64,
}

impl Row for WritePolicySampleRow {
    const FILE: &'static str = "writepolicy_samples.csv";
}

/// One row for each place that was read after a guest was killed. Writes are numbered from 1, and
/// each block carries the number of its write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicyCrashRow {
    /// As in `writepolicy.csv`.
    pub policy: String,
    /// Number of the crash, from 0 for each policy.
    pub crash: u32,
    /// `origin`: the origin disk as the killed guest left it; `recovered`: the same with its
    /// journal applied, without the vSSD; `warm`: both disks, through the cache of a new guest.
    pub place: String,
    /// Writes in flight.
    pub depth: u32,
    /// Number up to which the guest had reported all writes as acknowledged; a lower bound.
    pub acknowledged: u64,
    /// Number up to which the guest had reported all writes as flushed; a lower bound.
    pub flushed: u64,
    /// Blocks that were read.
    pub blocks: u32,
    /// Of these, blocks with neither the complete data of one write nor zeros.
    pub bad_blocks: u32,
    /// Of these, blocks refused because their last write was lost.
    pub lost_blocks: u32,
    /// Highest number found.
    pub newest: u64,
    /// Acknowledged writes whose block carries an older one.
    pub missing: u64,
    /// Of these, flushed writes.
    pub missing_flushed: u64,
    /// Blocks with older data than acknowledged.
    pub stale_blocks: u32,
    /// Whether the blocks carry exactly the first so many writes, and nothing later.
    pub is_prefix: bool,
    /// Blocks that the new guest's cache restored from the vSSD; 0 except in `warm`.
    pub restored: u32,
    /// Of these, dirty blocks.
    pub restored_dirty: u32,
}

impl WritePolicyCrashRow {
    /// The origin disk as the killed guest left it.
    pub(crate) const ORIGIN: &'static str = "origin";
    /// The origin disk alone, after a cache has been opened on it without the vSSD.
    pub(crate) const RECOVERED: &'static str = "recovered";
    /// Both disks, through the cache of a new guest.
    pub(crate) const WARM: &'static str = "warm";
}

impl Row for WritePolicyCrashRow {
    const FILE: &'static str = "writepolicy_crashes.csv";
}
