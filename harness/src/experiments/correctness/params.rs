//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::size::ByteSize;
use workloads::GuestPick;

use crate::experiments::common::params;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) size: String,
    pub(super) block_size: String,
    pub(super) balloon_percent: Vec<f64>,
    pub(super) picks: Vec<String>,
    pub(super) device_enforces_every: u32,
    pub(super) random_steps: u32,
    pub(super) random_percent: f64,
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) block_size: ByteSize,
    pub(super) balloon_percent: Vec<f64>,
    pub(super) picks: Vec<GuestPick>,
    pub(super) device_enforces_every: u32,
    pub(super) random_steps: u32,
    pub(super) random_percent: f64,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let percents = raw.balloon_percent.iter().chain([&raw.random_percent]);
        for percent in percents {
            ensure!(
                (0.0..=100.0).contains(percent),
                "{percent} is no percentage of the device: choose 0 to 100"
            );
        }
        ensure!(
            raw.balloon_percent.last() == Some(&0.0),
            "`balloon_percent` must end with 0, so that everything is given back"
        );
        ensure!(
            raw.device_enforces_every > 0,
            "`device_enforces_every` counts steps from 1"
        );
        Ok(Self {
            size: params::size("size", &raw.size)?,
            block_size: params::size("block_size", &raw.block_size)?,
            picks: params::picks(&raw.picks)?,
            balloon_percent: raw.balloon_percent,
            device_enforces_every: raw.device_enforces_every,
            random_steps: raw.random_steps,
            random_percent: raw.random_percent,
        })
    }
}
