//! Parameters, checked.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params;

/// Bytes of a write of the fill; the size of the vSSD is a multiple of it.
const UNIT: u64 = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) size: String,
    pub(super) read_ms: u64,
    pub(super) sample_ms: u64,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) read: Duration,
    pub(super) sample: Duration,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        ensure!(
            size.0 > 0 && size.0.is_multiple_of(UNIT),
            "`size` is {size}: choose a multiple of 1 MiB"
        );
        ensure!(raw.sample_ms > 0, "`sample_ms` is 0: choose at least 1");
        Ok(Self {
            size,
            read: Duration::from_millis(raw.read_ms),
            sample: Duration::from_millis(raw.sample_ms),
        })
    }
}
