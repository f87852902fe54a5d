//! The bytes of the region's blocks. All numbers are little-endian.
//!
//! ```text
//!  block                                    record, 12 bytes
//!   0  "vSSDmeta"                            0  kind in bits 28 to 31, slot below
//!   8  version u16, 2                        4  block u32
//!  10  kind u16                              8  epoch u32
//!  12  blocks of the vSSD u32
//!  16  id of the cache u64                  kinds of records
//!  24  sequence u64                          0  the slot is free
//!  32  sequence before u64                   1  clean
//!  40  place of this block u32               2  dirty
//!  44  place of the next u32                 3  dirty, and all zeros
//!  48  index u32                             4  the block is lost
//!  52  records u16                           5  the block is found
//!  54  parts u16
//!  56  zeros                                kinds of blocks
//!  60  CRC-32 of all else u32                0 blank, 1 checkpoint, 2 log
//!  64  records
//! ```
//!
//! | | checkpoint | log |
//! |---|---|---|
//! | sequence | of the checkpoint | of the block |
//! | sequence before | of the log's last block before it | of the last block of the commit before |
//! | next | where the log goes on | where the log goes on |
//! | index | in the checkpoint | in the commit |
//! | parts | 1 in the last block, else 0 | blocks of the commit |

use core::mem::offset_of;

use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Record, SlotState};
use crate::device::BLOCK_LEN;

const MAGIC: [u8; 8] = *b"vSSDmeta";

/// The version of this layout. Version 1 had another checksum.
pub const VERSION: u16 = 2;

const SLOT_BITS: u32 = 28;

/// A block of the region.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlock {
    header: RawHeader,
    records: [RawRecord; PER_BLOCK],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U16,
    kind: U16,
    capacity: U32,
    id: U64,
    sequence: U64,
    previous: U64,
    place: U32,
    next: U32,
    index: U32,
    records: U16,
    parts: U16,
    reserved: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    kind_and_slot: U32,
    block: U32,
    epoch: U32,
}

/// Records in a block.
pub const PER_BLOCK: usize = (BLOCK_LEN - size_of::<RawHeader>()) / size_of::<RawRecord>();

/// No valid log counts as far; one that did could not be continued.
const SEQUENCE_END: u64 = 1 << 63;

// Every slot that a cache can have has a number in a record.
const _: () = assert!(crate::cache::MAX_SLOTS <= 1 << SLOT_BITS);
const _: () = assert!(PER_BLOCK == 336);
const _: () = assert!(size_of::<RawHeader>() == 64);
const _: () = assert!(size_of::<RawBlock>() == BLOCK_LEN);

/// The kind of a block of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, but not zeros.
    Blank,
    /// A part of a checkpoint.
    Checkpoint,
    /// A part of a commit.
    Log,
}

/// The header of a block; see the module for the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub capacity: u32,
    pub id: u64,
    pub sequence: u64,
    pub previous: u64,
    pub place: u32,
    pub next: u32,
    pub index: u32,
    pub parts: u16,
}

impl RawBlock {
    /// The checksum of all but its field, which ends the header.
    fn crc(&self) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.header.as_bytes()[..offset_of!(RawHeader, crc)]);
        hasher.update(self.records.as_bytes());
        hasher.finalize()
    }
}

