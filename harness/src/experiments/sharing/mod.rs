//! Several guests on one pool that is smaller than their vSSDs together.
//!
//! ```text
//!  start: fill, check
//!  round: load on every guest ─▶ kill a guest or the backend, or neither
//!           ─▶ resizes of all VMs at once ─▶ load off ─▶ check
//! ```

pub(crate) mod claims;
mod faults;
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
use crate::experiments::experiment::{Experiment, Needs};
use rows::{SharingCheckRow, SharingFaultRow, SharingRow};

pub(crate) struct Sharing;

impl Experiment for Sharing {
    const NAME: &'static str = "sharing";
    const PURPOSE: &'static str = "isolation of several guests on one overcommitted pool: blocks move between them \
                 under load, and guests and the backend are killed";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs =
        Needs::Qemu("runs several guests on one backend, and a twin is a single guest");

    type Params = Params;
    type Rows = (Vec<SharingRow>, Vec<SharingCheckRow>, Vec<SharingFaultRow>);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, &rows.1)
    }
}
