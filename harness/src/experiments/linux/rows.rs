//! Rows of the linux experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

use super::file_system::FileSystem;

/// One row for each resize under load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxResizeRow {
    pub file_system: FileSystem,
    /// Number of the resize, from 0.
    pub number: u32,
    /// Blocks held before.
    pub from_blocks: u32,
    /// Blocks that were to be held.
    pub target_blocks: u32,
    /// Blocks held after it.
    pub held_blocks: u32,
    /// Blocks taken without the agent's consent.
    pub revoked_blocks: u32,
    /// How it ended: `complete`, or `declined` when the guest had no more to give.
    pub end: String,
    /// Whether the agent confirmed the list that resulted.
    pub agreed: bool,
    /// From the request to its reply.
    pub elapsed_ns: u64,
}

impl Row for LinuxResizeRow {
    const FILE: &'static str = "linux_resizes.csv";
}

/// One row for each file system after its resizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxCheckRow {
    pub file_system: FileSystem,
    /// Restarts of the guest between resizes.
    pub reboots: u32,
    /// Kills of the backend between resizes.
    pub kills: u32,
    /// Power cuts of the guest between resizes.
    pub power_cuts: u32,
    /// Rounds of fio, each of which writes its file and reads it back with checksums.
    pub fio_rounds: u64,
    /// Rounds of fio that failed.
    pub fio_failures: u64,
    /// Files of the churn that were read and compared.
    pub files_checked: u64,
    /// Files that were not as written.
    pub files_bad: u64,
    /// Files that were on disk before an event or resize, compared after the last event.
    pub kept_checked: u64,
    /// Those that were missing or not as written.
    pub kept_bad: u64,
    /// Lines of the guest's console that tell of a failed request, file system or kernel, until it
    /// was unmounted after the last resize.
    pub log_failures: u64,
    /// Such lines during the check of the file system.
    pub fsck_log_failures: u64,
    /// Exit code of the check of the file system, not mounted, after the last resize.
    pub fsck_code: i32,
    /// Blocks that the backend has, after the last resize.
    pub taken_blocks: u32,
    /// Blocks of the balloon files in the guest then, by the file system's own list (FIEMAP).
    pub balloon_blocks: u64,
    /// Whether the agent confirmed the backend's list then.
    pub agreed: bool,
    /// Resident memory of the agent then, bytes.
    pub agent_bytes: u64,
    /// From the start of QEMU until the guest took commands, at its first boot.
    pub boot_ns: u64,
}

impl Row for LinuxCheckRow {
    const FILE: &'static str = "linux_checks.csv";
}

/// What is on the file system before a timed resize.
#[derive(
    Clone, Copy, Debug, Display, EnumString, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing.
    Empty,
    /// Files on half of it.
    HalfFull,
    /// A file, and every other 16 KiB of it free.
    Fragmented,
}

/// One row for each timed shrink and the grow back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxTimesRow {
    pub file_system: FileSystem,
    pub state: State,
    /// Size of the vSSD.
    pub size_bytes: u64,
    /// What is to be taken and given back.
    pub change_bytes: u64,
    /// The same in blocks.
    pub change_blocks: u32,
    /// Number of the repetition, from 0.
    pub repetition: u32,
    /// Blocks that were taken.
    pub taken_blocks: u32,
    /// From the request to shrink to its reply.
    pub shrink_ns: u64,
    /// Of that, work of the backend.
    pub shrink_device_ns: u64,
    /// Of the shrink, time of the agent to allocate balloon files (fallocate), by the guest's clock.
    pub allocate_guest_ns: u64,
    /// The same, to have them on disk (fsync).
    pub sync_guest_ns: u64,
    /// The same, to read where they lie (FIEMAP).
    pub map_guest_ns: u64,
    /// Extents of the balloon files.
    pub extents: u64,
    /// From the request to grow to its reply.
    pub grow_ns: u64,
    /// Of that, work of the backend.
    pub grow_device_ns: u64,
}

impl LinuxTimesRow {
    /// Time of a shrink without what the guest's file system takes.
    pub(crate) fn host_ns(&self) -> u64 {
        let guest_ns = self.allocate_guest_ns + self.sync_guest_ns + self.map_guest_ns;
        self.shrink_ns.saturating_sub(guest_ns)
    }
}

impl Row for LinuxTimesRow {
    const FILE: &'static str = "linux_times.csv";
}

