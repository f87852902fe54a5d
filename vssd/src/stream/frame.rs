//! The bytes of a frame before they are stuffed (SPEC.md, 10.2).

use alloc::string::String;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::units::Geometry;
use crate::wire::MAX_MESSAGE;

/// The first bytes of each frame.
pub const MAGIC: [u8; 4] = *b"vStr";

/// The version of the stream transport that this crate implements. The contract has one of its own,
/// which HELLO negotiates.
pub const STREAM_VERSION: u16 = 1;

/// Bytes before the message of a frame.
pub const FRAME_HEADER_LEN: usize = 24;

/// Most bytes of a frame before it is stuffed.
pub const MAX_FRAME: usize = FRAME_HEADER_LEN + MAX_MESSAGE;

/// Bytes of the name of a vSSD in OPENED, as in the serial number of virtio-blk.
pub const NAME_LEN: usize = 20;

/// Bytes of an OPENED's message.
pub const OPENED_LEN: usize = 32;

/// Bytes of a CLOSED's message.
pub const CLOSED_LEN: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Agent to device: begins a conversation.
    Open,
    /// Agent to device: a command of the contract.
    Command,
    /// Device to agent: the device has just connected, and knows no conversation.
    Ready,
    /// Device to agent: the conversation has begun; the shape and name of the vSSD.
    Opened,
    /// Device to agent: the response to a command.
    Response,
    /// Device to agent: an event of the contract.
    Event,
    /// Device to agent: the conversation is not, or no longer, the present one.
    Closed,
}

impl Kind {
    /// Every kind with its number on the wire.
    pub const ALL: [(Self, u16); 7] = [
        (Self::Open, 1),
        (Self::Command, 2),
        (Self::Ready, 3),
        (Self::Opened, 4),
        (Self::Response, 5),
        (Self::Event, 6),
        (Self::Closed, 7),
    ];

    fn code(self) -> u16 {
        self as u16 + 1
    }

    fn from_code(code: u16) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, known)| *known == code).map(|(kind, _)| *kind)
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: U16,
    kind: U16,
    conversation: U64,
    message_len: U32,
    checksum: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OpenedLayout {
    block_size: U32,
    capacity: U32,
    name: [u8; NAME_LEN],
    reserved: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ClosedLayout {
    reason: U16,
    version: U16,
    reserved: U32,
}

const _: () = assert!(size_of::<Layout>() == FRAME_HEADER_LEN);
const _: () = assert!(size_of::<OpenedLayout>() == OPENED_LEN);
const _: () = assert!(size_of::<ClosedLayout>() == CLOSED_LEN);

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the sender.
    pub version: u16,
    /// What the frame carries.
    pub kind: Kind,
    /// The conversation that it belongs to; 0 in a READY.
    pub conversation: u64,
}

impl Header {
    /// A header of this version.
    pub fn new(kind: Kind, conversation: u64) -> Self {
        Self {
            version: STREAM_VERSION,
            kind,
            conversation,
        }
    }

    /// The bytes of the header of a frame with this message.
    pub fn encode(&self, message: &[u8]) -> [u8; FRAME_HEADER_LEN] {
        let mut layout = Layout {
            magic: MAGIC,
            version: self.version.into(),
            kind: self.kind.code().into(),
            conversation: self.conversation.into(),
            message_len: (message.len() as u32).into(),
            checksum: 0.into(),
        };
        layout.checksum = checksum(layout, message).into();
        transmute!(layout)
    }

    /// The header and the message of a frame; `None` when it is not intact, or of unknown kind.
    ///
    /// [STR-3] The header is the same in every version, so that both sides can tell that they differ.
    pub fn decode(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (layout, message) = Layout::read_from_prefix(frame).ok()?;
        let is_intact = layout.magic == MAGIC
            && layout.message_len.get() as usize == message.len()
            && (cfg!(fuzzing) || layout.checksum.get() == checksum(layout, message));
        let header = Self {
            version: layout.version.get(),
            kind: Kind::from_code(layout.kind.get())?,
            conversation: layout.conversation.get(),
        };
        is_intact.then_some((header, message))
    }
}

/// CRC-32 of the frame with 0 in the place of the checksum.
fn checksum(layout: Layout, message: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let unsummed = Layout {
        checksum: 0.into(),
        ..layout
    };
    crc.update(unsummed.as_bytes());
    crc.update(message);
    crc.finalize()
}

/// Which vSSD is at the device's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its shape.
    pub geometry: Geometry,
    /// Its name, which its disk has as serial number; at most [`NAME_LEN`] bytes.
    pub name: String,
}

impl Identity {
    /// The message of an OPENED.
    pub fn encode(&self) -> [u8; OPENED_LEN] {
        let mut name = [0; NAME_LEN];
        let len = self.name.len().min(NAME_LEN);
        name[..len].copy_from_slice(&self.name.as_bytes()[..len]);
        transmute!(OpenedLayout {
            block_size: self.geometry.block_size().into(),
            capacity: self.geometry.capacity().into(),
            name,
            reserved: 0.into(),
        })
    }

    /// The identity in a message; `None` when no vSSD has that shape or name.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (opened, _) = OpenedLayout::read_from_prefix(message).ok()?;
        let capacity = opened.capacity.get().into();
        let len = opened.name.iter().position(|byte| *byte == 0);
        let name = &opened.name[..len.unwrap_or(NAME_LEN)];
        Some(Self {
            geometry: Geometry::new(opened.block_size.get(), capacity).ok()?,
            name: core::str::from_utf8(name).ok()?.into(),
        })
    }
}

/// Why a conversation is not the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The device knows no conversation: it has just connected.
    Unopened,
    /// A later OPEN on the same connection, of another agent, took its place.
    Replaced,
    /// The device speaks this version only.
    Version(u16),
    /// Another connection has the channel.
    Busy,
}

impl Closed {
    /// The message of a CLOSED.
    pub fn encode(&self) -> [u8; CLOSED_LEN] {
        let (reason, version) = match *self {
            Self::Unopened => (1, STREAM_VERSION),
            Self::Replaced => (2, STREAM_VERSION),
            Self::Version(version) => (3, version),
            Self::Busy => (4, STREAM_VERSION),
        };
        transmute!(ClosedLayout {
            reason: U16::new(reason),
            version: version.into(),
            reserved: 0.into(),
        })
    }

    /// The reason in a message; `None` when it is unknown.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (closed, _) = ClosedLayout::read_from_prefix(message).ok()?;
        match closed.reason.get() {
            1 => Some(Self::Unopened),
            2 => Some(Self::Replaced),
            3 => Some(Self::Version(closed.version.get())),
            4 => Some(Self::Busy),
            _ => None,
        }
    }
}

impl core::fmt::Display for Closed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unopened => f.write_str("the device has restarted"),
            Self::Replaced => f.write_str("another agent has opened the channel"),
            Self::Version(version) => write!(
                f,
                "the device speaks version {version} of the agent channel, and this agent version \
                 {STREAM_VERSION}"
            ),
            Self::Busy => f.write_str("another agent is connected to this vSSD"),
        }
    }
}

impl core::error::Error for Closed {}
