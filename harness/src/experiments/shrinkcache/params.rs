//! Parameters, checked.

use anyhow::{Context, Result, ensure};
use guest_cache::Policy;
use guest_cache::WritePolicy;
use lab::testbed::{Disks, OriginShape, Shape};
use serde::Deserialize;
use vssd_host::size::ByteSize;
use workloads::Workload;
use workloads::pattern::derive_seed;

use super::rows::WAYS;
use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad};
use crate::experiments::common::params;

/// Uses of randomness: the warm-up and the phases after it, in order, then these.
const FOR_LOSSES: u64 = 10;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) ways: Vec<String>,
    pub(super) size: String,
    pub(super) keep_percent: u32,
    pub(super) origin: String,
    pub(super) span: String,
    pub(super) evict: String,
    pub(super) write: String,
    pub(super) workload: String,
    pub(super) writes_percent: u32,
    pub(super) depth: u32,
    pub(super) warmup: u64,
    pub(super) before: u64,
    pub(super) shrunk: u64,
    pub(super) grown: u64,
    pub(super) window: u64,
    pub(super) loss_write: String,
    pub(super) loss_writes_percent: u32,
    pub(super) loss_dirty_percent: u32,
    pub(super) loss_accesses: u64,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) ways: Vec<&'static str>,
    pub(super) size: ByteSize,
    /// Blocks that are left after the shrink.
    pub(super) keep: u32,
    pub(super) origin: ByteSize,
    pub(super) span: u32,
    pub(super) evict: Policy,
    pub(super) write: WritePolicy,
    pub(super) loss_write: WritePolicy,
    pub(super) workload: Workload,
    pub(super) raw: Raw,
}

fn way(key: &str, name: &str) -> Result<&'static str> {
    let way = WAYS.into_iter().find(|way| *way == name);
    way.with_context(|| format!("`{key}` has `{name}`: choose of {}", WAYS.join(", ")))
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let span = params::blocks("span", &raw.span)?;
        let origin = params::size("origin", &raw.origin)?;
        ensure!(
            u64::from(span) * BLOCK <= origin.0,
            "`span` of {} is more than the `origin` of {origin} has",
            raw.span
        );
        ensure!(
            (1..100).contains(&raw.keep_percent),
            "`keep_percent` is {}: choose 1 to 99",
            raw.keep_percent
        );
        for (key, percent) in [
            ("writes_percent", raw.writes_percent),
            ("loss_writes_percent", raw.loss_writes_percent),
            ("loss_dirty_percent", raw.loss_dirty_percent),
        ] {
            params::percent(key, percent)?;
        }
        ensure!(
            raw.loss_writes_percent > 0 && raw.loss_accesses > 0,
            "`loss_writes_percent` and `loss_accesses` count from 1"
        );
        ensure!(
            raw.depth > 0 && raw.window > 0,
            "`depth` and `window` count from 1"
        );
        for (key, accesses) in [
            ("before", raw.before),
            ("shrunk", raw.shrunk),
            ("grown", raw.grown),
        ] {
            ensure!(
                accesses >= raw.window && accesses.is_multiple_of(raw.window),
                "`{key}` is {accesses}: choose a multiple of the `window` of {}",
                raw.window
            );
        }
        let size = params::cache_size("size", &raw.size)?;
        let capacity = params::blocks("size", &raw.size)?;
        let write = params::write_policy("write", &raw.write)?;
        ensure!(
            !write.keeps_dirty(),
            "`write` is {write}, which loses what the hypervisor takes: `loss_write` is for that"
        );
        let loss_write = params::write_policy("loss_write", &raw.loss_write)?;
        ensure!(
            loss_write.keeps_dirty(),
            "`loss_write` is {loss_write}, which has nothing to lose"
        );
        Ok(Self {
            ways: params::each("ways", &raw.ways, way)?,
            size,
            keep: (u64::from(capacity) * u64::from(raw.keep_percent) / 100) as u32,
            origin,
            span,
            evict: params::policy("evict", &raw.evict)?,
            write,
            loss_write,
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
                media: None,
            }),
            trace: None,
        }
    }

    pub(super) fn cache(&self, write: WritePolicy) -> Cache {
        Cache {
            dirty_percent: self.raw.loss_dirty_percent as u8,
            ..Cache::new(self.evict, write)
        }
    }

    /// The warm-up and the three phases. Each draws from a seed of its own.
    pub(super) fn loads(&self, seed: u64) -> [CacheLoad; 4] {
        let raw = &self.raw;
        let mut start = 0;
        let mut place = 0;
        [raw.warmup, raw.before, raw.shrunk, raw.grown].map(|count| {
            let load = CacheLoad {
                workload: Some(self.workload),
                span: self.span,
                seed: derive_seed(seed, place),
                start,
                count,
                writes_percent: raw.writes_percent,
                depth: raw.depth,
                flush: 0,
                every: if place == 0 { 0 } else { raw.window },
            };
            start += count;
            place += 1;
            load
        })
    }

    /// The load of a cache that is then made smaller with dirty blocks in it.
    pub(super) fn loss_load(&self, seed: u64) -> CacheLoad {
        CacheLoad {
            workload: Some(self.workload),
            span: self.span,
            seed: derive_seed(seed, FOR_LOSSES),
            start: 0,
            count: self.raw.loss_accesses,
            writes_percent: self.raw.loss_writes_percent,
            depth: self.raw.depth,
            flush: 0,
            every: self.raw.loss_accesses,
        }
    }
}
