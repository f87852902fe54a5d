//! Rows of the writepolicy experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each write policy: a load on a fresh cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicyRow {
    /// Where a written block goes, and when it reaches the origin disk.
    pub policy: String,
    /// Medium that the origin disk emulates; `none` for none.
    pub medium: String,
    /// Accesses under way at a time.
    pub depth: u32,
    /// Blocks in which data may be cached.
    pub slots: u32,
    /// Reads.
    pub reads: u64,
    /// Of these, served from the vSSD.
    pub read_hits: u64,
    /// Writes.
    pub writes: u64,
    /// Accesses that failed, were refused, or read other data than were written last.
    pub failed: u64,
    /// Duration of all accesses, by the guest's clock, as the times below.
    pub elapsed_ns: u64,
    /// 50 % of the reads from the vSSD took no longer.
    pub hit_p50_ns: u64,
    /// 50 % of the reads from the origin disk took no longer.
    pub miss_p50_ns: u64,
    /// 50 % of the writes took no longer.
    pub write_p50_ns: u64,
    /// 99 % of the writes took no longer.
    pub write_p99_ns: u64,
    /// The longest time for which an acknowledged write was not on the origin disk.
    pub stale_ns_max: u64,
    /// The highest number of blocks whose last write was not on the origin disk.
    pub dirty_max_blocks: u32,
    /// Blocks that were still dirty when the load had ended.
    pub written_back_blocks: u64,
    /// How long it took to write these back, by the host's clock.
    pub write_back_ns: u64,
}

impl WritePolicyRow {
    /// Accesses a second.
    pub(crate) fn rate(&self) -> f64 {
        (self.reads + self.writes) as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

impl Row for WritePolicyRow {
    const FILE: &'static str = "writepolicy.csv";
}

/// One row for each sample during these loads, at equal numbers of accesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicySampleRow {
    /// As in `writepolicy.csv`.
    pub policy: String,
    /// Accesses that had ended.
    pub accesses: u64,
    /// Time since the beginning of the load, by the guest's clock.
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
/// each block carries the number of the write it is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WritePolicyCrashRow {
    /// As in `writepolicy.csv`.
    pub policy: String,
    /// Counts from 0, for each policy.
    pub crash: u32,
    /// `origin`: the origin disk as the killed guest left it; `recovered`: the same with its
    /// journal applied, without the vSSD; `warm`: both disks, through the cache of a guest booted
    /// on them.
    pub place: String,
    /// Writes under way at a time.
    pub depth: u32,
    /// Number of the last write that the guest had reported as acknowledged, with all before; more
    /// may have been.
    pub acknowledged: u64,
    /// Number of the last write that the guest had reported as flushed, with all before.
    pub flushed: u64,
    /// Blocks that were read.
    pub blocks: u32,
    /// Of these, with anything but what one write left there, or zeros.
    pub bad_blocks: u32,
    /// Of these, refused because their last write was lost.
    pub lost_blocks: u32,
    /// The highest number found.
    pub newest: u64,
    /// Acknowledged writes that were not found, nor a newer one to their block.
    pub missing: u64,
    /// Of these, flushed writes.
    pub missing_flushed: u64,
    /// Blocks with an older content than the acknowledged one.
    pub stale_blocks: u32,
    /// Whether the content is exactly that of the first so many writes, with nothing of a later
    /// one.
    pub is_prefix: bool,
    /// Blocks that the new guest's cache found on the vSSD; 0 but in `warm`.
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
