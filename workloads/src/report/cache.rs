//! What a guest reports about its block cache.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::latency::{Bucket, quantile_ns};

/// Answer to `cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheOpened {
    /// Blocks of the origin disk that the application may use.
    pub origin_blocks: u32,
    /// Blocks of the vSSD in which data may be cached, now.
    pub slots: u32,
    /// Blocks of the vSSD that hold the cache's own records, now.
    pub metadata_blocks: u32,
    /// Blocks that were found cached, and kept.
    pub restored: u32,
    /// Of these, dirty ones.
    pub restored_dirty: u32,
    /// Dirty blocks that an earlier cache lost, now or before.
    pub lost: u32,
    /// Bytes of memory that the cache takes, for each 1000 blocks it may have.
    pub memory_bytes_per_1000: u32,
}

impl fmt::Display for CacheOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin_blocks,
            slots,
            metadata_blocks,
            restored,
            restored_dirty,
            lost,
            memory_bytes_per_1000,
        } = self;
        write!(
            f,
            "cache of {slots} blocks ({metadata_blocks} more for its records, {}.{:03} bytes of \
             memory each) in front of {origin_blocks}: {restored} restored, {restored_dirty} of \
             them dirty, {lost} lost",
            memory_bytes_per_1000 / 1000,
            memory_bytes_per_1000 % 1000
        )
    }
}

/// Part of the answer to `replay`: where the cache is after some accesses. Counts
/// of hits and misses are of the accesses since the sample before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSample {
    /// Accesses that have ended since the replay began.
    pub accesses: u64,
    /// Since the replay began.
    pub at_ns: u64,
    /// Reads served from memory.
    pub memory_hits: u64,
    /// Reads served from the vSSD.
    pub read_hits: u64,
    /// Reads served from the origin disk.
    pub read_misses: u64,
    /// Writes to blocks that were cached.
    pub write_hits: u64,
    /// Writes to blocks that were not.
    pub write_misses: u64,
    /// Slots that the cache has.
    pub slots: u32,
    /// Blocks cached.
    pub cached: u32,
    /// Blocks whose last write is not on the origin disk.
    pub dirty: u32,
    /// How long ago the oldest write was acknowledged that is not on the origin disk.
    pub stale_ns: u64,
    /// Number of the last write such that it and all before are acknowledged.
    pub acknowledged: u64,
    /// Number of the last write that a flush made durable, with all before.
    pub flushed: u64,
}

impl fmt::Display for CacheSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accesses,
            memory_hits,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            cached,
            slots,
            dirty,
            stale_ns,
            ..
        } = self;
        write!(
            f,
            "after {accesses}: {memory_hits} reads from memory, {read_hits} hit, {read_misses} missed, {write_hits} writes \
             hit, {write_misses} missed; {cached} of {slots} slots used, {dirty} dirty, the \
             origin {} behind",
            Millis(*stale_ns)
        )
    }
}

