//! A recorded trace as input.

use anyhow::{Result, ensure};
use lab::testbed::Disks;
use workloads::pattern::derive_seed;

use super::params::Params;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::recorded::Recorded;

/// Use of a seed: where in a trace its accesses begin.
const FOR_START: u64 = 20;

/// The trace, if the parameters name one.
pub(super) struct Input {
    trace: Option<Recorded>,
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
        let (trace, _) = Recorded::read("trace", path, Some(params.origin.0), lab.progress)?;
        let needed = params.warmup + params.after;
        ensure!(
            trace.accesses >= needed,
            "the trace {} has {} accesses, and a shrink needs {needed}: set fewer `warmup` and `after`",
            path.display(),
            trace.accesses
        );
        params.check_pages(trace.distinct)?;
        Ok(Self { trace: Some(trace) })
    }

    pub(super) fn disks(&self, params: &Params) -> Disks {
        let image = self.trace.as_ref().map(|trace| trace.image().to_path_buf());
        Disks {
            trace: image,
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
