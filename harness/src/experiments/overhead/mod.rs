//! Time to take blocks from a guest and to give them back.

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
use crate::experiments::experiment::{Experiment, Needs, is_timed};
use rows::{OverheadPaceRow, OverheadRow};

pub(crate) struct Overhead;

impl Experiment for Overhead {
    const NAME: &'static str = "overhead";
    const PURPOSE: &'static str = "how long it takes to shrink a vSSD and to grow it back";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;

    type Raw = Raw;
    type Params = Params;
    type Rows = (Vec<OverheadRow>, Vec<OverheadPaceRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, is_timed(manifest))
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.1)
    }
}
