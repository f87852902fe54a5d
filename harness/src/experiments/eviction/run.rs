//! How it runs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use lab::twin::Twin;
use results::store::RunFolder;
use terminal::{interrupt, parallel};
use workloads::{GuestPick, HostPick};

use super::params::Params;
use super::picker::Picker;
use super::rows::{EvictionBlockRow, EvictionRow, EvictionTimingRow, PickerRow};
use super::trial::{self, Detail, Outcome};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::observers;

pub fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let trials = params.pickers.len() as u64 * u64::from(params.repetitions);
    let bar = lab.progress.bar("eviction", 2 + trials);
    in_detail(params, lab, folder, &bar)?;
    compare(params, lab.seed, folder, &bar)?;
    observe(params, lab.seed, folder)?;
    bar.finish_and_clear();
    Ok(())
}

/// The experiment of 2017.
fn in_detail(params: &Params, lab: &Lab, folder: &mut RunFolder, bar: &ProgressBar) -> Result<()> {
    // Hits and misses of each block: by the guest's picks, by the hypervisor's.
    let mut per_block: BTreeMap<u32, [(u32, u32); 2]> = BTreeMap::new();
    let sides = [
        ("guest", Picker::Guest(GuestPick::Sample)),
        ("hypervisor", Picker::Host(HostPick::Uniform)),
    ];
    for (side, (managed_by, picker)) in sides.into_iter().enumerate() {
        let shape = trial::shape(params, Detail::EachBlock);
        let mut testbed = lab.testbed(shape, folder)?;
        let outcome = trial::run(params, picker, lab.seed, Detail::EachBlock, &mut *testbed)?;
        testbed.shut_down()?;
        for (block, hits, misses) in outcome.blocks {
            per_block.entry(block).or_default()[side] = (hits, misses);
        }
        folder.append(&EvictionRow {
            managed_by: managed_by.to_owned(),
            capacity_blocks: outcome.capacity,
            held_blocks: outcome.held,
            surrendered_blocks: outcome.surrendered,
            revoked_blocks: outcome.revoked,
            sample_draws: match picker {
                Picker::Guest(GuestPick::Sample) => params.sample,
                _ => 0,
            },
            reads: params.reads,
            hits: outcome.hits,
            misses: outcome.misses,
            errors: outcome.errors,
        })?;
        if lab.is_timed() {
            folder.append(&EvictionTimingRow {
                managed_by: managed_by.to_owned(),
                shrink_ns: outcome.shrink_ns,
                read_guest_ns: outcome.read_guest_ns,
            })?;
        }
        bar.inc(1);
    }
    for (block, [guest, hypervisor]) in per_block {
        folder.append(&EvictionBlockRow {
            block,
            guest_hits: guest.0,
            guest_misses: guest.1,
            hypervisor_hits: hypervisor.0,
            hypervisor_misses: hypervisor.1,
        })?;
    }
    Ok(())
}

/// A trial on a twin, counted only.
pub fn on_twin(params: &Params, picker: Picker, seed: u64) -> Result<Outcome> {
    let mut twin = Twin::start(trial::shape(params, Detail::Totals))?;
    trial::run(params, picker, seed, Detail::Totals, &mut twin)
}

/// Every picker with every seed, on as many twins at a time as there are processors.
fn compare(params: &Params, seed: u64, folder: &mut RunFolder, bar: &ProgressBar) -> Result<()> {
    let trials: Vec<(u64, Picker)> = (0..u64::from(params.repetitions))
        .flat_map(|i| {
            let seed = seed.wrapping_add(i);
            params.pickers.iter().map(move |picker| (seed, *picker))
        })
        .collect();
    let rows = parallel::each(&trials, bar, |&(seed, picker)| {
        let outcome = on_twin(params, picker, seed);
        let outcome = outcome.with_context(|| format!("{picker} with seed {seed}"))?;
        Ok(PickerRow {
            seed,
            picker,
            capacity_blocks: outcome.capacity,
            held_blocks: outcome.held,
            reads: params.reads,
            hits: outcome.hits,
            misses: outcome.misses,
        })
    });
    for row in rows {
        folder.append(&row?)?;
    }
    interrupt::check()
}

/// What it costs the backend to remember the requests of the workload, for every pick that does.
fn observe(params: &Params, seed: u64, folder: &mut RunFolder) -> Result<()> {
    let capacity = params.capacity();
    let workload = params.workload();
    let blocks = observers::requests(&workload, capacity, seed, params.warmup, params.reads)?;
    let picks: Vec<HostPick> = HostPick::tracked().collect();
    for cost in observers::measure(&picks, capacity, &blocks)? {
        folder.append(&cost)?;
    }
    Ok(())
}
