//! Timed shrinks and grows.

use std::time::Instant;

use anyhow::{Context, Result};
use lab::linux::image::LinuxImage;
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::Shape;
use lab::vm_host::VmHost;
use results::store::RunFolder;

use super::churn::{DISK, PATIENCE};
use super::{agent, scripts};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::params::in_blocks_of;
use crate::experiments::linux::file_system::{FileSystem, MOUNT};
use crate::experiments::linux::params::Params;
use crate::experiments::linux::rows::{LinuxTimesRow, State};

pub(super) fn run(
    params: &Params,
    file_system: FileSystem,
    lab: &Lab,
    vm_host: &VmHost,
    image: &LinuxImage,
    folder: &mut RunFolder,
) -> Result<()> {
    let times = &params.times;
    let shape = Shape {
        size: params.size,
        block_size: params.block_size,
        written: params.size,
    };
    let mut testbed = LinuxTestbed::start(vm_host, image, shape, Vec::new())?;
    let count = times.states.len() * times.changes.len() * times.repetitions as usize;
    let name = format!("{file_system}: timed resizes");
    let bar = lab.progress.bar(&name, count as u64);
    for state in &times.states {
        prepare(&mut testbed, file_system, *state)
            .with_context(|| format!("make a file system that is {state}"))?;
        for change in &times.changes {
            let change_blocks = in_blocks_of(params.block_size, "times.changes", *change)?;
            for repetition in 0..times.repetitions {
                let mut row = LinuxTimesRow {
                    file_system,
                    state: *state,
                    change_blocks,
                    repetition,
                    taken_blocks: 0,
                    shrink_ns: 0,
                    shrink_device_ns: 0,
                    extents: 0,
                    grow_ns: 0,
                    grow_device_ns: 0,
                };
                resize(&mut testbed, params.block_size.0, &mut row)?;
                folder.append(&row)?;
                bar.inc(1);
            }
        }
        agent::stop(&mut testbed.guest)?;
        testbed.guest.expect(&format!("umount {MOUNT}"), PATIENCE)?;
    }
    bar.finish_and_clear();
    testbed.shut_down()
}

/// Makes the file system and what is on it, and starts the agent.
fn prepare(testbed: &mut LinuxTestbed, file_system: FileSystem, state: State) -> Result<()> {
    let mut scripts = vec![file_system.make(DISK), file_system.mount(DISK)];
    match state {
        State::Empty => {}
        State::HalfFull => scripts.push(scripts::fill(1024, 50)),
        State::Fragmented => scripts.extend([scripts::fill(16, 90), scripts::thin_out()]),
    }
    for script in scripts {
        testbed.guest.expect(&script, PATIENCE)?;
    }
    agent::start(testbed).map(drop)
}

/// Shrinks and grows back.
fn resize(testbed: &mut LinuxTestbed, block_size: u64, row: &mut LinuxTimesRow) -> Result<()> {
    let held = testbed.vssd.status()?.held;
    let began = Instant::now();
    let shrunk = agent::resize(testbed, held - row.change_blocks)?;
    row.shrink_ns = began.elapsed().as_nanos() as u64;
    row.shrink_device_ns = shrunk.device_ns;
    row.taken_blocks = held - shrunk.held;
    let balloon = testbed
        .guest
        .expect(&scripts::balloon(block_size), PATIENCE)?;
    let [extents, _] =
        scripts::numbers::<2>(&balloon).with_context(|| format!("no counts in: {balloon}"))?;
    row.extents = extents;
    let began = Instant::now();
    let grown = agent::resize(testbed, held)?;
    row.grow_ns = began.elapsed().as_nanos() as u64;
    row.grow_device_ns = grown.device_ns;
    Ok(())
}
