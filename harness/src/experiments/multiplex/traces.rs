//! Recorded traces, one for each VM of the schedule `traces`.

use std::path::Path;

use anyhow::{Result, ensure};
use workloads::pattern::derive_seed;
use workloads::replay::Access;

use super::params::Params;
use super::schedule::Schedule;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::recorded::Recorded;

/// Use of a seed: where in its trace a VM begins.
const FOR_START: u64 = 1 << 33;

/// The traces of all VMs.
pub(super) struct Traces(Vec<Trace>);

/// The trace of a VM.
pub(super) struct Trace {
    recorded: Recorded,
    accesses: Vec<Access>,
}

impl Traces {
    /// Reads the traces that the parameters name.
    ///
    /// # Errors
    /// When one cannot be read, or has too few accesses.
    pub(super) fn read(params: &Params, lab: &Lab) -> Result<Self> {
        if !params.schedules.contains(&Schedule::Traces) {
            return Ok(Self::none());
        }
        let needed = u64::from(params.periods) * params.accesses;
        let traces = params.traces.iter().map(|path| {
            let recorded = Recorded::read("traces", path, None, lab.progress)?;
            ensure!(
                recorded.accesses >= needed,
                "the trace {} has {} accesses, and a VM makes {needed}: set fewer `accesses` or `periods`",
                path.display(),
                recorded.accesses
            );
            let accesses = recorded.list()?;
            Ok(Trace { recorded, accesses })
        });
        Ok(Self(traces.collect::<Result<_>>()?))
    }

    /// No traces.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(&self, vm: u32) -> Option<&Trace> {
        self.0.get(vm as usize)
    }
}

impl Trace {
    pub(super) fn image(&self) -> &Path {
        self.recorded.image()
    }

    /// Blocks of the disk that the trace is of, as far as it accesses them.
    pub(super) fn origin_blocks(&self) -> u32 {
        let last = self.accesses.iter().map(|access| access.block).max();
        last.map_or(1, |last| last.saturating_add(1))
    }

    /// The accesses from number `start` on.
    pub(super) fn part(&self, start: u64, count: u64) -> &[Access] {
        &self.accesses[start as usize..][..count as usize]
    }

    /// Where a VM begins that makes `needed` accesses.
    pub(super) fn start(&self, seed: u64, needed: u64) -> u64 {
        let last = self.recorded.accesses - needed;
        derive_seed(seed, FOR_START) % (last + 1)
    }
}
