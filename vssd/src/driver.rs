//! The driver's half of the resize protocol, free of I/O, clocks and threads.
//!
//! [`Driver`] keeps the guest's list of valid blocks (*held*). Events and responses only record
//! what the device wants; [`Driver::poll`] compares that with what is held and returns the next
//! step. So a goal that changes twice before the driver looks is followed once, and a repeated
//! event costs nothing.
//!
//! ```text
//!              HELLO            LIST … LIST
//!  DETACHED ──────────▶ LISTING ────────────▶ READY ──┐ REVOKED, SURRENDER,
//!      ▲                                        │ ▲   │ ACCEPT, CONFIRM
//!      └── resync event, stale session, fault ──┘ └───┘
//! ```
//!
//! One command is in flight at a time. A block leaves *held* when the
//! application picked it, before I/O to it is drained and before its
//! SURRENDER is sent; it returns to *held* if the device refuses it.

#[cfg(test)]
mod canonical;
mod incoming;

use alloc::vec;
use alloc::vec::Vec;

use crate::advice::Advice;
use crate::block_set::BlockSet;
use crate::demand::{Demand, MAX_REPORT};
use crate::encoding::{SetView, encode};
use crate::error::Reject;
use crate::units::Geometry;
use crate::wire::{
    Confirm, Encoding, FLAG_FINAL, Goal, HelloRequest, MAX_PAYLOAD, Opcode, REQUEST_HEADER_LEN,
    Request, VERSION,
};

/// The next step of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until an event or a response arrives.
    Wait,
    /// Send the first `len` bytes of the buffer as a command.
    Send {
        /// Length of the command.
        len: usize,
    },
    /// Ask the application which blocks to give up, and answer by
    /// [`Driver::surrender`].
    Choose {
        /// Number of blocks that the device wants.
        count: u32,
    },
    /// Ask the application for its demand, and answer by [`Driver::report`].
    Report,
    /// Wait until no I/O to the blocks of [`Driver::leaving`] is in flight,
    /// then call [`Driver::drained`].
    Drain,
}

/// The direction in which a list changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Blocks leave it.
    Shrink,
    /// Blocks come back.
    Grow,
}

/// What a response changed, for the application.
#[derive(Debug)]
pub enum Notice<'a> {
    /// Nothing that concerns it.
    None,
    /// These blocks were given up; the device took them.
    Surrendered {
        /// How many.
        count: u32,
    },
    /// These blocks are held from now on and read as zeros.
    Granted(SetView<'a>),
    /// These blocks are lost, and what was in them.
    Revoked(SetView<'a>),
    /// The list was read anew.
    Resynced {
        /// Blocks held now that were not before; what is in them is not known:
        /// zeros, or what this guest last wrote.
        gained: BlockSet,
        /// Blocks held before that are lost.
        lost: BlockSet,
    },
}

/// The device broke the contract. The driver starts over with HELLO; its caller limits how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A response is short, unknown or answers another command.
    BadResponse,
    /// A block set in a response is invalid.
    BadSet(Reject),
    /// HELLO was refused, or its response is invalid.
    BadHello,
    /// The device refused a command that is valid as far as this driver knows.
    Refused(Opcode, Reject),
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadResponse => f.write_str("the device sent a malformed response"),
            Self::BadSet(reject) => write!(f, "the device sent a bad block set: {reject}"),
            Self::BadHello => f.write_str("the device refused HELLO or sent an invalid answer"),
            Self::Refused(opcode, reject) => write!(f, "the device refused {opcode:?}: {reject}"),
        }
    }
}

impl core::error::Error for Fault {}

/// A request to held blocks that failed, until the device has said whether it took one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Doubt(u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Detached,
    Listing { cursor: u32, incoming: BlockSet },
    Ready,
}

/// Blocks that the application picked and the device has not taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leaving {
    blocks: BlockSet,
    drained: bool,
    /// The application had no more to give than these.
    all: bool,
    /// The blocks from which on and up to which the SURRENDER in flight goes.
    sent_from: u32,
    sent_to: u32,
    /// Number of blocks in that SURRENDER.
    sent: u32,
}

