//! Parameters, checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::{Amount, ByteSize};
use workloads::GuestPick;

use crate::experiments::common::params;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) size: String,
    pub(super) block_size: String,
    pub(super) sizes: Vec<String>,
    pub(super) picks: Vec<String>,
    pub(super) encodings: Vec<String>,
    pub(super) repetitions: u32,
    pub(super) list_repetitions: u32,
    pub(super) ablation_budget_s: u64,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) block_size: ByteSize,
    /// Ascending.
    pub(super) sizes_blocks: Vec<u32>,
    pub(super) picks: Vec<GuestPick>,
    pub(super) encodings: Vec<EncodingName>,
    pub(super) repetitions: u32,
    pub(super) list_repetitions: u32,
    pub(super) ablation_budget: Duration,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        let bytes = u32::try_from(block_size.0).unwrap_or(0);
        ensure!(
            bytes > 0,
            "invalid `block_size` {block_size}; expected e.g. 4KiB"
        );
        ensure!(
            raw.repetitions > 0 && raw.list_repetitions > 0,
            "`repetitions` and `list_repetitions` count from 1"
        );
        ensure!(!raw.sizes.is_empty(), "`sizes` names no size");
        let mut sizes_blocks: Vec<u32> = raw
            .sizes
            .iter()
            .map(|text| {
                let amount = params::size("sizes", text)?;
                ensure!(
                    amount <= size,
                    "`sizes` asks for {amount} of a device of {size}: choose less"
                );
                let blocks = Amount::Bytes(amount).in_blocks(bytes)?;
                u32::try_from(blocks).context("a vSSD has less than 2^32 blocks")
            })
            .collect::<Result<_>>()?;
        sizes_blocks.sort_unstable();
        let encodings = raw
            .encodings
            .iter()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .collect::<Result<_>>()
            .context("`encodings` is wrong")?;
        Ok(Self {
            size,
            block_size,
            sizes_blocks,
            picks: params::picks(&raw.picks)?,
            encodings,
            repetitions: raw.repetitions,
            list_repetitions: raw.list_repetitions,
            ablation_budget: Duration::from_secs(raw.ablation_budget_s),
        })
    }
}
