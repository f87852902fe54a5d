//! Layouts of everything that crosses the queues (SPEC.md, section 4).
//!
//! All integers are little-endian. Bytes are decoded once, here; nothing
//! deeper in the crate sees them raw. Block sets have a module of their own,
//! [`crate::encoding`].

pub(crate) mod layout;

use zerocopy::{FromBytes, FromZeros, IntoBytes, transmute};

use crate::advice::Advice;
use crate::error::Reject;
use crate::units::Geometry;

/// The magic of a vSSD: bytes 24..28 of its config space.
pub const MARK: [u8; 4] = *b"vSSD";

/// Where the mark starts in config space: the topology fields, which QEMU
/// passes on unchanged and whose feature bit a vSSD does not offer.
pub const MARK_OFFSET: usize = 24;

/// The version of the contract that this crate implements.
pub const VERSION: u16 = 2;

/// Bytes of an event buffer on the event queue.
pub const EVENT_LEN: usize = 32;

/// Bytes before the payload of a command.
pub const REQUEST_HEADER_LEN: usize = 24;

/// Bytes before the payload of a response.
pub const RESPONSE_HEADER_LEN: usize = 56;

/// Most bytes of the payload of a command or response: a bitmap of the
/// 8,388,608 blocks of a 32 GiB vSSD, and room for segment headers.
pub const MAX_PAYLOAD: usize = (1 << 20) + 4096;

/// Most bytes of a command or of a response, header included.
pub const MAX_MESSAGE: usize = RESPONSE_HEADER_LEN + MAX_PAYLOAD;

/// Bytes of HELLO's payload in a command.
pub const HELLO_REQUEST_LEN: usize = 16;

/// Bytes of HELLO's payload in a response.
pub const HELLO_RESPONSE_LEN: usize = 32;

/// Bytes of CONFIRM's payload.
pub const CONFIRM_LEN: usize = 16;

/// Set in a SURRENDER when the driver has no more blocks to give for now.
pub const FLAG_FINAL: u16 = 1;

/// Set in a goal when the device waits for a CONFIRM.
pub const GOAL_CONFIRM: u32 = 1;

/// Set in a goal when the device waits for a REPORT.
pub const GOAL_REPORT: u32 = 2;

/// Set in a goal as [`Advice::bypass_writes`].
pub const GOAL_BYPASS_WRITES: u32 = 4;

/// Set in a goal as [`Advice::admit_reused`].
pub const GOAL_ADMIT_REUSED: u32 = 8;

/// Bytes of the mark in config space.
pub const MARK_LEN: usize = 8;

/// The mark of a vSSD of this shape, as it stands at [`MARK_OFFSET`].
pub fn mark(geometry: Geometry) -> [u8; MARK_LEN] {
    transmute!(layout::Mark {
        magic: MARK,
        version: VERSION.into(),
        // At most 20: a block size is a power of two up to 1 MiB.
        block_size_log2: geometry.block_size().trailing_zeros() as u8,
        reserved: 0,
    })
}

/// The version in a mark; `None` when these bytes are no mark.
pub fn marked_version(bytes: &[u8; MARK_LEN]) -> Option<u16> {
    let mark: layout::Mark = transmute!(*bytes);
    (mark.magic == MARK).then(|| mark.version.get())
}

/// Bytes in a block, by a mark of this [`VERSION`]; 0 when the exponent exceeds 31,
/// which [`Geometry::new`] refuses as it does every other impossible size.
pub fn marked_block_size(bytes: &[u8; MARK_LEN]) -> u32 {
    let mark: layout::Mark = transmute!(*bytes);
    1_u32.checked_shl(mark.block_size_log2.into()).unwrap_or(0)
}

/// How block sets travel in a session; the device decides it at HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Extents or bitmap windows, whichever is smaller, any number of blocks
    /// in one exchange.
    Compact,
    /// The exchange of the 2017 system: at most 4096 sector numbers of 8
    /// bytes, which is 2 MiB, and one event for each exchange. An ablation.
    List4096,
}

impl Encoding {
    fn code(self) -> u16 {
        match self {
            Self::Compact => 1,
            Self::List4096 => 2,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Compact),
            2 => Some(Self::List4096),
            _ => None,
        }
    }
}

/// The operation of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Opens a session.
    Hello,
    /// Reads the device's list of valid blocks from a cursor on.
    List,
    /// Gives blocks up.
    Surrender,
    /// Takes blocks that the device grants.
    Accept,
    /// Fetches the blocks that the device revoked.
    Revoked,
    /// States the driver's list, by count and digest.
    Confirm,
    /// Reports the demand of the application.
    Report,
}

