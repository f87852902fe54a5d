//! A schedule under a policy, with one seed.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use lab::testbed::Shape;
use lab::twin::TwinPool;
use vssd_host::arbiter::{Action, Arbiter, Damping, Decision, Patience, PolicyName};
use vssd_host::arbiter::{Vm as Known, VmId};
use vssd_host::size::ByteSize;
use workloads::Pick;
use workloads::pattern::derive_seed;

use super::loads::Slot;
use super::metrics::{Share, jain, share_error, used};
use super::params::Params;
use super::rows::{MultiplexRow, MultiplexSizeRow};
use super::schedule::Schedule;
use super::traces::Traces;
use super::vm::{GlobalLru, Period, Vm};
use crate::experiments::common::cached::BLOCK;

/// The share error below which shares are right.
const CONVERGED: f64 = 0.05;

/// Use of a seed beside the accesses of VMs.
const FOR_HOST_PICKS: u64 = 1 << 32;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) schedule: Schedule,
    pub(super) policy: PolicyName,
    pub(super) pick: Pick,
    pub(super) seed: u64,
    /// Whether the sizes of all VMs in all periods are kept.
    pub(super) is_detailed: bool,
}

/// A trial under way.
struct Running<'a> {
    params: &'a Params,
    traces: &'a Traces,
    trial: Trial,
    pool: TwinPool,
    arbiter: Arbiter,
    vms: Vec<Vm<'a>>,
    slots: Vec<Slot>,
    lru: GlobalLru,
    row: MultiplexRow,
    sizes: Vec<MultiplexSizeRow>,
    /// Sums over the periods that count.
    share_error: f64,
    /// Periods among these in which VMs may be expected to have what they are due.
    settled: u32,
    /// Periods from the last change on until shares were right.
    off_for: u32,
    jain: f64,
    used: f64,
}

impl Trial {
    /// Runs it.
    ///
    /// # Errors
    /// When a guest cannot run.
    pub(super) fn run(
        self,
        params: &Params,
        traces: &Traces,
    ) -> Result<(MultiplexRow, Vec<MultiplexSizeRow>)> {
        let damping = match self.policy {
            // What it goes by does not change, so it moves once.
            PolicyName::Oracle => Damping::none(),
            _ => Damping {
                horizon_periods: Some(params.horizon),
                ..Damping::default()
            },
        };
        let shape = Shape {
            size: params.pool,
            block_size: ByteSize(BLOCK),
            written: ByteSize(0),
        };
        let slots = self.schedule.slots(params);
        let row = MultiplexRow {
            schedule: self.schedule.to_string(),
            policy: self.policy.to_string(),
            pick: self.pick.to_string(),
            seed: self.seed,
            pool_blocks: params.pool_blocks(),
            vms: slots.len() as u32,
            arrivals: slots.iter().filter(|slot| slot.arrives > 0).count() as u32,
            departures: slots
                .iter()
                .filter(|slot| slot.departs < params.periods)
                .count() as u32,
            periods: params.counted,
            ..MultiplexRow::default()
        };
        let running = Running {
            params,
            traces,
            trial: self,
            pool: TwinPool::new(shape)?,
            arbiter: Arbiter::new(self.policy, damping, Patience::default())?,
            vms: Vec::new(),
            slots,
            lru: GlobalLru::default(),
            row,
            sizes: Vec::new(),
            share_error: 0.0,
            settled: 0,
            off_for: 0,
            jain: 0.0,
            used: 0.0,
        };
        running.run()
    }
}

