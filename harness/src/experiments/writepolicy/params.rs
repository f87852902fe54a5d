//! Parameters, checked.

use anyhow::Result;
use guest_cache::{Policy, WritePolicy};
use lab::testbed::Disks;
use serde::Deserialize;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::experiments::common::cached::{Cache, CacheLoad, disks};
use crate::experiments::common::params::{
    Parameters, blocks, cache_size, check_span, check_workload, disk_size, percent, positive, text,
    texts, within,
};

/// The disk behind the cache.
pub(super) const DISK: MediaKind = MediaKind::Hdd;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "texts")]
    pub(super) policies: Vec<WritePolicy>,
    #[serde(with = "text")]
    evict: Policy,
    #[serde(deserialize_with = "cache_size")]
    size: ByteSize,
    #[serde(deserialize_with = "disk_size")]
    pub(super) origin: ByteSize,
    #[serde(deserialize_with = "blocks")]
    pub(super) span: u32,
    #[serde(with = "text")]
    workload: Workload,
    #[serde(deserialize_with = "percent")]
    pub(super) dirty_percent: u32,
    #[serde(deserialize_with = "within::<1, 10_000_000, _, _>")]
    accesses: u64,
    #[serde(deserialize_with = "percent")]
    writes_percent: u32,
    #[serde(deserialize_with = "positive")]
    depth: u32,
    flush: u32,
    #[serde(deserialize_with = "positive")]
    sample: u64,
    /// With each policy.
    #[serde(deserialize_with = "within::<1, 1000, _, _>")]
    pub(super) crashes: u32,
    #[serde(deserialize_with = "percent")]
    pub(super) crash_dirty_percent: u32,
    #[serde(deserialize_with = "within::<1, 10_000_000, _, _>")]
    pub(super) crash_writes: u64,
    crash_flush: u32,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        check_span(self.span, self.origin)?;
        check_workload("workload", &self.workload, self.span)
    }
}

impl Params {
    pub(super) fn disks(&self) -> Disks {
        disks(self.size, self.origin, Some(DISK))
    }

    pub(super) fn cache(&self, write: WritePolicy, dirty_percent: u32, fresh: bool) -> Cache {
        Cache {
            dirty_percent: dirty_percent as u8,
            fresh,
            ..Cache::new(self.evict, write)
        }
    }

    /// The measured load.
    pub(super) fn load(&self, seed: u64) -> CacheLoad {
        CacheLoad {
            writes_percent: self.writes_percent,
            depth: self.depth,
            flush: self.flush,
            every: self.sample,
            ..CacheLoad::new(self.workload, self.span, seed, self.accesses)
        }
    }

    /// The load during which the guest is killed: writes one at a time, so that their order is
    /// certain.
    pub(super) fn crash_load(&self, seed: u64) -> CacheLoad {
        CacheLoad {
            writes_percent: 100,
            depth: 1,
            flush: self.crash_flush,
            every: (self.crash_writes / 20).max(1),
            ..self.load(seed)
        }
    }
}
