//! Parameters, checked.

use anyhow::{Result, ensure};
use guest_cache::Policy;
use guest_cache::WritePolicy;
use lab::testbed::{Disks, OriginShape, Shape};
use serde::Deserialize;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad};
use crate::experiments::common::params;

/// The disk behind the cache.
pub(super) const DISK: MediaKind = MediaKind::Hdd;

/// Most crashes with each policy.
const CRASHES_MAX: u32 = 1000;

/// Most accesses of a load.
const ACCESSES_MAX: u64 = 10_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) policies: Vec<String>,
    pub(super) evict: String,
    pub(super) size: String,
    pub(super) origin: String,
    pub(super) span: String,
    pub(super) workload: String,
    pub(super) dirty_percent: u32,
    pub(super) accesses: u64,
    pub(super) writes_percent: u32,
    pub(super) depth: u32,
    pub(super) flush: u32,
    pub(super) sample: u64,
    pub(super) crashes: u32,
    pub(super) crash_dirty_percent: u32,
    pub(super) crash_writes: u64,
    pub(super) crash_flush: u32,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) policies: Vec<WritePolicy>,
    pub(super) evict: Policy,
    pub(super) size: ByteSize,
    pub(super) origin: ByteSize,
    pub(super) span: u32,
    pub(super) workload: Workload,
    pub(super) raw: Raw,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let span = params::blocks("span", &raw.span)?;
        let origin = params::size("origin", &raw.origin)?;
        ensure!(
            origin.0.is_multiple_of(BLOCK) && u64::from(span) * BLOCK <= origin.0,
            "`origin` is {origin}: choose a number of blocks that has room for the `span` of {}",
            raw.span
        );
        for (key, percent) in [
            ("dirty_percent", raw.dirty_percent),
            ("writes_percent", raw.writes_percent),
            ("crash_dirty_percent", raw.crash_dirty_percent),
        ] {
            params::percent(key, percent)?;
        }
        for (key, accesses) in [
            ("accesses", raw.accesses),
            ("crash_writes", raw.crash_writes),
        ] {
            ensure!(
                (1..=ACCESSES_MAX).contains(&accesses),
                "`{key}` is {accesses}: choose 1 to {ACCESSES_MAX}"
            );
        }
        ensure!(
            (1..=CRASHES_MAX).contains(&raw.crashes),
            "`crashes` is {}: choose 1 to {CRASHES_MAX}",
            raw.crashes
        );
        ensure!(
            raw.depth > 0 && raw.sample > 0,
            "`depth` is {} and `sample` is {}: choose at least 1",
            raw.depth,
            raw.sample
        );
        Ok(Self {
            policies: params::each("policies", &raw.policies, params::write_policy)?,
            evict: params::policy("evict", &raw.evict)?,
            size: params::cache_size("size", &raw.size)?,
            origin,
            span,
            workload: params::workload("workload", &raw.workload, span)?,
            raw,
        })
    }
}

impl Params {
    pub(super) fn disks(&self) -> Disks {
        Disks {
            vssd: Shape {
                size: self.size,
                block_size: ByteSize(BLOCK),
                written: self.size,
            },
            origin: Some(OriginShape {
                size: self.origin,
                media: Some(DISK),
            }),
            trace: None,
        }
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
            workload: Some(self.workload),
            span: self.span,
            seed,
            start: 0,
            count: self.raw.accesses,
            writes_percent: self.raw.writes_percent,
            depth: self.raw.depth,
            flush: self.raw.flush,
            every: self.raw.sample,
        }
    }

    /// The load during which the guest is killed: writes one at a time, so that their order is
    /// certain.
    pub(super) fn crash_load(&self, seed: u64) -> CacheLoad {
        CacheLoad {
            writes_percent: 100,
            depth: 1,
            flush: self.raw.crash_flush,
            every: (self.raw.crash_writes / 20).max(1),
            ..self.load(seed)
        }
    }
}
