//! The device's half of the resize protocol, free of I/O, clocks and threads.
//!
//! [`Device`] owns the list of blocks that the guest may use (*granted*) and
//! its goal. Its input is the driver's commands, the hypervisor's resize requests and the
//! time; its output is responses, events and outcomes.
//! The caller supplies an [`Ownership`]: every change of ownership is
//! recorded there before it takes effect, so a change that cannot be recorded
//! does not happen.
//!
//! ```text
//!             resize()                  held = target, or
//!   (idle) ───────────────▶ MOVING ───────────────────────▶ SETTLING
//!      ▲                      │ ▲     cancelled, declined,      │
//!      │                      ▼ │     deadline, no storage      │
//!      │        SURRENDER, ACCEPT, revoke()                     │
//!      └────────────────────────────────────────────────────────┘
//!            CONFIRM: both lists agree, or the grace time is over
//! ```
//!
//! A driver is there, the device is *attended*, from its first command on a transport until that
//! stops. Without one, blocks are taken by force only, and granted without being requested:
//!
//! ```text
//!                            HELLO, or a command of the session
//!              UNATTENDED ───────────────────────────────────────▶ ATTENDED
//!   resize() shrinks by force ◀─────────────────────────────────── resize() asks the driver
//!   and grows by grant()         disconnected()
//! ```
//!
//! This file has the state and the session, `commands` the commands of the driver, `resize` the
//! requests of the hypervisor.

#[cfg(test)]
mod canonical;
mod commands;
mod resize;

use alloc::vec::Vec;
use core::fmt;

pub use resize::{
    End, Outcome, Phase, PickedBy, Resize, ResizeError, ResizeRequest, SETTLE_NS, Shortfall,
};

use self::commands::Reply;
use crate::advice::Advice;
use crate::block_set::BlockSet;
use crate::demand::Demand;
use crate::encoding::SetView;
use crate::error::Reject;
use crate::units::Geometry;
use crate::wire::{
    EVENT_LEN, Encoding, Event, GOAL_CONFIRM, GOAL_REPORT, Goal, MAX_PAYLOAD, Opcode,
    RESPONSE_HEADER_LEN, Request, Response, Status, advice_flags,
};

/// The record of ownership: a change is recorded before it takes effect.
pub trait Ownership {
    /// Why a change could not be recorded.
    type Error: fmt::Display;

    /// The guest no longer holds `blocks`: their contents must never be
    /// readable again, by it or by another.
    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error>;

    /// The guest holds `blocks` from now on and reads them as zeros.
    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error>;
}

/// A driver that has said HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Session {
    id: u64,
    /// Sequence of the last command that was carried out or refused.
    sequence: u32,
    /// The longest payload that the driver takes.
    max_payload: usize,
}

/// The device's half: list of granted blocks, session, goal, resize.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    geometry: Geometry,
    encoding: Encoding,
    granted: BlockSet,
    /// Taken by the hypervisor, not fetched by the driver yet.
    revoked: BlockSet,
    /// Granted while no driver was there: part of `granted`, and not in any driver's list. A driver
    /// that held such a block before has lost it in between, and learns that by its absence.
    unaccepted: BlockSet,
    session: Option<Session>,
    /// The driver of the session has sent a command since the transport was set up.
    is_attended: bool,
    next_session: u64,
    /// The last response of the session, for a command that comes again.
    response: Vec<u8>,
    response_len: usize,
    /// The end of the space for the payload of the response under construction.
    payload_end: usize,
    /// The last answer outside the order of the session.
    refusal: [u8; RESPONSE_HEADER_LEN],
    /// True when the driver confirmed the list as it is now.
    is_agreed: bool,
    /// The driver has not sent the report that was requested.
    is_report_due: bool,
    /// The reports that were requested and came, and what the last one said.
    reports: u64,
    demand: Option<Demand>,
    advice: Advice,
    goal: Goal,
    is_event_due: bool,
    is_resync_due: bool,
    resize: Option<Resize>,
    next_resize: u64,
    outcome: Option<Outcome>,
}

/// The result of a command: the response, and the outcome for the counters.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The response; empty when there is no room for a header.
    pub response: &'a [u8],
    /// The opcode that was carried out, or why not.
    pub result: Result<Opcode, Reject>,
}