/// Answer to `replay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Reads served from memory.
    pub memory_hits: u64,
    /// Reads served from the vSSD.
    pub read_hits: u64,
    /// Reads served from the origin disk.
    pub read_misses: u64,
    /// Writes to blocks that were cached.
    pub write_hits: u64,
    /// Writes to blocks that were not.
    pub write_misses: u64,
    /// Accesses of these that went past the cache because they were sequential.
    pub bypassed: u64,
    /// Blocks of deleted files, whether anyone was told or not.
    pub discards: u64,
    /// Accesses of a trace to blocks that the origin disk, or the span, does not have.
    pub beyond: u64,
    /// Reads refused because the last write to the block was lost.
    pub lost: u64,
    /// Accesses that failed otherwise.
    pub errors: u64,
    /// Reads that returned something else than was written last.
    pub corrupt: u64,
    /// Blocks read from the origin disk since the cache was opened.
    pub origin_reads: u64,
    /// Blocks written to the origin disk since the cache was opened, beside those of its journal.
    pub origin_writes: u64,
    /// Number of the last write of this guest.
    pub acknowledged: u64,
    /// Number of the last write that a flush made durable, with all before.
    pub flushed: u64,
    /// From the first access to the last.
    pub elapsed_ns: u64,
    /// The longest that the origin disk was behind.
    pub stale_ns_max: u64,
    /// The most blocks by which it was behind.
    pub dirty_max: u32,
    /// Latencies of reads from memory.
    pub memory_buckets: Vec<Bucket>,
    /// Latencies of reads from the vSSD.
    pub hit_buckets: Vec<Bucket>,
    /// Latencies of reads from the origin disk.
    pub miss_buckets: Vec<Bucket>,
    /// Latencies of writes.
    pub write_buckets: Vec<Bucket>,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memory_hits,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            bypassed,
            beyond,
            lost,
            errors,
            corrupt,
            origin_reads,
            origin_writes,
            elapsed_ns,
            hit_buckets,
            miss_buckets,
            write_buckets,
            ..
        } = self;
        write!(
            f,
            "{memory_hits} reads from memory, {read_hits} hit (p50 {}), {read_misses} missed (p50 {}), {write_hits} writes \
             hit, {write_misses} missed (p50 {}), {bypassed} bypassed, {beyond} beyond the disk, \
             {lost} lost, {errors} errors, {corrupt} corrupt in {}; since the cache was opened, \
             {origin_reads} blocks read from the origin, {origin_writes} written to it",
            Millis(quantile_ns(hit_buckets, 500)),
            Millis(quantile_ns(miss_buckets, 500)),
            Millis(quantile_ns(write_buckets, 500)),
            Millis(*elapsed_ns)
        )
    }
}

/// Part of the answer to `stamps`: the number of the write that each block is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// The first block.
    pub first: u32,
    /// For each block from there on, its number.
    pub numbers: Vec<u64>,
}

impl fmt::Display for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, numbers } = self;
        write!(f, "stamps of {} blocks from {first} on", numbers.len())
    }
}

/// The end of the answer to `stamps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampsRead {
    /// Blocks that were read.
    pub blocks: u32,
    /// Blocks that carry no stamp of their place; their numbers are the largest
    /// that there is.
    pub bad: u32,
    /// Blocks whose last write was lost; their numbers are the largest but one.
    pub lost: u32,
}

impl fmt::Display for StampsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, bad, lost } = self;
        write!(f, "{blocks} stamps read, {bad} bad, {lost} lost")
    }
}

/// Answer to `time-sampler`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerTimed {
    /// Accesses.
    pub accesses: u64,
    /// From the first to the last.
    pub elapsed_ns: u64,
}

impl fmt::Display for SamplerTimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accesses,
            elapsed_ns,
        } = self;
        write!(f, "{accesses} accesses sampled in {}", Millis(*elapsed_ns))
    }
}

/// Answer to `write-back` and `close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenBack {
    /// Blocks written back.
    pub blocks: u64,
    /// Blocks that stay dirty because a disk failed.
    pub errors: u64,
    /// Blocks written to the origin disk since the cache was opened, beside those of its journal.
    pub origin_writes: u64,
}

impl fmt::Display for WrittenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            blocks,
            errors,
            origin_writes,
        } = self;
        write!(
            f,
            "{blocks} blocks written back, {errors} errors; since the cache was opened, \
             {origin_writes} blocks written to the origin"
        )
    }
}

/// Answer to `advise`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advised {
    /// Blocks that the advice is for.
    pub blocks: u32,
    /// Of these, blocks that are cached now.
    pub cached: u32,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, cached } = self;
        write!(
            f,
            "advice for {blocks} blocks, of which {cached} are cached; for the others it holds \
             once they are"
        )
    }
}

/// Blocks were revoked whose last write was not on the origin disk; sent as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirtyLost {
    /// How many.
    pub blocks: u32,
    /// All that are lost and have not been written since.
    pub total: u32,
}

impl fmt::Display for DirtyLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, total } = self;
        write!(
            f,
            "{blocks} dirty blocks were revoked before they could be written back; {total} are \
             lost and fail when read until they are written again"
        )
    }
}
