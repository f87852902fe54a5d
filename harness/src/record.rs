//! What experiments record: one row type for each raw CSV file.
//!
//! The run stage writes these rows as they are measured, the study stage reads
//! them back and judges, the format stage draws. Nothing passes between the
//! stages but these files and the manifest, so tables and figures can be made
//! again without running anything. `results/README.md` defines every column.
//!
//! What an experiment counts and what depends on the pace of the machine are
//! apart: the files of counts are the same bytes for the same seed, whether
//! guests run under QEMU or as twins; the `_pace` files are of one run.
//!
//! Units are last in a name: `_ns` nanoseconds, `_blocks` blocks; counts of
//! reads and errors have none. Times are of the host's clock unless the name
//! says `guest`.

mod block_cache;
mod direct_io;
mod media;
mod sharing;
mod shrink_cache;
mod write_policy;

use results::row::Row;
use serde::{Deserialize, Serialize};

use crate::picker::Picker;
pub use block_cache::{BlockCachePaceRow, BlockCacheRow, BlockCacheSimRow, BlockCacheTraceRow};
pub use direct_io::DirectIoRow;
pub use media::{MediaRow, MediaWearRow};
pub use sharing::{SharingCheckRow, SharingRow};
pub use shrink_cache::{ShrinkCacheLossRow, ShrinkCacheResizeRow, ShrinkCacheRow};
pub use write_policy::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};

/// Which way a resize goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Blocks go from the guest to the host: the balloon grows.
    Shrink,
    /// Blocks come back: the balloon gets smaller.
    Grow,
}

/// One step of the correctness experiment: a resize, then a read of all blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectnessRow {
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
pub struct CorrectnessPaceRow {
    /// As in [`CorrectnessRow`].
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
    /// As in [`EvictionRow`].
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

/// One shrink and the grow that took it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverheadRow {
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
pub struct OverheadPaceRow {
    /// As in [`OverheadRow`].
    pub encoding: String,
    /// As in [`OverheadRow`].
    pub pick: String,
    /// As in [`OverheadRow`].
    pub repetition: u32,
    /// As in [`OverheadRow`].
    pub block_size_bytes: u32,
    /// As in [`OverheadRow`].
    pub capacity_blocks: u32,
    /// As in [`OverheadRow`].
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

/// Where a latency was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// From the submission of a request until the guest took it back.
    Guest,
    /// From when a request was taken from its ring until it was served.
    Backend,
}

/// When a latency was measured: phases of a cycle, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyPhase {
    /// The guest holds the whole device.
    Before,
    /// The shrink is under way.
    Shrink,
    /// The guest holds what the shrink left it.
    Between,
    /// The grow is under way.
    Grow,
    /// The guest holds the whole device again.
    After,
}

impl LatencyPhase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Before,
        Self::Shrink,
        Self::Between,
        Self::Grow,
        Self::After,
    ];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Shrink => "shrink",
            Self::Between => "between",
            Self::Grow => "grow",
            Self::After => "after",
        }
    }
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Guest, Self::Backend];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Backend => "backend",
        }
    }
}

/// What one side measured in one phase of one cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyRow {
    /// How sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0.
    pub cycle: u32,
    /// Who measured.
    pub side: Side,
    /// When.
    pub phase: LatencyPhase,
    /// Requests that belong to the phase.
    pub requests: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub p99_ns: u64,
    /// 999 of a thousand took no longer.
    pub p999_ns: u64,
    /// None took longer.
    pub max_ns: u64,
    /// Guest: the longest time in which requests were in flight and none came
    /// back. Backend: the longest command or revocation, which requests wait for.
    pub longest_stall_ns: u64,
    /// How long the phase was, by the clock of its side.
    pub phase_ns: u64,
}

impl Row for LatencyRow {
    const FILE: &'static str = "latency.csv";
}

/// One cycle: a shrink under load and the grow that took it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyCycleRow {
    /// How sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0.
    pub cycle: u32,
    /// How the guest picked, a `workloads::Policy` by name.
    pub pick: String,
    /// Whether every block was written before; otherwise only the load wrote.
    pub filled: bool,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// Requests in flight, at most.
    pub depth: u32,
    /// Requests of the guest.
    pub requests: u64,
    /// Of these, failed or returned other data than were written last.
    pub failed: u64,
    /// Shrink, from the backend taking the command to both lists agreed.
    pub shrink_ns: u64,
    /// SURRENDERs.
    pub shrink_exchanges: u32,
    /// Grow, likewise.
    pub grow_ns: u64,
    /// ACCEPTs.
    pub grow_exchanges: u32,
    /// Whether the driver confirmed both lists.
    pub agreed: bool,
}

impl Row for LatencyCycleRow {
    const FILE: &'static str = "latency_cycles.csv";
}

/// A bucket of the histograms over all cycles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyBucketRow {
    /// How sets travelled.
    pub encoding: String,
    /// Who measured.
    pub side: Side,
    /// The lowest latency of the bucket; buckets without requests have no row.
    pub value_ns: u64,
    /// Requests in it that belong to this phase.
    pub before: u64,
    /// Likewise.
    pub shrink: u64,
    /// Likewise.
    pub between: u64,
    /// Likewise.
    pub grow: u64,
    /// Likewise.
    pub after: u64,
}

impl LatencyBucketRow {
    /// Requests in it, by [`LatencyPhase::ALL`]'s order.
    pub fn counts(&self) -> [u64; LatencyPhase::ALL.len()] {
        [
            self.before,
            self.shrink,
            self.between,
            self.grow,
            self.after,
        ]
    }
}

impl Row for LatencyBucketRow {
    const FILE: &'static str = "latency_histograms.csv";
}

/// A start of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRow {
    /// What the guest was started for.
    pub experiment: String,
    /// QEMU's machine type.
    pub machine: String,
    /// `tcg` or `kvm`.
    pub accelerator: String,
    /// From the start of the QEMU process to the guest's `ready` report.
    pub ready_ns: u64,
    /// From the start of the guest's clock to its first completed read.
    pub first_io_guest_ns: u64,
}

impl Row for BootRow {
    const FILE: &'static str = "boot.csv";
}
