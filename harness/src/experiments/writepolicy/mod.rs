//! The write policies of the guest's block cache: their cost, how far the origin disk is behind,
//! and what a crash loses.
//!
//! ```text
//!  load:   a fresh guest ─▶ reads and writes ─▶ write back what is dirty
//!  crash:  a fresh guest ─▶ writes, one at a time ─▶ kill -9 of its QEMU
//!            ─▶ read the origin disk, without any guest
//!            ─▶ journaled: apply its journal, in memory, without the vSSD
//!            ─▶ boot a guest on both disks, open the cache, read through it
//! ```

pub(crate) mod claims;
pub(crate) mod figures;
pub(crate) mod params;
pub(crate) mod recovery;
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
use rows::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};

pub(crate) struct WritePolicy;

impl Experiment for WritePolicy {
    const NAME: &'static str = "writepolicy";
    const PURPOSE: &'static str = "cost of each write policy of the guest's block cache, how far the origin disk is behind, and \
                 what is lost when the guest is killed";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("measures times and kills guests, and a twin has no times");

    type Params = Params;
    type Rows = (
        Vec<WritePolicyRow>,
        Vec<WritePolicySampleRow>,
        Vec<WritePolicyCrashRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, &rows.1, &rows.2)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        figures::draw(&rows.0, &rows.1, &rows.2)
    }
}
