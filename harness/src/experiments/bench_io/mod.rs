//! Requests of our backend beside those of
//! `qemu-storage-daemon` and of plain io_uring, on the same blocks of the same file.
//!
//! One file holds our pool, written in full. The peer and the plain client work on
//! the part of it that holds the vSSD's blocks, which lie there in order. Slices of all three follow each
//! other in an order that changes, so that a slower minute of the machine hits
//! all of them; what counts are ratios within one such round. A fourth slice asks what
//! the disk gives at most, which no bar can go beyond.

pub(crate) mod claims;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod run;

use anyhow::Result;
use params::{Params, Raw};
use results::chart::Drawing;
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use rows::IoRow;

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::{Experiment, Needs};

pub(crate) struct BenchIo;

impl Experiment for BenchIo {
    const NAME: &'static str = "bench-io";
    const PURPOSE: &'static str = "what requests cost with our backend, with `qemu-storage-daemon` and with plain io_uring, on the same blocks of the same file";
    const SETUP: &'static str = "Requests of the `blkio` crate's virtio-blk-vhost-user driver to our backend \
    and to `qemu-storage-daemon`, and of its io_uring driver to the file, on the same blocks of one \
    file, past the page cache. Each 4 KiB that is read is checked to be the one asked for, and in the end \
    everybody overwrites a thousand of them with something else and finds it there. A round has a slice of each load for each \
    server, in random order; a ratio is the median of those within each round. One more slice has plain io_uring keep so many requests \
    under way that it shows what the disk gives at most. What is judged was measured with client and server on the processor on which plain \
    io_uring is quickest; the same loads follow with both wherever the scheduler has them.";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Nothing;

    type Raw = Raw;
    type Params = Params;
    type Rows = (Vec<IoRow>,);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        run::run(params, lab, folder)
    }

    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict {
        claims::judge(&rows.0, manifest.fact("idle_share"))
    }

    fn figures(_rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        Ok(Vec::new())
    }
}
