//! Rows of the blockcache experiment.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// What the guest's cache counted: one workload, by one policy, at one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockCacheRow {
    /// Where the accesses went: a workload, or `trace`.
    pub workload: String,
    /// Which block goes when room is needed.
    pub policy: String,
    /// Blocks of the vSSD.
    pub capacity_blocks: u32,
    /// Of these, blocks that hold the cache's own records.
    pub metadata_blocks: u32,
    /// Blocks of the vSSD in which data may be cached.
    pub slots: u32,
    /// Blocks of the origin disk that may be used.
    pub origin_blocks: u32,
    /// Reads that were made.
    pub reads: u64,
    /// Of these, of blocks that were not cached.
    pub read_misses: u64,
    /// Writes that were made.
    pub writes: u64,
    /// Of these, of blocks that were not cached.
    pub write_misses: u64,
    /// Accesses of a trace to blocks that the origin disk does not have.
    pub beyond: u64,
    /// Accesses that failed, were refused, or read other data than were written last.
    pub failed: u64,
    /// Bytes of memory that the cache takes, for each 1000 blocks it may have.
    pub memory_bytes_per_1000: u32,
}

impl BlockCacheRow {
    /// Reads and writes.
    pub(crate) fn accesses(&self) -> u64 {
        self.reads + self.writes
    }

    /// Reads and writes that missed.
    pub(crate) fn misses(&self) -> u64 {
        self.read_misses + self.write_misses
    }

    /// Share of the accesses that missed.
    pub(crate) fn miss_ratio(&self) -> f64 {
        self.misses() as f64 / (self.accesses() as f64).max(1.0)
    }
}

impl Row for BlockCacheRow {
    const FILE: &'static str = "blockcache.csv";
}

/// The recorded trace that was replayed, and how it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockCacheTraceRow {
    pub trace: String,
    /// The name of its format.
    pub format: String,
    /// Requests that were replayed.
    pub requests: u64,
    /// Accesses to single blocks that they are.
    pub accesses: u64,
    /// Different blocks, perhaps an estimate.
    pub distinct_blocks: u64,
    /// Requests past the end of the origin disk, left out.
    pub beyond_disk: u64,
    /// What the file does not say and was taken to be so, in sentences.
    pub assumed: String,
    /// What was left out or changed, in sentences.
    pub notes: String,
}

impl Row for BlockCacheTraceRow {
    const FILE: &'static str = "blockcache_trace.csv";
}

/// The same accesses through the cache's code alone, without guest and device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockCacheSimRow {
    pub workload: String,
    /// As there; or `belady`, which knows what comes.
    pub policy: String,
    pub slots: u32,
    pub reads: u64,
    pub read_misses: u64,
    pub writes: u64,
    pub write_misses: u64,
}

impl BlockCacheSimRow {
    /// Share of the accesses that missed.
    pub(crate) fn miss_ratio(&self) -> f64 {
        let misses = (self.read_misses + self.write_misses) as f64;
        misses / ((self.reads + self.writes) as f64).max(1.0)
    }
}

impl Row for BlockCacheSimRow {
    const FILE: &'static str = "blockcache_sim.csv";
}

/// How long accesses took, by the guest's clock. None on a virtual clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockCachePaceRow {
    /// Which medium the origin disk imitated; `none` for none.
    pub medium: String,
    pub workload: String,
    pub policy: String,
    pub slots: u32,
    /// Accesses under way at a time.
    pub depth: u32,
    /// Reads and writes.
    pub accesses: u64,
    /// Of these, failed, refused, or with other data than were written last.
    pub failed: u64,
    /// All of them together.
    pub elapsed_ns: u64,
    /// Reads from the vSSD.
    pub hits: u64,
    /// Half of them took no longer.
    pub hit_p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub hit_p99_ns: u64,
    /// Reads from the origin disk.
    pub misses: u64,
    pub miss_p50_ns: u64,
    pub miss_p99_ns: u64,
}

impl Row for BlockCachePaceRow {
    const FILE: &'static str = "blockcache_pace.csv";
}
