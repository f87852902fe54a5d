//! Parameters, checked.

use std::path::PathBuf;

use anyhow::Result;
use guest_cache::Policy;
use serde::Deserialize;
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::experiments::common::cached::CacheLoad;
use crate::experiments::common::params::{
    Parameters, blocks, cache_sizes, check_file, check_span, check_workload, disk_size, path,
    percent, positive, text, texts, within,
};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "texts")]
    pub(super) workloads: Vec<Workload>,
    #[serde(with = "path")]
    pub(super) trace: Option<PathBuf>,
    #[serde(deserialize_with = "texts")]
    pub(super) policies: Vec<Policy>,
    #[serde(deserialize_with = "cache_sizes")]
    pub(super) sizes: Vec<ByteSize>,
    #[serde(deserialize_with = "disk_size")]
    pub(super) origin: ByteSize,
    #[serde(deserialize_with = "blocks")]
    pub(super) span: u32,
    #[serde(deserialize_with = "within::<1, 100_000_000, _, _>")]
    pub(super) accesses: u64,
    #[serde(deserialize_with = "percent")]
    pub(super) writes_percent: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) depth: u32,
    #[serde(deserialize_with = "texts")]
    pub(super) disk_policies: Vec<Policy>,
    #[serde(deserialize_with = "cache_sizes")]
    pub(super) disk_sizes: Vec<ByteSize>,
    #[serde(with = "text")]
    pub(super) disk_workload: Workload,
    #[serde(deserialize_with = "within::<1, 100_000_000, _, _>")]
    pub(super) disk_accesses: u64,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        check_span(self.span, self.origin)?;
        for workload in &self.workloads {
            check_workload("workloads", workload, self.span)?;
        }
        check_workload("disk_workload", &self.disk_workload, self.span)?;
        let trace = self.trace.as_deref();
        trace.map_or(Ok(()), |path| check_file("trace", path))
    }
}

impl Params {
    /// The accesses of a workload; the same whatever the policy and size.
    pub(super) fn load(&self, workload: Workload, seed: u64) -> CacheLoad {
        CacheLoad {
            writes_percent: self.writes_percent,
            depth: self.depth,
            ..CacheLoad::new(workload, self.span, seed, self.accesses)
        }
    }
}
