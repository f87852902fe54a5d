//! What twins cost: memory, accesses a second, and the time of a decision about all of them.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use guest_cache::WritePolicy;
use lab::native::server::memory_of;
use lab::testbed::{Shape, Testbed};
use lab::twin::{Twin, TwinPool};
use vssd_host::arbiter::{Arbiter, Damping, Patience, PolicyName, Vm as Known, VmId};
use vssd_host::size::ByteSize;

use super::house::vm_disks;
use super::params::Params;
use super::rows::MultiplexScaleRow;
use super::schedule::Schedule;
use super::vm::demanded;
use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad, Replayed};
use crate::experiments::common::lab::Lab;

/// Accesses of each VM.
const ACCESSES: u64 = 20_000;

/// Boots as many twins as the schedule `crowd` has, and has all of them work, and report.
///
/// # Errors
/// When a twin cannot run.
pub(super) fn measure(params: &Params, lab: &Lab) -> Result<MultiplexScaleRow> {
    let vms = params.vms_of(Schedule::Crowd);
    let bounds = params.bounds(vms, 1)?;
    let base = params.part(vms);
    let bar = lab.progress.spinner("multiplex: what twins cost");
    let before = memory_of("self")?;
    let begun = Instant::now();
    let pool = TwinPool::new(Shape {
        size: params.pool,
        block_size: ByteSize(BLOCK),
        written: ByteSize(0),
    })?;
    let disks = vm_disks(params, None, bounds.limit());
    let boot = |vm: u32| -> Result<Twin> {
        let mut twin = pool.boot(&format!("vm{vm}"), &disks, base)?;
        let cache = Cache {
            sample: params.sample,
            ..Cache::new(params.evict, WritePolicy::WriteThrough)
        };
        cache.open(twin.guest())?;
        Ok(twin)
    };
    let mut twins: Vec<Twin> = (0..vms).map(boot).collect::<Result<_>>()?;
    let boot_ns = begun.elapsed().as_nanos() as u64;

    let loads: Vec<CacheLoad> = (0..vms)
        .map(|vm| {
            let load = Schedule::Mixed.load(vm, 0, params);
            let load = load.context("a VM of the schedule has a load")?;
            Ok(CacheLoad {
                count: ACCESSES,
                ..load.of_cache(lab.seed.wrapping_add(vm.into()), 0, params.depth)
            })
        })
        .collect::<Result<_>>()?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let part = twins.len().div_ceil(threads);
    thread::scope(|scope| {
        let parts = twins.chunks_mut(part).zip(loads.chunks(part));
        let running: Vec<_> = parts
            .map(|(twins, loads)| {
                scope.spawn(move || {
                    let pairs = &mut twins.iter_mut().zip(loads);
                    pairs.try_for_each(|(twin, load)| Replayed::run(twin, load).map(drop))
                })
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let accesses_ns = begun.elapsed().as_nanos() as u64;
    let memory = memory_of("self")?.saturating_sub(before);

    let begun = Instant::now();
    let mut known = Vec::with_capacity(twins.len());
    for (vm, twin) in (0..vms).zip(&mut twins) {
        let reported = twin.demand()?.context("a guest that samples reports")?;
        known.push(Known {
            id: VmId(vm),
            bounds,
            base,
            goal: None,
            held: twin.held(),
            resizing: None,
            demand: demanded(&reported),
        });
    }
    let reports_ns = begun.elapsed().as_nanos() as u64;
    let mut arbiter = Arbiter::new(PolicyName::Mrc, Damping::default(), Patience::default())?;
    let begun = Instant::now();
    arbiter.decide(params.pool_blocks(), 0, &known);
    let decision_ns = begun.elapsed().as_nanos() as u64;
    bar.finish_and_clear();
    Ok(MultiplexScaleRow {
        vms,
        threads: threads as u32,
        memory_bytes_per_vm: memory / u64::from(vms.max(1)),
        boot_ns,
        accesses: loads.iter().map(|load| load.count).sum(),
        accesses_ns,
        reports_ns,
        decision_ns,
    })
}
