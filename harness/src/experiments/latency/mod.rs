//! Latency of requests before, during and after a shrink and a grow.

pub(crate) mod claims;
pub(crate) mod figures;
pub(crate) mod params;
pub mod rows;
pub(crate) mod run;

use anyhow::Result;
use params::Params;
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};
use rows::{LatencyBucketRow, LatencyCycleRow, LatencyRow, LatencyYardstickRow};

pub(crate) struct Latency;

impl Experiment for Latency {
    const NAME: &'static str = "latency";
    const PURPOSE: &'static str =
        "request latency of a guest under load before, during and after a shrink and a grow";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("measures times, and a twin has none");

    type Params = Params;
    type Rows = (
        Vec<LatencyRow>,
        Vec<LatencyBucketRow>,
        Vec<LatencyCycleRow>,
        Vec<LatencyYardstickRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2, &rows.3)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, &rows.1, &rows.2)
    }
}
