//! Rows of the correctness experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Direction of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// Blocks go from the guest to the host: the balloon grows.
    #[default]
    Shrink,
    /// Blocks come back to the guest: the balloon gets smaller.
    Grow,
}

/// One row for each step: a resize, then a read of every block. `intact_blocks`, `corrupt_blocks`
/// and `read_errors` add up to `capacity_blocks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub(crate) struct CorrectnessRow {
    /// Counts from 0; step 0 is the device at full size.
    pub step: u32,
    /// `walk`: the planned sizes; `refill`: all blocks back and rewritten; `random`: random
    /// sizes while the guest reads and writes.
    pub part: String,
    /// How the guest picked blocks to give up: `random`, `scattered` or `highest`.
    pub pick: String,
    /// Direction against the step before; `shrink` if the size is the same.
    pub direction: Direction,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the host should hold.
    pub balloon_wanted_blocks: u32,
    /// Blocks that the host holds after the step, by its own list.
    pub balloon_blocks: u32,
    /// Digest of the host's list of blocks that the guest holds (`vssd/SPEC.md`, 4.9).
    pub digest: String,
    /// Side that must refuse reads of blocks not held: `driver`, or `device` while the driver passes
    /// them on.
    pub enforce: String,
    /// Blocks whose read failed.
    pub read_errors: u32,
    /// Read errors returned by the driver.
    pub refused_by_driver: u32,
    /// Read errors returned by the device.
    pub refused_by_device: u32,
    /// Blocks that carry the last write, or zeros if they were not written since they were granted.
    pub intact_blocks: u32,
    /// Blocks with any other contents.
    pub corrupt_blocks: u32,
    /// Blocks held but failing, or not held but readable.
    pub unexpected_blocks: u32,
    /// Whether number and digest of the guest's and the host's list are equal.
    pub lists_equal: bool,
    /// Requests during the resizes that failed although their block was held throughout, or that
    /// returned data other than the last write.
    pub inflight_errors: u64,
}

impl Row for CorrectnessRow {
    const FILE: &'static str = "correctness.csv";
}

/// One row for each step: the values that depend on the speed of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CorrectnessTimingRow {
    /// As in `correctness.csv`.
    pub step: u32,
    /// Intact blocks that were not written since they were granted.
    pub zero_blocks: u32,
    /// Reads and writes during the resizes of this step; 0 except in `random`.
    pub inflight_requests: u64,
    /// Duration of the last resize by the backend, from the command until both lists agreed; empty
    /// for a twin.
    pub resize_ns: Option<u64>,
    /// Duration of the read of all blocks, from the command to the guest's report; empty for a twin.
    pub verify_ns: Option<u64>,
}

impl Row for CorrectnessTimingRow {
    const FILE: &'static str = "correctness_timing.csv";
}
