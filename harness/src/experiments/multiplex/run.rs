//! How it runs: every schedule under every policy and pick, with every seed.

use std::time::Instant;

use anyhow::{Context, Result};
use lab::vm_host::VmHost;
use results::store::RunFolder;
use terminal::{interrupt, parallel};
use workloads::latency::quantile_ns;
use workloads::pattern::derive_seed;

use super::house::House;
use super::params::Params;
use super::rows::MultiplexQemuRow;
use super::scale;
use super::schedule::Schedule;
use super::traces::Traces;
use super::trial::Trial;
use crate::experiments::common::boot;
use crate::experiments::common::lab::{Joined, Lab};

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    if params.schedules.contains(&Schedule::Crowd) {
        folder.append(&scale::measure(params, lab)?)?;
    }
    on_twins(params, lab, folder)?;
    interrupt::check()?;
    if let Joined::Qemu(vm_host) = &lab.joined {
        under_qemu(params, lab, vm_host, folder)?;
    }
    Ok(())
}

/// All trials of some parameters.
fn trials(params: &Params, lab: &Lab) -> Vec<Trial> {
    let mut trials = Vec::new();
    for schedule in &params.schedules {
        for policy in &params.policies {
            for pick in &params.picks {
                trials.extend((0..params.seeds).map(|number| Trial {
                    schedule: *schedule,
                    policy: *policy,
                    pick: *pick,
                    seed: derive_seed(lab.seed, number.into()),
                    is_detailed: number == 0 && schedule.is_drawn(),
                }));
            }
        }
    }
    trials
}

fn on_twins(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let traces = Traces::read(params, lab, folder)?;
    let trials = trials(params, lab);
    let bar = lab.progress.bar("multiplex", trials.len() as u64);
    let outcomes = parallel::each(&trials, &bar, |trial| {
        let outcome = trial.run(params, &traces, House::of_twins(params)?);
        outcome.with_context(|| trial.to_string())
    });
    for outcome in outcomes {
        let outcome = outcome?;
        folder.append(&outcome.row)?;
        for size in &outcome.sizes {
            folder.append(size)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Repeats trials under QEMU, each beside its twins.
fn under_qemu(params: &Params, lab: &Lab, vm_host: &VmHost, folder: &mut RunFolder) -> Result<()> {
    let of_vms: Vec<Params> = params
        .qemu
        .vms
        .iter()
        .map(|vms| params.under_qemu(*vms))
        .collect();
    // Policies take turns, so that what slows the machine down slows all of them.
    let trials: Vec<(&Params, Trial)> = of_vms
        .iter()
        .flat_map(|params| {
            let mut trials = trials(params, lab);
            trials.sort_by_key(|trial| trial.seed);
            trials.into_iter().map(move |trial| (params, trial))
        })
        .collect();
    let bar = lab
        .progress
        .bar("multiplex under QEMU", trials.len() as u64);
    let traces = Traces::default();
    for (params, trial) in trials {
        interrupt::check()?;
        let beside = || format!("{trial}, {} guests under QEMU", params.vms);
        let twins = trial.run(params, &traces, House::of_twins(params)?);
        let twins = twins.with_context(beside)?;
        let begun = Instant::now();
        let house = House::under_qemu(params, trial.schedule, vm_host).with_context(beside)?;
        if let House::Qemu(fleet) = &house {
            for vm in &fleet.vms {
                boot::record(folder, vm_host, &vm.guest)?;
            }
        }
        let outcome = trial.run(params, &traces, house).with_context(beside)?;
        let row = outcome.row;
        folder.append(&MultiplexQemuRow {
            equals_twins: row == twins.row,
            vms: row.vms,
            pool_blocks: row.pool_blocks,
            accesses: row.accesses,
            hits: row.hits,
            origin_blocks: row.origin_reads + row.origin_writes,
            ssd_writes: row.ssd_writes,
            resizes: row.resizes,
            late: row.late,
            moved_blocks: row.moved_blocks,
            used_ppm: row.used_ppm,
            p50_ns: quantile_ns(&outcome.latencies, 500),
            p99_ns: quantile_ns(&outcome.latencies, 990),
            resize_ns: outcome.resize_ns,
            elapsed_ns: begun.elapsed().as_nanos() as u64,
            schedule: row.schedule,
            policy: row.policy,
            seed: row.seed,
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}
