//! What the correctness experiment records.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// Which way a resize goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// Blocks go from the guest to the host: the balloon grows.
    #[default]
    Shrink,
    /// Blocks come back: the balloon gets smaller.
    Grow,
}

/// One step of the correctness experiment: a resize, then a read of all blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CorrectnessRow {
    /// Counts from 0; step 0 is the device at full size.
    pub step: u32,
    /// `walk` (the planned ladder) or `random` (random sizes with I/O in flight).
    pub part: String,
    /// How the guest picked, a `workloads::Policy` by name.
    pub pick: String,
    /// Which way this step went.
    pub direction: Direction,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the step asked the host to hold.
    pub balloon_wanted_blocks: u32,
    /// Blocks that the host holds afterwards, by its own list.
    pub balloon_blocks: u32,
    /// Digest of the host's list of blocks that the guest holds (SPEC.md, 4.9).
    pub digest: String,
    /// Which side turned reads away: `driver` or `device`.
    pub enforce: String,
    /// Blocks whose read failed.
    pub read_errors: u32,
    /// Read errors made by the driver.
    pub refused_by_driver: u32,
    /// Read errors made by the device.
    pub refused_by_device: u32,
    /// Blocks read that carry what was written last, or zeros if nothing was
    /// since they were granted.
    pub intact_blocks: u32,
    /// Blocks read as something else.
    pub corrupt_blocks: u32,
    /// Blocks that failed though held, or were readable though not.
    pub unexpected_blocks: u32,
    /// Whether count and digest of guest's and host's list were equal.
    pub lists_equal: bool,
    /// Requests made during the resizes that failed though their block was
    /// held throughout, or returned other data than were written last.
    pub inflight_errors: u64,
}

impl Row for CorrectnessRow {
    const FILE: &'static str = "correctness.csv";
}

/// What of a step of the correctness experiment depends on the machine's pace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CorrectnessPaceRow {
    pub step: u32,
    /// Of the intact blocks, those that were granted anew and not written since.
    pub zero_blocks: u32,
    /// Requests of the I/O that went on during the resizes; 0 in the ladder.
    pub inflight_requests: u64,
    /// From the command to both lists agreed; none on a virtual clock.
    pub resize_ns: Option<u64>,
    /// The read of all blocks, from the command to the guest's report; none on
    /// a virtual clock.
    pub verify_ns: Option<u64>,
}

impl Row for CorrectnessPaceRow {
    const FILE: &'static str = "correctness_pace.csv";
}
