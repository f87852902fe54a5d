//! Rows of the eviction experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::picker::Picker;

/// One row for each half of the experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvictionRow {
    /// Side that picked the blocks to give up: `guest` or `hypervisor`.
    pub managed_by: String,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the guest held while it read.
    pub held_blocks: u32,
    /// Blocks of the shrink that the guest picked.
    pub surrendered_blocks: u32,
    /// Blocks of the shrink that the hypervisor picked.
    pub revoked_blocks: u32,
    /// Draws in the guest's sample of the workload; 0 if the hypervisor picked.
    pub sample_draws: u64,
    /// All reads.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    /// Reads of blocks that the guest did not hold.
    pub misses: u64,
    /// Reads of held blocks that failed or returned wrong data.
    pub errors: u64,
}

impl Row for EvictionRow {
    const FILE: &'static str = "eviction.csv";
}

/// One row for each half, under QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvictionTimingRow {
    /// As in `eviction.csv`.
    pub managed_by: String,
    /// Duration of the shrink by the backend, from the command until both lists agreed.
    pub shrink_ns: u64,
    /// Duration of all reads by the guest's clock.
    pub read_guest_ns: u64,
}

impl Row for EvictionTimingRow {
    const FILE: &'static str = "eviction_timing.csv";
}

/// One row for each block that was read, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvictionBlockRow {
    /// Block number.
    pub block: u32,
    /// Hits in the half with guest picks.
    pub guest_hits: u32,
    /// Misses in the half with guest picks.
    pub guest_misses: u32,
    /// Hits in the half with hypervisor picks.
    pub hypervisor_hits: u32,
    /// Misses in the half with hypervisor picks.
    pub hypervisor_misses: u32,
}

impl Row for EvictionBlockRow {
    const FILE: &'static str = "eviction_blocks.csv";
}

/// One row for each seed and picker, from twins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PickerRow {
    /// Seed of the repetition.
    pub seed: u64,
    /// Side that picked the blocks to give up, and what it knew.
    pub picker: Picker,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the guest held while it read.
    pub held_blocks: u32,
    /// All reads.
    pub reads: u64,
    /// Reads of blocks that the guest held with their contents.
    pub hits: u64,
    /// All other reads.
    pub misses: u64,
}

impl Row for PickerRow {
    const FILE: &'static str = "pickers.csv";
}
