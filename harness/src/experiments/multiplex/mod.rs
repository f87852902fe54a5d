//! How to divide one SSD among many VMs.
//!
//! ```text
//!  each schedule, policy, pick and seed:
//!    VMs on one pool ─▶ accesses of a period ─▶ demand ─▶ arbiter ─▶ shrinks, grows ─┐
//!                            ▲                                                      │
//!                            └──────────────────────────────────────────────────────┘
//! ```

mod claims;
mod figures;
mod grid;
mod house;
mod loads;
mod metrics;
pub(crate) mod params;
mod population;
pub(crate) mod rows;
mod run;
mod scale;
mod schedule;
mod traces;
mod trial;
mod vm;

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
use rows::{
    MultiplexPopulationRow, MultiplexQemuRow, MultiplexRow, MultiplexScaleRow, MultiplexSizeRow,
};

pub(crate) struct Multiplex;

impl Experiment for Multiplex {
    const NAME: &'static str = "multiplex";
    const PURPOSE: &'static str = "how to divide one SSD among many VMs, beside static partitions";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (
        Vec<MultiplexRow>,
        Vec<MultiplexSizeRow>,
        Vec<MultiplexQemuRow>,
        Vec<MultiplexScaleRow>,
        Vec<MultiplexPopulationRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.2, &rows.3, &rows.4)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, &rows.1)
    }
}

impl Counted for Multiplex {
    type Cell = MultiplexRow;

    const OUTCOME: &'static str = "origin traffic (blocks for each 100 accesses)";

    fn outcomes(rows: &[MultiplexRow]) -> Vec<(String, f64)> {
        let named = |row: &MultiplexRow| {
            let name = format!("{}, {}, {}", row.schedule, row.policy, row.pick);
            (name, row.traffic_percent())
        };
        rows.iter().map(named).collect()
    }
}
