//! What the eviction experiment records.

use results::row::Row;
use serde::{Deserialize, Serialize};

use super::picker::Picker;

/// The totals of one half of the eviction experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionRow {
    /// Who picked the blocks to go: `guest` or `hypervisor`.
    pub managed_by: String,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the guest held while it read.
    pub held_blocks: u32,
    /// Blocks of the shrink that the guest picked.
    pub surrendered_blocks: u32,
    /// Blocks of the shrink that the hypervisor picked.
    pub revoked_blocks: u32,
    /// Draws of the guest's sample of the workload; 0 when it did not pick.
    pub sample_draws: u64,
    /// Reads in all.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    /// Reads of blocks that it did not.
    pub misses: u64,
    /// Reads of held blocks that failed or returned wrong data.
    pub errors: u64,
}

impl Row for EvictionRow {
    const FILE: &'static str = "eviction.csv";
}

/// How long one half of the eviction experiment took. None on a virtual clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionPaceRow {
    pub managed_by: String,
    /// The shrink, from the command to both lists agreed.
    pub shrink_ns: u64,
    /// The reads, by the guest's clock.
    pub read_guest_ns: u64,
}

impl Row for EvictionPaceRow {
    const FILE: &'static str = "eviction_pace.csv";
}

/// How often one block was read in the eviction experiment, and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionBlockRow {
    /// Block number; blocks never read have no row.
    pub block: u32,
    /// Hits where the guest picked.
    pub guest_hits: u32,
    /// Misses where the guest picked.
    pub guest_misses: u32,
    /// Hits where the hypervisor picked.
    pub hypervisor_hits: u32,
    /// Misses where the hypervisor picked.
    pub hypervisor_misses: u32,
}

impl Row for EvictionBlockRow {
    const FILE: &'static str = "eviction_blocks.csv";
}

/// How the reads went after a shrink by one picker, with one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PickerRow {
    /// Seed of the repetition.
    pub seed: u64,
    /// Who picked the blocks to go.
    pub picker: Picker,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Blocks that the guest held while it read.
    pub held_blocks: u32,
    /// Reads in all.
    pub reads: u64,
    /// Reads of blocks that the guest held with their contents.
    pub hits: u64,
    /// The other reads.
    pub misses: u64,
}

impl Row for PickerRow {
    const FILE: &'static str = "pickers.csv";
}

/// What it costs the backend to watch requests for a picker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverRow {
    /// What is kept: `lru` or `clock`.
    pub observer: String,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Memory that it takes, bytes.
    pub memory_bytes: u64,
    /// Counts from 0.
    pub repetition: u32,
    /// Requests that were shown to it.
    pub requests: u64,
    /// The time that took, by the host's clock.
    pub elapsed_ns: u64,
}

impl Row for ObserverRow {
    const FILE: &'static str = "observers.csv";
}
