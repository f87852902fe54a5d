//! The bytes of descriptors and of the mark. All numbers are little-endian.
//!
//! ```text
//!   0  "vSSDjrnl"                     56  checksum of all else u64
//!   8  version u16, 1                 64  for each block of the transaction:
//!  10  kind u16: 1 transaction, 2 mark     0  its place u32
//!  12  blocks of the origin u32            4  checksum of its content u64
//!  16  sequence u64
//!  24  the last one applied u64
//!  32  blocks of the transaction u32
//!  36  zeros
//! ```

use alloc::vec::Vec;

use super::TRANSACTION_BLOCKS;
use crate::checksum::checksum;
use crate::device::BLOCK_LEN;

const MAGIC: u64 = u64::from_le_bytes(*b"vSSDjrnl");
const VERSION: u16 = 1;
const HEADER_LEN: usize = 64;
const TARGET_LEN: usize = 12;
const CHECKSUM_AT: usize = 56;

/// No honest journal counts as far; one that did could not be continued.
const SEQUENCE_END: u64 = 1 << 63;

// All targets of a transaction are in one descriptor.
const _: () = assert!(HEADER_LEN + TRANSACTION_BLOCKS * TARGET_LEN <= BLOCK_LEN);

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
    /// The checksum of its content, begun with its place.
    pub sum: u64,
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
    checksum(header, &block[HEADER_LEN..])
}

impl Header {
    /// Fills a block.
    pub fn encode(&self, targets: &[Target], block: &mut [u8]) {
        let kind: u16 = match self.kind {
            Kind::Transaction => 1,
            Kind::Mark => 2,
        };
        block.fill(0);
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &VERSION.to_le_bytes());
        put(10, &kind.to_le_bytes());
        put(12, &self.origin_blocks.to_le_bytes());
        put(16, &self.sequence.to_le_bytes());
        put(24, &self.applied.to_le_bytes());
        put(32, &(targets.len() as u32).to_le_bytes());
        for (at, target) in (HEADER_LEN..).step_by(TARGET_LEN).zip(targets) {
            put(at, &target.block.to_le_bytes());
            put(at + 4, &target.sum.to_le_bytes());
        }
        let sum = sum(block);
        block[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads a block; `None` when it is neither, or not whole, or cannot be.
    pub fn decode(block: &[u8]) -> Option<(Self, Vec<Target>)> {
        let is_whole = u64_at(block, 0) == MAGIC
            && u16_at(block, 8) == VERSION
            && u64_at(block, CHECKSUM_AT) == sum(block);
        let kind = match (is_whole, u16_at(block, 10)) {
            (true, 1) => Kind::Transaction,
            (true, 2) => Kind::Mark,
            _ => return None,
        };
        let header = Self {
            kind,
            origin_blocks: u32_at(block, 12),
            sequence: u64_at(block, 16),
            applied: u64_at(block, 24),
        };
        let count = u32_at(block, 32) as usize;
        let counts = header.applied <= header.sequence && header.sequence < SEQUENCE_END;
        if !counts || count > TRANSACTION_BLOCKS {
            return None;
        }
        let (targets, _) = block[HEADER_LEN..].as_chunks::<TARGET_LEN>();
        let targets = targets.iter().take(count).map(|bytes| Target {
            block: u32_at(bytes, 0),
            sum: u64_at(bytes, 4),
        });
        Some((header, targets.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HEADER: Header = Header {
        kind: Kind::Transaction,
        origin_blocks: 0x0403_0201,
        sequence: 0x0908_0706_0504_0302,
        applied: 0x0102_0304_0506_0708,
    };

    const TARGETS: [Target; 2] = [
        Target {
            block: 0x0403_0201,
            sum: 0x1122_3344_5566_7788,
        },
        Target {
            block: 7,
            sum: u64::MAX,
        },
    ];

    #[test]
    fn descriptors_have_these_bytes() {
        let mut block = vec![0xff; BLOCK_LEN];
        HEADER.encode(&TARGETS, &mut block);
        let expected: &[u8] = b"vSSDjrnl\x01\0\x01\0\x01\x02\x03\x04\
            \x02\x03\x04\x05\x06\x07\x08\x09\x08\x07\x06\x05\x04\x03\x02\x01\
            \x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(&block[..CHECKSUM_AT], expected);
        assert_eq!(u64_at(&block, CHECKSUM_AT), 0x4142_7f8a_10fd_dc15);
        let expected: &[u8] = b"\x01\x02\x03\x04\x88\x77\x66\x55\x44\x33\x22\x11\
            \x07\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(&block[HEADER_LEN..HEADER_LEN + expected.len()], expected);
        assert!(block[HEADER_LEN + expected.len()..].iter().all(|&b| b == 0));
        assert_eq!(Header::decode(&block), Some((HEADER, TARGETS.to_vec())));
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
            (8, &2u16.to_le_bytes()[..]),
            (10, &3u16.to_le_bytes()),
            (16, &u64::MAX.to_le_bytes()),
            (24, &u64::MAX.to_le_bytes()),
            (32, &257u32.to_le_bytes()),
        ] {
            HEADER.encode(&TARGETS, &mut block);
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let sum = sum(&block);
            block[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(Header::decode(&block), None, "bytes from {at} on");
        }
    }
}
