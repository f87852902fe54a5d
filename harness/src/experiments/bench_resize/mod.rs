//! Cost of resizes by 16 GiB in blocks of 4 KiB.
//!
//! Three things are measured: the time to take half of the blocks of a guest under QEMU and to
//! give them back; the memory of the backend; and requests of a native client while the
//! hypervisor takes the other half of its device.

pub(crate) mod claims;
mod disturbance;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;
mod server;

use anyhow::Result;
use params::Params;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use rows::{DisturbedBucketRow, DisturbedRow, MemoryRow, ResizeRow, YardstickRow};

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};

pub(crate) struct BenchResize;

impl Experiment for BenchResize {
    const NAME: &'static str = "bench-resize";
    const PURPOSE: &'static str =
        "time and memory of resizes by 16 GiB, and their effect on request latency";
    const SETUP: &'static str = "A guest under QEMU gives up half of a vSSD of 32 GiB, 16 GiB in blocks of 4 KiB, and \
    gets them back: every second block, or all in one piece. The pool is a sparse file, and every \
    change of ownership is a durable commit to its journal. Memory is that of the backend's process, and for many \
    resizes also that of a twin, which has guest and device in one process. Requests are those of the `blkio` \
    crate's vhost-user driver to the lower half of a vSSD while the hypervisor takes the upper half.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Qemu("measures times, and a twin has none");

    type Params = Params;
    type Rows = (
        Vec<ResizeRow>,
        Vec<MemoryRow>,
        Vec<DisturbedRow>,
        Vec<YardstickRow>,
        Vec<DisturbedBucketRow>,
    );

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        claims::judge(rows)
    }
}
