//! Parameters, checked.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use workloads::Workload;

use crate::experiments::common::params::{Parameters, check_workload, positive, text};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(crate) workload: Workload,
    pub(crate) blocks: u32,
    pub(crate) requests: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) capacity: u32,
    #[serde(deserialize_with = "positive")]
    pub(crate) rounds: u32,
    pub(crate) python: PathBuf,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        check_workload("workload", &self.workload, self.blocks)
    }
}
