//! What it costs a guest to sample its accesses.

pub(crate) mod claims;
mod run;

use anyhow::Result;
use results::manifest::Manifest;
use results::row::Row;
use results::store::RunFolder;
use results::verdict::Verdict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiments::common::lab::Lab;
use crate::experiments::common::params::{Parameters, positive};
use crate::experiments::experiment::{Experiment, Needs};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "positive")]
    pub(crate) requests: u32,
    #[serde(deserialize_with = "positive")]
    pub(crate) pairs: u32,
}

impl Parameters for Params {}

/// What the cache of a guest does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// It samples accesses.
    Sampled,
    /// It does not.
    Plain,
}

/// One row for each replay; the two of a pair follow each other, in random order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SamplerRow {
    /// Load.
    pub load: String,
    /// Counts from 0.
    pub pair: u32,
    /// Whether the guest samples.
    pub side: Side,
    /// Requests of single blocks.
    pub requests: u64,
    /// Those that hit.
    pub hits: u64,
    /// Duration of the replay, by the guest's clock.
    pub elapsed_ns: u64,
}

impl Row for SamplerRow {
    const FILE: &'static str = "bench_sampler.csv";
}

/// One row for each time that a guest ran the sampler alone, on the accesses of a load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SamplerAloneRow {
    /// Load.
    pub load: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Accesses.
    pub accesses: u64,
    /// Duration, by the guest's clock.
    pub elapsed_ns: u64,
}

impl Row for SamplerAloneRow {
    const FILE: &'static str = "bench_sampler_alone.csv";
}

pub(crate) struct BenchSampler;

impl Experiment for BenchSampler {
    const NAME: &'static str = "bench-sampler";
    const PURPOSE: &'static str =
        "what it costs a guest to sample its accesses for its reports to the arbiter";
    const SETUP: &'static str = "Two guests under QEMU replay the same requests through their block caches, in pairs and in random \
    order. The cache of one samples accesses to 2,048 blocks, that of the other none. Then a guest runs the \
    sampler alone on the same accesses.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("measures times, and a twin has none");

    type Params = Params;
    type Rows = (Vec<SamplerRow>, Vec<SamplerAloneRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1)
    }
}
