//! Traces, one for each VM: recorded ones, or made up of a population.

use std::path::Path;

use anyhow::{Result, ensure};
use results::store::RunFolder;
use terminal::{interrupt, parallel};
use vssd_host::descriptors::raise_limit;
use workloads::pattern::derive_seed;
use workloads::replay::Access;

use super::params::Params;
use super::population;
use super::rows::MultiplexPopulationRow;
use super::schedule::Schedule;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::recorded::Recorded;

/// Uses of a seed: where in its trace a VM begins, and what a VM of a population does.
const FOR_START: u64 = 1 << 33;
const FOR_MADE_UP: u64 = 1 << 34;

/// The traces of all VMs, of the schedules that have some.
#[derive(Default)]
pub(super) struct Traces {
    recorded: Vec<Trace>,
    population: Vec<Trace>,
}

/// The trace of a VM.
pub(super) struct Trace {
    recorded: Recorded,
    accesses: Vec<Access>,
}

impl Traces {
    /// Reads the traces that the parameters name, and makes up those of a population, which are recorded in
    /// the folder.
    ///
    /// # Errors
    /// When one cannot be read, or has too few accesses.
    pub(super) fn read(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<Self> {
        let mut traces = Self::default();
        if params.schedules.contains(&Schedule::Traces) {
            let recorded = params.traces.iter().map(|path| recorded(path, params, lab));
            traces.recorded = recorded.collect::<Result<_>>()?;
        }
        if params.schedules.contains(&Schedule::Population) {
            traces.population = population(params, lab, folder)?;
        }
        Ok(traces)
    }

    /// The trace of a VM; `None` if it has a workload.
    pub(super) fn of(&self, schedule: Schedule, vm: u32) -> Option<&Trace> {
        let traces = match schedule {
            Schedule::Traces => &self.recorded,
            Schedule::Population => &self.population,
            _ => return None,
        };
        traces.get(vm as usize)
    }
}

fn needed(params: &Params) -> u64 {
    u64::from(params.periods) * params.accesses
}

fn recorded(path: &Path, params: &Params, lab: &Lab) -> Result<Trace> {
    let needed = needed(params);
    let (recorded, _) = Recorded::read("traces", path, None, lab.progress)?;
    ensure!(
        recorded.accesses >= needed,
        "the trace {} has {} accesses, and a VM makes {needed}: set fewer `accesses` or `periods`",
        path.display(),
        recorded.accesses
    );
    let accesses = recorded.list()?;
    Ok(Trace { recorded, accesses })
}

/// Draws the VMs of a population, and makes up half more accesses than each makes, so that seeds differ.
fn population(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<Vec<Trace>> {
    let Some(path) = &params.population else {
        return Ok(Vec::new());
    };
    // Each twin has its trace open.
    raise_limit()?;
    let kinds = population::read(path, params.population_mb)?;
    let vms: Vec<u32> = (0..params.vms_of(Schedule::Population)).collect();
    let count = needed(params) * 3 / 2;
    let bar = lab
        .progress
        .bar("multiplex: made-up accesses", vms.len() as u64);
    let made = parallel::each(&vms, &bar, |vm| {
        let kind = population::draw(&kinds, *vm, lab.seed);
        let accesses = kind.accesses(
            derive_seed(lab.seed, u64::from(*vm) + FOR_MADE_UP),
            count as usize,
        );
        let row = MultiplexPopulationRow {
            vm: *vm,
            workload: kind.name.clone(),
            half_blocks: kind.sizes[4],
            all_blocks: kind.sizes[9],
            writes_ppm: (1e6 * kind.writes).round() as u64,
            cold_ppm: (1e6 * kind.cold).round() as u64,
            error_ppm: (1e6 * kind.error(&accesses)?).round() as u64,
        };
        let recorded = Recorded::of(&accesses)?;
        Ok((row, Trace { recorded, accesses }))
    });
    let mut traces = Vec::new();
    for made in made {
        let (row, trace) = made?;
        folder.append(&row)?;
        traces.push(trace);
    }
    interrupt::check()?;
    bar.finish_and_clear();
    Ok(traces)
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