/// The driver's half: list of held blocks, session, wanted goal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Driver {
    geometry: Geometry,
    encoding: Encoding,
    state: State,
    session: u64,
    sequence: u32,
    goal: Goal,
    held: BlockSet,
    leaving: Option<Leaving>,
    in_flight: Option<Opcode>,
    /// `list-4096`: the exchange is over, the next one waits for an event.
    is_awaiting_event: bool,
    /// The application has declined this goal; it is not asked again before
    /// the goal changes.
    declined: Option<u64>,
    /// The payload of the next REPORT.
    report: Option<Vec<u8>>,
    needs_resync: bool,
    /// Doubts so far, those that the REVOKED in flight or the last one was sent after, and
    /// those that were resolved.
    doubts: Doubt,
    asked: Doubt,
    resolved: Doubt,
}

impl Driver {
    /// A driver of a device of this shape, before HELLO.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            encoding: Encoding::Compact,
            state: State::Detached,
            session: 0,
            sequence: 0,
            goal: Goal::default(),
            held: BlockSet::empty(geometry.capacity()),
            leaving: None,
            in_flight: None,
            is_awaiting_event: false,
            declined: None,
            report: None,
            needs_resync: false,
            doubts: Doubt(0),
            asked: Doubt(0),
            resolved: Doubt(0),
        }
    }

    /// A driver of a device of this shape that has no queues but that of requests: it
    /// holds all blocks and waits for nothing (SPEC.md, section 3).
    pub fn fixed(geometry: Geometry) -> Self {
        Self {
            state: State::Ready,
            goal: Goal {
                target: geometry.capacity(),
                ..Goal::default()
            },
            held: BlockSet::full(geometry.capacity()),
            ..Self::new(geometry)
        }
    }

    /// The driver's list of valid blocks. I/O goes to these only [DRV-1].
    pub fn held(&self) -> &BlockSet {
        &self.held
    }

    /// The shape of the device.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How block sets travel in this session.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Blocks picked by the application that are about to be surrendered.
    pub fn leaving(&self) -> Option<&BlockSet> {
        self.leaving.as_ref().map(|leaving| &leaving.blocks)
    }

    /// True when the list has been read and the device wants nothing.
    pub fn is_quiet(&self) -> bool {
        matches!(self.state, State::Ready)
            && !self.needs_resync
            && self.in_flight.is_none()
            && self.leaving.is_none()
            && self.goal.revoked == 0
            && self.resolved == self.doubts
            && !self.goal.wants_confirm()
            && !self.goal.wants_report()
            && (self.held.len() == self.goal.target || self.declined == Some(self.goal.generation))
    }

    /// The direction in which the list is to change, until all blocks have moved; a list that only
    /// waits to be confirmed has none.
    pub fn wanted(&self) -> Option<Way> {
        let declined = self.declined == Some(self.goal.generation);
        match &self.state {
            State::Detached | State::Listing { .. } => None,
            State::Ready if self.leaving.is_some() || self.goal.revoked > 0 => Some(Way::Shrink),
            State::Ready if self.held.len() > self.goal.target && !declined => Some(Way::Shrink),
            State::Ready if self.held.len() < self.goal.target => Some(Way::Grow),
            State::Ready => None,
        }
    }

    /// What the device advises a cache on the vSSD, as far as the driver knows.
    pub fn advice(&self) -> Advice {
        self.goal.advice()
    }

    /// Blocks that the device wants back and the application has not picked yet. Those that
    /// it has taken are in the list until their REVOKED is answered, and not wanted any longer.
    pub fn excess(&self) -> u32 {
        let Goal {
            target, revoked, ..
        } = self.goal;
        match self.state {
            State::Ready => self
                .held
                .len()
                .saturating_sub(target.saturating_add(revoked)),
            State::Detached | State::Listing { .. } => 0,
        }
    }

    /// A request to held blocks failed: the device may have taken one, and its event be on the way.
    /// The driver asks it with a REVOKED, because no wait for events is long enough.
    pub fn doubt(&mut self) -> Doubt {
        self.doubts.0 += 1;
        self.doubts
    }

    /// True when blocks that were taken before this doubt have left the list.
    pub fn is_resolved(&self, doubt: Doubt) -> bool {
        doubt <= self.resolved
    }

    /// True from the first complete list on.
    pub fn is_attached(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// The next step; a command to send is built in `buffer`, which has at
    /// least [`MAX_MESSAGE`](crate::wire::MAX_MESSAGE) bytes.
    pub fn poll(&mut self, buffer: &mut [u8]) -> Step {
        if self.in_flight.is_some() {
            return Step::Wait;
        }
        if self.needs_resync {
            self.detach();
        }
        match &self.state {
            State::Detached => {
                let hello = HelloRequest {
                    version: VERSION,
                    max_payload: MAX_PAYLOAD as u32,
                };
                self.send(Opcode::Hello, 0, 0, &hello.encode(), buffer)
            }
            State::Listing { cursor, .. } => {
                let cursor = *cursor;
                self.send(Opcode::List, 0, cursor, &[], buffer)
            }
            State::Ready => self.poll_ready(buffer),
        }
    }

    fn poll_ready(&mut self, buffer: &mut [u8]) -> Step {
        if self.goal.revoked > 0 || self.asked < self.doubts {
            self.asked = self.doubts;
            return self.send(Opcode::Revoked, 0, 0, &[], buffer);
        }
        // The application knows what to report at once; what it gives up may take it a while.
        if self.goal.wants_report() {
            let Some(report) = self.report.take() else {
                return Step::Report;
            };
            return self.send(Opcode::Report, 0, 0, &report, buffer);
        }
        let leaving = self.leaving.as_ref().map_or(0, |l| l.blocks.len());
        if leaving > (self.held.len() + leaving).saturating_sub(self.goal.target) {
            // The device wants fewer than were picked: all return, and the
            // application is asked again if any are still wanted.
            self.restore();
            return self.poll_ready(buffer);
        }
        if let Some(leaving) = &self.leaving {
            return match (leaving.drained, self.is_awaiting_event) {
                (false, _) => Step::Drain,
                (true, true) => Step::Wait,
                (true, false) => self.send_surrender(buffer),
            };
        }
        if self.held.len() > self.goal.target {
            if self.declined == Some(self.goal.generation) {
                return Step::Wait;
            }
            let count = self.held.len() - self.goal.target;
            return Step::Choose { count };
        }
        if self.is_awaiting_event {
            return Step::Wait;
        }
        if self.held.len() < self.goal.target {
            return self.send(Opcode::Accept, 0, 0, &[], buffer);
        }
        if self.goal.wants_confirm() {
            let confirm = Confirm {
                digest: self.held.digest(),
                held: self.held.len(),
            };
            return self.send(Opcode::Confirm, 0, 0, &confirm.encode(), buffer);
        }
        Step::Wait
    }

    fn send_surrender(&mut self, buffer: &mut [u8]) -> Step {
        let leaving = self.leaving.as_mut().expect("blocks are leaving");
        let out = encode(
            &leaving.blocks,
            0,
            u32::MAX,
            self.encoding,
            self.geometry,
            &mut buffer[REQUEST_HEADER_LEN..][..MAX_PAYLOAD],
        );
        leaving.sent_to = out.next.min(self.geometry.capacity());
        leaving.sent_from = out.first;
        leaving.sent = out.blocks;
        let last = leaving.all && out.blocks == leaving.blocks.len();
        let flags = if last { FLAG_FINAL } else { 0 };
        self.send_built(Opcode::Surrender, flags, 0, out.len, buffer)
    }

    fn send(
        &mut self,
        opcode: Opcode,
        flags: u16,
        cursor: u32,
        payload: &[u8],
        buffer: &mut [u8],
    ) -> Step {
        buffer[REQUEST_HEADER_LEN..][..payload.len()].copy_from_slice(payload);
        self.send_built(opcode, flags, cursor, payload.len(), buffer)
    }

    fn send_built(
        &mut self,
        opcode: Opcode,
        flags: u16,
        cursor: u32,
        payload_len: usize,
        buffer: &mut [u8],
    ) -> Step {
        let (session, sequence) = match opcode {
            Opcode::Hello => (0, 0),
            _ => (self.session, self.sequence.wrapping_add(1)),
        };
        let request = Request {
            opcode,
            flags,
            session,
            sequence,
            cursor,
        };
        request.encode(payload_len, buffer);
        self.sequence = sequence;
        self.in_flight = Some(opcode);
        // `list-4096` goes one exchange per event, as in 2017.
        self.is_awaiting_event = self.encoding == Encoding::List4096
            && matches!(opcode, Opcode::Surrender | Opcode::Accept);
        Step::Send {
            len: REQUEST_HEADER_LEN + payload_len,
        }
    }

    /// The application's answer to [`Step::Choose`]: at most `count` blocks,
    /// all held. Fewer means that it has no more to give for now.
    ///
    /// # Panics
    /// When a block is not held, or there are more than were requested: the
    /// application is part of this guest, and this is its bug.
    pub fn surrender(&mut self, chosen: BlockSet) {
        let is_all = chosen.len() < self.excess();
        if is_all {
            self.declined = Some(self.goal.generation);
        }
        self.pick(chosen, is_all);
    }

    /// As [`surrender`](Self::surrender), but fewer blocks mean that more are to come:
    /// the application is asked for the rest once these are gone. An application that
    /// has work to do before it can give anything up does not answer at all until it has
    /// done some, and is asked again by the next [`poll`](Self::poll).
    ///
    /// # Panics
    /// As `surrender` does.
    pub fn surrender_part(&mut self, chosen: BlockSet) {
        self.pick(chosen, false);
    }

    /// The application's answer to [`Step::Report`]: `None` if it has nothing to report.
    pub fn report(&mut self, demand: Option<&Demand>) {
        let mut payload = vec![0; MAX_REPORT];
        let len = demand.map_or(0, |demand| demand.encode(&mut payload));
        payload.truncate(len);
        self.report = Some(payload);
    }

    fn pick(&mut self, chosen: BlockSet, all: bool) {
        assert!(self.leaving.is_none(), "blocks are leaving already");
        assert!(
            chosen.len() <= self.excess(),
            "more blocks chosen than requested"
        );
        let taken = self.held.subtract(&chosen);
        assert_eq!(taken, chosen.len(), "chose a block not held");
        self.leaving = Some(Leaving {
            blocks: chosen,
            drained: false,
            all,
            sent_from: 0,
            sent_to: 0,
            sent: 0,
        });
    }

    /// I/O to the leaving blocks is over.
    pub fn drained(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            leaving.drained = true;
        }
    }

    /// Blocks that were picked but not taken are held again.
    fn restore(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            self.held.union_with(&leaving.blocks);
        }
        self.declined = None;
    }

    fn detach(&mut self) {
        self.leaving = None;
        self.is_awaiting_event = false;
        self.declined = None;
        self.report = None;
        self.needs_resync = false;
        self.asked = self.resolved;
        self.state = State::Detached;
    }

    /// Starts over with HELLO: the transport was set up anew, and the response to a command in
    /// flight does not come any more. What is held is compared with the list that is read next.
    pub fn restart(&mut self) {
        self.in_flight = None;
        self.detach();
    }

    /// Asks the application again although it declined before: call it when
    /// the application has found more to give.
    pub fn reconsider(&mut self) {
        self.declined = None;
    }
}

/// A command buffer of the size that [`Driver::poll`] asks for.
pub fn command_buffer() -> alloc::boxed::Box<[u8]> {
    vec![0; crate::wire::MAX_MESSAGE].into()
}
