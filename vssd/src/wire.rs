//! Layouts of everything that crosses the queues (SPEC.md, section 4).
//!
//! All integers are little-endian. Bytes are decoded once, here; nothing
//! deeper in the crate sees them raw. Block sets have a module of their own,
//! [`crate::encoding`].

use crate::error::Reject;
use crate::units::Geometry;

/// What marks a virtio-blk device as a vSSD: bytes 24..28 of its config space.
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

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Bytes of the mark in config space.
pub const MARK_LEN: usize = 8;

/// The mark of a vSSD of this shape, as it stands at [`MARK_OFFSET`].
pub fn mark(geometry: Geometry) -> [u8; MARK_LEN] {
    let mut bytes = [0; MARK_LEN];
    bytes[..4].copy_from_slice(&MARK);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    // At most 20: a block size is a power of two up to 1 MiB.
    bytes[6] = geometry.block_size().trailing_zeros() as u8;
    bytes
}

/// The version in a mark; `None` when these bytes are no mark.
pub fn marked_version(bytes: &[u8; MARK_LEN]) -> Option<u16> {
    (bytes[..4] == MARK).then(|| u16_at(bytes, 4))
}

/// Bytes in a block, by a mark of this [`VERSION`]; 0 when no number of 32 bits has them,
/// which [`Geometry::new`] refuses as it does every other size that cannot be.
pub fn marked_block_size(bytes: &[u8; MARK_LEN]) -> u32 {
    1_u32.checked_shl(bytes[6].into()).unwrap_or(0)
}

/// How block sets travel in a session; the device decides it at HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Opens a session.
    Hello,
    /// Reads the device's list of valid blocks from a cursor on.
    List,
    /// Gives blocks up.
    Surrender,
    /// Takes blocks that the device grants.
    Accept,
    /// Learns which blocks the device took by itself.
    Revoked,
    /// States the driver's list, by count and digest.
    Confirm,
}

impl Opcode {
    /// Every opcode with its number on the wire.
    pub const ALL: [(Self, u16); 6] = [
        (Self::Hello, 1),
        (Self::List, 2),
        (Self::Surrender, 3),
        (Self::Accept, 4),
        (Self::Revoked, 5),
        (Self::Confirm, 6),
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

/// How the device answered a command.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// Grows with every change of the other fields: the newer goal wins.
    pub generation: u64,
    /// Number of blocks that the driver is to hold.
    pub target: u32,
    /// Number of blocks taken from the driver that it has not fetched yet.
    pub revoked: u32,
    /// Milliseconds until the device may revoke; 0 when it will not.
    pub deadline_ms: u32,
    /// [`GOAL_CONFIRM`] or 0.
    pub flags: u32,
}

/// Bytes of a goal.
pub const GOAL_LEN: usize = 24;

impl Goal {
    /// True when the device waits for a CONFIRM.
    pub fn wants_confirm(&self) -> bool {
        self.flags & GOAL_CONFIRM != 0
    }

    fn encode(&self, out: &mut [u8]) {
        out[0..8].copy_from_slice(&self.generation.to_le_bytes());
        out[8..12].copy_from_slice(&self.target.to_le_bytes());
        out[12..16].copy_from_slice(&self.revoked.to_le_bytes());
        out[16..20].copy_from_slice(&self.deadline_ms.to_le_bytes());
        out[20..24].copy_from_slice(&self.flags.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            generation: u64_at(bytes, 0),
            target: u32_at(bytes, 8),
            revoked: u32_at(bytes, 12),
            deadline_ms: u32_at(bytes, 16),
            flags: u32_at(bytes, 20),
        }
    }
}

/// What the device tells the driver without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The goal changed, or another exchange of `list-4096` is due.
    Goal(Goal),
    /// The device has no session: say HELLO.
    Resync,
}

impl Event {
    /// The bytes of the event.
    pub fn encode(&self) -> [u8; EVENT_LEN] {
        let mut out = [0; EVENT_LEN];
        let kind: u16 = match self {
            Self::Goal(goal) => {
                goal.encode(&mut out[8..32]);
                1
            }
            Self::Resync => 2,
        };
        out[0..2].copy_from_slice(&kind.to_le_bytes());
        out
    }

    /// The event in `bytes`; `None` when it is short or unknown, which a
    /// driver ignores [DRV-3].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < EVENT_LEN {
            return None;
        }
        match u16_at(bytes, 0) {
            1 => Some(Self::Goal(Goal::decode(&bytes[8..32]))),
            2 => Some(Self::Resync),
            _ => None,
        }
    }
}

