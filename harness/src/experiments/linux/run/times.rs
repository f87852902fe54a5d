//! Timed shrinks and grows.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::linux::testbed::LinuxTestbed;
use results::store::RunFolder;

use super::agent::{self, Spent};
use super::churn::{DISK, PATIENCE};
use super::scripts;
use super::site::Site;
use crate::experiments::common::params::in_blocks_of;
use crate::experiments::linux::file_system::{FileSystem, MOUNT};
use crate::experiments::linux::params::Case;
use crate::experiments::linux::rows::{LinuxTimesRow, State};

pub(super) fn run(site: &Site<'_>, folder: &mut RunFolder) -> Result<()> {
    let (file_systems, times) = (&site.params.file_systems, &site.params.times);
    let changes: usize = times.cases.iter().map(|case| case.changes.len()).sum();
    let count = file_systems.len() * changes * times.repetitions as usize;
    let bar = site.lab.progress.bar("timed resizes", count as u64);
    for case in &times.cases {
        for file_system in file_systems {
            let what = || format!("{} with {file_system} that is {}", case.size, case.state);
            let mut timed = Timed::start(site, *file_system, case).with_context(what)?;
            for change in &case.changes {
                for repetition in 0..times.repetitions {
                    let blocks = in_blocks_of(site.params.block_size, "times.cases", *change)?;
                    let row = timed.resize(blocks, repetition).with_context(what)?;
                    folder.append(&row)?;
                    bar.inc(1);
                }
            }
            timed.end().with_context(what)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A file system whose disk is resized.
struct Timed<'a> {
    testbed: LinuxTestbed,
    file_system: FileSystem,
    case: &'a Case,
    block_size: u64,
}

impl<'a> Timed<'a> {
    /// Makes the file system and what is on it, and starts the agent.
    fn start(site: &Site<'_>, file_system: FileSystem, case: &'a Case) -> Result<Self> {
        let mut testbed = site.guest(case.size, case.written(), Vec::new())?;
        let mut scripts = vec![file_system.make(DISK), file_system.mount(DISK)];
        match case.state {
            State::Empty => {}
            State::HalfFull => scripts.push(scripts::allocate(50)),
            State::Fragmented => scripts.push(scripts::fragment()),
        }
        for script in scripts {
            testbed.guest.expect(&script, PATIENCE)?;
        }
        agent::start(&mut testbed)?;
        Ok(Self {
            testbed,
            file_system,
            case,
            block_size: site.params.block_size.0,
        })
    }

    /// Shrinks and grows back.
    fn resize(&mut self, change_blocks: u32, repetition: u32) -> Result<LinuxTimesRow> {
        let testbed = &mut self.testbed;
        let held = testbed.vssd.status()?.held;
        let before = agent::spent(&mut testbed.guest)?;
        let began = Instant::now();
        let shrunk = agent::resize(testbed, held - change_blocks)?;
        let shrink_ns = began.elapsed().as_nanos() as u64;
        let Spent {
            allocate_ns,
            sync_ns,
            map_ns,
        } = agent::spent(&mut testbed.guest)? - before;
        ensure!(
            allocate_ns > 0,
            "the agent did not say how long it allocated; its log:\n{}",
            agent::log(&mut testbed.guest)
        );
        let balloon = scripts::balloon(self.block_size);
        let balloon = testbed.guest.expect(&balloon, PATIENCE)?;
        let [extents, _] =
            scripts::numbers::<2>(&balloon).with_context(|| format!("no counts in: {balloon}"))?;
        let began = Instant::now();
        let grown = agent::resize(testbed, held)?;
        Ok(LinuxTimesRow {
            file_system: self.file_system,
            state: self.case.state,
            size_bytes: self.case.size.0,
            change_blocks,
            change_bytes: u64::from(change_blocks) * self.block_size,
            repetition,
            taken_blocks: held - shrunk.held,
            shrink_ns,
            shrink_device_ns: shrunk.device_ns,
            allocate_guest_ns: allocate_ns,
            sync_guest_ns: sync_ns,
            map_guest_ns: map_ns,
            extents,
            grow_ns: began.elapsed().as_nanos() as u64,
            grow_device_ns: grown.device_ns,
        })
    }

    fn end(mut self) -> Result<()> {
        agent::stop(&mut self.testbed.guest)?;
        let unmount = format!("umount {MOUNT}");
        self.testbed.guest.expect(&unmount, PATIENCE)?;
        self.testbed.shut_down()
    }
}
