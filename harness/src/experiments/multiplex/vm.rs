//! A VM of a trial: a twin, what it is about to do, and what its demand was.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use guest_cache::WritePolicy;
use guest_cache::mrc::DemandSampler;
use lab::testbed::{ResizeOptions, Testbed};
use terminal::interrupt;
use vssd_host::arbiter::{Advice, Bounds, Curve, Demand, Goal, Reports, Vm as Known, VmId};
use vssd_host::control::protocol::{CurvePoint, DemandStatus, Resized};
use workloads::Pick;
use workloads::latency::{Bucket, merged};
use workloads::pattern::derive_seed;
use workloads::replay::{Access, AccessKind};

use super::house::{House, vm_disks};
use super::loads::{Load, Slot};
use super::params::Params;
use super::traces::Trace;
use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad, PATIENCE, Replayed};

/// Points of a curve of the future.
const FUTURE_POINTS: usize = 500;

/// A guest on a vSSD of the pool.
pub(super) struct Vm<'a> {
    pub(super) slot: Slot,
    pub(super) bounds: Bounds,
    pub(super) weight: u32,
    testbed: Box<dyn Testbed>,
    /// Blocks that it holds.
    held: u32,
    /// Of these, blocks that hold the cache's own records.
    metadata_blocks: u32,
    goal: Option<Goal>,
    advice: Advice,
    seed: u64,
    /// What it replays, and from which access on.
    trace: Option<(&'a Trace, u64)>,
    /// Accesses so far.
    done: u64,
    /// Blocks read from and written to the origin disk, and written to the vSSD, so far.
    moved: [u64; 3],
    reports: Reports,
    /// What it demands in a period of its life, for the `oracle`.
    future: Option<Demand>,
    next: Option<Next>,
}

/// What a VM is promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promised {
    pub(super) bounds: Bounds,
    pub(super) weight: u32,
    pub(super) goal: Option<Goal>,
}

/// What a VM does in the next period.
struct Next {
    load: CacheLoad,
    accesses: Vec<Access>,
}

/// What became of a period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Period {
    pub(super) accesses: u64,
    pub(super) hits: u64,
    pub(super) writes: u64,
    pub(super) failed: u64,
    pub(super) origin_reads: u64,
    pub(super) origin_writes: u64,
    pub(super) ssd_writes: u64,
    /// Different blocks that were accessed.
    pub(super) distinct: u32,
    /// Blocks that the VM held.
    pub(super) held: u32,
}

