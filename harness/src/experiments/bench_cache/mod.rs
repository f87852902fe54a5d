//! Speed of the eviction policies of the guest's cache on one processor, against libCacheSim's,
//! and the time in which a cache gives up blocks.
//!
//! Both process the same trace from memory, 24 bytes a request, starting with an empty cache. A
//! round is one pass of each side for each policy.

pub(crate) mod claims;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;
mod walk;

use anyhow::Result;
use params::Params;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use rows::{PassRow, SurrenderRow, WalkRow};

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};

pub(crate) struct BenchCache;

impl Experiment for BenchCache {
    const NAME: &'static str = "bench-cache";
    const PURPOSE: &'static str = "speed of the eviction policies of the guest's cache against libCacheSim's, and the time in which a cache gives up blocks";
    const SETUP: &'static str = "The eviction policies of the guest's block cache and libCacheSim's of the same names process \
    the same requests in the same order, each in one thread, starting with an empty cache. Then a full cache of \
    256 Ki blocks gives up 64 Ki of them.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Nothing;

    type Params = Params;
    type Rows = (Vec<PassRow>, Vec<SurrenderRow>, Vec<WalkRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2)
    }
}
