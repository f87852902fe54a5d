//! The bytes of the region's blocks. All numbers are little-endian.
//!
//! ```text
//!  block                                    record, 12 bytes
//!   0  "vSSDmeta"                            0  kind in bits 28 to 31, slot below
//!   8  version u16, 1                        4  block u32
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
//!  56  checksum of all else u64             kinds of blocks
//!  64  records                               0 blank, 1 checkpoint, 2 log
//! ```
//!
//! | | checkpoint | log |
//! |---|---|---|
//! | sequence | of the checkpoint | of the block |
//! | sequence before | of the log's last block before it | of the last block of the commit before |
//! | next | where the log goes on | where the log goes on |
//! | index | in the checkpoint | in the commit |
//! | parts | 1 in the last block, else 0 | blocks of the commit |

use super::{Record, SlotState};
use crate::checksum::checksum;
use crate::device::BLOCK_LEN;

const MAGIC: u64 = u64::from_le_bytes(*b"vSSDmeta");
const VERSION: u16 = 1;
const HEADER_LEN: usize = 64;
const RECORD_LEN: usize = 12;
const CHECKSUM_AT: usize = 56;
const SLOT_BITS: u32 = 28;

/// Records in a block.
pub const PER_BLOCK: usize = (BLOCK_LEN - HEADER_LEN) / RECORD_LEN;

/// No honest log counts as far; one that did could not be continued.
const SEQUENCE_END: u64 = 1 << 63;

// Every slot that a cache can have has a number in a record.
const _: () = assert!(crate::cache::MAX_SLOTS <= 1 << SLOT_BITS);
const _: () = assert!(PER_BLOCK == 336);

/// What a block of the region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, but not zeros.
    Blank,
    /// A part of a checkpoint.
    Checkpoint,
    /// A part of a commit.
    Log,
}

/// What the front of a block says; see the module for the fields.
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

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn sum(block: &[u8]) -> u64 {
    let header = checksum(MAGIC, &block[..CHECKSUM_AT]);
    checksum(header, &block[HEADER_LEN..BLOCK_LEN])
}

impl Header {
    /// Writes the header and at most [`PER_BLOCK`] records to a block of zeros.
    pub fn encode(&self, records: &[Record], block: &mut [u8]) {
        let kind: u16 = match self.kind {
            Kind::Blank => 0,
            Kind::Checkpoint => 1,
            Kind::Log => 2,
        };
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &VERSION.to_le_bytes());
        put(10, &kind.to_le_bytes());
        put(12, &self.capacity.to_le_bytes());
        put(16, &self.id.to_le_bytes());
        put(24, &self.sequence.to_le_bytes());
        put(32, &self.previous.to_le_bytes());
        put(40, &self.place.to_le_bytes());
        put(44, &self.next.to_le_bytes());
        put(48, &self.index.to_le_bytes());
        put(52, &(records.len() as u16).to_le_bytes());
        put(54, &self.parts.to_le_bytes());
        let (slots, _) = block[HEADER_LEN..].as_chunks_mut::<RECORD_LEN>();
        assert!(records.len() <= slots.len(), "{} records", records.len());
        for (bytes, record) in slots.iter_mut().zip(records) {
            encode_record(record, bytes);
        }
        let sum = sum(block);
        block[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads a block; `None` when it is none of these, or not whole.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let is_whole = u64_at(block, 0) == MAGIC
            && u16_at(block, 8) == VERSION
            && u64_at(block, CHECKSUM_AT) == sum(block);
        let kind = match (is_whole, u16_at(block, 10)) {
            (true, 0) => Kind::Blank,
            (true, 1) => Kind::Checkpoint,
            (true, 2) => Kind::Log,
            _ => return None,
        };
        let header = Self {
            kind,
            capacity: u32_at(block, 12),
            id: u64_at(block, 16),
            sequence: u64_at(block, 24),
            previous: u64_at(block, 32),
            place: u32_at(block, 40),
            next: u32_at(block, 44),
            index: u32_at(block, 48),
            parts: u16_at(block, 54),
        };
        let counts = header.sequence.max(header.previous) < SEQUENCE_END;
        (counts && usize::from(u16_at(block, 52)) <= PER_BLOCK).then_some(header)
    }
}

/// The records of a block that [`Header::decode`] took; `None` for one that cannot be.
pub fn records(block: &[u8]) -> impl Iterator<Item = Option<Record>> {
    let count = usize::from(u16_at(block, 52));
    let (records, _) = block[HEADER_LEN..].as_chunks::<RECORD_LEN>();
    records.iter().take(count).map(decode_record)
}

fn encode_record(record: &Record, bytes: &mut [u8; RECORD_LEN]) {
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
    bytes[0..4].copy_from_slice(&(kind << SLOT_BITS | slot).to_le_bytes());
    bytes[4..8].copy_from_slice(&block.to_le_bytes());
    bytes[8..12].copy_from_slice(&epoch.to_le_bytes());
}

fn decode_record(bytes: &[u8; RECORD_LEN]) -> Option<Record> {
    let word = u32_at(bytes, 0);
    let slot = word & ((1 << SLOT_BITS) - 1);
    let (block, epoch) = (u32_at(bytes, 4), u32_at(bytes, 8));
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

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
        let expected: &[u8] = b"vSSDmeta\x01\0\x02\0\x01\x02\x03\x04\
            \x88\x77\x66\x55\x44\x33\x22\x11\x02\x03\x04\x05\x06\x07\x08\x09\
            \x08\x07\x06\x05\x04\x03\x02\x01\xbb\xaa\0\0\xdd\xcc\0\0\x01\0\0\0\x06\0\x02\0";
        assert_eq!(&block[..CHECKSUM_AT], expected);
        assert_eq!(u64_at(&block, CHECKSUM_AT), 0xd9a6_6736_ea20_c1a5);
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
            (8, &2u16.to_le_bytes()[..]),
            (10, &3u16.to_le_bytes()),
            (24, &u64::MAX.to_le_bytes()),
            (32, &u64::MAX.to_le_bytes()),
            (52, &337u16.to_le_bytes()),
        ] {
            let mut block = vec![0; BLOCK_LEN];
            HEADER.encode(&RECORDS, &mut block);
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let sum = sum(&block);
            block[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(Header::decode(&block), None, "bytes from {at} on");
        }
        assert_eq!(decode_record(&[0xff; RECORD_LEN]), None);
    }
}
