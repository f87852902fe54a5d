//! Read errors equal the blocks that the host holds, at every size.

pub(crate) mod claims;
pub(crate) mod figures;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;

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
use rows::{CorrectnessRow, CorrectnessTimingRow};

pub(crate) struct Correctness;

impl Experiment for Correctness {
    const NAME: &'static str = "correctness";
    const PURPOSE: &'static str = "after every resize the guest can read exactly the blocks it holds, and they carry \
                 what was written";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (Vec<CorrectnessRow>, Vec<CorrectnessTimingRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0)
    }
}

impl Counted for Correctness {
    type Cell = CorrectnessRow;

    const OUTCOME: &'static str = "wrong blocks";

    fn outcomes(rows: &[CorrectnessRow]) -> Vec<(String, f64)> {
        let wrong = rows.iter().map(|row| {
            let errors = row.read_errors.abs_diff(row.balloon_blocks);
            u64::from(errors) + u64::from(row.corrupt_blocks) + u64::from(row.unexpected_blocks)
        });
        vec![("all steps".to_owned(), wrong.sum::<u64>() as f64)]
    }
}
