//! Parameters, checked.

use anyhow::{Result, ensure};
use lab::backend::Sharing;
use lab::testbed::Shape;
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params;

/// The most VMs.
const VMS_MAX: usize = 8;

/// The longest pause before a resize, milliseconds.
const PAUSE_MS_MAX: u64 = 10_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) vms: usize,
    pub(super) size: String,
    pub(super) block_size: String,
    pub(super) pool_percent: f64,
    pub(super) rounds: u32,
    pub(super) resizes: u32,
    pub(super) pause_ms: u64,
    pub(super) revoke_percent: f64,
    pub(super) cancel_percent: f64,
    pub(super) depth: u32,
    pub(super) writes_percent: u32,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) shape: Shape,
    pub(super) sharing: Sharing,
    pub(super) raw: Raw,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        ensure!(
            block_size.0 > 0,
            "invalid `block_size` 0; expected e.g. 4KiB"
        );
        ensure!(
            (2..=VMS_MAX).contains(&raw.vms),
            "`vms` is {}: choose 2 to {VMS_MAX}",
            raw.vms
        );
        ensure!(
            raw.pause_ms <= PAUSE_MS_MAX,
            "`pause_ms` is {}: choose 0 to {PAUSE_MS_MAX}",
            raw.pause_ms
        );
        for (key, percent, least) in [
            ("pool_percent", raw.pool_percent, 1.0),
            ("revoke_percent", raw.revoke_percent, 0.0),
            ("cancel_percent", raw.cancel_percent, 0.0),
            ("writes_percent", f64::from(raw.writes_percent), 0.0),
        ] {
            ensure!(
                (least..=100.0).contains(&percent),
                "`{key}` is {percent}: choose {least} to 100"
            );
        }
        let blocks = size.0 as f64 / block_size.0 as f64 * raw.vms as f64;
        let pool = (blocks * raw.pool_percent / 100.0) as u64 * block_size.0;
        Ok(Self {
            shape: Shape {
                size,
                block_size,
                written: ByteSize(pool),
            },
            sharing: Sharing {
                vms: raw.vms,
                pool: ByteSize(pool),
            },
            raw,
        })
    }
}

impl Params {
    pub(super) fn limit_blocks(&self) -> u32 {
        (self.sharing.pool.0 / self.shape.block_size.0) as u32
    }
}
