//! Runs the bench-resize experiment.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::native::client::Client;
use lab::native::load::{Load, Pattern};
use lab::testbed::{GuestChannel, Shape, Testbed, resize_timed};
use lab::twin::Twin;
use lab::vm_host::VmHost;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use results::store::RunFolder;

use vssd_host::size::ByteSize;
use workloads::{Command, GuestPick, command};

use super::disturbance;
use super::params::Params;
use super::rows::{BLOCKS, MOVED, MemoryRow, ResizeRow, YardstickRow};
use super::server::{BLOCK, PATIENCE, start};
use crate::experiments::common::lab::Lab;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let (vm_host, seed) = (lab.vm_host()?, lab.seed);
    let bar = lab
        .progress
        .bar("resize", u64::from(3 * params.repetitions) + 12);
    with_guest(params, lab, folder, || bar.inc(1))?;
    let place = tempfile::Builder::new().prefix("vssd-").tempdir();
    let place = place.context("make a folder for the pool")?;
    let mut memory = backend_memory(place.path(), seed)?;
    bar.inc(1);
    (memory.few_resizes, memory.many_resizes) = twin_memory(params.resizes, seed)?;
    bar.inc(1);
    let tenth = || bar.inc(1);
    journal_memory(vm_host, params.resizes, seed, &mut memory, tenth)?;
    folder.append(&memory)?;
    for repetition in 0..params.repetitions {
        let place = tempfile::Builder::new().prefix("vssd-").tempdir();
        let place = place.context("make a folder for the pool")?;
        disturbance::measure(place.path(), seed, repetition, folder)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn with_guest(
    params: &Params,
    lab: &Lab,
    folder: &mut RunFolder,
    mut measured: impl FnMut(),
) -> Result<()> {
    let shape = Shape {
        size: ByteSize(u64::from(BLOCKS) * BLOCK),
        block_size: ByteSize(BLOCK),
        written: ByteSize(0),
    };
    let seed = lab.seed;
    let mut order: Vec<u32> = (0..MOVED).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(seed));
    let mut entries = vec![0; order.len()];
    let mut bench = lab.bench(shape, folder)?;
    for repetition in 0..params.repetitions {
        for pick in [GuestPick::Scattered, GuestPick::Highest] {
            bench.guest.set_pick(pick, seed, PATIENCE)?;
            let (shrink_ns, shrink_device_ns) = timed(&mut bench, BLOCKS - MOVED)?;
            let (grow_ns, grow_device_ns) = timed(&mut bench, BLOCKS)?;
            folder.append(&ResizeRow {
                pick: pick.to_string(),
                repetition,
                blocks: MOVED,
                shrink_ns,
                shrink_device_ns,
                grow_ns,
                grow_device_ns,
            })?;
            measured();
        }
        let (block_shrink_ns, block_shrink_device_ns) = timed(&mut bench, BLOCKS - 1)?;
        let (block_grow_ns, block_grow_device_ns) = timed(&mut bench, BLOCKS)?;
        folder.append(&YardstickRow {
            repetition,
            block_shrink_ns,
            block_shrink_device_ns,
            block_grow_ns,
            block_grow_device_ns,
            visit_ns: visit(&mut entries, &order).as_nanos() as u64,
        })?;
    }
    bench.shut_down()
}

/// Accesses each entry once, in this order.
fn visit(entries: &mut [u32], order: &[u32]) -> Duration {
    let began = Instant::now();
    for at in order {
        entries[*at as usize] += 1;
    }
    black_box(entries);
    began.elapsed()
}

/// Time from the command until both lists agreed, and the device's part of it.
fn timed(testbed: &mut dyn Testbed, target: u32) -> Result<(u64, u64)> {
    let (resized, elapsed_ns) = resize_timed(testbed, target, PATIENCE)?;
    ensure!(
        resized.is_complete() && resized.agreed && resized.revoked == 0,
        "a resize to {target} blocks ended as {resized:?}"
    );
    Ok((elapsed_ns, resized.device_ns))
}

fn backend_memory(folder: &Path, seed: u64) -> Result<MemoryRow> {
    let mut memory = MemoryRow::default();
    {
        let server = start(folder, "small.img", 256)?;
        // Memory of a connection is not counted.
        let _client = Client::vhost_user(&server.socket, 256 * BLOCK)?;
        memory.small = server.memory()?;
    }
    let server = start(folder, "large.img", BLOCKS.into())?;
    let len = u64::from(BLOCKS) * BLOCK;
    let mut client = Client::vhost_user(&server.socket, len)?;
    memory.large = server.memory()?;
    let load = Load {
        pattern: Pattern::RandomWrite,
        bytes: BLOCK as u32,
        depth: 32,
    };
    memory.written_blocks = client.run(load, Duration::from_secs(2), seed)?.requests;
    memory.written = server.memory()?;
    Ok(memory)
}

/// Memory of this process, which has a guest and its device, after a tenth of the resizes and
/// after all of them.
fn twin_memory(resizes: u32, seed: u64) -> Result<(u64, u64)> {
    let mut twin = Twin::start(Shape {
        size: ByteSize(1 << 30),
        block_size: ByteSize(BLOCK),
        written: ByteSize(0),
    })?;
    let capacity = Testbed::capacity(&twin);
    twin.set_pick(GuestPick::Scattered, seed, PATIENCE)?;
    let mut few = 0;
    for resize in 0..resizes {
        let target = match resize % 2 {
            0 => capacity / 2,
            _ => capacity,
        };
        timed(&mut twin, target)?;
        if resize == resizes / 10 {
            few = lab::native::server::memory_of("self")?;
        }
    }
    let many = lab::native::server::memory_of("self")?;
    Ok((few, many))
}

/// Memory of a backend on a file whose guest gives up scattered blocks and gets them back, after a
/// tenth of the resizes and after all of them. Returned blocks are written from time to time, so
/// that shrinks release physical blocks.
fn journal_memory(
    vm_host: &VmHost,
    resizes: u32,
    seed: u64,
    memory: &mut MemoryRow,
    mut measured: impl FnMut(),
) -> Result<()> {
    let mut bench = vm_host.start(Shape {
        size: ByteSize(256 << 20),
        block_size: ByteSize(BLOCK),
        written: ByteSize(256 << 20),
    })?;
    let process = bench.backends.vssd.pid().to_string();
    let capacity = Testbed::capacity(&bench);
    bench.guest.set_pick(GuestPick::Scattered, seed, PATIENCE)?;
    for resize in 0..resizes {
        let target = match resize % 2 {
            0 => capacity / 2,
            _ => capacity,
        };
        timed(&mut bench, target)?;
        if resize % 64 == 1 {
            let writes = Command::Stress(command::Stress {
                count: 1000,
                seed: seed + u64::from(resize),
                depth: 32,
                writes: 100,
                latency: false,
            });
            bench.guest().run(&writes, PATIENCE)?;
        }
        if resize == resizes / 10 {
            memory.few_journaled = lab::native::server::memory_of(&process)?;
        }
        if resize % (resizes / 10).max(1) == 0 {
            measured();
        }
    }
    memory.many_journaled = lab::native::server::memory_of(&process)?;
    let pool = bench.backends.vssd.client(Some(PATIENCE))?.status()?.pool;
    (memory.commits, memory.compactions) = (pool.commits, pool.compactions);
    bench.shut_down()
}