impl Header {
    /// Writes the header and at most [`PER_BLOCK`] records to a block of zeros.
    pub fn encode(&self, records: &[Record], block: &mut [u8]) {
        let kind: u16 = match self.kind {
            Kind::Blank => 0,
            Kind::Checkpoint => 1,
            Kind::Log => 2,
        };
        let block = RawBlock::mut_from_bytes(block).expect("bytes of a block");
        block.header = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            kind: kind.into(),
            capacity: self.capacity.into(),
            id: self.id.into(),
            sequence: self.sequence.into(),
            previous: self.previous.into(),
            place: self.place.into(),
            next: self.next.into(),
            index: self.index.into(),
            records: (records.len() as u16).into(),
            parts: self.parts.into(),
            reserved: 0.into(),
            crc: 0.into(),
        };
        for (raw, record) in block.records[..records.len()].iter_mut().zip(records) {
            *raw = RawRecord::encode(record);
        }
        block.header.crc = block.crc().into();
    }

    /// Reads a block; `None` when it is none of these, or damaged.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let block = RawBlock::ref_from_bytes(block).ok()?;
        let raw = &block.header;
        let is_whole = raw.magic == MAGIC
            && raw.version.get() == VERSION
            && (cfg!(fuzzing) || raw.crc.get() == block.crc());
        let kind = match (is_whole, raw.kind.get()) {
            (true, 0) => Kind::Blank,
            (true, 1) => Kind::Checkpoint,
            (true, 2) => Kind::Log,
            _ => return None,
        };
        let header = Self {
            kind,
            capacity: raw.capacity.get(),
            id: raw.id.get(),
            sequence: raw.sequence.get(),
            previous: raw.previous.get(),
            place: raw.place.get(),
            next: raw.next.get(),
            index: raw.index.get(),
            parts: raw.parts.get(),
        };
        let counts = header.sequence.max(header.previous) < SEQUENCE_END;
        (counts && usize::from(raw.records.get()) <= PER_BLOCK).then_some(header)
    }
}

/// The version of a block of another one; `None` for every other block.
pub fn other_version(block: &[u8]) -> Option<u16> {
    let header = &RawBlock::ref_from_bytes(block).ok()?.header;
    let version = header.version.get();
    (header.magic == MAGIC && version != VERSION).then_some(version)
}

/// The records of a block that [`Header::decode`] took; `None` for one that cannot be.
pub fn records(block: &[u8]) -> impl Iterator<Item = Option<Record>> {
    let block = RawBlock::ref_from_bytes(block).expect("bytes of a block");
    let count = usize::from(block.header.records.get());
    block.records.iter().take(count).map(RawRecord::decode)
}

impl RawRecord {
    fn encode(record: &Record) -> Self {
        let (kind, slot, block, epoch) = match *record {
            Record::Slot { slot, state } => match state {
                SlotState::Free => (0, slot, 0, 0),
                SlotState::Clean { block } => (1, slot, block, 0),
                SlotState::Dirty {
                    block,
                    epoch,
                    zeros,
                } => (2 + u32::from(zeros), slot, block, epoch),
            },
            Record::Lost { block } => (4, 0, block, 0),
            Record::Found { block } => (5, 0, block, 0),
        };
        Self {
            kind_and_slot: (kind << SLOT_BITS | slot).into(),
            block: block.into(),
            epoch: epoch.into(),
        }
    }

