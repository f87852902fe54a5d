//! The bytes of descriptors and of the mark. All numbers are little-endian.
//!
//! ```text
//!   0  "vSSDjrnl"                     60  CRC-32 of all else u32
//!   8  version u16, 2                 64  for each block of the transaction:
//!  10  kind u16: 1 transaction, 2 mark     0  its place u32
//!  12  blocks of the origin u32            4  CRC-32 of its place and content u32
//!  16  sequence u64
//!  24  the last one applied u64
//!  32  blocks of the transaction u32
//!  36  zeros
//! ```

use alloc::vec::Vec;
use core::mem::offset_of;

use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::TRANSACTION_BLOCKS;
use crate::device::BLOCK_LEN;

const MAGIC: [u8; 8] = *b"vSSDjrnl";

/// The version of this layout. Version 1 had another checksum.
pub const VERSION: u16 = 2;

/// A descriptor or the mark.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlock {
    header: RawHeader,
    targets: [RawTarget; TARGET_ROOM],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U16,
    kind: U16,
    origin_blocks: U32,
    sequence: U64,
    applied: U64,
    targets: U32,
    reserved: [u8; 24],
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTarget {
    block: U32,
    crc: U32,
}

/// Targets for which a block has room.
const TARGET_ROOM: usize = (BLOCK_LEN - size_of::<RawHeader>()) / size_of::<RawTarget>();

/// No valid journal counts as far; one that did could not be continued.
const SEQUENCE_END: u64 = 1 << 63;

// All targets of a transaction are in one descriptor.
const _: () = assert!(TRANSACTION_BLOCKS <= TARGET_ROOM);
const _: () = assert!(size_of::<RawHeader>() == 64);
const _: () = assert!(size_of::<RawBlock>() == BLOCK_LEN);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Transaction,
    Mark,
}

/// The front of a descriptor or of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub origin_blocks: u32,
    pub sequence: u64,
    pub applied: u64,
}

/// A block of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it belongs.
    pub block: u32,
    /// The checksum of its place and its content.
    pub crc: u32,
}

impl Target {
    pub fn new(block: u32, data: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(U32::new(block).as_bytes());
        hasher.update(data);
        Self {
            block,
            crc: hasher.finalize(),
        }
    }
}

impl RawBlock {
    /// The checksum of all but its field, which ends the header.
    fn crc(&self) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.header.as_bytes()[..offset_of!(RawHeader, crc)]);
        hasher.update(self.targets.as_bytes());
        hasher.finalize()
    }
}

impl Header {
    /// Fills a block.
    pub fn encode(&self, targets: &[Target], block: &mut [u8]) {
        let kind: u16 = match self.kind {
            Kind::Transaction => 1,
            Kind::Mark => 2,
        };
        let block = RawBlock::mut_from_bytes(block).expect("bytes of a block");
        block.zero();
        block.header = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            kind: kind.into(),
            origin_blocks: self.origin_blocks.into(),
            sequence: self.sequence.into(),
            applied: self.applied.into(),
            targets: (targets.len() as u32).into(),
            reserved: [0; 24],
            crc: 0.into(),
        };
        for (raw, target) in block.targets[..targets.len()].iter_mut().zip(targets) {
            *raw = RawTarget {
                block: target.block.into(),
                crc: target.crc.into(),
            };
        }
        block.header.crc = block.crc().into();
    }

    /// Reads a block; `None` when it is neither, or not whole, or cannot be.
    pub fn decode(block: &[u8]) -> Option<(Self, Vec<Target>)> {
        let block = RawBlock::ref_from_bytes(block).ok()?;
        let raw = &block.header;
        let is_whole = raw.magic == MAGIC
            && raw.version.get() == VERSION
            && (cfg!(fuzzing) || raw.crc.get() == block.crc());
        let kind = match (is_whole, raw.kind.get()) {
            (true, 1) => Kind::Transaction,
            (true, 2) => Kind::Mark,
            _ => return None,
        };
        let header = Self {
            kind,
            origin_blocks: raw.origin_blocks.get(),
            sequence: raw.sequence.get(),
            applied: raw.applied.get(),
        };
        let count = raw.targets.get() as usize;
        let counts = header.applied <= header.sequence && header.sequence < SEQUENCE_END;
        if !counts || count > TRANSACTION_BLOCKS {
            return None;
        }
        let targets = block.targets[..count].iter().map(|raw| Target {
            block: raw.block.get(),
            crc: raw.crc.get(),
        });
        Some((header, targets.collect()))
    }
}

