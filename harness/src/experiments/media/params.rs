//! Parameters, checked.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params;

/// Bytes of a request, and of a block.
pub(super) const BLOCK: u64 = 4096;

/// Bytes of a write of the fill.
pub(super) const UNIT: u64 = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) size: String,
    pub(super) load_ms: u64,
    pub(super) requests: u64,
    pub(super) depth: u16,
    pub(super) overwrites: u64,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) load: Duration,
    pub(super) requests: u64,
    pub(super) depth: u16,
    pub(super) overwrites: u64,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        ensure!(
            (UNIT..=1 << 30).contains(&size.0) && size.0.is_multiple_of(UNIT),
            "`size` is {size}: choose a number of MiB, at most 1 GiB"
        );
        ensure!(
            (1..=60_000).contains(&raw.load_ms),
            "`load_ms` is {}: choose 1 to 60000",
            raw.load_ms
        );
        ensure!(
            (10..=10_000_000).contains(&raw.requests),
            "`requests` is {}: choose 10 to 10000000",
            raw.requests
        );
        ensure!(
            (2..=64).contains(&raw.depth),
            "`depth` is {}: choose 2 to 64",
            raw.depth
        );
        ensure!(
            (1..=100).contains(&raw.overwrites),
            "`overwrites` is {}: choose 1 to 100",
            raw.overwrites
        );
        Ok(Self {
            size,
            load: Duration::from_millis(raw.load_ms),
            requests: raw.requests,
            depth: raw.depth,
            overwrites: raw.overwrites,
        })
    }
}

impl Params {
    pub(super) fn blocks(&self) -> u64 {
        self.size.0 / BLOCK
    }
}