/// The header of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
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
        out[0..2].copy_from_slice(&self.opcode.code().to_le_bytes());
        out[2..4].copy_from_slice(&self.flags.to_le_bytes());
        out[4..8].copy_from_slice(&(payload_len as u32).to_le_bytes());
        out[8..16].copy_from_slice(&self.session.to_le_bytes());
        out[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        out[20..24].copy_from_slice(&self.cursor.to_le_bytes());
    }

    /// Splits a command into header and payload.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Reject> {
        if bytes.len() < REQUEST_HEADER_LEN || bytes.len() > REQUEST_HEADER_LEN + MAX_PAYLOAD {
            return Err(Reject::Malformed);
        }
        let (header, payload) = bytes.split_at(REQUEST_HEADER_LEN);
        if u32_at(header, 4) as usize != payload.len() {
            return Err(Reject::Malformed);
        }
        let opcode = Opcode::from_code(u16_at(header, 0)).ok_or(Reject::Unsupported)?;
        let request = Self {
            opcode,
            flags: u16_at(header, 2),
            session: u64_at(header, 8),
            sequence: u32_at(header, 16),
            cursor: u32_at(header, 20),
        };
        Ok((request, payload))
    }
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// The session that the device is in; 0 when in none.
    pub session: u64,
    /// The command's sequence.
    pub sequence: u32,
    /// LIST: where to go on; the capacity when the list is complete.
    pub cursor: u32,
    /// What the device wants now.
    pub goal: Goal,
}

impl Response {
    /// Writes the header of a response whose payload has `payload_len` bytes.
    pub fn encode(&self, payload_len: usize, out: &mut [u8]) {
        out[0..2].copy_from_slice(&self.status.code().to_le_bytes());
        out[2..4].fill(0);
        out[4..8].copy_from_slice(&(payload_len as u32).to_le_bytes());
        out[8..16].copy_from_slice(&self.session.to_le_bytes());
        out[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        out[20..24].copy_from_slice(&self.cursor.to_le_bytes());
        self.goal.encode(&mut out[24..48]);
        out[48..RESPONSE_HEADER_LEN].fill(0);
    }

    /// Splits a response into header and payload; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        if bytes.len() < RESPONSE_HEADER_LEN {
            return None;
        }
        let (header, rest) = bytes.split_at(RESPONSE_HEADER_LEN);
        let payload = rest.get(..u32_at(header, 4) as usize)?;
        let response = Self {
            status: Status::from_code(u16_at(header, 0))?,
            session: u64_at(header, 8),
            sequence: u32_at(header, 16),
            cursor: u32_at(header, 20),
            goal: Goal::decode(&header[24..48]),
        };
        Some((response, payload))
    }
}

/// HELLO, as the driver says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloRequest {
    /// The highest version that the driver speaks.
    pub version: u16,
    /// The longest response payload that it can take, bytes.
    pub max_payload: u32,
}

impl HelloRequest {
    /// The payload.
    pub fn encode(&self) -> [u8; HELLO_REQUEST_LEN] {
        let mut out = [0; HELLO_REQUEST_LEN];
        out[0..2].copy_from_slice(&self.version.to_le_bytes());
        out[4..8].copy_from_slice(&self.max_payload.to_le_bytes());
        out
    }

    /// The HELLO in a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        if payload.len() != HELLO_REQUEST_LEN {
            return Err(Reject::Malformed);
        }
        Ok(Self {
            version: u16_at(payload, 0),
            max_payload: u32_at(payload, 4),
        })
    }
}

/// HELLO, as the device answers it.
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
        let mut out = [0; HELLO_RESPONSE_LEN];
        out[0..2].copy_from_slice(&self.version.to_le_bytes());
        out[2..4].copy_from_slice(&self.encoding.code().to_le_bytes());
        out[4..8].copy_from_slice(&self.block_size.to_le_bytes());
        out[8..12].copy_from_slice(&self.capacity.to_le_bytes());
        out[12..16].copy_from_slice(&self.max_payload.to_le_bytes());
        out
    }

    /// The answer in a payload; `None` when it is none.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() < HELLO_RESPONSE_LEN {
            return None;
        }
        Some(Self {
            version: u16_at(payload, 0),
            encoding: Encoding::from_code(u16_at(payload, 2))?,
            block_size: u32_at(payload, 4),
            capacity: u32_at(payload, 8),
            max_payload: u32_at(payload, 12),
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
        let mut out = [0; CONFIRM_LEN];
        out[0..8].copy_from_slice(&self.digest.to_le_bytes());
        out[8..12].copy_from_slice(&self.held.to_le_bytes());
        out
    }

    /// The CONFIRM in a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        if payload.len() != CONFIRM_LEN {
            return Err(Reject::Malformed);
        }
        Ok(Self {
            digest: u64_at(payload, 0),
            held: u32_at(payload, 8),
        })
    }
}