impl Opcode {
    /// Every opcode with its number on the wire.
    pub const ALL: [(Self, u16); 7] = [
        (Self::Hello, 1),
        (Self::List, 2),
        (Self::Surrender, 3),
        (Self::Accept, 4),
        (Self::Revoked, 5),
        (Self::Confirm, 6),
        (Self::Report, 7),
    ];

    fn code(self) -> u16 {
        self as u16 + 1
    }

    fn from_code(code: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, c)| *c == code)
            .map(|(opcode, _)| *opcode)
    }
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Carried out.
    Ok,
    /// Refused; nothing changed.
    Rejected(Reject),
}

impl Status {
    fn code(self) -> u16 {
        match self {
            Self::Ok => 0,
            Self::Rejected(reject) => reject.code(),
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Ok),
            _ => Reject::from_code(code).map(Self::Rejected),
        }
    }
}

/// What the device wants the driver's list to become. It travels in every
/// event and every response, and is all a driver needs to decide its next step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Goal {
    /// Grows with every change of the other fields: the newer goal wins.
    pub generation: u64,
    /// Number of blocks that the driver is to hold.
    pub target: u32,
    /// Number of blocks taken from the driver that it has not fetched yet.
    pub revoked: u32,
    /// Milliseconds until the device may revoke; 0 when it will not.
    pub deadline_ms: u32,
    /// [`GOAL_CONFIRM`], [`GOAL_REPORT`], [`GOAL_BYPASS_WRITES`] and [`GOAL_ADMIT_REUSED`], or 0.
    pub flags: u32,
}

/// Bytes of a goal.
pub const GOAL_LEN: usize = 24;

impl Goal {
    /// True when the device waits for a CONFIRM.
    pub fn wants_confirm(&self) -> bool {
        self.flags & GOAL_CONFIRM != 0
    }

    /// True when the device waits for a REPORT.
    pub fn wants_report(&self) -> bool {
        self.flags & GOAL_REPORT != 0
    }

    /// What the device advises a cache on the vSSD.
    pub fn advice(&self) -> Advice {
        Advice {
            bypass_writes: self.flags & GOAL_BYPASS_WRITES != 0,
            admit_reused: self.flags & GOAL_ADMIT_REUSED != 0,
        }
    }
}

/// An advice as flags of a goal.
pub(crate) fn advice_flags(advice: Advice) -> u32 {
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    flag(advice.bypass_writes, GOAL_BYPASS_WRITES) | flag(advice.admit_reused, GOAL_ADMIT_REUSED)
}

impl From<Goal> for layout::Goal {
    fn from(goal: Goal) -> Self {
        Self {
            generation: goal.generation.into(),
            target: goal.target.into(),
            revoked: goal.revoked.into(),
            deadline_ms: goal.deadline_ms.into(),
            flags: goal.flags.into(),
        }
    }
}

impl From<layout::Goal> for Goal {
    fn from(goal: layout::Goal) -> Self {
        Self {
            generation: goal.generation.get(),
            target: goal.target.get(),
            revoked: goal.revoked.get(),
            deadline_ms: goal.deadline_ms.get(),
            flags: goal.flags.get(),
        }
    }
}

/// Kinds of events.
const EVENT_GOAL: u16 = 1;
const EVENT_RESYNC: u16 = 2;

/// An event of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The goal changed, or another exchange of `list-4096` is due.
    Goal(Goal),
    /// The device has no session: send HELLO.
    Resync,
}

impl Event {
    /// The bytes of the event.
    pub fn encode(&self) -> [u8; EVENT_LEN] {
        let (kind, goal) = match *self {
            Self::Goal(goal) => (EVENT_GOAL, goal.into()),
            Self::Resync => (EVENT_RESYNC, layout::Goal::new_zeroed()),
        };
        transmute!(layout::Event {
            kind: kind.into(),
            reserved: [0; 6],
            goal,
        })
    }

    /// The event in `bytes`; `None` when it is short or unknown, which a
    /// driver ignores [DRV-3].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (event, _) = layout::Event::read_from_prefix(bytes).ok()?;
        match event.kind.get() {
            EVENT_GOAL => Some(Self::Goal(event.goal.into())),
            EVENT_RESYNC => Some(Self::Resync),
            _ => None,
        }
    }
}

/// The header of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub opcode: Opcode,
    /// [`FLAG_FINAL`] or 0.
    pub flags: u16,
    /// The session, as HELLO's response named it; 0 in a HELLO.
    pub session: u64,
    /// Position in the session: 1 for the first command after HELLO; 0 in a HELLO.
    pub sequence: u32,
    /// LIST: the first block of interest. Otherwise 0.
    pub cursor: u32,
}

impl Request {
    /// Writes the header of a command whose payload has `payload_len` bytes.
    pub fn encode(&self, payload_len: usize, out: &mut [u8]) {
        let header = layout::RequestHeader {
            opcode: self.opcode.code().into(),
            flags: self.flags.into(),
            payload_len: (payload_len as u32).into(),
            session: self.session.into(),
            sequence: self.sequence.into(),
            cursor: self.cursor.into(),
        };
        header.write_to_prefix(out).expect("room for the header");
    }