/// The version of a descriptor of another one; `None` for every other block.
pub fn other_version(block: &[u8]) -> Option<u16> {
    let header = &RawBlock::ref_from_bytes(block).ok()?.header;
    let version = header.version.get();
    (header.magic == MAGIC && version != VERSION).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HEADER_LEN: usize = size_of::<RawHeader>();
    const CRC_AT: usize = offset_of!(RawHeader, crc);

    const HEADER: Header = Header {
        kind: Kind::Transaction,
        origin_blocks: 0x0403_0201,
        sequence: 0x0908_0706_0504_0302,
        applied: 0x0102_0304_0506_0708,
    };

    const TARGETS: [Target; 2] = [
        Target {
            block: 0x0403_0201,
            crc: 0x5566_7788,
        },
        Target {
            block: 7,
            crc: u32::MAX,
        },
    ];

    #[test]
    fn descriptors_have_these_bytes() {
        let mut block = vec![0xff; BLOCK_LEN];
        HEADER.encode(&TARGETS, &mut block);
        let expected: &[u8] = b"vSSDjrnl\x02\0\x01\0\x01\x02\x03\x04\
            \x02\x03\x04\x05\x06\x07\x08\x09\x08\x07\x06\x05\x04\x03\x02\x01\
            \x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(&block[..CRC_AT], expected);
        let crc = block[CRC_AT..HEADER_LEN].as_array().copied();
        assert_eq!(crc.map(u32::from_le_bytes), Some(0x4277_3c8d));
        let expected: &[u8] = b"\x01\x02\x03\x04\x88\x77\x66\x55\
            \x07\0\0\0\xff\xff\xff\xff";
        assert_eq!(&block[HEADER_LEN..HEADER_LEN + expected.len()], expected);
        assert!(block[HEADER_LEN + expected.len()..].iter().all(|&b| b == 0));
        assert_eq!(Header::decode(&block), Some((HEADER, TARGETS.to_vec())));
    }

    #[test]
    fn a_block_has_another_checksum_at_another_place() {
        let data = [5; BLOCK_LEN];
        assert_eq!(Target::new(7, &data).crc, 0x0148_13ee);
        assert_ne!(Target::new(7, &data).crc, Target::new(8, &data).crc);
    }

    #[test]
    fn damaged_descriptors_and_nonsense_are_refused() {
        let mut block = vec![0; BLOCK_LEN];
        assert_eq!(Header::decode(&block), None);
        HEADER.encode(&TARGETS, &mut block);
        for at in (0..BLOCK_LEN).step_by(7).chain(0..HEADER_LEN) {
            block[at] ^= 0x20;
            assert_eq!(Header::decode(&block), None, "byte {at}");
            block[at] ^= 0x20;
        }
        // A checksum is no proof of sense.
        for (at, bytes) in [
            (8, &1u16.to_le_bytes()[..]),
            (10, &3u16.to_le_bytes()),
            (16, &u64::MAX.to_le_bytes()),
            (24, &u64::MAX.to_le_bytes()),
            (32, &257u32.to_le_bytes()),
        ] {
            HEADER.encode(&TARGETS, &mut block);
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let raw = RawBlock::mut_from_bytes(&mut block).unwrap();
            raw.header.crc = raw.crc().into();
            assert_eq!(Header::decode(&block), None, "bytes from {at} on");
        }
    }
}
