//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;
use workloads::GuestPick;

use crate::experiments::common::params::{Parameters, block_size, percent, positive, text, texts};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "block_size")]
    pub(super) block_size: ByteSize,
    pub(super) balloon_percent: Vec<f64>,
    #[serde(deserialize_with = "texts")]
    pub(super) picks: Vec<GuestPick>,
    #[serde(deserialize_with = "positive")]
    pub(super) device_enforces_every: u32,
    pub(super) random_steps: u32,
    #[serde(deserialize_with = "percent")]
    pub(super) random_percent: f64,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        for percent in &self.balloon_percent {
            ensure!(
                (0.0..=100.0).contains(percent),
                "`balloon_percent` has {percent}: choose 0 to 100"
            );
        }
        ensure!(
            self.balloon_percent.last() == Some(&0.0),
            "`balloon_percent` must end with 0, so that everything is given back"
        );
        Ok(())
    }
}
