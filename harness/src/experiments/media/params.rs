//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params::{Parameters, text, within};

/// Bytes of a request, and of a block.
pub(super) const BLOCK: u64 = 4096;

/// Bytes of a write of the fill.
pub(super) const UNIT: u64 = 1 << 20;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "within::<1, 60_000, _, _>")]
    pub(super) load_ms: u64,
    #[serde(deserialize_with = "within::<10, 10_000_000, _, _>")]
    pub(super) requests: u64,
    #[serde(deserialize_with = "within::<2, 64, _, _>")]
    pub(super) depth: u16,
    #[serde(deserialize_with = "within::<1, 100, _, _>")]
    pub(super) overwrites: u64,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let size = self.size;
        ensure!(
            (UNIT..=1 << 30).contains(&size.0) && size.0.is_multiple_of(UNIT),
            "`size` is {size}: choose a number of MiB, at most 1 GiB"
        );
        Ok(())
    }
}

impl Params {
    pub(super) fn blocks(&self) -> u64 {
        self.size.0 / BLOCK
    }
}
