//! The guest's block cache through a shrink and the grow back, by who chooses what goes.
//!
//! ```text
//!  each way:  a fresh guest ─▶ warm-up ─▶ before ─▶ shrink ─▶ shrunk ─▶ grow ─▶ grown
//!  and:       a fresh guest, write-back ─▶ a load ─▶ shrink ─▶ read every block
//! ```
//!
//! Nothing is under way while blocks move, so that what is counted does not depend on how
//! fast they do. Beside the guests go two caches without guest or device: one that keeps its
//! size, and one that always had what the shrink leaves.

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
use crate::experiments::experiment::{Experiment, Needs};
use rows::{ShrinkCacheLossRow, ShrinkCacheResizeRow, ShrinkCacheRow};

pub(crate) struct ShrinkCache;

impl Experiment for ShrinkCache {
    const NAME: &'static str = "shrinkcache";
    const PURPOSE: &'static str = "how often the guest's block cache hits while the vSSD under it shrinks and grows \
                 back, by who chooses what goes, and which writes that loses";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (
        Vec<ShrinkCacheRow>,
        Vec<ShrinkCacheResizeRow>,
        Vec<ShrinkCacheLossRow>,
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

impl Counted for ShrinkCache {
    type Cell = ShrinkCacheRow;

    const OUTCOME: &'static str = "hits while the vSSD is small (% of all accesses)";

    fn outcomes(rows: &[ShrinkCacheRow]) -> Vec<(String, f64)> {
        let shrunk = rows.iter().filter(|row| row.phase == "shrunk");
        ratios(shrunk.map(|row| (row.way.clone(), 100 * row.hits, row.accesses)))
    }
}
