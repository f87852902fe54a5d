//! What the overhead experiment records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each shrink with the grow that takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub(crate) struct OverheadRow {
    /// How block sets travelled: `compact` (extents or bitmap windows) or `list-4096` (as in 2017).
    pub encoding: String,
    /// How the guest picked: `scattered` (every second block) or `highest` (contiguous).
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// SURRENDERs carried out.
    pub shrink_exchanges: u32,
    /// Bytes of commands and responses during the shrink.
    pub shrink_message_bytes: u64,
    /// ACCEPTs carried out.
    pub grow_exchanges: u32,
    /// Bytes of commands and responses during the grow.
    pub grow_message_bytes: u64,
    /// Whether both resizes moved all blocks by the guest's own picks and were confirmed by the
    /// driver.
    pub agreed: bool,
}

impl Row for OverheadRow {
    const FILE: &'static str = "overhead.csv";
}

/// One row for each row of `overhead.csv`, under QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OverheadTimingRow {
    /// As in `overhead.csv`.
    pub encoding: String,
    /// As in `overhead.csv`.
    pub pick: String,
    /// As in `overhead.csv`.
    pub repetition: u32,
    /// As in `overhead.csv`.
    pub block_size_bytes: u32,
    /// As in `overhead.csv`.
    pub capacity_blocks: u32,
    /// As in `overhead.csv`.
    pub blocks: u32,
    /// As in `overhead.csv`.
    pub shrink_exchanges: u32,
    /// The shrink, from before the command is sent to the backend's answer that both lists agree,
    /// by the harness.
    pub shrink_ns: u64,
    /// Of that, the device's own work: decoding, ownership and its log, revocation.
    pub shrink_device_ns: u64,
    /// The grow, likewise from command to agreement.
    pub grow_ns: u64,
    /// Of that, the device's own work.
    pub grow_device_ns: u64,
}

impl Row for OverheadTimingRow {
    const FILE: &'static str = "overhead_timing.csv";
}

/// A size that was left out for `list-4096`, as its predicted time did not fit in the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
