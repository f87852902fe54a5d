//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::ByteSize;
use workloads::GuestPick;

use crate::experiments::common::params::{
    Parameters, block_size, in_blocks_of, positive, text, texts,
};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "block_size")]
    pub(super) block_size: ByteSize,
    #[serde(deserialize_with = "texts")]
    sizes: Vec<ByteSize>,
    #[serde(deserialize_with = "texts")]
    pub(super) picks: Vec<GuestPick>,
    pub(super) encodings: Vec<EncodingName>,
    #[serde(deserialize_with = "positive")]
    pub(super) repetitions: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) list_repetitions: u32,
    pub(super) ablation_budget_s: u64,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let size = self.size;
        for &amount in &self.sizes {
            ensure!(
                amount <= size,
                "`sizes` asks for {amount} of a device of {size}: choose less"
            );
            in_blocks_of(self.block_size, "sizes", amount)?;
        }
        Ok(())
    }
}

impl Params {
    /// The sizes in blocks, ascending.
    pub(super) fn sizes_blocks(&self) -> Vec<u32> {
        let blocks = |size: &ByteSize| (size.0 / self.block_size.0) as u32;
        let mut sizes: Vec<u32> = self.sizes.iter().map(blocks).collect();
        sizes.sort_unstable();
        sizes
    }
}
