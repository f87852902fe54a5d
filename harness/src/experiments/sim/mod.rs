//! A block cache on paper. The policies of the guest's cache see the
//! accesses of a trace or of a made-up workload, without a guest or a device, and what
//! comes out is how often they miss.
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
use params::{Params, Raw};
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
    const PURPOSE: &'static str = "how often the policies of the guest's block cache miss, by size, with the accesses of a trace or of a \
                                   workload, and what the miss-ratio curve of LRU is";
    const SETUP: &'static str = "No guest and no device takes part.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Nothing;

    type Raw = Raw;
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
