//! The vSSD driver proper: requests with checks before the device sees them,
//! and the resize protocol carried over the event and command queues.

use alloc::vec::Vec;

use vssd::block_set::BlockSet;
use vssd::demand::Demand;
use vssd::driver::{Doubt, Driver, Fault, Notice, Step};
use vssd::encoding::SetView;
use vssd::wire::EVENT_LEN;
use workloads::report::DiskKind;

use crate::phases::{Phase, Phases};
use crate::port::{BlkOp, BlkPort, BlkStatus, Machine, VssdPort};
use crate::shape::Shape;
use crate::slots::{Slots, Ticket};

/// The driver's calls to the application on top of it.
pub trait Application {
    /// Which blocks to give up: at most `count` of those in `held`.
    fn choose(&mut self, count: u32, held: &BlockSet) -> Choice;

    /// The demand since the last call; `None` if the application does not know it.
    fn demand(&mut self) -> Option<Demand>;

    /// The device took blocks that were chosen.
    fn surrendered(&mut self, count: u32);

    /// These blocks came back, as zeros.
    fn granted(&mut self, blocks: &SetView<'_>);

    /// These blocks are gone, with what was in them.
    fn revoked(&mut self, blocks: &SetView<'_>);

    /// The list was read anew: `gained` are held now with unknown contents,
    /// `lost` are gone.
    fn resynced(&mut self, gained: &BlockSet, lost: &BlockSet);
}

/// Blocks to give up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// These; if they are too few, there are no more for now.
    All(BlockSet),
    /// These now and the others as soon as they are ready: ask again.
    Part(BlockSet),
}

/// A request to a run of whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// What it does.
    pub op: BlkOp,
    /// First block; 0 for a flush.
    pub first: u32,
    /// Number of blocks; 0 for a flush.
    pub count: u32,
}

/// How long a request took, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When it was submitted.
    pub submitted_ns: u64,
    /// When the guest took it back.
    pub ended_ns: u64,
    /// Place in the list of phases: of the first resize that was under way
    /// while it was in flight, else of the quiet phase.
    pub phase: usize,
}

/// A request that came back.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The slot whose buffer it used.
    pub slot: usize,
    /// The request.
    pub request: BlockRequest,
    /// The outcome.
    pub status: BlkStatus,
    /// A block of it was revoked while it was in flight: its result says
    /// nothing about what the block contains now.
    pub revoked: bool,
    /// It failed on blocks that the guest holds: what the device is asked about it.
    pub doubt: Option<Doubt>,
    /// When, if the disk is [watched](Disk::watch).
    pub timing: Option<Timing>,
}

#[derive(Clone, Copy)]
struct InFlight {
    request: BlockRequest,
    revoked: bool,
    /// When, and in which phase; zeros of a disk that is not watched.
    submitted_ns: u64,
    phase: usize,
}

/// The number of faults in a row after which the driver gives up.
const MAX_FAULTS: u32 = 8;

/// The vSSD driver, which drives a disk of fixed size as well.
pub struct Disk {
    driver: Driver,
    /// The device has queues for events and commands.
    is_resizable: bool,
    slots: Slots<InFlight>,
    is_command_in_flight: bool,
    faults: u32,
    /// Of a disk that is watched.
    phases: Option<Phases>,
}

impl Disk {
    /// A driver on a port whose device has this shape.
    pub fn new(shape: Shape, port: &impl VssdPort) -> Self {
        let is_resizable = shape.kind == DiskKind::Vssd;
        Self {
            driver: if is_resizable {
                Driver::new(shape.geometry)
            } else {
                Driver::fixed(shape.geometry)
            },
            is_resizable,
            slots: Slots::new(port.slot_count()),
            is_command_in_flight: false,
            faults: 0,
            phases: None,
        }
    }

    /// Records from now on when requests are submitted, and the phases of the list. No request may
    /// be in flight.
    pub fn watch(&mut self, now_ns: u64) {
        self.phases = Some(Phases::new(&self.driver, now_ns));
    }

