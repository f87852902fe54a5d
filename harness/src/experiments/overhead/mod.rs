//! Time to take blocks from a guest and to give them back.

mod ablation;
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
use crate::experiments::common::on_twins::{Counted, OnTwins, ratios};
use crate::experiments::common::swept::Swept;
use crate::experiments::experiment::{Experiment, Needs, is_timed};
use rows::{OverheadLeftOutRow, OverheadRow, OverheadTimingRow};

pub(crate) struct Overhead;

impl Experiment for Overhead {
    const NAME: &'static str = "overhead";
    const PURPOSE: &'static str = "how long it takes to shrink a vSSD and to grow it back";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (
        Vec<OverheadRow>,
        Vec<OverheadTimingRow>,
        Vec<OverheadLeftOutRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2, is_timed(manifest))
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.1)
    }
}

impl Counted for Overhead {
    type Cell = OverheadRow;

    const OUTCOME: &'static str = "bytes of messages for each block of a shrink";

    fn outcomes(rows: &[OverheadRow]) -> Vec<(String, f64)> {
        let bytes = |row: &OverheadRow| {
            let name = format!("{}, {}", row.encoding, row.pick);
            (name, row.shrink_message_bytes, row.blocks.into())
        };
        ratios(rows.iter().map(bytes))
    }
}
