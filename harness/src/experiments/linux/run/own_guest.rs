//! Requests of this project's guest beside those of the Linux guest, each on a vSSD of its own.

use anyhow::{Context, Result, ensure};
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::{Shape, Testbed as _, fill};
use lab::vm_host::VmTestbed;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use results::store::RunFolder;
use workloads::{Command, Pattern, Workload, command, report};

use super::churn::{DISK, PATIENCE};
use super::overhead::{fill_disk, slice};
use super::site::Site;
use crate::experiments::common::reports::all;
use crate::experiments::linux::rows::{GuestKind, LinuxGuestRow, Way};

/// Reads of this project's guest from which the length of its slices is estimated.
const PROBED: u64 = 2000;

pub(super) fn run(site: &Site<'_>, folder: &mut RunFolder) -> Result<()> {
    let own_guest = &site.params.own_guest;
    let mut linux = site.guest(own_guest.size, own_guest.size, Vec::new())?;
    fill_disk(&mut linux.guest, DISK, own_guest.size)?;
    let shape = Shape {
        size: own_guest.size,
        block_size: site.params.block_size,
        written: own_guest.size,
    };
    let mut own = site.vm_host.start(shape)?;
    fill(&mut own, site.lab.seed)?;
    let mut random = StdRng::seed_from_u64(site.lab.seed);
    let count = own_guest.depths.len() * own_guest.rounds as usize * 2;
    let bar = site.lab.progress.bar("guests", count as u64);
    for round in 0..own_guest.rounds {
        for depth in &own_guest.depths {
            let mut guests = [GuestKind::Own, GuestKind::Linux];
            guests.shuffle(&mut random);
            for guest in guests {
                let (requests, elapsed_guest_ns) = match guest {
                    GuestKind::Own => {
                        own_slice(&mut own, *depth, own_guest.slice_ms, random.random())?
                    }
                    GuestKind::Linux => linux_slice(&mut linux, *depth, own_guest.slice_ms)?,
                };
                folder.append(&LinuxGuestRow {
                    round,
                    guest,
                    depth: *depth,
                    requests,
                    elapsed_guest_ns,
                })?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    own.shut_down()?;
    linux.shut_down()
}

fn linux_slice(testbed: &mut LinuxTestbed, depth: u32, slice_ms: u64) -> Result<(u64, u64)> {
    let of = slice(&mut testbed.guest, DISK, Way::Read, depth, slice_ms)?;
    Ok((of.requests, of.elapsed_guest_ns))
}

/// Reads for about so long. All are compared with what was written.
fn own_slice(testbed: &mut VmTestbed, depth: u32, slice_ms: u64, seed: u64) -> Result<(u64, u64)> {
    let mut read = |count, seed| -> Result<(u64, u64)> {
        let command = Command::Read(command::Read {
            workload: Workload {
                pattern: Pattern::Uniform,
                phase: None,
            },
            seed,
            start: 0,
            count,
            depth,
            per_block: false,
            check: true,
        });
        let reports = testbed.guest().run(&command, PATIENCE)?;
        let read: Option<&report::Read> = all(&reports).next();
        let read = read.context("the guest did not report what it read")?;
        ensure!(
            read.hits == count,
            "of {count} reads, {} missed and {} failed",
            read.misses,
            read.errors
        );
        Ok((count, read.elapsed_ns))
    };
    let (count, elapsed_ns) = read(PROBED, seed)?;
    let wanted = u128::from(count) * u128::from(slice_ms) * 1_000_000;
    let count = (wanted / u128::from(elapsed_ns.max(1))) as u64;
    read(count.max(1), seed.wrapping_add(1))
}
