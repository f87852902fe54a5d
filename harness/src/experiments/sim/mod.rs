//! Simulation of the guest's block cache: its policies process the accesses of a trace or of a
//! synthetic workload, without a guest or a device, and their misses are counted.
//!
//! ```text
//!  trace | workload ─▶ Input ─┬─ policy × size ─▶ misses
//!                             └─ mrc ───────────▶ curves
//! ```

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
use rows::{MethodRow, SimRow, StepRow};

pub(crate) struct Sim;

impl Experiment for Sim {
    const NAME: &'static str = "sim";
    const PURPOSE: &'static str = "miss ratios of the guest's block cache by policy and size, for a trace or a workload, and the \
                                   miss-ratio curve of LRU";
    const SETUP: &'static str = "It needs no guest and no device.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Nothing;

    type Params = Params;
    type Rows = (Vec<SimRow>, Vec<StepRow>, Vec<MethodRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.2, manifest)
    }

    fn figures(rows: &Self::Rows, manifest: &Manifest) -> Result<Vec<Drawing>> {
        let what: String = manifest.fact("input").unwrap_or_default();
        figures::draw(&what, &rows.0, &rows.1)
    }
}