impl Device {
    /// A device whose guest may use `granted`.
    ///
    /// `first_session` names the first session; later ones count up from it.
    /// It must differ from those of an earlier life of the device, so that a
    /// driver which outlived that device starts over.
    ///
    /// # Panics
    /// When `granted` has another capacity than `geometry`.
    pub fn new(
        geometry: Geometry,
        granted: BlockSet,
        encoding: Encoding,
        first_session: u64,
    ) -> Self {
        assert_eq!(geometry.capacity(), granted.capacity());
        let target = granted.len();
        Self {
            geometry,
            encoding,
            granted,
            revoked: BlockSet::empty(geometry.capacity()),
            unaccepted: BlockSet::empty(geometry.capacity()),
            session: None,
            is_attended: false,
            next_session: first_session.max(1),
            response: Vec::new(),
            response_len: 0,
            payload_end: RESPONSE_HEADER_LEN,
            refusal: [0; RESPONSE_HEADER_LEN],
            is_agreed: false,
            is_report_due: false,
            reports: 0,
            demand: None,
            advice: Advice::NONE,
            goal: Goal {
                target,
                ..Goal::default()
            },
            is_event_due: false,
            is_resync_due: true,
            resize: None,
            next_resize: 1,
            outcome: None,
        }
    }

    /// The shape of the device.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How block sets travel.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The device's list of valid blocks.
    pub fn granted(&self) -> &BlockSet {
        &self.granted
    }

    /// True when the driver confirmed that its list equals [`granted`](Self::granted).
    pub fn is_agreed(&self) -> bool {
        self.is_agreed
    }

    /// True when a driver of the vSSD is there, as opposed to one of plain
    /// virtio-blk or none: it is in a session, and has sent a command since the transport was
    /// set up. A session alone may be that of a guest that has rebooted into another system.
    pub fn has_session(&self) -> bool {
        self.session.is_some() && self.is_attended
    }

    /// [DEV-1] The blocks of an I/O request, all of them held by the guest.
    pub fn check_io(&self, sector: u64, bytes: u64) -> Result<(u32, u32), Reject> {
        let (first, count) = self
            .geometry
            .blocks_of(sector, bytes)
            .ok_or(Reject::OutOfRange)?;
        if !self.granted.contains_range(first, count) {
            return Err(Reject::NotHeld);
        }
        Ok((first, count))
    }