    /// Splits a command into header and payload.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Reject> {
        let (header, payload) =
            layout::RequestHeader::ref_from_prefix(bytes).map_err(|_| Reject::Malformed)?;
        if payload.len() > MAX_PAYLOAD || header.payload_len.get() as usize != payload.len() {
            return Err(Reject::Malformed);
        }
        let opcode = Opcode::from_code(header.opcode.get()).ok_or(Reject::Unsupported)?;
        let request = Self {
            opcode,
            flags: header.flags.get(),
            session: header.session.get(),
            sequence: header.sequence.get(),
            cursor: header.cursor.get(),
        };
        Ok((request, payload))
    }
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The outcome.
    pub status: Status,
    /// The session that the device is in; 0 when in none.
    pub session: u64,
    /// The command's sequence.
    pub sequence: u32,
    /// LIST: where to go on; the capacity when the list is complete.
    pub cursor: u32,
    /// The present goal of the device.
    pub goal: Goal,
}

impl Response {
    /// Writes the header of a response whose payload has `payload_len` bytes.
    pub fn encode(&self, payload_len: usize, out: &mut [u8]) {
        let header = layout::ResponseHeader {
            status: self.status.code().into(),
            reserved: 0.into(),
            payload_len: (payload_len as u32).into(),
            session: self.session.into(),
            sequence: self.sequence.into(),
            cursor: self.cursor.into(),
            goal: self.goal.into(),
            reserved_end: 0.into(),
        };
        header.write_to_prefix(out).expect("room for the header");
    }

    /// Splits a response into header and payload; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = layout::ResponseHeader::ref_from_prefix(bytes).ok()?;
        let payload = rest.get(..header.payload_len.get() as usize)?;
        let response = Self {
            status: Status::from_code(header.status.get())?,
            session: header.session.get(),
            sequence: header.sequence.get(),
            cursor: header.cursor.get(),
            goal: header.goal.into(),
        };
        Some((response, payload))
    }
}

/// The payload of a HELLO command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloRequest {
    /// The highest version that the driver supports.
    pub version: u16,
    /// The longest response payload that it can take, bytes.
    pub max_payload: u32,
}

impl HelloRequest {
    /// The payload.
    pub fn encode(&self) -> [u8; HELLO_REQUEST_LEN] {
        transmute!(layout::HelloRequest {
            version: self.version.into(),
            reserved: 0.into(),
            max_payload: self.max_payload.into(),
            reserved_end: 0.into(),
        })
    }

    /// The HELLO in a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let hello = layout::HelloRequest::ref_from_bytes(payload).map_err(|_| Reject::Malformed)?;
        Ok(Self {
            version: hello.version.get(),
            max_payload: hello.max_payload.get(),
        })
    }
}

/// The payload of a HELLO response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloResponse {
    /// The version of this session.
    pub version: u16,
    /// How block sets travel in this session.
    pub encoding: Encoding,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in the vSSD at full size.
    pub capacity: u32,
    /// The longest payload that the device takes, bytes.
    pub max_payload: u32,
}

impl HelloResponse {
    /// The payload.
    pub fn encode(&self) -> [u8; HELLO_RESPONSE_LEN] {
        transmute!(layout::HelloResponse {
            version: self.version.into(),
            encoding: self.encoding.code().into(),
            block_size: self.block_size.into(),
            capacity: self.capacity.into(),
            max_payload: self.max_payload.into(),
            reserved: [0; 16],
        })
    }

    /// The response in a payload; `None` when it is invalid.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (answer, _) = layout::HelloResponse::ref_from_prefix(payload).ok()?;
        Some(Self {
            version: answer.version.get(),
            encoding: Encoding::from_code(answer.encoding.get())?,
            block_size: answer.block_size.get(),
            capacity: answer.capacity.get(),
            max_payload: answer.max_payload.get(),
        })
    }
}

/// A list of valid blocks, by its count and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// [`BlockSet::digest`](crate::block_set::BlockSet::digest) of the list.
    pub digest: u64,
    /// Number of blocks in it.
    pub held: u32,
}

impl Confirm {
    /// The payload.
    pub fn encode(&self) -> [u8; CONFIRM_LEN] {
        transmute!(layout::Confirm {
            digest: self.digest.into(),
            held: self.held.into(),
            reserved: 0.into(),
        })
    }

    /// The CONFIRM in a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let confirm = layout::Confirm::ref_from_bytes(payload).map_err(|_| Reject::Malformed)?;
        Ok(Self {
            digest: confirm.digest.get(),
            held: confirm.held.get(),
        })
    }
}
