//! Parameters, checked.

use anyhow::{Result, ensure};
use guest_cache::Policy;
use guest_cache::cache::MAX_SLOTS;
use serde::Deserialize;
use strum::{Display, EnumString};
use vssd_host::size::ByteSize;
use workloads::Workload;
use workloads::pattern::derive_seed;

use super::file_system::FileSystem;
use super::rows::{CachePhase, State};
use crate::experiments::common::cached::CacheLoad;
use crate::experiments::common::params::{
    Parameters, block_size, check_workload, different, in_blocks_of, positive, some, text, texts,
    within,
};

/// The least that a file system is made on: XFS takes no less.
const LEAST: ByteSize = ByteSize(320 << 20);

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "different")]
    pub(super) parts: Vec<Part>,
    #[serde(deserialize_with = "different")]
    pub(super) file_systems: Vec<FileSystem>,
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "block_size")]
    pub(super) block_size: ByteSize,
    pub(super) churn: Churn,
    pub(super) times: Times,
    pub(super) overhead: Overhead,
    pub(super) peers: Peers,
    pub(super) own_guest: OwnGuest,
    pub(super) dm_cache: DmCache,
}

/// A part of the experiment.
#[derive(Clone, Copy, Debug, Display, EnumString, PartialEq, Eq)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Part {
    Churn,
    Times,
    Peers,
    Overhead,
    OwnGuest,
    DmCache,
}

/// Resizes under load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Churn {
    #[serde(deserialize_with = "positive")]
    pub(super) resizes: u32,
    #[serde(with = "text")]
    pub(super) floor: ByteSize,
    pub(super) reboots: u32,
    pub(super) kills: u32,
    pub(super) power_cuts: u32,
}

/// Timed resizes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Times {
    #[serde(deserialize_with = "some")]
    pub(super) cases: Vec<Case>,
    #[serde(deserialize_with = "positive")]
    pub(super) repetitions: u32,
}

/// A file system whose disk is resized by each of some sizes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    #[serde(with = "text")]
    pub(super) state: State,
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "texts")]
    pub(super) changes: Vec<ByteSize>,
}

impl Case {
    /// The most that is written: metadata and journals, and data where they are not just allocated.
    pub(super) fn written(&self) -> ByteSize {
        match self.state {
            State::Empty | State::HalfFull => ByteSize(self.size.0 / 16),
            State::Fragmented => self.size,
        }
    }
}

/// Requests beside those of other disks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overhead {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "some")]
    pub(super) depths: Vec<u32>,
    #[serde(deserialize_with = "positive")]
    pub(super) slice_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(super) rounds: u32,
}

/// Other ways to give back a part of a disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peers {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(with = "text")]
    pub(super) change: ByteSize,
    #[serde(deserialize_with = "positive")]
    pub(super) repetitions: u32,
}

/// Requests of this project's guest beside those of the Linux guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnGuest {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "some")]
    pub(super) depths: Vec<u32>,
    #[serde(deserialize_with = "positive")]
    pub(super) slice_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(super) rounds: u32,
}

/// A dm-cache that shrinks and grows back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DmCache {
    #[serde(deserialize_with = "positive")]
    pub(super) slots: u32,
    #[serde(deserialize_with = "within::<1, 99, _, _>")]
    keep_percent: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) span: u32,
    #[serde(with = "text")]
    workload: Workload,
    #[serde(with = "text")]
    pub(super) evict: Policy,
    #[serde(deserialize_with = "within::<1, 128, _, _>")]
    pub(super) depth: u32,
    #[serde(deserialize_with = "positive")]
    window: u64,
    #[serde(deserialize_with = "positive")]
    before: u64,
    #[serde(deserialize_with = "positive")]
    shrunk: u64,
    #[serde(deserialize_with = "positive")]
    grown: u64,
}

impl DmCache {
    /// Slots that the shrink takes.
    pub(super) fn taken(&self) -> u32 {
        self.slots - (u64::from(self.slots) * u64::from(self.keep_percent) / 100) as u32
    }

    /// The accesses of the phases, in order. Each draws from a seed of its own.
    pub(super) fn loads(&self, seed: u64) -> [(CachePhase, CacheLoad); 3] {
        let mut start = 0;
        [
            (CachePhase::Before, self.before),
            (CachePhase::Shrunk, self.shrunk),
            (CachePhase::Grown, self.grown),
        ]
        .map(|(phase, windows)| {
            let count = windows * self.window;
            let seed = derive_seed(seed, phase as u64);
            let load = CacheLoad {
                start,
                every: self.window,
                ..CacheLoad::new(self.workload, self.span, seed, count)
            };
            start += count;
            (phase, load)
        })
    }
}

impl Params {
    pub(super) fn capacity(&self) -> Result<u32> {
        in_blocks_of(self.block_size, "size", self.size)
    }
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let (size, floor) = (self.size, self.churn.floor);
        ensure!(size >= LEAST, "`size` is {size}: choose {LEAST} or more");
        ensure!(
            floor < size && floor.0 >= 256 << 20,
            "`churn.floor` is {floor}: choose 256 MiB or more, and less than `size`, which is {size}"
        );
        self.capacity()?;
        in_blocks_of(self.block_size, "churn.floor", floor)?;
        for Case { size, changes, .. } in &self.times.cases {
            ensure!(
                *size >= LEAST,
                "`times.cases` has a size of {size}: choose {LEAST} or more"
            );
            for change in changes {
                in_blocks_of(self.block_size, "times.cases", *change)?;
                ensure!(
                    change.0 <= size.0 / 4,
                    "`times.cases` has a change of {change}: a half-full file system of {size} can \
                     be relied on for a quarter of it"
                );
            }
        }
        let Peers { size, change, .. } = self.peers;
        in_blocks_of(self.block_size, "peers.change", change)?;
        ensure!(
            size >= LEAST && change.0 <= size.0 / 4,
            "`peers.size` is {size} and `peers.change` {change}: choose {LEAST} or more, and at \
             most a quarter of it"
        );
        for (key, size) in [
            ("overhead.size", self.overhead.size),
            ("own_guest.size", self.own_guest.size),
        ] {
            ensure!(
                size.0 > 0 && size.0.is_multiple_of(1 << 20),
                "`{key}` is {size}: choose a multiple of 1 MiB"
            );
        }
        let cache = &self.dm_cache;
        ensure!(
            cache.slots <= MAX_SLOTS && cache.taken() < cache.slots,
            "`dm_cache.slots` is {}: choose 2 to {MAX_SLOTS}, of which some are left",
            cache.slots
        );
        check_workload("dm_cache.workload", &cache.workload, cache.span)?;
        for (key, depths) in [
            ("overhead.depths", &self.overhead.depths),
            ("own_guest.depths", &self.own_guest.depths),
        ] {
            ensure!(
                depths.iter().all(|depth| (1..=128).contains(depth)),
                "`{key}` is {depths:?}: choose 1 to 128"
            );
        }
        Ok(())
    }
}
