//! Parameters, checked.

use lab::backend::Sharing;
use lab::testbed::Shape;
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params::{Parameters, block_size, percent, text, within};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "within::<2, 8, _, _>")]
    pub(super) vms: usize,
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "block_size")]
    pub(super) block_size: ByteSize,
    #[serde(deserialize_with = "within::<1, 100, _, _>")]
    pool_percent: f64,
    pub(super) rounds: u32,
    pub(super) resizes: u32,
    #[serde(deserialize_with = "within::<0, 10_000, _, _>")]
    pub(super) pause_ms: u64,
    #[serde(deserialize_with = "percent")]
    pub(super) revoke_percent: f64,
    #[serde(deserialize_with = "percent")]
    pub(super) cancel_percent: f64,
    pub(super) depth: u32,
    #[serde(deserialize_with = "percent")]
    pub(super) writes_percent: u32,
}

impl Parameters for Params {}

impl Params {
    /// Blocks that all VMs together may hold.
    pub(super) fn limit_blocks(&self) -> u32 {
        (self.pool().0 / self.block_size.0) as u32
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            size: self.size,
            block_size: self.block_size,
            written: self.pool(),
        }
    }

    pub(super) fn sharing(&self) -> Sharing {
        Sharing {
            vms: self.vms,
            pool: self.pool(),
            arbiter: None,
        }
    }

    fn pool(&self) -> ByteSize {
        let blocks = self.size.0 as f64 / self.block_size.0 as f64 * self.vms as f64;
        ByteSize((blocks * self.pool_percent / 100.0) as u64 * self.block_size.0)
    }
}
