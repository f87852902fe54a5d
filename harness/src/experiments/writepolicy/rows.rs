//! Rows of the writepolicy experiment.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// A load through a cache with one write policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WritePolicyRow {
    /// The write policy.
    pub policy: String,
    /// Which medium the origin disk imitated; `none` for none.
    pub medium: String,
    /// Accesses under way at a time.
    pub depth: u32,
    /// Blocks of the vSSD in which data may be cached.
    pub slots: u32,
    /// Reads that were made.
    pub reads: u64,
    /// Of these, served from the vSSD.
    pub read_hits: u64,
    /// Writes that were made.
    pub writes: u64,
    /// Accesses that failed, were refused, or read other data than were written last.
    pub failed: u64,
    /// All of them together, by the guest's clock.
    pub elapsed_ns: u64,
    /// Half of the reads from the vSSD took no longer.
    pub hit_p50_ns: u64,
    /// Half of the reads from the origin disk took no longer.
    pub miss_p50_ns: u64,
    /// Half of the writes took no longer.
    pub write_p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub write_p99_ns: u64,
    /// The longest that the origin disk was behind.
    pub stale_ns_max: u64,
    /// The most blocks by which it was behind.
    pub dirty_max_blocks: u32,
    /// Blocks that were still to be written back when the load had ended.
    pub written_back_blocks: u64,
    /// How long that took, by the guest's clock.
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

/// By how much the origin disk was behind at some moment of the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WritePolicySampleRow {
    /// The write policy.
    pub policy: String,
    /// Accesses that had ended.
    pub accesses: u64,
    /// When, from the beginning of the load, by the guest's clock.
    pub at_ns: u64,
    /// Blocks whose last write was not on the origin disk.
    pub dirty_blocks: u32,
    /// How long ago the oldest write was acknowledged that was not there.
    pub stale_ns: u64,
}

impl Row for WritePolicySampleRow {
    const FILE: &'static str = "writepolicy_samples.csv";
}

/// What of a guest's writes was found after it was killed, in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WritePolicyCrashRow {
    /// The write policy.
    pub policy: String,
    /// Counts from 0.
    pub crash: u32,
    /// Where it was looked: [`ORIGIN`](Self::ORIGIN), [`RECOVERED`](Self::RECOVERED) or
    /// [`WARM`](Self::WARM).
    pub place: String,
    /// Accesses under way at a time.
    pub depth: u32,
    /// The last write that was known to be acknowledged, with all before.
    pub acknowledged: u64,
    /// The last write that a flush was known to have made durable, with all before.
    pub flushed: u64,
    /// Blocks that were read.
    pub blocks: u32,
    /// Of these, with anything but what one write left in them.
    pub bad_blocks: u32,
    /// Of these, refused because their last write was lost.
    pub lost_blocks: u32,
    /// The newest write that was found.
    pub newest: u64,
    /// Acknowledged writes that were not found, nor any newer one to their block.
    pub missing: u64,
    /// Of these, flushed ones.
    pub missing_flushed: u64,
    /// Blocks that had an older content than the acknowledged one.
    pub stale_blocks: u32,
    /// Whether all that was found is what the first so many writes leave, and nothing else.
    pub is_prefix: bool,
    /// Blocks that the new guest's cache found on the vSSD.
    pub restored: u32,
    /// Of these, dirty ones.
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
