//! Parameters, checked.

use anyhow::{Result, ensure};
use guest_cache::{Policy, WritePolicy};
use lab::testbed::Disks;
use serde::{Deserialize, Deserializer};
use vssd_host::size::ByteSize;
use workloads::Workload;
use workloads::pattern::derive_seed;
use workloads::pick::invalid;

use super::rows::WAYS;
use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad, disks};
use crate::experiments::common::params::{
    Parameters, blocks, cache_size, check_span, check_workload, disk_size, each, percent, positive,
    text, within,
};

/// Uses of randomness: the warm-up and the phases after it, in order, then these.
const FOR_LOSSES: u64 = 10;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "ways")]
    pub(super) ways: Vec<&'static str>,
    #[serde(deserialize_with = "cache_size")]
    size: ByteSize,
    #[serde(deserialize_with = "within::<1, 99, _, _>")]
    keep_percent: u64,
    #[serde(deserialize_with = "disk_size")]
    origin: ByteSize,
    #[serde(deserialize_with = "blocks")]
    pub(super) span: u32,
    #[serde(with = "text")]
    pub(super) evict: Policy,
    #[serde(with = "text")]
    pub(super) write: WritePolicy,
    #[serde(with = "text")]
    workload: Workload,
    #[serde(deserialize_with = "percent")]
    writes_percent: u32,
    #[serde(deserialize_with = "positive")]
    depth: u32,
    warmup: u64,
    before: u64,
    shrunk: u64,
    grown: u64,
    #[serde(deserialize_with = "positive")]
    window: u64,
    #[serde(with = "text")]
    pub(super) loss_write: WritePolicy,
    #[serde(deserialize_with = "within::<1, 100, _, _>")]
    loss_writes_percent: u32,
    #[serde(deserialize_with = "percent")]
    loss_dirty_percent: u32,
    #[serde(deserialize_with = "positive")]
    loss_accesses: u64,
}

fn ways<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static str>, D::Error> {
    each(from, |name| {
        let way = WAYS.into_iter().find(|way| *way == name);
        way.ok_or_else(|| invalid(name, WAYS.into_iter()))
    })
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        check_span(self.span, self.origin)?;
        check_workload("workload", &self.workload, self.span)?;
        for (key, accesses) in [
            ("before", self.before),
            ("shrunk", self.shrunk),
            ("grown", self.grown),
        ] {
            ensure!(
                accesses >= self.window && accesses.is_multiple_of(self.window),
                "`{key}` is {accesses}: choose a multiple of the `window` of {}",
                self.window
            );
        }
        let (write, loss_write) = (self.write, self.loss_write);
        ensure!(
            !write.keeps_dirty(),
            "`write` is {write}, which loses what the hypervisor takes: `loss_write` is for that"
        );
        ensure!(
            loss_write.keeps_dirty(),
            "`loss_write` is {loss_write}, which has nothing to lose"
        );
        Ok(())
    }
}

impl Params {
    /// Blocks that are left after the shrink.
    pub(super) fn keep(&self) -> u32 {
        (self.size.0 / BLOCK * self.keep_percent / 100) as u32
    }

    pub(super) fn disks(&self) -> Disks {
        disks(self.size, self.origin, None)
    }

    pub(super) fn cache(&self, write: WritePolicy) -> Cache {
        Cache {
            dirty_percent: self.loss_dirty_percent as u8,
            ..Cache::new(self.evict, write)
        }
    }

    /// The warm-up and the three phases. Each draws from a seed of its own.
    pub(super) fn loads(&self, seed: u64) -> [CacheLoad; 4] {
        let mut start = 0;
        let mut place = 0;
        [self.warmup, self.before, self.shrunk, self.grown].map(|count| {
            let load = CacheLoad {
                start,
                writes_percent: self.writes_percent,
                depth: self.depth,
                every: if place == 0 { 0 } else { self.window },
                ..CacheLoad::new(self.workload, self.span, derive_seed(seed, place), count)
            };
            start += count;
            place += 1;
            load
        })
    }

    /// The load of a cache that is then made smaller with dirty blocks in it.
    pub(super) fn loss_load(&self, seed: u64) -> CacheLoad {
        let seed = derive_seed(seed, FOR_LOSSES);
        CacheLoad {
            writes_percent: self.loss_writes_percent,
            depth: self.depth,
            every: self.loss_accesses,
            ..CacheLoad::new(self.workload, self.span, seed, self.loss_accesses)
        }
    }
}
