//! Parameters, checked.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use workloads::Workload;

use crate::experiments::common::params;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) workload: String,
    pub(crate) blocks: u32,
    pub(crate) requests: u64,
    pub(crate) capacity: u32,
    pub(crate) rounds: u32,
    pub(crate) python: PathBuf,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) workload: Workload,
    pub(super) blocks: u32,
    pub(super) requests: u64,
    pub(super) capacity: u32,
    pub(super) rounds: u32,
    pub(super) python: PathBuf,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        ensure!(
            raw.capacity > 0 && raw.rounds > 0,
            "`capacity` is {} and `rounds` is {}: choose at least 1",
            raw.capacity,
            raw.rounds
        );
        Ok(Self {
            workload: params::workload("workload", &raw.workload, raw.blocks)?,
            blocks: raw.blocks,
            requests: raw.requests,
            capacity: raw.capacity,
            rounds: raw.rounds,
            python: raw.python,
        })
    }
}
