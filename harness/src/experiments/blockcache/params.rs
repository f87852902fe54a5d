//! Parameters, checked.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use guest_cache::Policy;
use lab::testbed::{Disks, OriginShape, Shape};
use serde::Deserialize;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::experiments::common::cached::{BLOCK, CacheLoad};
use crate::experiments::common::params;

/// The most accesses of a cell.
const ACCESSES_MAX: u64 = 100_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) workloads: Vec<String>,
    pub(super) trace: String,
    pub(super) policies: Vec<String>,
    pub(super) sizes: Vec<String>,
    pub(super) origin: String,
    pub(super) span: String,
    pub(super) accesses: u64,
    pub(super) writes_percent: u32,
    pub(super) depth: u32,
    pub(super) disk_policies: Vec<String>,
    pub(super) disk_sizes: Vec<String>,
    pub(super) disk_workload: String,
    pub(super) disk_accesses: u64,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) workloads: Vec<Workload>,
    pub(super) trace: Option<PathBuf>,
    pub(super) policies: Vec<Policy>,
    pub(super) sizes: Vec<ByteSize>,
    pub(super) origin: ByteSize,
    pub(super) span: u32,
    pub(super) accesses: u64,
    pub(super) writes_percent: u32,
    pub(super) depth: u32,
    pub(super) disk_policies: Vec<Policy>,
    pub(super) disk_sizes: Vec<ByteSize>,
    pub(super) disk_workload: Workload,
    pub(super) disk_accesses: u64,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let span = params::blocks("span", &raw.span)?;
        let origin = params::size("origin", &raw.origin)?;
        params::blocks("origin", &raw.origin)?;
        ensure!(
            u64::from(span) * BLOCK <= origin.0,
            "`span` of {} is more than the `origin` of {origin} has",
            raw.span
        );
        for (key, accesses) in [
            ("accesses", raw.accesses),
            ("disk_accesses", raw.disk_accesses),
        ] {
            ensure!(
                (1..=ACCESSES_MAX).contains(&accesses),
                "`{key}` is {accesses}: choose 1 to {ACCESSES_MAX}"
            );
        }
        params::percent("writes_percent", raw.writes_percent)?;
        ensure!(raw.depth > 0, "`depth` counts from 1");
        let trace = (!raw.trace.is_empty()).then(|| PathBuf::from(&raw.trace));
        if let Some(path) = &trace {
            ensure!(
                path.is_file(),
                "`trace` is {}, where there is no file",
                path.display()
            );
        }
        let workload = |key: &str, text: &str| params::workload(key, text, span);
        Ok(Self {
            workloads: params::each("workloads", &raw.workloads, workload)?,
            trace,
            policies: params::each("policies", &raw.policies, params::policy)?,
            sizes: params::each("sizes", &raw.sizes, params::cache_size)?,
            origin,
            span,
            accesses: raw.accesses,
            writes_percent: raw.writes_percent,
            depth: raw.depth,
            disk_policies: params::each("disk_policies", &raw.disk_policies, params::policy)?,
            disk_sizes: params::each("disk_sizes", &raw.disk_sizes, params::cache_size)?,
            disk_workload: workload("disk_workload", &raw.disk_workload)?,
            disk_accesses: raw.disk_accesses,
        })
    }
}

impl Params {
    pub(super) fn disks(
        &self,
        size: ByteSize,
        media: Option<MediaKind>,
        trace: Option<&Path>,
    ) -> Disks {
        Disks {
            vssd: Shape {
                size,
                block_size: ByteSize(BLOCK),
                written: size,
            },
            origin: Some(OriginShape {
                size: self.origin,
                media,
            }),
            trace: trace.map(Path::to_owned),
        }
    }

    /// The accesses of a workload; the same whatever the policy and size.
    pub(super) fn load(&self, workload: Workload, seed: u64) -> CacheLoad {
        CacheLoad {
            workload: Some(workload),
            span: self.span,
            seed,
            start: 0,
            count: self.accesses,
            writes_percent: self.writes_percent,
            depth: self.depth,
            flush: 0,
            every: 0,
        }
    }
}
