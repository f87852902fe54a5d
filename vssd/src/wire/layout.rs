//! The bytes of messages, field by field (SPEC.md, section 4). Reserved fields are written as
//! zeros and ignored by the reader.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    CONFIRM_LEN, EVENT_LEN, GOAL_LEN, HELLO_REQUEST_LEN, HELLO_RESPONSE_LEN, MARK_LEN,
    REQUEST_HEADER_LEN, RESPONSE_HEADER_LEN,
};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mark {
    pub magic: [u8; 4],
    pub version: U16,
    /// The logarithm of the block size.
    pub block_size_log2: u8,
    pub reserved: u8,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Goal {
    pub generation: U64,
    pub target: U32,
    pub revoked: U32,
    pub deadline_ms: U32,
    pub flags: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Event {
    pub kind: U16,
    pub reserved: [u8; 6],
    pub goal: Goal,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RequestHeader {
    pub opcode: U16,
    pub flags: U16,
    pub payload_len: U32,
    pub session: U64,
    pub sequence: U32,
    pub cursor: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ResponseHeader {
    pub status: U16,
    pub reserved: U16,
    pub payload_len: U32,
    pub session: U64,
    pub sequence: U32,
    pub cursor: U32,
    pub goal: Goal,
    pub reserved_end: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HelloRequest {
    pub version: U16,
    pub reserved: U16,
    pub max_payload: U32,
    pub reserved_end: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HelloResponse {
    pub version: U16,
    pub encoding: U16,
    pub block_size: U32,
    pub capacity: U32,
    pub max_payload: U32,
    pub reserved: [u8; 16],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReportHeader {
    pub accesses: U64,
    pub hits: U64,
    pub writes: U64,
    /// Points of the curve of all accesses.
    pub curve: U32,
    /// Points of the curve of reads, which follow those.
    pub reads: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReportPoint {
    pub blocks: U32,
    pub misses: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Confirm {
    pub digest: U64,
    pub held: U32,
    pub reserved: U32,
}

const _: () = assert!(size_of::<Mark>() == MARK_LEN);
const _: () = assert!(size_of::<Goal>() == GOAL_LEN);
const _: () = assert!(size_of::<Event>() == EVENT_LEN);
const _: () = assert!(size_of::<RequestHeader>() == REQUEST_HEADER_LEN);
const _: () = assert!(size_of::<ResponseHeader>() == RESPONSE_HEADER_LEN);
const _: () = assert!(size_of::<HelloRequest>() == HELLO_REQUEST_LEN);
const _: () = assert!(size_of::<HelloResponse>() == HELLO_RESPONSE_LEN);
const _: () = assert!(size_of::<Confirm>() == CONFIRM_LEN);
const _: () = assert!(size_of::<ReportHeader>() == 32);
const _: () = assert!(size_of::<ReportPoint>() == 8);