/// A disk of the guest.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Disk {
    /// A vSSD of `vssd-host`.
    VssdHost,
    /// A raw file of `qemu-storage-daemon`, by vhost-user.
    QemuStorageDaemon,
    /// A raw file in QEMU's own virtio-blk.
    VirtioBlk,
}

/// Which way requests go.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Way {
    Read,
    Write,
}

/// One row for each slice of a load on a disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxOverheadRow {
    /// Number of the round, from 0; ratios are taken within a round.
    pub round: u32,
    pub disk: Disk,
    pub way: Way,
    /// Requests in flight.
    pub depth: u32,
    /// Requests of 4 KiB at random places.
    pub requests: u64,
    /// Their time by the guest's clock.
    pub elapsed_guest_ns: u64,
    /// Median time of a request, by the guest's clock.
    pub p50_guest_ns: u64,
    /// 99th percentile, by the guest's clock.
    pub p99_guest_ns: u64,
}

impl LinuxOverheadRow {
    /// Requests per second.
    pub(crate) fn iops(&self) -> f64 {
        self.requests as f64 / (self.elapsed_guest_ns.max(1) as f64 / 1e9)
    }
}

impl Row for LinuxOverheadRow {
    const FILE: &'static str = "linux_overhead.csv";
}

/// A way to give a part of a disk back.
#[derive(
    Clone,
    Copy,
    Debug,
    Display,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    VariantArray,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum WayBack {
    /// By `vssd-agent`.
    Agent,
    /// Unmounted.
    Resize2fs,
    /// To a smaller disk.
    Copy,
    /// Free blocks are discarded.
    Fstrim,
}

/// One row for each way to give back a part of a disk with ext4, half full and fuller before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxPeerRow {
    pub way: WayBack,
    /// Number of the repetition, from 0.
    pub repetition: u32,
    /// Size of the disk.
    pub size_bytes: u64,
    /// What is to be given back; `fstrim` takes no size.
    pub change_bytes: u64,
    /// From the first step to the last.
    pub elapsed_ns: u64,
    /// Of that, the time in which the file system could not be written: unmounted, or read-only.
    pub unwritable_ns: u64,
    /// By how much less space the disk takes at the host than when its file system was full.
    pub given_bytes: u64,
    /// The same after the guest has filled the file system again: what is given back for good.
    pub kept_bytes: u64,
}

impl Row for LinuxPeerRow {
    const FILE: &'static str = "linux_peers.csv";
}

/// A guest that reads from its vSSD.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum GuestKind {
    /// The guest of this project.
    Own,
    /// The Linux guest, with fio.
    Linux,
}

/// One row for each slice of reads of 4 KiB at random places by a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxGuestRow {
    /// Number of the round, from 0; ratios are taken within a round.
    pub round: u32,
    pub guest: GuestKind,
    /// Reads in flight.
    pub depth: u32,
    pub requests: u64,
    /// Their time by the guest's clock.
    pub elapsed_guest_ns: u64,
}

impl LinuxGuestRow {
    /// Requests per second.
    pub(crate) fn iops(&self) -> f64 {
        self.requests as f64 / (self.elapsed_guest_ns.max(1) as f64 / 1e9)
    }
}

impl Row for LinuxGuestRow {
    const FILE: &'static str = "linux_guests.csv";
}

/// A cache on a vSSD.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum CacheKind {
    /// That of a Linux guest, whose tail goes.
    DmCache,
    /// This project's, which chooses.
    Own,
    /// The same, but its tail goes.
    OwnTail,
}

/// What the vSSD of a cache went through.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum CachePhase {
    /// It has its full size.
    Before,
    /// It has shrunk.
    Shrunk,
    /// It has grown back.
    Grown,
}

/// One row for each window of accesses to a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LinuxCacheRow {
    pub cache: CacheKind,
    pub phase: CachePhase,
    /// Number of the window, from 0.
    pub window: u32,
    /// Reads in the window.
    pub accesses: u64,
    /// Reads that the cache counted as hits; those of dm-cache are from `dmsetup status`.
    pub hits: u64,
    /// Reads that it counted as misses.
    pub misses: u64,
    /// Blocks that the cache has room for, at the end of the window.
    pub slots: u32,
    /// Blocks that are cached then.
    pub cached: u32,
}

impl LinuxCacheRow {
    /// Share of the reads that hit.
    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / ((self.hits + self.misses) as f64).max(1.0)
    }
}

impl Row for LinuxCacheRow {
    const FILE: &'static str = "linux_cache.csv";
}
