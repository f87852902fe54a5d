//! The guest's block cache: misses by eviction policy and size, beside those of its code
//! alone; and in front of a disk, how long hits and misses take.
//!
//! ```text
//!  each size:  a guest ─▶ each workload, each policy: a fresh cache, all accesses
//!                         and the same through the cache's code, without guest or device
//!  under QEMU: a guest on an origin disk that is as slow as a disk ─▶ a few cells
//! ```

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
use rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow, BlockCacheTraceRow};

pub(crate) struct BlockCache;

impl Experiment for BlockCache {
    const NAME: &'static str = "blockcache";
    const PURPOSE: &'static str = "how many accesses miss the guest's block cache on a vSSD, by eviction policy and \
                 size, and how long hits and misses take in front of a disk";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&OnTwins::<Self>::NEW);

    type Params = Params;
    type Rows = (
        Vec<BlockCacheRow>,
        Vec<BlockCacheSimRow>,
        Vec<BlockCacheTimingRow>,
        Vec<BlockCacheTraceRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        let mut verdict = claims::judge(&rows.0, &rows.1, &rows.2, is_timed(manifest));
        verdict.findings.extend(claims::of_trace(&rows.3));
        verdict
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, &rows.1, &rows.2)
    }
}

impl Counted for BlockCache {
    type Cell = BlockCacheRow;

    const OUTCOME: &'static str = "misses (% of all accesses)";

    fn outcomes(rows: &[BlockCacheRow]) -> Vec<(String, f64)> {
        let percent =
            |row: &BlockCacheRow| (row.policy.clone(), 100 * row.misses(), row.accesses());
        ratios(rows.iter().map(percent))
    }
}
