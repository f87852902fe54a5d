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
//! The hypervisor's side is in `resize`; this file is the driver's side.

mod resize;

use alloc::vec::Vec;
use core::fmt;

pub use resize::{
    End, Outcome, Phase, PickedBy, Resize, ResizeError, ResizeRequest, SETTLE_NS, Shortfall,
};

use crate::block_set::{BlockSet, Complement, Difference};
use crate::encoding::{SetView, encode};
use crate::error::Reject;
use crate::units::Geometry;
use crate::wire::{
    Confirm, EVENT_LEN, Encoding, Event, FLAG_FINAL, GOAL_CONFIRM, Goal, HelloRequest,
    HelloResponse, MAX_PAYLOAD, Opcode, RESPONSE_HEADER_LEN, Request, Response, Status, VERSION,
};

/// Where a change of ownership is made to last before it takes effect.
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
#[derive(Clone, Copy, Debug)]
struct Session {
    id: u64,
    /// Sequence of the last command that was carried out or refused.
    sequence: u32,
    /// The longest payload that the driver takes.
    max_payload: usize,
}

/// The device's half: list of granted blocks, session, goal, resize.
#[derive(Debug)]
pub struct Device {
    geometry: Geometry,
    encoding: Encoding,
    granted: BlockSet,
    /// Taken by the hypervisor, not fetched by the driver yet.
    revoked: BlockSet,
    /// Granted while no driver was there: part of `granted`, and not in any driver's list. One
    /// that held such a block before lost it in between, and learns that by its absence.
    unaccepted: BlockSet,
    session: Option<Session>,
    /// The driver of the session has sent a command since the transport was set up.
    is_attended: bool,
    next_session: u64,
    /// The last response of the session, for a command that comes again.
    response: Vec<u8>,
    response_len: usize,
    /// Where the room for the payload of the response in the making ends.
    payload_end: usize,
    /// The last answer that stands outside the order of the session.
    refusal: [u8; RESPONSE_HEADER_LEN],
    /// True when the driver confirmed the list as it is now.
    is_agreed: bool,
    goal: Goal,
    is_event_due: bool,
    is_resync_due: bool,
    resize: Option<Resize>,
    next_resize: u64,
    outcome: Option<Outcome>,
}

/// What became of a command: the bytes for the driver, and for the counters.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The response; empty when there is no room for a header.
    pub response: &'a [u8],
    /// The opcode that was carried out, or why not.
    pub result: Result<Opcode, Reject>,
}

/// A response under construction: what goes into header and payload.
struct Reply {
    cursor: u32,
    payload: usize,
}

