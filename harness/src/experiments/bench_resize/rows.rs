//! Rows of the bench-resize experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Blocks of the vSSD and of its pool: 32 GiB.
pub(crate) const BLOCKS: u32 = 8 << 20;

/// Blocks that move in a resize: 16 GiB.
pub(crate) const MOVED: u32 = 4 << 20;

/// One row for each shrink by 16 GiB and the grow after it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ResizeRow {
    /// `scattered`: every second block; `highest`: one piece.
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Blocks that moved.
    pub blocks: u32,
    /// Shrink, from the command until both lists agreed, by the harness's clock.
    pub shrink_ns: u64,
    /// Of that, work of the device, including its durable commit.
    pub shrink_device_ns: u64,
    /// Grow, from the command until both lists agreed, by the harness's clock.
    pub grow_ns: u64,
    /// Of that, work of the device, including its durable commit.
    pub grow_device_ns: u64,
}

impl Row for ResizeRow {
    const FILE: &'static str = "bench_resize.csv";
}

/// One row: resident memory of the backend.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MemoryRow {
    /// Of the backend with a vSSD of 1 MiB.
    #[schemars(extend("unit" = "bytes"))]
    pub small: u64,
    /// Of the backend with a vSSD of 32 GiB.
    #[schemars(extend("unit" = "bytes"))]
    pub large: u64,
    /// The latter after `written_blocks` writes at random, most of them first writes.
    #[schemars(extend("unit" = "bytes"))]
    pub written: u64,
    /// Writes before `written`.
    pub written_blocks: u64,
    /// Of a process with a twin, after a tenth of the resizes.
    #[schemars(extend("unit" = "bytes"))]
    pub few_resizes: u64,
    /// The same after all of them.
    #[schemars(extend("unit" = "bytes"))]
    pub many_resizes: u64,
    /// Of a backend on a file, after a tenth of the resizes.
    #[schemars(extend("unit" = "bytes"))]
    pub few_journaled: u64,
    /// The same after all of them.
    #[schemars(extend("unit" = "bytes"))]
    pub many_journaled: u64,
    /// Commits to the journal of that file.
    pub commits: u64,
    /// Rewrites of that journal.
    pub compactions: u64,
}

impl Row for MemoryRow {
    const FILE: &'static str = "bench_memory.csv";
}

/// One row for each backend from which the hypervisor takes 16 GiB while a client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DisturbedRow {
    /// Counts from 0.
    pub repetition: u32,
    /// Duration of the resize.
    pub resize_ns: u64,
    /// Requests that did not overlap the resize.
    pub quiet_requests: u64,
    /// 99th percentile of these.
    pub quiet_p99_ns: u64,
    /// Requests that overlapped the resize.
    pub during_requests: u64,
    /// 99th percentile of these.
    pub during_p99_ns: u64,
}

impl Row for DisturbedRow {
    const FILE: &'static str = "bench_disturbed.csv";
}

/// One row for each latency bucket of a repetition.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DisturbedBucketRow {
    /// As in [`DisturbedRow`].
    pub repetition: u32,
    /// The lowest latency of the bucket; buckets without requests have no row.
    pub value_ns: u64,
    /// Requests in it that overlapped no resize.
    pub quiet: u64,
    /// Requests in it that overlapped a shrink.
    pub during: u64,
}

impl Row for DisturbedBucketRow {
    const FILE: &'static str = "bench_disturbed_histograms.csv";
}

/// One row for each repetition: the times of a resize by one block and of memory accesses, on
/// which the bars of [`ResizeRow`] are based.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct YardstickRow {
    /// Counts from 0.
    pub repetition: u32,
    /// Shrink by one block: from the command to both lists agreed, nanoseconds.
    pub block_shrink_ns: u64,
    /// Of that, work of the device: mostly its durable commit.
    pub block_shrink_device_ns: u64,
    /// Grow by one block: from the command to both lists agreed, nanoseconds.
    pub block_grow_ns: u64,
    /// Of that, work of the device.
    pub block_grow_device_ns: u64,
    /// Accesses to 4 bytes of memory for each block of 16 GiB, in random order, nanoseconds.
    pub visit_ns: u64,
}

impl Row for YardstickRow {
    const FILE: &'static str = "bench_yardstick.csv";
}
