//! What the guest's choice of blocks is worth over the hypervisor's.
//!
//! ```text
//!  each condition, value, way to pick and seed:
//!    a fresh guest with memory, cache and origin disk ─▶ warm-up ─▶ shrink ─▶ accesses
//! ```

pub(crate) mod claims;
pub(crate) mod figures;
mod input;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;
mod setting;
mod trial;
mod worth;

use anyhow::Result;
use params::Params;
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;

use crate::experiments::common::lab::Lab;
use crate::experiments::common::on_twins::{Counted, OnTwins};
use crate::experiments::common::swept::Swept;
use crate::experiments::experiment::{Experiment, Needs};
use rows::{KnowledgeRow, KnowledgeTimingRow, KnowledgeTrackerRow};

pub(crate) struct Knowledge;

impl Experiment for Knowledge {
    const NAME: &'static str = "knowledge";
    const PURPOSE: &'static str = "what the guest's choice of blocks is worth, by what it knows and the hypervisor cannot see";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (
        Vec<KnowledgeRow>,
        Vec<KnowledgeTimingRow>,
        Vec<KnowledgeTrackerRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0)
    }
}

impl Counted for Knowledge {
    type Cell = KnowledgeRow;

    const OUTCOME: &'static str =
        "misses after the shrink, and what the guest saves (% of the accesses)";

    fn outcomes(rows: &[KnowledgeRow]) -> Vec<(String, f64)> {
        let worths = worth::worths(rows);
        let values = worths
            .iter()
            .flat_map(|of| of.misses.iter().map(|worth| (of.condition, worth)));
        let values: Vec<_> = values.collect();
        let is_one = values.len() == 1;
        let outcomes = values.into_iter().flat_map(|(condition, worth)| {
            let of = if is_one {
                String::new()
            } else {
                format!(", {condition} {}", worth.value)
            };
            [
                (format!("guest{of}"), worth.misses.guest.value),
                (format!("host{of}"), worth.misses.host.value),
                (format!("saved{of}"), worth.points.value),
            ]
        });
        outcomes.collect()
    }
}