    fn decode(&self) -> Option<Record> {
        let word = self.kind_and_slot.get();
        let slot = word & ((1 << SLOT_BITS) - 1);
        let (block, epoch) = (self.block.get(), self.epoch.get());
        let state = match word >> SLOT_BITS {
            0 => SlotState::Free,
            1 => SlotState::Clean { block },
            kind @ (2 | 3) => SlotState::Dirty {
                block,
                epoch,
                zeros: kind == 3,
            },
            4 => return Some(Record::Lost { block }),
            5 => return Some(Record::Found { block }),
            _ => return None,
        };
        Some(Record::Slot { slot, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HEADER_LEN: usize = size_of::<RawHeader>();
    const CRC_AT: usize = offset_of!(RawHeader, crc);

    const HEADER: Header = Header {
        kind: Kind::Log,
        capacity: 0x0403_0201,
        id: 0x1122_3344_5566_7788,
        sequence: 0x0908_0706_0504_0302,
        previous: 0x0102_0304_0506_0708,
        place: 0xaabb,
        next: 0xccdd,
        index: 1,
        parts: 2,
    };

    const RECORDS: [Record; 6] = [
        Record::Slot {
            slot: 0x0abb_ccdd,
            state: SlotState::Free,
        },
        Record::Slot {
            slot: 1,
            state: SlotState::Clean { block: 0x0102_0304 },
        },
        Record::Slot {
            slot: 2,
            state: SlotState::Dirty {
                block: 9,
                epoch: 0xa0b0_c0d0,
                zeros: false,
            },
        },
        Record::Slot {
            slot: 3,
            state: SlotState::Dirty {
                block: 10,
                epoch: 1,
                zeros: true,
            },
        },
        Record::Lost { block: u32::MAX },
        Record::Found { block: 7 },
    ];

    #[test]
    fn blocks_have_these_bytes() {
        let mut block = vec![0; BLOCK_LEN];
        HEADER.encode(&RECORDS, &mut block);
        let expected: &[u8] = b"vSSDmeta\x02\0\x02\0\x01\x02\x03\x04\
            \x88\x77\x66\x55\x44\x33\x22\x11\x02\x03\x04\x05\x06\x07\x08\x09\
            \x08\x07\x06\x05\x04\x03\x02\x01\xbb\xaa\0\0\xdd\xcc\0\0\x01\0\0\0\x06\0\x02\0\0\0\0\0";
        assert_eq!(&block[..CRC_AT], expected);
        let crc = block[CRC_AT..HEADER_LEN].as_array().copied();
        assert_eq!(crc.map(u32::from_le_bytes), Some(0xfc24_186c));
        let expected: &[u8] = b"\xdd\xcc\xbb\x0a\0\0\0\0\0\0\0\0\
            \x01\0\0\x10\x04\x03\x02\x01\0\0\0\0\
            \x02\0\0\x20\x09\0\0\0\xd0\xc0\xb0\xa0\
            \x03\0\0\x30\x0a\0\0\0\x01\0\0\0\
            \0\0\0\x40\xff\xff\xff\xff\0\0\0\0\
            \0\0\0\x50\x07\0\0\0\0\0\0\0";
        assert_eq!(&block[HEADER_LEN..HEADER_LEN + expected.len()], expected);
        assert!(block[HEADER_LEN + expected.len()..].iter().all(|&b| b == 0));
        assert_eq!(Header::decode(&block), Some(HEADER));
        assert!(records(&block).eq(RECORDS.map(Some)));
    }

    #[test]
    fn blocks_of_other_versions_are_told_from_noise() {
        let mut block = vec![0; BLOCK_LEN];
        assert_eq!(other_version(&block), None);
        HEADER.encode(&RECORDS, &mut block);
        assert_eq!(other_version(&block), None);
        for version in [1_u16, 3, u16::MAX] {
            block[8..10].copy_from_slice(&version.to_le_bytes());
            assert_eq!(other_version(&block), Some(version));
        }
        block[7] ^= 1;
        assert_eq!(other_version(&block), None, "another magic");
    }

    #[test]
    fn damaged_blocks_are_refused() {
        let mut block = vec![0; BLOCK_LEN];
        assert_eq!(Header::decode(&block), None);
        HEADER.encode(&RECORDS, &mut block);
        for at in (0..BLOCK_LEN).step_by(7).chain(0..HEADER_LEN) {
            block[at] ^= 0x20;
            assert_eq!(Header::decode(&block), None, "byte {at}");
            block[at] ^= 0x20;
        }
    }

    /// A checksum is no proof of sense.
    #[test]
    fn whole_blocks_that_make_no_sense_are_refused() {
        for (at, bytes) in [
            (8, &1u16.to_le_bytes()[..]),
            (10, &3u16.to_le_bytes()),
            (24, &u64::MAX.to_le_bytes()),
            (32, &u64::MAX.to_le_bytes()),
            (52, &337u16.to_le_bytes()),
        ] {
            let mut block = vec![0; BLOCK_LEN];
            HEADER.encode(&RECORDS, &mut block);
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let raw = RawBlock::mut_from_bytes(&mut block).unwrap();
            raw.header.crc = raw.crc().into();
            assert_eq!(Header::decode(&block), None, "bytes from {at} on");
        }
        let ones = RawRecord::ref_from_bytes(&[0xff; 12]).unwrap();
        assert_eq!(ones.decode(), None);
    }
}
