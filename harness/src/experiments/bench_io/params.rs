//! Parameters, checked.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use vssd_host::size::ByteSize;

use crate::experiments::common::params;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) size: String,
    pub(crate) slice_ms: u64,
    pub(crate) rounds: u32,
    pub(crate) dir: PathBuf,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) slice_ms: u64,
    pub(super) rounds: u32,
    /// Folder of the measured file, if not the system's temporary folder.
    pub(super) dir: Option<PathBuf>,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        ensure!(
            size.0 >= 64 << 20 && size.0.is_multiple_of(1 << 20),
            "`size` is {size}: choose a whole number of MiB from 64MiB on"
        );
        Ok(Self {
            size,
            slice_ms: raw.slice_ms,
            rounds: raw.rounds,
            dir: Some(raw.dir).filter(|dir| !dir.as_os_str().is_empty()),
        })
    }
}
