//! Requests of our backend against those of `qemu-storage-daemon` and of plain io_uring, on the
//! same blocks of the same file.
//!
//! One file holds our pool, written in full. The peer and the plain client work on the part of it
//! that holds the vSSD's blocks, which are in order there. A round has a slice of each side in
//! random order, so that a slow period of the machine affects all of them; ratios are taken within
//! a round. A fourth slice measures the disk's limit, above which no bar can be judged.

pub(crate) mod claims;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;

use anyhow::Result;
use params::Params;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use rows::IoRow;

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};

pub(crate) struct BenchIo;

impl Experiment for BenchIo {
    const NAME: &'static str = "bench-io";
    const PURPOSE: &'static str = "throughput and processor time of requests with our backend, `qemu-storage-daemon` and plain io_uring, on the same blocks of the same file";
    const SETUP: &'static str = "Requests of the `blkio` crate's virtio-blk-vhost-user driver to our backend \
    and to `qemu-storage-daemon`, and of its io_uring driver to the file, on the same blocks of one \
    file, with direct I/O. Each 4 KiB read is checked against the block requested, and at the end each side \
    overwrites a thousand blocks and reads them back. A round has a slice of each load for each server, in random \
    order; a ratio is the median over the rounds. One more slice of plain io_uring at high depth measures the \
    disk's limit. Gated loads run with client and server on the processor on which plain io_uring is fastest; the \
    same loads follow with both placed by the scheduler.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Nothing;

    type Params = Params;
    type Rows = (Vec<IoRow>,);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, manifest.fact("idle_share"))
    }
}
