//! What the correctness experiment records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which way a resize goes.
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
    /// `walk`: the planned sizes; `refill`: all blocks back and written anew; `random`: random
    /// sizes while the guest reads and writes.
    pub part: String,
    /// How the guest picked blocks to give up: `random`, `scattered` or `highest`.
    pub pick: String,
    /// Direction against the step before; `shrink` where the size stayed.
    pub direction: Direction,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the host was to hold.
    pub balloon_wanted_blocks: u32,
    /// Blocks that the host holds after the step, by its own list.
    pub balloon_blocks: u32,
    /// Digest of the host's list of blocks that the guest holds (`vssd/SPEC.md`, 4.9).
    pub digest: String,
    /// Which side was to refuse reads of blocks not held: `driver`, or `device` with the driver
    /// letting them through.
    pub enforce: String,
    /// Blocks whose read failed.
    pub read_errors: u32,
    /// Read errors returned by the driver.
    pub refused_by_driver: u32,
    /// Read errors returned by the device.
    pub refused_by_device: u32,
    /// Blocks that carry what was written last, or zeros if nothing was written since they were
    /// granted.
    pub intact_blocks: u32,
    /// Blocks that read as something else.
    pub corrupt_blocks: u32,
    /// Blocks held but failing, or not held but readable.
    pub unexpected_blocks: u32,
    /// Whether number and digest of the guest's and the host's list are equal.
    pub lists_equal: bool,
    /// Requests made during the resizes that failed though their block was held throughout, or
    /// returned other data than were written last.
    pub inflight_errors: u64,
}

impl Row for CorrectnessRow {
    const FILE: &'static str = "correctness.csv";
}

/// One row for each step: what depends on the speed of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CorrectnessTimingRow {
    /// As in `correctness.csv`.
    pub step: u32,
    /// Intact blocks that were not written since they were granted.
    pub zero_blocks: u32,
    /// Reads and writes made during the resizes of this step; 0 but in `random`.
    pub inflight_requests: u64,
    /// The last resize, by the backend, from the command until both lists agreed; empty for a twin.
    pub resize_ns: Option<u64>,
    /// The read of all blocks, from the command to the guest's report; empty for a twin.
    pub verify_ns: Option<u64>,
}

impl Row for CorrectnessTimingRow {
    const FILE: &'static str = "correctness_timing.csv";
}