    /// Carries out a command and answers it in at most `room` bytes. A bad
    /// command changes nothing [DEV-2].
    pub fn command<O: Ownership>(
        &mut self,
        bytes: &[u8],
        room: usize,
        now_ns: u64,
        ownership: &mut O,
    ) -> Answer<'_> {
        if room < RESPONSE_HEADER_LEN {
            return Answer {
                response: &[],
                result: Err(Reject::Malformed),
            };
        }
        let (request, payload) = match Request::decode(bytes) {
            Ok(decoded) => decoded,
            Err(reject) => return self.refuse(0, reject, now_ns),
        };
        if request.opcode != Opcode::Hello {
            // [DEV-5] A session carries each command out at most once.
            let Some(session) = self.session.filter(|s| s.id == request.session) else {
                return self.refuse(request.sequence, Reject::StaleSession, now_ns);
            };
            self.is_attended = true;
            if request.sequence == session.sequence && self.response_len <= room {
                return Answer {
                    response: &self.response[..self.response_len],
                    result: Ok(request.opcode),
                };
            }
            if request.sequence != session.sequence.wrapping_add(1) {
                return self.refuse(request.sequence, Reject::BadSequence, now_ns);
            }
        }
        let longest = match (request.opcode, self.session) {
            (Opcode::Hello, _) | (_, None) => MAX_PAYLOAD,
            (_, Some(session)) => session.max_payload,
        };
        let room = longest.min(room - RESPONSE_HEADER_LEN);
        // Grown once, never cleared: an exchange of a few blocks must not cost a pass over the
        // space of the largest.
        self.payload_end = RESPONSE_HEADER_LEN + room;
        if self.response.len() < self.payload_end {
            self.response.resize(self.payload_end, 0);
        }
        let result = self.dispatch(&request, payload, now_ns, ownership);
        if let (Opcode::Hello, Err(reject)) = (request.opcode, &result) {
            // The previous session goes on, with its last response.
            return self.refuse(request.sequence, *reject, now_ns);
        }
        let (reply, status) = match result {
            Ok(reply) => (reply, Status::Ok),
            Err(reject) => (Reply::EMPTY, Status::Rejected(reject)),
        };
        if let Some(session) = &mut self.session
            && request.opcode != Opcode::Hello
        {
            session.sequence = request.sequence;
        }
        self.progress(now_ns);
        let header = Response {
            status,
            session: self.session.map_or(0, |s| s.id),
            sequence: request.sequence,
            cursor: reply.cursor,
            goal: self.goal(now_ns),
        };
        // The response carries the goal; an event would say it twice. Only
        // the 2017 exchange interrupts the guest for every step.
        let moving = self.resize.as_ref().is_some_and(Resize::is_moving);
        let more = moving || !self.unaccepted.is_empty() || self.goal.wants_confirm();
        self.is_event_due = self.encoding == Encoding::List4096
            && (self.is_event_due
                || matches!(request.opcode, Opcode::Surrender | Opcode::Accept) && more);
        header.encode(reply.payload, &mut self.response[..RESPONSE_HEADER_LEN]);
        self.response_len = RESPONSE_HEADER_LEN + reply.payload;
        Answer {
            response: &self.response[..self.response_len],
            result: result_of(status, request.opcode),
        }
    }

    /// Answers outside the order of the session: the last response stays.
    fn refuse(&mut self, sequence: u32, reject: Reject, now_ns: u64) -> Answer<'_> {
        let header = Response {
            status: Status::Rejected(reject),
            session: self.session.map_or(0, |s| s.id),
            sequence,
            cursor: 0,
            goal: self.goal(now_ns),
        };
        header.encode(0, &mut self.refusal);
        Answer {
            response: &self.refusal,
            result: Err(reject),
        }
    }

    /// The next event for the driver. Ask only with an event buffer at hand:
    /// what is returned is not due any longer.
    pub fn take_event(&mut self, now_ns: u64) -> Option<[u8; EVENT_LEN]> {
        if self.session.is_none() {
            return core::mem::take(&mut self.is_resync_due).then(|| Event::Resync.encode());
        }
        core::mem::take(&mut self.is_event_due).then(|| Event::Goal(self.goal(now_ns)).encode())
    }

    /// True when [`take_event`](Self::take_event) has something.
    pub fn has_event(&self) -> bool {
        match self.session {
            None => self.is_resync_due,
            Some(_) => self.is_event_due,
        }
    }

    /// The transport to the driver was set up again: messages in transit may be lost, so the
    /// present state is sent again [DEV-4].
    pub fn reconnected(&mut self) {
        self.is_resync_due = self.session.is_none();
        self.is_event_due = self.session.is_some();
    }

    /// The transport to the driver is gone, or stopped before it is set up again. The session goes
    /// on if its driver does, which its next command shows; the goal requests one.
    pub fn disconnected(&mut self) {
        self.is_attended = false;
        self.is_agreed = false;
        self.refresh_goal();
    }

    /// Asks the driver for a report of its demand. One that does not know how, and one that
    /// is not there, sends none.
    pub fn request_report(&mut self) {
        self.is_report_due = true;
        self.refresh_goal();
    }

    /// The number of reports that came, and the demand in the last one; `None` if the driver had
    /// nothing to report.
    pub fn last_report(&self) -> (u64, Option<&Demand>) {
        (self.reports, self.demand.as_ref())
    }

    /// Advises a cache on the vSSD from now on, in this session and later ones. The driver need not
    /// follow.
    pub fn advise(&mut self, advice: Advice) {
        self.advice = advice;
        self.refresh_goal();
    }

    /// What a cache on the vSSD is advised.
    pub fn advice(&self) -> Advice {
        self.advice
    }

    /// Changes how block sets travel. It takes a new session to tell the
    /// driver, so the present one ends and the driver is asked to resync.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        if encoding != self.encoding {
            self.encoding = encoding;
            self.session = None;
            self.is_agreed = false;
            self.is_resync_due = true;
            self.refresh_goal();
        }
    }

    fn goal(&self, now_ns: u64) -> Goal {
        let deadline = self.resize.as_ref().and_then(Resize::revokes_at);
        Goal {
            deadline_ms: deadline.map_or(0, |at| {
                let left = at.saturating_sub(now_ns).div_ceil(1_000_000);
                u32::try_from(left).unwrap_or(u32::MAX).max(1)
            }),
            ..self.goal
        }
    }

    /// Brings the goal up to date after any change; an event announces it.
    fn refresh_goal(&mut self) {
        let target = self.target();
        let told = self.revoked.is_empty() && self.unaccepted.is_empty();
        let settled = self.granted.len() == target && told;
        let confirm = settled && !self.is_agreed && self.session.is_some();
        let report = self.is_report_due && self.session.is_some();
        let goal = Goal {
            target,
            revoked: self.revoked.len(),
            flags: if confirm { GOAL_CONFIRM } else { 0 }
                | if report { GOAL_REPORT } else { 0 }
                | advice_flags(self.advice),
            ..self.goal
        };
        if goal != self.goal {
            self.goal = Goal {
                generation: self.goal.generation + 1,
                ..goal
            };
            self.is_event_due = true;
        }
    }
}

fn result_of(status: Status, opcode: Opcode) -> Result<Opcode, Reject> {
    match status {
        Status::Ok => Ok(opcode),
        Status::Rejected(reject) => Err(reject),
    }
}