    /// Ends the watch; returns the phases that there were.
    pub fn unwatch(&mut self) -> Vec<Phase> {
        self.phases
            .take()
            .map_or_else(Vec::new, |phases| phases.list().to_vec())
    }

    /// The list of valid blocks and the state of the protocol.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Asks the application again though it declined before.
    pub fn reconsider(&mut self) {
        self.driver.reconsider();
    }

    /// Number of requests in flight, or finished and not taken.
    pub fn in_flight(&self) -> usize {
        self.slots.taken()
    }

    /// True when a block of the request is in a request in flight.
    pub fn is_busy(&self, first: u32, count: u32) -> bool {
        self.slots.requests().any(|other| {
            let request = other.request;
            first < request.first + request.count && request.first < first + count
        })
    }

    /// A slot for the next request.
    pub fn free_slot(&self) -> Option<usize> {
        self.slots.next_free()
    }

    /// Whether the guest holds all blocks of the request [DRV-1].
    pub fn holds(&self, first: u32, count: u32) -> bool {
        self.driver.held().contains_range(first, count)
    }

    /// Submits a request in the slot that [`free_slot`](Self::free_slot) gave, and
    /// returns that.
    ///
    /// The caller checks [`holds`](Self::holds) first, unless it wants the device to refuse.
    pub fn submit(&mut self, machine: &mut impl Machine, request: BlockRequest) -> usize {
        let slot = self.slots.take(InFlight {
            request,
            revoked: false,
            submitted_ns: self.phases.as_ref().map_or(0, |_| machine.now_ns()),
            phase: self.phases.as_ref().map_or(0, Phases::current),
        });
        let geometry = self.driver.geometry();
        let len = request.count as usize * geometry.block_size() as usize;
        let sector = geometry.first_sector(request.first);
        machine.port().submit(slot, request.op, sector, len);
        slot
    }

    /// The next finished request. Its slot is free again: look at the buffer
    /// before submitting another.
    pub fn completion(&mut self, machine: &mut impl Machine) -> Option<Completion> {
        let (slot, status) = machine.port().completion()?;
        let done = self.slots.finish(slot);
        let BlockRequest { op, first, count } = done.request;
        let is_doubtful = status != BlkStatus::Ok && op != BlkOp::Flush && self.holds(first, count);
        // The cause is known once the doubt is resolved.
        let doubt = if is_doubtful { self.doubt() } else { None };
        Some(Completion {
            slot,
            request: done.request,
            status,
            revoked: done.revoked,
            doubt,
            timing: self.phases.as_ref().map(|_| Timing {
                submitted_ns: done.submitted_ns,
                ended_ns: machine.now_ns(),
                phase: done.phase,
            }),
        })
    }

    /// A request to held blocks failed: the device is asked whether it took one of them.
    /// `None` of a disk that takes none.
    pub fn doubt(&mut self) -> Option<Doubt> {
        self.is_resizable.then(|| self.driver.doubt())
    }

    /// Collects the finished requests of futures. Returns true when there were any.
    pub fn arrivals(&mut self, machine: &mut impl Machine) -> bool {
        let mut any = false;
        while let Some((slot, status)) = machine.port().completion() {
            self.slots.arrive(slot, status);
            any = true;
        }
        any
    }

    /// The request of a future in this slot, if it is back: how it went, and whether a block of it
    /// was revoked meanwhile. The slot is free then, and its buffer must be read at once.
    pub fn collect(&mut self, slot: usize) -> Option<(BlkStatus, bool)> {
        let (done, status) = self.slots.collect(slot)?;
        Some((status, done.revoked))
    }

    /// As [`Slots::admits`].
    pub fn admits(&mut self, ticket: &mut Option<Ticket>) -> bool {
        self.slots.admits(ticket)
    }

