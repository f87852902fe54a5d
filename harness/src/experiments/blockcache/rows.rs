//! Rows of the blockcache experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each workload, policy and size: what a guest's cache counted, empty at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub(crate) struct BlockCacheRow {
    /// Workload; `trace`: the accesses of the parameter `trace`.
    pub workload: String,
    /// Eviction policy.
    pub policy: String,
    /// Blocks of the vSSD.
    pub capacity_blocks: u32,
    /// Of these, blocks for the cache's own metadata.
    pub metadata_blocks: u32,
    /// Blocks in which data may be cached.
    pub slots: u32,
    /// Blocks of the origin disk that may be used.
    pub origin_blocks: u32,
    /// Reads.
    pub reads: u64,
    /// Reads of blocks that were not cached.
    pub read_misses: u64,
    /// Writes.
    pub writes: u64,
    /// Writes of blocks that were not cached.
    pub write_misses: u64,
    /// Accesses of a trace to blocks that the origin disk does not have; not among the others.
    pub beyond: u64,
    /// Accesses that failed, were refused, or read other data than were written last.
    pub failed: u64,
    /// Bytes of the guest's memory for each 1000 blocks that the cache may have.
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

/// One row, where the parameter `trace` names a recorded trace: how it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockCacheTraceRow {
    /// The file.
    pub trace: String,
    /// The name of its format.
    pub format: String,
    /// Requests that were replayed.
    pub requests: u64,
    /// Accesses to single blocks of these requests.
    pub accesses: u64,
    /// Different blocks accessed; an estimate past four million.
    pub distinct_blocks: u64,
    /// Requests past the end of the origin disk, left out.
    pub beyond_disk: u64,
    /// Assumptions about what the file does not define, in sentences.
    pub assumed: String,
    /// What was left out or changed, in sentences.
    pub notes: String,
}

impl Row for BlockCacheTraceRow {
    const FILE: &'static str = "blockcache_trace.csv";
}

/// One row for each row of `blockcache.csv`, and one more for each workload and size: the same
/// accesses through the cache's code alone, without guest or device, with as many slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockCacheSimRow {
    /// As in `blockcache.csv`.
    pub workload: String,
    /// As in `blockcache.csv`; or `belady`, which knows the accesses to come.
    pub policy: String,
    /// As in `blockcache.csv`.
    pub slots: u32,
    /// As in `blockcache.csv`.
    pub reads: u64,
    /// As in `blockcache.csv`.
    pub read_misses: u64,
    /// As in `blockcache.csv`.
    pub writes: u64,
    /// As in `blockcache.csv`.
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

/// One row for each of these cells, and for each cell in front of a disk, under QEMU. Times are of
/// the guest's clock; a quantile is the highest value of a bucket that is 1 in 128 wide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockCacheTimingRow {
    /// Medium that the origin disk emulates: `hdd` or `none`.
    pub medium: String,
    /// As in `blockcache.csv`.
    pub workload: String,
    /// As in `blockcache.csv`.
    pub policy: String,
    /// As in `blockcache.csv`.
    pub slots: u32,
    /// Accesses under way at a time.
    pub depth: u32,
    /// Reads and writes.
    pub accesses: u64,
    /// Accesses that failed, as in `blockcache.csv`.
    pub failed: u64,
    /// Duration of all accesses.
    pub elapsed_ns: u64,
    /// Reads from the vSSD.
    pub hits: u64,
    /// 50 % of the reads from the vSSD took no longer.
    pub hit_p50_ns: u64,
    /// 99 % of the reads from the vSSD took no longer.
    pub hit_p99_ns: u64,
    /// Reads from the origin disk.
    pub misses: u64,
    /// 50 % of the reads from the origin disk took no longer.
    pub miss_p50_ns: u64,
    /// 99 % of the reads from the origin disk took no longer.
    pub miss_p99_ns: u64,
}

impl Row for BlockCacheTimingRow {
    const FILE: &'static str = "blockcache_timing.csv";
}
