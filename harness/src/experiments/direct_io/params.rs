//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;

use crate::experiments::common::params::{Parameters, positive, text};

/// Bytes of a write of the fill; the size of the vSSD is a multiple of it.
const UNIT: u64 = 1 << 20;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    pub(super) read_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(super) sample_ms: u64,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let size = self.size;
        ensure!(
            size.0 > 0 && size.0.is_multiple_of(UNIT),
            "`size` is {size}: choose a multiple of 1 MiB"
        );
        Ok(())
    }
}
