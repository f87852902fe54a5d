//! A schedule under a policy, with one seed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::{Context, Result, ensure};
use vssd_host::arbiter::{Action, Arbiter, Damping, Decision, Goal, Patience, PolicyName};
use vssd_host::arbiter::{Vm as Known, VmId};
use workloads::Pick;
use workloads::latency::Bucket;
use workloads::pattern::derive_seed;

use super::house::House;
use super::loads::Slot;
use super::metrics::{Share, jain, share_error, used};
use super::params::Params;
use super::rows::{MultiplexRow, MultiplexSizeRow};
use super::schedule::Schedule;
use super::traces::Traces;
use super::vm::{GlobalLru, Period, Promised, Vm};

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

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            schedule,
            policy,
            pick,
            seed,
            ..
        } = self;
        write!(f, "{schedule}, {policy}, {pick}, seed {seed}")
    }
}

/// What became of a trial.
pub(super) struct Outcome {
    pub(super) row: MultiplexRow,
    pub(super) sizes: Vec<MultiplexSizeRow>,
    /// How long the accesses that count took.
    pub(super) latencies: Vec<Bucket>,
    /// The longest resize.
    pub(super) resize_ns: u64,
}

/// A trial under way.
struct Running<'a> {
    params: &'a Params,
    traces: &'a Traces,
    trial: Trial,
    arbiter: Arbiter,
    // Switched off before their house goes.
    vms: Vec<Vm<'a>>,
    house: House,
    slots: Vec<Slot>,
    lru: GlobalLru,
    row: MultiplexRow,
    sizes: Vec<MultiplexSizeRow>,
    /// How long the accesses that count took.
    latencies: Vec<Bucket>,
    /// The longest resize.
    resize_ns: u64,
    /// Accesses and hits that count of VMs that were promised a hit ratio.
    promised: BTreeMap<u32, (f64, u64, u64)>,
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
    /// Runs it in a house.
    ///
    /// # Errors
    /// When a guest cannot run.
    pub(super) fn run(self, params: &Params, traces: &Traces, house: House) -> Result<Outcome> {
        let damping = match self.policy {
            // What it goes by does not change, so it moves once.
            PolicyName::Oracle => Damping::none(),
            _ => Damping {
                horizon_periods: Some(params.horizon),
                ..Damping::default()
            },
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
            house,
            arbiter: Arbiter::new(self.policy, damping, Patience::default())?,
            vms: Vec::new(),
            slots,
            lru: GlobalLru::default(),
            row,
            sizes: Vec::new(),
            latencies: Vec::new(),
            resize_ns: 0,
            promised: BTreeMap::new(),
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
    fn run(mut self) -> Result<Outcome> {
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
            self.vms.iter_mut().try_for_each(Vm::begin)?;
            let mut uncounted = Vec::new();
            let latencies = if self.counts(period) {
                &mut self.latencies
            } else {
                &mut uncounted
            };
            for vm in &mut self.vms {
                served.push(vm.finish(latencies)?);
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
        let short = self.promised.values().map(|&(goal, accesses, hits)| {
            let ratio = hits as f64 / accesses.max(1) as f64;
            (1.0 - ratio / goal).max(0.0)
        });
        self.row.goal_short_ppm = (1e6 * short.fold(0.0, f64::max)).round() as u64;
        for vm in std::mem::take(&mut self.vms) {
            vm.depart(&mut self.house)?;
        }
        Ok(Outcome {
            row: self.row,
            sizes: self.sizes,
            latencies: self.latencies,
            resize_ns: self.resize_ns,
        })
    }

    /// Whether a period counts.
    fn counts(&self, period: u32) -> bool {
        period + self.params.counted >= self.params.periods
    }

    /// Blocks that no VM holds.
    fn free(&self) -> u32 {
        let held: u32 = self.vms.iter().map(Vm::held).sum();
        self.params.pool_blocks().saturating_sub(held)
    }

    fn depart(&mut self, period: u32) -> Result<()> {
        let (stay, leave): (Vec<_>, Vec<_>) = std::mem::take(&mut self.vms)
            .into_iter()
            .partition(|vm| vm.slot.departs > period);
        self.vms = stay;
        for vm in leave {
            self.lru.forget(vm.slot.vm);
            vm.depart(&mut self.house)?;
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
            let held = self.params.part(at_a_time).min(self.free());
            let held = held.min(bounds.limit());
            let promised = Promised {
                bounds,
                weight,
                goal: schedule.goal(slot.vm).map(Goal::hit_ratio).transpose()?,
            };
            let boot = Vm::boot(
                self.params,
                &mut self.house,
                self.traces.of(schedule, slot.vm),
                *slot,
                promised,
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
        let round = self.arbiter.decide(pool_blocks, self.free(), &known);
        for (vm, advice) in self.vms.iter_mut().zip(&round.advice) {
            vm.advise(*advice)?;
        }
        self.carry_out(&round.decisions, period)?;
        // Shrinks have ended at once, and what they freed is for others.
        for (vm, known) in self.vms.iter().zip(&mut known) {
            known.held = vm.held();
        }
        let more = self.arbiter.resume(self.free(), &known, &round);
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
        let resized = vm.resize(to, pick, self.params.deadline(), seed)?;
        self.row.resizes += 1;
        self.resize_ns = self.resize_ns.max(resized.elapsed_ns);
        let is_right = resized.is_complete() && resized.agreed;
        if to < from {
            let taken_by_force = pick == Pick::Guest && resized.revoked > 0;
            let is_late = !is_right || taken_by_force;
            self.row.late += u64::from(is_late);
            self.row.moved_blocks += u64::from(from.saturating_sub(resized.held));
            let base = self.params.part(self.params.vms_of(self.trial.schedule));
            if self.trial.policy == PolicyName::Harvest && from > base {
                self.row.reclaims += 1;
                self.row.late_reclaims += u64::from(is_late);
            }
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
        if !self.counts(period) {
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
        for (vm, of) in self.vms.iter().zip(served) {
            // One that has just arrived has what was free.
            if vm.slot.arrives == 0 || vm.slot.arrives < period {
                let reserved = f64::from(vm.bounds.reservation());
                let short = (1.0 - f64::from(of.held) / reserved.max(1.0)).max(0.0);
                let short = (1e6 * short).round() as u64;
                self.row.reservation_short_ppm = self.row.reservation_short_ppm.max(short);
            }
            if let Some(goal) = self.trial.schedule.goal(vm.slot.vm) {
                let (_, accesses, hits) = self.promised.entry(vm.slot.vm).or_insert((goal, 0, 0));
                *accesses += of.accesses;
                *hits += of.hits;
            }
        }
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
