//! Sweeps of the experiment: every picker of the parameters, on twins.

use anyhow::Result;
use results::chart::Drawing;
use results::verdict::Verdict;
use serde::Deserialize;

use super::params::{Params, pickers};
use super::picker::Picker;
use super::run::on_twin;
use super::sweep_claims::{Landscape, judge};
use super::sweep_figures;
use super::sweep_table::{Outcome, SweepTable};
use crate::experiments::common::params::{checked, positive, typed};
use crate::experiments::common::swept::{self, Fields, Place, Runner, Swept};

pub(crate) struct EvictionSweep;

/// Parameters that say how often and by whom a point is run. They are the same at all points, so
/// that points can be compared.
#[derive(Deserialize)]
struct Constant {
    #[serde(deserialize_with = "positive")]
    repetitions: u32,
    #[serde(deserialize_with = "pickers")]
    pickers: Vec<Picker>,
}

impl Runner for EvictionSweep {
    fn check(&self, table: &toml::Table) -> Result<()> {
        checked::<Params>(table).map(drop)
    }

    fn run(&self, table: &toml::Table, seed: u64) -> Result<Vec<Fields>> {
        let params: Params = checked(table)?;
        let outcome = |picker: &Picker| {
            let outcome = on_twin(&params, *picker, seed)?;
            let outcome = Outcome {
                picker: *picker,
                reads: params.reads,
                hits: outcome.hits,
                misses: outcome.misses,
            };
            Ok(outcome.fields())
        };
        params.pickers.iter().map(outcome).collect()
    }
}

impl Swept for EvictionSweep {
    fn columns(&self) -> Vec<String> {
        Outcome::COLUMNS.map(str::to_owned).to_vec()
    }

    fn constant(&self) -> &'static [&'static str] {
        &["repetitions", "pickers"]
    }

    fn seeds(&self, parameters: &toml::Table) -> Result<Option<u32>> {
        Ok(Some(typed::<Constant>(parameters)?.repetitions))
    }

    fn parts(&self, parameters: &toml::Table) -> Result<Vec<String>> {
        let Constant { pickers, .. } = typed(parameters)?;
        Ok(pickers.iter().map(Picker::to_string).collect())
    }

    fn place(&self, parts: &[String], fields: &[String]) -> Result<Place, String> {
        let outcome = Outcome::read(fields)?;
        let picker = outcome.picker.to_string();
        let at = parts.iter().position(|part| *part == picker);
        at.map(|at| Place {
            at,
            of: parts.len(),
        })
        .ok_or_else(|| format!("{picker} does not take part in this sweep"))
    }

    fn judge(
        &self,
        title: &str,
        table: &swept::SweepTable,
        missing: usize,
        failed: usize,
    ) -> Verdict {
        judge(title, &SweepTable::of(table), missing, failed)
    }

    fn draw(&self, title: &str, table: &swept::SweepTable) -> Result<Vec<Drawing>> {
        match Landscape::of(&SweepTable::of(table)) {
            Some(landscape) => sweep_figures::draw(title, &landscape),
            None => Ok(Vec::new()),
        }
    }
}
