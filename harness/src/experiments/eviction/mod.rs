//! Misses after a shrink, by the picker of the blocks to give up.
//!
//! Two parts. The experiment of 2017, block by block and with checked data, under QEMU or on a
//! twin: the guest picks by a sample of its use, the hypervisor at random. Then every picker with
//! every seed on twins, which have the same counts in a fraction of the time.

pub(crate) mod claims;
pub(crate) mod figures;
pub mod params;
pub mod picker;
pub(crate) mod picker_claims;
pub(crate) mod picker_figures;
pub mod rows;
pub mod run;
pub(crate) mod sweep;
pub(crate) mod sweep_claims;
pub(crate) mod sweep_figures;
pub(crate) mod sweep_table;
pub mod trial;

use anyhow::Result;
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;

use crate::experiments::common::lab::Lab;
use crate::experiments::common::observers::ObserverRow;
use crate::experiments::common::swept::Swept;
use crate::experiments::experiment::{Experiment, Needs};
use params::Params;
use rows::{EvictionBlockRow, EvictionRow, EvictionTimingRow, PickerRow};

pub struct Eviction;

impl Experiment for Eviction {
    const NAME: &'static str = "eviction";
    const PURPOSE: &'static str = "how many reads miss after a shrink, by which side picks the blocks and what the picker knows";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;
    const SWEPT: Option<&'static dyn Swept> = Some(&sweep::EvictionSweep);

    type Params = Params;
    type Rows = (
        Vec<EvictionRow>,
        Vec<EvictionTimingRow>,
        Vec<PickerRow>,
        Vec<ObserverRow>,
        Vec<EvictionBlockRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        let verdict = claims::judge(&rows.0, &rows.1, &rows.2);
        picker_claims::judge(verdict, &rows.2, &rows.3)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        let mut drawings = figures::draw(&rows.0, &rows.4)?;
        drawings.extend(picker_figures::draw(&rows.2)?);
        Ok(drawings)
    }
}