impl<'a> Vm<'a> {
    /// Boots a VM that holds `held` blocks, and opens its cache.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn boot(
        params: &Params,
        house: &mut House,
        trace: Option<&'a Trace>,
        slot: Slot,
        promised: Promised,
        pick: Pick,
        (seed, held): (u64, u32),
    ) -> Result<Self> {
        let Promised {
            bounds,
            weight,
            goal,
        } = promised;
        let disks = vm_disks(params, trace, bounds.limit());
        let mut testbed = house.boot(slot.vm, &disks, held)?;
        if let Pick::Host(pick) = pick
            && pick.needs_tracker()
        {
            testbed.observe(pick)?;
        }
        let cache = Cache {
            sample: params.sample,
            ..Cache::new(params.evict, WritePolicy::WriteThrough)
        };
        let metadata_blocks = cache.open(testbed.guest())?.metadata_blocks;
        let needed = u64::from(params.periods) * params.accesses;
        let trace = trace.map(|trace| {
            (
                trace,
                trace.start(derive_seed(seed, slot.vm.into()), needed),
            )
        });
        Ok(Self {
            slot,
            bounds,
            weight,
            testbed,
            held,
            metadata_blocks,
            goal,
            advice: Advice::NONE,
            seed: derive_seed(seed, slot.vm.into()),
            trace,
            done: 0,
            moved: [0; 3],
            reports: Reports::new(
                f64::from(params.memory_percent) / 100.0,
                f64::from(params.changed_percent) / 100.0,
            ),
            future: None,
            next: None,
        })
    }

    pub(super) fn id(&self) -> VmId {
        VmId(self.slot.vm)
    }

    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// What it is about to do in a period.
    ///
    /// # Errors
    /// When the workload has no accesses.
    pub(super) fn plan(&mut self, load: Option<Load>, period: u32, depth: u32) -> Result<()> {
        let load = load.map(|load| self.load(load, period, self.done, depth));
        self.next = match load {
            Some(load) => Some(Next {
                accesses: self.accesses_of(&load)?,
                load,
            }),
            None => None,
        };
        Ok(())
    }

    /// Finds out what it will demand in a mean period of its life, from all accesses that it will
    /// make, whose loads are `life` by period.
    ///
    /// # Errors
    /// When a workload has no accesses.
    pub(super) fn foresee(
        &mut self,
        life: impl Iterator<Item = (u32, Option<Load>)>,
    ) -> Result<()> {
        let mut sampler = DemandSampler::new(usize::MAX).context("sample all blocks")?;
        let mut done = 0;
        let mut periods = 0;
        for (period, load) in life {
            interrupt::check()?;
            periods += 1;
            let Some(load) = load else {
                continue;
            };
            let load = self.load(load, period, done, 1);
            done += load.count;
            for access in self.accesses_of(&load)? {
                sampler.access(access.block, false, access.kind == AccessKind::Write);
            }
        }
        let demand = sampler.take(FUTURE_POINTS);
        let mean = demand.accesses as f64 / f64::from(periods.max(1));
        let curve = |curve: &[(u64, f64)]| {
            let steps = curve.iter().map(|(blocks, ratio)| {
                let held = match u32::try_from(*blocks).unwrap_or(u32::MAX) {
                    0 => 0,
                    blocks => blocks.saturating_add(self.metadata_blocks),
                };
                (held, *ratio)
            });
            Curve::of_steps(mean, steps).ok()
        };
        self.future = Some(Demand {
            accesses: mean.round() as u64,
            writes: (demand.writes as f64 / f64::from(periods.max(1))) as u64,
            curve: curve(&demand.curve),
            reads: curve(&demand.reads),
            ..Demand::default()
        });
        Ok(())
    }

    fn load(&self, load: Load, period: u32, start: u64, depth: u32) -> CacheLoad {
        let begins = self.trace.map_or(0, |(_, begins)| begins);
        let seed = derive_seed(self.seed, period.into());
        load.of_cache(seed, begins + start, depth)
    }

    fn accesses_of(&self, load: &CacheLoad) -> Result<Vec<Access>> {
        Ok(match self.trace {
            Some((trace, _)) => trace.part(load.start, load.count).to_vec(),
            None => load.accesses()?.take(load.count as usize).collect(),
        })
    }

    /// Blocks that it is about to access.
    pub(super) fn accesses(&self) -> &[Access] {
        self.next.as_ref().map_or(&[], |next| &next.accesses)
    }

    /// Begins the accesses of the period.
    ///
    /// # Errors
    /// When the guest cannot.
    pub(super) fn begin(&mut self) -> Result<()> {
        match &self.next {
            Some(Next { load, .. }) => self.testbed.guest().start(&load.command(false)),
            None => Ok(()),
        }
    }

    /// Waits until the accesses of the period are made. Adds how long they took to `latencies`.
    ///
    /// # Errors
    /// When the guest cannot.
    pub(super) fn finish(&mut self, latencies: &mut Vec<Bucket>) -> Result<Period> {
        let held = self.held;
        let Some(Next { load, accesses }) = self.next.take() else {
            return Ok(Period {
                held,
                ..Period::default()
            });
        };
        let replayed = Replayed::of(&self.testbed.guest().finish(PATIENCE)?)?;
        *latencies = merged([latencies.as_slice(), &replayed.buckets]);
        self.done += load.count;
        let written = self.testbed.status()?.counters.written_bytes / BLOCK;
        let moved = [replayed.origin_reads, replayed.origin_writes, written];
        let before = std::mem::replace(&mut self.moved, moved);
        let [origin_reads, origin_writes, ssd_writes] =
            std::array::from_fn(|of| moved[of] - before[of]);
        let distinct: HashSet<u32> = accesses.iter().map(|access| access.block).collect();
        let is_write = |access: &&Access| access.kind == AccessKind::Write;
        Ok(Period {
            accesses: load.count,
            hits: replayed.read_hits + replayed.write_hits,
            writes: accesses.iter().filter(is_write).count() as u64,
            failed: replayed.failed + replayed.beyond,
            origin_reads,
            origin_writes,
            ssd_writes,
            distinct: distinct.len() as u32,
            held,
        })
    }

    /// What the arbiter knows after a period: what the guest reports, or what was
    /// [foreseen](Self::foresee).
    ///
    /// # Errors
    /// When the guest cannot report.
    pub(super) fn known(&mut self, period: &Period, (base, recent): (u32, u32)) -> Result<Known> {
        let reported = self.testbed.demand()?;
        if let Some(reported) = reported.filter(|demand| demand.accesses > 0) {
            let Demand { curve, reads, .. } = demanded(&reported);
            self.reports.add(curve, reads);
        }
        let demand = self.future.clone().unwrap_or_else(|| Demand {
            accesses: period.accesses,
            hits: period.hits,
            writes: period.writes,
            curve: self.reports.curve().cloned(),
            reads: self.reports.reads().cloned(),
            recent: Some(recent),
            wanted: None,
        });
        Ok(Known {
            id: self.id(),
            bounds: self.bounds,
            base,
            goal: self.goal,
            held: self.held,
            resizing: None,
            demand,
        })
    }

    /// Resizes it to so many blocks.
    ///
    /// # Errors
    /// When the guest cannot run.
    pub(super) fn resize(
        &mut self,
        to: u32,
        pick: Pick,
        deadline: Duration,
        seed: u64,
    ) -> Result<Resized> {
        let options = ResizeOptions {
            pick,
            deadline,
            seed,
        };
        let resized = self.testbed.resize_to(to, options)?;
        self.held = resized.held;
        Ok(resized)
    }

    /// Advises its cache from the next period on.
    ///
    /// # Errors
    /// When the backend does not answer.
    pub(super) fn advise(&mut self, advice: Advice) -> Result<()> {
        if advice != self.advice {
            self.testbed.advise(advice)?;
            self.advice = advice;
        }
        Ok(())
    }

    /// Switches it off.
    ///
    /// # Errors
    /// When its vSSD cannot be deleted.
    pub(super) fn depart(self, house: &mut House) -> Result<()> {
        house.remove(self.slot.vm, self.testbed)
    }
}

