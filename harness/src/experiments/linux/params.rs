//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use strum::{Display, EnumString};
use vssd_host::size::ByteSize;

use super::file_system::FileSystem;
use super::rows::State;
use crate::experiments::common::params::{
    Parameters, block_size, different, in_blocks_of, positive, some, text, texts,
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
}

/// A part of the experiment.
#[derive(Clone, Copy, Debug, Display, EnumString, PartialEq, Eq)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Part {
    Churn,
    Times,
    Overhead,
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
    #[serde(deserialize_with = "different")]
    pub(super) states: Vec<State>,
    #[serde(deserialize_with = "texts")]
    pub(super) changes: Vec<ByteSize>,
    #[serde(deserialize_with = "positive")]
    pub(super) repetitions: u32,
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
        for change in &self.times.changes {
            in_blocks_of(self.block_size, "times.changes", *change)?;
            ensure!(
                change.0 <= size.0 / 4,
                "`times.changes` has {change}: a half-full file system of {size} can be relied on \
                 for a quarter of it"
            );
        }
        ensure!(
            self.overhead.size.0 > 0 && self.overhead.size.0.is_multiple_of(1 << 20),
            "`overhead.size` is {}: choose a multiple of 1 MiB",
            self.overhead.size
        );
        let depths = &self.overhead.depths;
        ensure!(
            depths.iter().all(|depth| (1..=128).contains(depth)),
            "`overhead.depths` is {depths:?}: choose 1 to 128"
        );
        Ok(())
    }
}
