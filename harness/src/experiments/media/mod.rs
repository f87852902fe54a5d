//! Times and wear of emulated media, as a client and a guest measure them.
//!
//! For each medium a backend in memory emulates its model. A client without a guest and then a
//! guest read and write it at random; the model alone runs the same loads on a virtual clock. A
//! backend without a model measures the path to the medium.

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
use crate::experiments::experiment::{Experiment, Needs};
use rows::{MediaRow, MediaWearRow};

pub(crate) struct Media;

impl Experiment for Media {
    const NAME: &'static str = "media";
    const PURPOSE: &'static str = "request times and wear of emulated disk, flash and memories, for a client and for a \
                 guest, against their models";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("measures times, and a twin has none");

    type Params = Params;
    type Rows = (Vec<MediaRow>, Vec<MediaWearRow>);

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
