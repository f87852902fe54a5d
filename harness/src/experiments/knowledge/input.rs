//! A recorded trace as input.

use anyhow::{Context, Result, ensure};
use lab::testbed::Disks;
use simulate::trace::image::Converted;
use simulate::trace::trace_image;
use tempfile::TempPath;
use workloads::pattern::derive_seed;
use workloads::trace::{Beyond, Options};

use super::params::Params;
use crate::experiments::common::lab::Lab;

/// Use of a seed: where in a trace its accesses begin.
const FOR_START: u64 = 20;

/// The trace, if the parameters name one.
pub(super) struct Input {
    trace: Option<Trace>,
}

struct Trace {
    image: TempPath,
    accesses: u64,
    distinct: u32,
}

impl Input {
    /// Reads the trace.
    ///
    /// # Errors
    /// When it cannot be read, or has too few accesses.
    pub(super) fn read(params: &Params, lab: &Lab) -> Result<Self> {
        let Some(path) = &params.trace else {
            return Ok(Self { trace: None });
        };
        let options = Options {
            disk_bytes: Some(params.origin.0),
            beyond: Beyond::Skip,
            ..Options::default()
        };
        let (image, Converted { summary, distinct, .. }) =
            trace_image(path, options, &std::env::temp_dir(), lab.progress).context(
                "read the parameter `trace` (`harness trace convert FILE OUT` has options for such a trace, and OUT \
                 can be the parameter)",
            )?;
        let accesses = summary.blocks_read + summary.blocks_written;
        let needed = params.warmup + params.after;
        ensure!(
            accesses >= needed,
            "the trace {} has {accesses} accesses, and a shrink needs {needed}: set fewer `warmup` and `after`",
            path.display()
        );
        let distinct = u32::try_from(distinct.blocks).unwrap_or(u32::MAX);
        params.check_pages(distinct)?;
        Ok(Self {
            trace: Some(Trace {
                image,
                accesses,
                distinct,
            }),
        })
    }

    pub(super) fn disks(&self, params: &Params) -> Disks {
        Disks {
            trace: self.trace.as_ref().map(|trace| trace.image.to_path_buf()),
            ..params.disks()
        }
    }

    /// Blocks that the accesses use.
    pub(super) fn working_set(&self, params: &Params) -> u32 {
        self.trace
            .as_ref()
            .map_or(params.span, |trace| trace.distinct)
    }

    /// The number of the first access.
    pub(super) fn start(&self, params: &Params, seed: u64) -> u64 {
        self.trace.as_ref().map_or(0, |trace| {
            let last = trace.accesses - (params.warmup + params.after);
            derive_seed(seed, FOR_START) % (last + 1)
        })
    }
}
