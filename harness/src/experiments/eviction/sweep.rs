//! Sweeps of the experiment: every picker of the parameters, on twins.

use anyhow::{Context, Result, ensure};
use results::chart::Drawing;
use results::verdict::Verdict;
use toml::Value;

use super::params::{Params, Raw};
use super::picker::Picker;
use super::run::on_twin;
use super::sweep_claims::{Landscape, judge};
use super::sweep_figures;
use super::sweep_table::{Outcome, SweepTable};
use crate::experiments::common::params::typed;
use crate::experiments::common::swept::{self, Fields, Place, Runner, Swept};

/// Parameters that say how often and by whom a point is run. They are the same
/// at all points, so that points can be compared.
const REPETITIONS: &str = "repetitions";
const PICKERS: &str = "pickers";

pub(crate) struct EvictionSweep;

fn params(table: &toml::Table) -> Result<Params> {
    typed::<Raw>(table)?.try_into()
}

impl Runner for EvictionSweep {
    fn check(&self, table: &toml::Table) -> Result<()> {
        params(table).map(drop)
    }

    fn run(&self, table: &toml::Table, seed: u64) -> Result<Vec<Fields>> {
        let params = params(table)?;
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
        &[REPETITIONS, PICKERS]
    }

    fn seeds(&self, parameters: &toml::Table) -> Result<Option<u32>> {
        let value = parameters.get(REPETITIONS).and_then(Value::as_integer);
        let seeds = value
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0);
        let seeds =
            seeds.with_context(|| format!("`{REPETITIONS}` is a number of seeds, at least 1"));
        seeds.map(Some)
    }

    fn parts(&self, parameters: &toml::Table) -> Result<Vec<String>> {
        let names = parameters.get(PICKERS).and_then(Value::as_array);
        let mut pickers = names
            .with_context(|| format!("`{PICKERS}` is a list of names"))?
            .iter()
            .map(|name| {
                let name = name.as_str().unwrap_or_default();
                name.parse().map_err(anyhow::Error::msg)
            })
            .collect::<Result<Vec<Picker>>>()
            .with_context(|| format!("`{PICKERS}` is wrong"))?;
        pickers.sort();
        pickers.dedup();
        ensure!(
            !pickers.is_empty(),
            "`{PICKERS}` is empty: name at least one picker"
        );
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
