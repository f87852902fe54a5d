//! What the guest's choice of blocks is worth over the hypervisor's.
//!
//! ```text
//!  each condition, value, way to pick and seed:
//!    a fresh guest with memory, cache and origin disk ─▶ warm-up ─▶ shrink ─▶ accesses
//! ```

pub(crate) mod claims;
pub(crate) mod figures;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;
mod trial;
mod worth;

use anyhow::Result;
use params::Params;
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};
use rows::{KnowledgeRow, KnowledgeTimingRow};

pub(crate) struct Knowledge;

/// Seeds that chose the best picks of a run.
fn tuning_seeds(manifest: &Manifest) -> usize {
    let seeds = manifest.parameters.get("tuning_seeds");
    let seeds = seeds.and_then(|seeds| usize::try_from(seeds.as_integer()?).ok());
    seeds.unwrap_or(0)
}

impl Experiment for Knowledge {
    const NAME: &'static str = "knowledge";
    const PURPOSE: &'static str = "what the guest's choice of blocks is worth, by what it knows and the hypervisor cannot see";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;

    type Params = Params;
    type Rows = (Vec<KnowledgeRow>, Vec<KnowledgeTimingRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, tuning_seeds(manifest))
    }

    fn figures(rows: &Self::Rows, manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, tuning_seeds(manifest))
    }
}
