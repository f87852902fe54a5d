//! Where the VMs of a trial run: as twins in this process, or under QEMU.

use anyhow::{Context, Result};
use lab::backend::Sharing;
use lab::fleet::Fleet;
use lab::testbed::{Disks, Shape, Testbed};
use lab::twin::TwinPool;
use lab::vm_host::VmHost;
use vssd_host::size::ByteSize;

use super::params::Params;
use super::schedule::Schedule;
use super::traces::Trace;
use crate::experiments::common::cached::{BLOCK, disks};

/// A pool, and what VMs on it run in.
pub(super) enum House {
    Twins(TwinPool),
    Qemu(Box<Fleet>),
}

impl House {
    /// A pool of twins.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn of_twins(params: &Params) -> Result<Self> {
        Ok(Self::Twins(TwinPool::new(Shape {
            size: params.pool,
            block_size: ByteSize(BLOCK),
            written: ByteSize(0),
        })?))
    }

    /// A backend with a vSSD for each VM of a schedule, all of which run from the start.
    ///
    /// # Errors
    /// When the backend or a guest does not start.
    pub(super) fn under_qemu(
        params: &Params,
        schedule: Schedule,
        vm_host: &VmHost,
    ) -> Result<Self> {
        let vms = params.vms_of(schedule);
        let limit = params.bounds(vms, 1)?.limit();
        let mut disks = vm_disks(params, None, limit);
        disks.vssd.written = disks.vssd.size;
        let sharing = Sharing {
            vms: vms as usize,
            pool: params.pool,
            arbiter: None,
        };
        Ok(Self::Qemu(Box::new(Fleet::start(vm_host, disks, sharing)?)))
    }

    /// Boots a VM that holds `held` blocks. Under QEMU it has booted with its equal part, and VMs are
    /// asked for in order.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn boot(&mut self, vm: u32, disks: &Disks, held: u32) -> Result<Box<dyn Testbed>> {
        Ok(match self {
            Self::Twins(pool) => Box::new(pool.boot(&name(vm), disks, held)?),
            Self::Qemu(fleet) => {
                let is_there = !fleet.vms.is_empty();
                let vm = is_there.then(|| fleet.vms.remove(0));
                Box::new(vm.context("the backend has no other vSSD")?)
            }
        })
    }

    /// Switches a VM off, and deletes its vSSD where blocks go to others after that.
    ///
    /// # Errors
    /// When it does not shut down, or has no vSSD.
    pub(super) fn remove(&mut self, vm: u32, testbed: Box<dyn Testbed>) -> Result<()> {
        match self {
            Self::Twins(pool) => {
                drop(testbed);
                pool.remove(&name(vm))
            }
            Self::Qemu(_) => testbed.shut_down(),
        }
    }
}

/// The disks of a VM that holds at most `limit` blocks. Only counts matter, which no data change.
pub(super) fn vm_disks(params: &Params, trace: Option<&Trace>, limit: u32) -> Disks {
    let blocks = trace.map_or(Schedule::origin_blocks(params), Trace::origin_blocks);
    let of_blocks = |blocks: u32| ByteSize(u64::from(blocks) * BLOCK);
    let mut disks = disks(of_blocks(limit), of_blocks(blocks), None);
    disks.vssd.written = ByteSize(0);
    disks.trace = trace.map(|trace| trace.image().to_path_buf());
    disks
}

fn name(vm: u32) -> String {
    format!("vm{vm}")
}