impl Reply {
    const EMPTY: Self = Self {
        cursor: 0,
        payload: 0,
    };
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
        // Grown once, never cleared: an exchange of a few blocks must not cost
        // a pass over the room of the largest.
        self.payload_end = RESPONSE_HEADER_LEN + room;
        if self.response.len() < self.payload_end {
            self.response.resize(self.payload_end, 0);
        }
        let result = self.dispatch(&request, payload, now_ns, ownership);
        if let (Opcode::Hello, Err(reject)) = (request.opcode, &result) {
            // The session before it goes on, and with it its last response.
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

    fn dispatch<O: Ownership>(
        &mut self,
        request: &Request,
        payload: &[u8],
        now_ns: u64,
        ownership: &mut O,
    ) -> Result<Reply, Reject> {
        match request.opcode {
            Opcode::Hello => self.hello(payload),
            Opcode::List => self.list(request.cursor),
            Opcode::Surrender => {
                let last = request.flags & FLAG_FINAL != 0;
                self.surrender(payload, last, now_ns, ownership)
            }
            Opcode::Accept => self.accept(now_ns, ownership),
            Opcode::Revoked => self.fetch_revoked(),
            Opcode::Confirm => self.confirm(payload),
        }
    }

    fn payload(&mut self) -> &mut [u8] {
        &mut self.response[RESPONSE_HEADER_LEN..self.payload_end]
    }

    /// [DEV-6] A HELLO ends the session before it and starts from the truth:
    /// what was revoked is simply absent from the list that follows.
    fn hello(&mut self, payload: &[u8]) -> Result<Reply, Reject> {
        let hello = HelloRequest::decode(payload)?;
        if hello.version < VERSION {
            return Err(Reject::Unsupported);
        }
        // One window and its header: less could make no progress.
        if (hello.max_payload as usize) < 1024 {
            return Err(Reject::Malformed);
        }
        let answer = HelloResponse {
            version: VERSION,
            encoding: self.encoding,
            block_size: self.geometry.block_size(),
            capacity: self.geometry.capacity(),
            max_payload: MAX_PAYLOAD as u32,
        };
        let bytes = answer.encode();
        let room = self.payload();
        room.get_mut(..bytes.len())
            .ok_or(Reject::Malformed)?
            .copy_from_slice(&bytes);
        self.session = Some(Session {
            id: self.next_session,
            sequence: 0,
            max_payload: (hello.max_payload as usize).min(MAX_PAYLOAD),
        });
        self.next_session = self.next_session.wrapping_add(1).max(1);
        self.revoked.clear();
        self.is_attended = true;
        self.is_agreed = false;
        self.is_resync_due = false;
        Ok(Reply {
            cursor: 0,
            payload: bytes.len(),
        })
    }

    fn list(&mut self, cursor: u32) -> Result<Reply, Reject> {
        if cursor >= self.geometry.capacity() {
            return Err(Reject::OutOfRange);
        }
        let out = encode(
            &Difference(&self.granted, &self.unaccepted),
            cursor,
            u32::MAX,
            Encoding::Compact,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        Ok(Reply {
            cursor: out.next,
            payload: out.len,
        })
    }

    /// [DEV-7] The driver gives blocks up: all of them must be held, and no
    /// more than the resize still wants.
    fn surrender<O: Ownership>(
        &mut self,
        payload: &[u8],
        last: bool,
        now_ns: u64,
        ownership: &mut O,
    ) -> Result<Reply, Reject> {
        let blocks = SetView::parse(payload, self.geometry)?;
        let excess = self.granted.len().saturating_sub(self.target());
        if blocks.len() > excess {
            return Err(Reject::TooMany);
        }
        if !self.granted.contains_view(&blocks) {
            return Err(Reject::NotHeld);
        }
        if !blocks.is_empty() {
            if ownership.release(&blocks).is_err() {
                self.end_early(Shortfall::Storage, now_ns);
                return Err(Reject::Storage);
            }
            let removed = self.granted.remove_view(&blocks);
            assert_eq!(removed, blocks.len(), "a checked block was not granted");
            self.is_agreed = false;
        }
        if let Some(resize) = &mut self.resize {
            resize.exchanges += 1;
        }
        if last && blocks.len() < excess {
            self.declined(now_ns);
        }
        Ok(Reply::EMPTY)
    }

    /// [DEV-8] The driver takes what the resize grants, lowest blocks first; before that, what
    /// was granted while it was not there.
    fn accept<O: Ownership>(&mut self, now_ns: u64, ownership: &mut O) -> Result<Reply, Reject> {
        // A block must not come back before the driver heard of its loss.
        if !self.revoked.is_empty() {
            return Ok(Reply::EMPTY);
        }
        if !self.unaccepted.is_empty() {
            return Ok(self.hand_over());
        }
        let missing = self.target().saturating_sub(self.granted.len());
        if missing == 0 {
            return Ok(Reply::EMPTY);
        }
        let out = encode(
            &Complement(&self.granted),
            0,
            missing,
            self.encoding,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        if ownership.grant(&blocks).is_err() {
            self.end_early(Shortfall::Storage, now_ns);
            return Err(Reject::Storage);
        }
        let added = self.granted.insert_view(&blocks);
        assert_eq!(added, blocks.len(), "a granted block was granted already");
        self.is_agreed = false;
        if let Some(resize) = &mut self.resize {
            resize.exchanges += 1;
        }
        Ok(Reply {
            cursor: 0,
            payload: out.len,
        })
    }

    /// [DEV-16] Puts blocks that were granted without a driver into the driver's list.
    fn hand_over(&mut self) -> Reply {
        let out = encode(
            &self.unaccepted,
            0,
            u32::MAX,
            self.encoding,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        self.unaccepted.remove_view(&blocks);
        Reply {
            cursor: 0,
            payload: out.len,
        }
    }

    /// [DEV-9] Reports which blocks were taken. Each is reported once in
    /// a session: the response is repeated should the command come again.
    fn fetch_revoked(&mut self) -> Result<Reply, Reject> {
        let out = encode(
            &self.revoked,
            0,
            u32::MAX,
            Encoding::Compact,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        self.revoked.remove_view(&blocks);
        Ok(Reply {
            cursor: 0,
            payload: out.len,
        })
    }

    /// [DEV-10] Both lists agree when count and digest do and the driver has
    /// heard of every block that was taken.
    fn confirm(&mut self, payload: &[u8]) -> Result<Reply, Reject> {
        let confirm = Confirm::decode(payload)?;
        if !self.revoked.is_empty() || !self.unaccepted.is_empty() {
            return Ok(Reply::EMPTY);
        }
        if confirm.held != self.granted.len() || confirm.digest != self.granted.digest() {
            return Err(Reject::Mismatch);
        }
        self.is_agreed = true;
        Ok(Reply::EMPTY)
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

    /// The transport to the driver was set up anew: what was on its way may
    /// be lost, so the present state is sent again [DEV-4].
    pub fn reconnected(&mut self) {
        self.is_resync_due = self.session.is_none();
        self.is_event_due = self.session.is_some();
    }

    /// The transport to the driver is gone, or stopped, which comes before it is set up anew. The session goes on if its driver does:
    /// that shows by its next command, which the goal asks for.
    pub fn disconnected(&mut self) {
        self.is_attended = false;
        self.is_agreed = false;
        self.refresh_goal();
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
        let goal = Goal {
            target,
            revoked: self.revoked.len(),
            flags: if confirm { GOAL_CONFIRM } else { 0 },
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
