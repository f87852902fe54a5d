//! Rows of the shrinkcache experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The guest's cache gives up what its policy values least.
pub(crate) const SURRENDER: &str = "surrender";
/// The hypervisor takes blocks at random.
pub(crate) const UNIFORM: &str = "uniform";
/// The hypervisor takes the blocks whose last request lies furthest back.
pub(crate) const HOST_LRU: &str = "host-lru";
/// The hypervisor takes all, and gives back empty what is to be kept.
pub(crate) const DROP_ALL: &str = "drop-all";

/// The ways to make a cache smaller, in the order in which they are run.
pub(crate) const WAYS: [&str; 4] = [SURRENDER, UNIFORM, HOST_LRU, DROP_ALL];

/// A cache that keeps its size.
pub(crate) const NEVER_SHRUNK: &str = "never-shrunk";
/// A cache that always had the size to which the others are shrunk.
pub(crate) const ALWAYS_SMALL: &str = "always-small";

/// The phases, in order.
pub(crate) const PHASES: [&str; 3] = ["before", "shrunk", "grown"];

/// One row for each window of accesses to a cache that is made smaller and grows back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub(crate) struct ShrinkCacheRow {
    /// What chooses the blocks to go: `surrender` (the cache), `uniform` (the hypervisor, at
    /// random), `host-lru` (the hypervisor, by the last requests), `drop-all` (everything goes, and
    /// what is to be kept comes back empty). `never-shrunk` and `always-small` are the cache's code
    /// alone, with all slots and with those that the shrink leaves.
    pub way: String,
    /// `before` the shrink, while the cache is `shrunk`, or when it has `grown` back.
    pub phase: String,
    /// Accesses up to the end of the window, without the warm-up.
    pub accesses: u64,
    /// Accesses in the window.
    pub window: u64,
    /// Of these, to blocks that were cached.
    pub hits: u64,
    /// Accesses that failed, were refused, or read other data than were written last: of the whole
    /// phase, in its last window.
    pub failed: u64,
    /// Blocks in which data may be cached, at the end of the window.
    pub slots: u32,
}

impl ShrinkCacheRow {
    /// Share of the accesses that hit.
    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / (self.window as f64).max(1.0)
    }
}

impl Row for ShrinkCacheRow {
    const FILE: &'static str = "shrinkcache.csv";
}

/// One row for each resize, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ShrinkCacheResizeRow {
    /// As in `shrinkcache.csv`.
    pub way: String,
    /// The cache's write policy.
    pub write: String,
    /// `shrink`, `refill` (the blocks that come back after all were dropped) or `grow`.
    pub step: String,
    /// Blocks of the vSSD that the guest held before.
    pub from_blocks: u32,
    /// Blocks of the vSSD that the guest held afterwards.
    pub held_blocks: u32,
    /// Blocks taken without the consent of the guest.
    pub revoked_blocks: u32,
    /// Whether all blocks moved and the driver confirmed the list.
    pub agreed: bool,
}

impl Row for ShrinkCacheResizeRow {
    const FILE: &'static str = "shrinkcache_resizes.csv";
}

/// One row for each way: a cache with dirty blocks that is made smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ShrinkCacheLossRow {
    /// As in `shrinkcache.csv`.
    pub way: String,
    /// The cache's write policy.
    pub write: String,
    /// Blocks whose last write was not on the origin disk, just before the shrink.
    pub dirty_blocks: u32,
    /// Blocks that the guest reported as lost, as it happened.
    pub told_blocks: u64,
    /// Blocks of the origin disk that were read afterwards, through the cache.
    pub blocks: u32,
    /// Of these, refused because their last write was lost.
    pub lost_blocks: u32,
    /// Of these, with anything but what was written last.
    pub wrong_blocks: u32,
}

impl Row for ShrinkCacheLossRow {
    const FILE: &'static str = "shrinkcache_losses_timing.csv";
}