    /// As [`Slots::leave`].
    pub fn leave(&mut self, ticket: Ticket) {
        self.slots.leave(ticket);
    }

    /// As [`Slots::abandon`].
    pub fn abandon(&mut self, slot: usize) {
        self.slots.abandon(slot);
    }

    /// Advances the protocol as far as possible without waiting. Returns true when anything
    /// happened.
    ///
    /// # Errors
    /// When the device broke the contract too often in a row.
    pub fn pump(
        &mut self,
        machine: &mut impl Machine,
        application: &mut impl Application,
    ) -> Result<bool, Fault> {
        if !self.is_resizable {
            return Ok(false);
        }
        let mut progressed = false;
        let mut event = [0; EVENT_LEN];
        while let Some(len) = machine.port().event(&mut event) {
            self.driver.on_event(&event[..len.min(EVENT_LEN)]);
            progressed = true;
        }
        self.track_phase(machine);
        loop {
            if self.is_command_in_flight {
                let Some(response) = machine.port().command_response() else {
                    return Ok(progressed);
                };
                self.is_command_in_flight = false;
                progressed = true;
                let notice = self.driver.on_response(response);
                match notice {
                    Ok(notice) => {
                        tell(&mut self.slots, notice, application);
                    }
                    Err(fault) => {
                        self.faults += 1;
                        if self.faults >= MAX_FAULTS {
                            return Err(fault);
                        }
                    }
                }
                // [DRV-14] Not every valid answer ends a row of faults: a device that grants a
                // session and a list may refuse every confirmation.
                if self.driver.is_quiet() {
                    self.faults = 0;
                }
                self.track_phase(machine);
            }
            match self.driver.poll(machine.port().command_buffer()) {
                Step::Wait => return Ok(progressed),
                Step::Send { len } => {
                    machine.port().send_command(len);
                    self.is_command_in_flight = true;
                }
                Step::Choose { count } => match application.choose(count, self.driver.held()) {
                    Choice::All(chosen) => self.driver.surrender(chosen),
                    Choice::Part(chosen) if chosen.is_empty() => return Ok(progressed),
                    Choice::Part(chosen) => self.driver.surrender_part(chosen),
                },
                Step::Report => self.driver.report(application.demand().as_ref()),
                Step::Drain if self.is_drained() => self.driver.drained(),
                Step::Drain => return Ok(progressed),
            }
            progressed = true;
        }
    }

    /// Notes a new phase, for the requests in flight as well.
    fn track_phase(&mut self, machine: &mut impl Machine) {
        if let Some(phases) = &mut self.phases
            && phases.track(&self.driver, || machine.now_ns())
        {
            for slot in self.slots.requests_mut() {
                slot.phase = phases.carry(slot.phase);
            }
        }
    }

    /// True when no request in flight touches a block that is leaving.
    fn is_drained(&self) -> bool {
        let Some(leaving) = self.driver.leaving() else {
            return true;
        };
        !self.slots.requests().any(|in_flight| {
            let request = in_flight.request;
            leaving.intersects_range(request.first, request.count)
        })
    }
}

fn tell(slots: &mut Slots<InFlight>, notice: Notice<'_>, application: &mut impl Application) {
    let mut mark = |touches: &dyn Fn(u32, u32) -> bool| {
        for slot in slots.requests_mut() {
            slot.revoked |= touches(slot.request.first, slot.request.count);
        }
    };
    match notice {
        Notice::None => {}
        Notice::Surrendered { count } => application.surrendered(count),
        Notice::Granted(blocks) => application.granted(&blocks),
        Notice::Revoked(blocks) => {
            mark(&|first, count| {
                blocks
                    .runs()
                    .any(|run| first < run.end() && run.start < first + count)
            });
            application.revoked(&blocks);
        }
        Notice::Resynced { gained, lost } => {
            mark(&|first, count| lost.intersects_range(first, count));
            application.resynced(&gained, &lost);
        }
    }
}