impl Running<'_> {
    fn run(mut self) -> Result<(MultiplexRow, Vec<MultiplexSizeRow>)> {
        for period in 0..self.params.periods {
            self.depart(period)?;
            self.arrive(period)?;
            let mut served = Vec::with_capacity(self.vms.len());
            let of_vms: Vec<_> = self
                .vms
                .iter()
                .map(|vm| (vm.slot.vm, vm.accesses()))
                .collect();
            self.lru.period(&of_vms);
            for vm in &mut self.vms {
                served.push(vm.run()?);
            }
            for vm in &mut self.vms {
                let next = period + 1;
                let is_there = next < vm.slot.departs;
                let load = self.trial.schedule.load(vm.slot.vm, next, self.params);
                vm.plan(load.filter(|_| is_there), next, self.params.depth)?;
            }
            let targets = self.decide(period, &served)?;
            self.count(period, &served, &targets);
        }
        let mean = |sum: f64| (1e6 * sum / f64::from(self.params.counted)).round() as u64;
        let settled = f64::from(self.settled.max(1));
        self.row.share_error_ppm = (1e6 * self.share_error / settled).round() as u64;
        self.row.jain_ppm = mean(self.jain);
        self.row.used_ppm = mean(self.used);
        Ok((self.row, self.sizes))
    }

    fn depart(&mut self, period: u32) -> Result<()> {
        let (stay, leave): (Vec<_>, Vec<_>) = std::mem::take(&mut self.vms)
            .into_iter()
            .partition(|vm| vm.slot.departs > period);
        self.vms = stay;
        for vm in leave {
            self.lru.forget(vm.slot.vm);
            vm.depart(&self.pool)?;
        }
        Ok(())
    }

    /// A VM that arrives gets its equal part of the pool, as far as that is free.
    fn arrive(&mut self, period: u32) -> Result<()> {
        let Trial {
            schedule,
            pick,
            seed,
            ..
        } = self.trial;
        let at_a_time = self.params.vms_of(schedule);
        for slot in self.slots.iter().filter(|slot| slot.arrives == period) {
            let weight = schedule.weight(slot.vm, period, self.params);
            let bounds = self.params.bounds(at_a_time, weight)?;
            let held = self.params.part(at_a_time).min(self.pool.free());
            let held = held.min(bounds.limit());
            let boot = Vm::boot(
                self.params,
                &self.pool,
                self.traces
                    .of(slot.vm)
                    .filter(|_| schedule == Schedule::Traces),
                *slot,
                (bounds, weight),
                pick,
                (seed, held),
            );
            let mut vm = boot.with_context(|| format!("boot VM {}", slot.vm))?;
            let load = schedule.load(slot.vm, period, self.params);
            vm.plan(load, period, self.params.depth)?;
            if self.trial.policy == PolicyName::Oracle {
                let life = period..slot.departs;
                vm.foresee(life.map(|at| (at, schedule.load(slot.vm, at, self.params))))?;
            }
            self.vms.push(vm);
        }
        Ok(())
    }

    /// Has the arbiter decide after a period, and does what it decides. Returns its targets.
    fn decide(&mut self, period: u32, served: &[Period]) -> Result<Vec<u32>> {
        let Trial {
            schedule, policy, ..
        } = self.trial;
        let pool_blocks = self.params.pool_blocks();
        let base = self.params.part(self.params.vms_of(schedule));
        let newest = if policy == PolicyName::GlobalLru {
            self.lru.newest(pool_blocks)
        } else {
            HashMap::new()
        };
        let mut known: Vec<Known> = Vec::with_capacity(self.vms.len());
        for (vm, period_of) in self.vms.iter_mut().zip(served) {
            // Weights change at the border of a period.
            vm.weight = schedule.weight(vm.slot.vm, period + 1, self.params);
            vm.bounds = self
                .params
                .bounds(self.params.vms_of(schedule), vm.weight)?;
            let recent = newest.get(&vm.slot.vm).copied().unwrap_or(0);
            known.push(vm.known(period_of, (base, recent))?);
        }
        let round = self.arbiter.decide(pool_blocks, self.pool.free(), &known);
        for (vm, advice) in self.vms.iter().zip(&round.advice) {
            vm.advise(*advice);
        }
        self.carry_out(&round.decisions, period)?;
        // Shrinks have ended at once, and what they freed is for others.
        for (vm, known) in self.vms.iter().zip(&mut known) {
            known.held = vm.held();
        }
        let more = self.arbiter.resume(self.pool.free(), &known, &round);
        self.carry_out(&more, period)?;
        Ok(round.targets)
    }

    fn carry_out(&mut self, decisions: &[Decision], period: u32) -> Result<()> {
        for decision in decisions {
            self.resize(decision, period)?;
        }
        Ok(())
    }

    fn resize(&mut self, decision: &Decision, period: u32) -> Result<()> {
        let Decision { id, from, to, .. } = *decision;
        let VmId(number) = id;
        let pick = match decision.action {
            Action::Shrink { .. } => self.trial.pick,
            Action::Grow => Pick::Guest,
            // Every resize of before has ended.
            Action::Revoke | Action::Cancel => return Ok(()),
        };
        let seed = derive_seed(
            derive_seed(self.trial.seed, FOR_HOST_PICKS + u64::from(number)),
            period.into(),
        );
        let vm = self.vms.iter_mut().find(|vm| vm.id() == id);
        let vm = vm.with_context(|| format!("the arbiter decided for {id}, which is not there"))?;
        let resized = vm.resize(to, pick, seed)?;
        self.row.resizes += 1;
        let is_right = resized.is_complete() && resized.agreed;
        if to < from {
            let taken_by_force = pick == Pick::Guest && resized.revoked > 0;
            self.row.late += u64::from(!is_right || taken_by_force);
            self.row.moved_blocks += u64::from(from.saturating_sub(resized.held));
        } else {
            ensure!(
                is_right,
                "{id} grew from {from} to {} instead of {to} blocks: {}",
                resized.held,
                resized.end
            );
        }
        Ok(())
    }

    fn count(&mut self, period: u32, served: &[Period], targets: &[u32]) {
        let pool_blocks = self.params.pool_blocks();
        let held: u64 = served.iter().map(|of| u64::from(of.held)).sum();
        self.row.violations += u64::from(held > pool_blocks.into());
        if self.trial.is_detailed {
            for ((vm, of), target) in self.vms.iter().zip(served).zip(targets) {
                self.sizes.push(MultiplexSizeRow {
                    schedule: self.row.schedule.clone(),
                    policy: self.row.policy.clone(),
                    pick: self.row.pick.clone(),
                    period,
                    vm: vm.slot.vm,
                    weight: self.trial.schedule.weight(vm.slot.vm, period, self.params),
                    held_blocks: of.held,
                    target_blocks: *target,
                    accesses: of.accesses,
                    hits: of.hits,
                });
            }
        }
        if period + self.params.counted < self.params.periods {
            return;
        }
        for of in served {
            self.row.accesses += of.accesses;
            self.row.hits += of.hits;
            self.row.misses += of.accesses - of.hits - of.failed;
            self.row.failed += of.failed;
            self.row.origin_reads += of.origin_reads;
            self.row.origin_writes += of.origin_writes;
            self.row.ssd_writes += of.ssd_writes;
        }
        let shares: Vec<Share> = self
            .vms
            .iter()
            .zip(served)
            .map(|(vm, period_of)| Share {
                weight: self.trial.schedule.weight(vm.slot.vm, period, self.params),
                period: *period_of,
            })
            .collect();
        let schedule = self.trial.schedule;
        let error = share_error(pool_blocks, &shares);
        if schedule.is_settled(period, self.params) {
            self.share_error += error;
            self.settled += 1;
        }
        if let Some(since) = schedule.since_change(period, self.params) {
            self.off_for = if since == 0 { 0 } else { self.off_for };
            if error >= CONVERGED {
                self.off_for = since + 1;
            }
            self.row.converge_periods = self.row.converge_periods.max(self.off_for);
        }
        self.jain += jain(&shares);
        self.used += used(pool_blocks, &shares);
    }
}
