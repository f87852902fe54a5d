//! What the overhead experiment records.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// One shrink and the grow that took it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverheadRow {
    /// How sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// How the guest picked: `scattered` or `highest` (contiguous).
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// SURRENDERs of the shrink.
    pub shrink_exchanges: u32,
    /// Bytes of commands and responses meanwhile.
    pub shrink_message_bytes: u64,
    /// ACCEPTs of the grow.
    pub grow_exchanges: u32,
    /// Bytes of commands and responses meanwhile.
    pub grow_message_bytes: u64,
    /// Whether both resizes moved all blocks and were confirmed by the driver.
    pub agreed: bool,
}

impl Row for OverheadRow {
    const FILE: &'static str = "overhead.csv";
}

/// How long a shrink and the grow that took it back lasted. None on a virtual
/// clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverheadPaceRow {
    pub encoding: String,
    pub pick: String,
    pub repetition: u32,
    pub block_size_bytes: u32,
    pub capacity_blocks: u32,
    pub blocks: u32,
    /// SURRENDERs of the shrink.
    pub shrink_exchanges: u32,
    /// Shrink, from the command to both lists agreed.
    pub shrink_ns: u64,
    /// Of that, work of the device: commands, ownership, revocation.
    pub shrink_device_ns: u64,
    /// Grow, from the command to both lists agreed.
    pub grow_ns: u64,
    /// Of that, work of the device.
    pub grow_device_ns: u64,
}

impl Row for OverheadPaceRow {
    const FILE: &'static str = "overhead_pace.csv";
}

/// A size that was left out for `list-4096`, as its predicted time did not fit in the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverheadLeftOutRow {
    /// As in [`OverheadRow`].
    pub encoding: String,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks to be taken and given back.
    pub blocks: u32,
    /// Predicted time of all picks and repetitions of this size.
    pub predicted_ns: u64,
    /// What smaller sizes had taken.
    pub spent_ns: u64,
    /// What all sizes together may take.
    pub budget_ns: u64,
}

impl Row for OverheadLeftOutRow {
    const FILE: &'static str = "overhead_left_out.csv";
}
