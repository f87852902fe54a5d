//! What it records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Blocks of the vSSD, and of the pool that it has for itself: 32 GiB.
pub const BLOCKS: u32 = 8 << 20;

/// Blocks that change hands: 16 GiB.
pub const MOVED: u32 = 4 << 20;

/// One row for each shrink by 16 GiB and the grow after it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ResizeRow {
    /// `scattered`: every second block; `highest`: one piece.
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Blocks that moved.
    pub blocks: u32,
    /// The shrink, from the command until both lists agreed, by the harness's clock.
    pub shrink_ns: u64,
    /// Of that, work of the device, its durable commit included.
    pub shrink_device_ns: u64,
    /// The grow, from the command until both lists agreed, by the harness's clock.
    pub grow_ns: u64,
    /// Of that, work of the device, its durable commit included.
    pub grow_device_ns: u64,
}

impl Row for ResizeRow {
    const FILE: &'static str = "bench_resize.csv";
}

/// One row: resident memory of the backend.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemoryRow {
    /// Of the backend with a vSSD of 1 MiB.
    #[schemars(extend("unit" = "bytes"))]
    pub small: u64,
    /// Of the backend with a vSSD of 32 GiB.
    #[schemars(extend("unit" = "bytes"))]
    pub large: u64,
    /// The latter after `written_blocks` writes of blocks anywhere, most of them first writes.
    #[schemars(extend("unit" = "bytes"))]
    pub written: u64,
    /// Blocks written then.
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
    /// How often that journal was rewritten.
    pub compactions: u64,
}

impl Row for MemoryRow {
    const FILE: &'static str = "bench_memory.csv";
}

/// One row for each backend from which the hypervisor takes 16 GiB while a client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DisturbedRow {
    /// Counts from 0.
    pub repetition: u32,
    /// Duration of the resize.
    pub resize_ns: u64,
    /// Requests that did not overlap the resize.
    pub quiet_requests: u64,
    /// 99 % of these took no longer.
    pub quiet_p99_ns: u64,
    /// Requests that overlapped the resize.
    pub during_requests: u64,
    /// 99 % of these took no longer.
    pub during_p99_ns: u64,
}

impl Row for DisturbedRow {
    const FILE: &'static str = "bench_disturbed.csv";
}

impl DisturbedRow {
    /// How many times the p99 was that without.
    pub fn ratio(&self) -> f64 {
        self.during_p99_ns as f64 / self.quiet_p99_ns as f64
    }
}
