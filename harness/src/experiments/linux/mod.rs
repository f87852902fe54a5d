//! A stock Linux guest with an agent: file systems on a vSSD that is resized while they are used.
//!
//! ```text
//!  run ─┬─ churn      resizes under fio and file churn, with reboots, kills and power cuts
//!       ├─ times      how long a shrink and the grow back take
//!       ├─ peers      what else could give a part of a disk back
//!       ├─ overhead   requests beside qemu-storage-daemon and QEMU's own virtio-blk
//!       ├─ own-guest  requests of this project's guest beside those of Linux
//!       └─ dm-cache   hits of a dm-cache that shrinks and grows back
//! ```

pub(crate) mod claims;
pub(crate) mod figures;
mod file_system;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;

use anyhow::Result;
use params::{Params, Part};
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use rows::{
    LinuxCacheRow, LinuxCheckRow, LinuxGuestRow, LinuxOverheadRow, LinuxPeerRow, LinuxResizeRow,
    LinuxTimesRow,
};

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};

pub(crate) struct Linux;

type Rows = (
    Vec<LinuxResizeRow>,
    Vec<LinuxCheckRow>,
    Vec<LinuxTimesRow>,
    Vec<LinuxOverheadRow>,
    Vec<LinuxPeerRow>,
    Vec<LinuxGuestRow>,
    Vec<LinuxCacheRow>,
);

impl Experiment for Linux {
    const NAME: &'static str = "linux";
    const PURPOSE: &'static str = "whether a mounted file system of a stock Linux guest survives resizes of its disk, how \
                 long these take, and what its requests cost";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("boots a Linux guest under QEMU");

    type Params = Params;
    type Rows = Rows;

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        let parts = manifest
            .parameters
            .get("parts")
            .and_then(|of| of.as_array());
        let is_churned = parts.is_none_or(|parts| {
            let churn = Part::Churn.to_string();
            parts.iter().any(|part| part.as_str() == Some(&churn))
        });
        claims::judge(rows, is_churned)
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        let (.., times, overhead, _, guests, cache) = rows;
        figures::draw(times, overhead, guests, cache)
    }
}
