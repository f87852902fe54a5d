//! Parameters, checked.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use vssd_host::size::ByteSize;

use crate::experiments::common::params::{Parameters, path, text};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(crate) size: ByteSize,
    pub(crate) slice_ms: u64,
    pub(crate) rounds: u32,
    /// Folder of the measured file, if not the system's temporary folder.
    #[serde(with = "path")]
    pub(crate) dir: Option<PathBuf>,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let size = self.size;
        ensure!(
            size.0 >= 64 << 20 && size.0.is_multiple_of(1 << 20),
            "`size` is {size}: choose a whole number of MiB from 64MiB on"
        );
        Ok(())
    }
}