/// What a report alone says.
pub(super) fn demanded(reported: &DemandStatus) -> Demand {
    Demand {
        accesses: reported.accesses,
        hits: reported.hits,
        writes: reported.writes,
        curve: curve_of(reported.accesses as f64, &reported.curve),
        reads: curve_of(reported.accesses as f64, &reported.reads),
        ..Demand::default()
    }
}

fn curve_of(accesses: f64, points: &[CurvePoint]) -> Option<Curve> {
    let steps = points
        .iter()
        .map(|point| (point.blocks, f64::from(point.misses_ppm) / 1e6));
    Curve::of_steps(accesses, steps).ok()
}

/// One LRU list over the blocks of all VMs.
#[derive(Default)]
pub(super) struct GlobalLru {
    /// When each block was last accessed.
    last: HashMap<(u32, u32), u64>,
    now: u64,
}

impl GlobalLru {
    /// The accesses of a period, by VM, evenly over the period.
    pub(super) fn period(&mut self, of_vms: &[(u32, &[Access])]) {
        let length = of_vms.iter().map(|(_, of)| of.len()).max().unwrap_or(0) as u64;
        for (vm, accesses) in of_vms {
            let count = accesses.len().max(1) as u64;
            for (place, access) in accesses.iter().enumerate() {
                let at = self.now + place as u64 * length / count;
                self.last.insert((*vm, access.block), at);
            }
        }
        self.now += length;
    }

    /// A VM is there no more.
    pub(super) fn forget(&mut self, vm: u32) {
        self.last.retain(|(of, _), _| *of != vm);
    }

    /// How many of each VM's blocks are among the `blocks` that were accessed last.
    pub(super) fn newest(&mut self, blocks: u32) -> HashMap<u32, u32> {
        let mut ages: Vec<(u64, u32, u32)> = self
            .last
            .iter()
            .map(|((vm, block), at)| (self.now - at, *vm, *block))
            .collect();
        let blocks = blocks as usize;
        if ages.len() > blocks {
            ages.select_nth_unstable(blocks);
            // What is older never comes back before it is accessed again.
            for (_, vm, block) in ages.drain(blocks..) {
                self.last.remove(&(vm, block));
            }
        }
        let mut newest = HashMap::new();
        for (_, vm, _) in ages {
            *newest.entry(vm).or_default() += 1;
        }
        newest
    }
}
