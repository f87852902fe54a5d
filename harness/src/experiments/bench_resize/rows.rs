//! What it records.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// Blocks of the vSSD, and of the pool that it has for itself: 32 GiB.
pub(crate) const BLOCKS: u32 = 8 << 20;

/// Blocks that change hands: 16 GiB.
pub(crate) const MOVED: u32 = 4 << 20;

/// A shrink by 16 GiB and the grow after it, as `bench_resize.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ResizeRow {
    /// Which blocks the guest gave up: `scattered` or `highest`.
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Blocks that moved.
    pub blocks: u32,
    /// Shrink: from the command to both lists agreed, nanoseconds.
    pub shrink_ns: u64,
    /// Of that, work of the device, its durable commit included.
    pub shrink_device_ns: u64,
    /// Grow, as above.
    pub grow_ns: u64,
    /// Of that, work of the device.
    pub grow_device_ns: u64,
}

impl Row for ResizeRow {
    const FILE: &'static str = "bench_resize.csv";
}

/// Memory of the backend.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MemoryRow {
    /// With a vSSD of one MiB, bytes.
    pub small: u64,
    /// With one of 32 GiB, bytes.
    pub large: u64,
    /// The same after scattered first writes, bytes.
    pub written: u64,
    /// Blocks that were written then.
    pub written_blocks: u64,
    /// Of a process with guest and device in one, after the first resizes, bytes.
    pub few_resizes: u64,
    /// The same after all of them.
    pub many_resizes: u64,
    /// Of a backend with its journal on a file, after the first resizes, bytes.
    pub few_journaled: u64,
    /// The same after all of them.
    pub many_journaled: u64,
    /// Commits to that journal, and how often it was written anew.
    pub commits: u64,
    pub compactions: u64,
}

impl Row for MemoryRow {
    const FILE: &'static str = "bench_memory.csv";
}

/// What a resize by one block takes, and a visit of memory: the yardsticks of
/// [`ResizeRow`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct YardstickRow {
    /// Counts from 0.
    pub repetition: u32,
    /// Shrink by one block: from the command to both lists agreed, nanoseconds.
    pub block_shrink_ns: u64,
    /// Of that, work of the device: in essence its durable commit.
    pub block_shrink_device_ns: u64,
    /// Grow by one block, as above.
    pub block_grow_ns: u64,
    /// Of that, work of the device.
    pub block_grow_device_ns: u64,
    /// A visit of 4 bytes of memory for each block of 16 GiB, in random order, nanoseconds.
    pub visit_ns: u64,
}

impl Row for YardstickRow {
    const FILE: &'static str = "bench_yardstick.csv";
}

/// Requests without a resize and during one, as `bench_disturbed.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DisturbedRow {
    /// Counts from 0.
    pub repetition: u32,
    /// How long a resize took, in the mean of this repetition, nanoseconds.
    pub resize_ns: u64,
    /// Requests no part of which was within it.
    pub quiet_requests: u64,
    /// 99 of 100 of these took no longer, nanoseconds.
    pub quiet_p99_ns: u64,
    pub during_requests: u64,
    /// 99 of 100 of these took no longer, nanoseconds.
    pub during_p99_ns: u64,
}

impl Row for DisturbedRow {
    const FILE: &'static str = "bench_disturbed.csv";
}

/// A bucket of the histograms of a repetition, as `bench_disturbed_histograms.csv` has it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct DisturbedBucketRow {
    /// As in [`DisturbedRow`].
    pub repetition: u32,
    /// The lowest latency of the bucket; buckets without requests have no row.
    pub value_ns: u64,
    /// Requests in it no part of which was within a resize.
    pub quiet: u64,
    /// Requests in it during a shrink.
    pub during: u64,
}

impl Row for DisturbedBucketRow {
    const FILE: &'static str = "bench_disturbed_histograms.csv";
}
