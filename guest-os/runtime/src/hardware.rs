//! The machine and its disks, as the main loop and the futures of a cache share them.

use alloc::rc::Rc;
use core::cell::RefCell;

use vssd::driver::Doubt;

use crate::disk::{BlockRequest, Disk};
use crate::port::{BlkOp, BlkPort, BlkStatus, Machine, SECTOR_LEN};
use crate::shape::Shape;
use crate::slots::{Slots, Ticket};

/// Bytes in a block of an origin disk, which are those of a cache's blocks.
pub const ORIGIN_BLOCK: usize = 4096;

/// A machine, its vSSD's driver and the slots of its origin disk.
pub struct Hardware<'m, M: Machine> {
    /// The machine.
    pub machine: &'m mut M,
    /// The vSSD's driver.
    pub disk: Disk,
    origin: Slots<()>,
    /// Counts steps of futures: while it changes, they may have more to do.
    steps: u64,
}

/// Hardware that futures share with the loop that polls them. A borrow must not span the
/// poll of another future.
pub type Shared<'m, M> = Rc<RefCell<Hardware<'m, M>>>;

/// Which disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The vSSD.
    Vssd,
    /// The origin disk.
    Origin,
}

impl<'m, M: Machine> Hardware<'m, M> {
    /// The hardware of a machine whose vSSD, or the disk in its place, has this shape.
    pub fn new(machine: &'m mut M, shape: Shape) -> Self {
        let disk = Disk::new(shape, machine.port());
        let origin_slots = machine.origin().map_or(0, |origin| origin.slot_count());
        Self {
            machine,
            disk,
            origin: Slots::new(origin_slots),
            steps: 0,
        }
    }

    /// Blocks of the origin disk; `None` without one.
    pub fn origin_blocks(&mut self) -> Option<u32> {
        let sectors = self.machine.origin()?.capacity_sectors();
        let blocks = sectors / (ORIGIN_BLOCK / SECTOR_LEN) as u64;
        Some(u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// Counts a step.
    pub fn stepped(&mut self) {
        self.steps += 1;
    }

    /// The steps of futures so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Collects the finished requests of futures, on both disks.
    pub fn arrivals(&mut self) {
        if self.disk.arrivals(self.machine) {
            self.stepped();
        }
        while let Some((slot, status)) = self.machine.origin().and_then(BlkPort::completion) {
            self.origin.arrive(slot, status);
            self.stepped();
        }
    }

    /// Rings the doorbells for what futures have submitted.
    pub fn kick(&mut self) {
        self.machine.port().kick();
        if let Some(origin) = self.machine.origin() {
            origin.kick();
        }
    }

    /// True when no request is in flight, or back and waited for.
    pub fn is_idle(&self) -> bool {
        self.disk.in_flight() == 0 && self.origin.taken() == 0
    }

    /// Whether the disk has these blocks: of a vSSD those that are held [DRV-1].
    pub fn has(&self, side: Side, first: u32, count: u32) -> bool {
        match side {
            Side::Vssd => self.disk.holds(first, count),
            Side::Origin => true,
        }
    }

    /// As [`Slots::admits`].
    pub fn admits(&mut self, side: Side, ticket: &mut Option<Ticket>) -> bool {
        match side {
            Side::Vssd => self.disk.admits(ticket),
            Side::Origin => self.origin.admits(ticket),
        }
    }

    /// As [`Slots::leave`].
    pub fn leave(&mut self, side: Side, ticket: Ticket) {
        match side {
            Side::Vssd => self.disk.leave(ticket),
            Side::Origin => self.origin.leave(ticket),
        }
    }

    /// As [`Slots::abandon`].
    pub fn abandon(&mut self, side: Side, slot: usize) {
        match side {
            Side::Vssd => self.disk.abandon(slot),
            Side::Origin => self.origin.abandon(slot),
        }
    }

    /// The buffer of a slot that no request is in flight in.
    pub fn buffer(&mut self, side: Side, slot: usize) -> &mut [u8] {
        match side {
            Side::Vssd => self.machine.port().buffer(slot),
            Side::Origin => self.origin_port().buffer(slot),
        }
    }

    fn origin_port(&mut self) -> &mut M::Disk {
        let origin = self.machine.origin();
        origin.expect("a disk that a cache was opened on does not go away")
    }

    /// Submits a request, with the data of a write, in a slot that was admitted.
    pub fn submit(&mut self, side: Side, request: BlockRequest, data: &[u8]) -> usize {
        self.stepped();
        if side == Side::Vssd {
            let slot = self.disk.free_slot().expect("a slot was admitted");
            self.machine.port().buffer(slot)[..data.len()].copy_from_slice(data);
            return self.disk.submit(self.machine, request);
        }
        let slot = self.origin.take(());
        let port = self.origin_port();
        port.buffer(slot)[..data.len()].copy_from_slice(data);
        let sector = u64::from(request.first) * (ORIGIN_BLOCK / SECTOR_LEN) as u64;
        let len = request.count as usize * ORIGIN_BLOCK;
        port.submit(slot, request.op, sector, len);
        slot
    }

    /// How the request of a slot went, if it is back, and whether a block of it was revoked
    /// meanwhile. Its buffer must be read at once.
    pub fn collect(&mut self, side: Side, slot: usize) -> Option<(BlkStatus, bool)> {
        let back = match side {
            Side::Vssd => self.disk.collect(slot),
            Side::Origin => self
                .origin
                .collect(slot)
                .map(|((), status)| (status, false)),
        };
        self.steps += u64::from(back.is_some());
        back
    }

    /// A request failed: the vSSD is asked whether it took a block of it. `None` of a disk that
    /// takes none.
    pub fn doubt(&mut self, side: Side) -> Option<Doubt> {
        match side {
            Side::Vssd => self.disk.doubt(),
            Side::Origin => None,
        }
    }

    /// A request for whole blocks.
    pub fn request(op: BlkOp, first: u32, bytes: usize) -> BlockRequest {
        BlockRequest {
            op,
            first,
            count: (bytes / ORIGIN_BLOCK) as u32,
        }
    }
}
