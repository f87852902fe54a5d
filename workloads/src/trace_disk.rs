//! A trace as a disk: what the harness makes of a recorded trace so that a guest can
//! replay it block by block, without ever holding it.
//!
//! The image is read-only and little-endian. Its first block is the header, the
//! others hold one record of 8 bytes for each access to one block of the origin disk:
//!
//! ```text
//!  block 0          0 magic "vSSDtrc1"
//!                   8 u64 number of accesses
//!                  16 u32 bytes of a block, 4096
//!                  20 zeros
//!  block 1 …       512 records each; what follows the last one is zeros
//!
//!  record           0 u32 number of the block
//!                   4 u32 bit 0: a write
//!                         bits 1..=31: number of the request, modulo 2^31
//! ```
//!
//! A request that covers several blocks is several records with one number, so who
//! replays can keep them together. Times are not in it: a guest replays as fast as its
//! depth allows. A varint coding was rejected: with records of one size, an access
//! can be found by its number alone, and a replay can begin anywhere.
//!
//! The two ends do not trust each other's bytes. Any 8 bytes are a record; what block
//! it names is for the reader to hold against its disk. A header is checked against the
//! size of the disk that it is on, so that every access it announces can be read.

use core::fmt;
use core::ops::Range;

/// The unit of a trace disk and of the accesses in it.
pub const BLOCK_BYTES: usize = 4096;

/// What one access takes.
pub const RECORD_BYTES: usize = 8;

/// Records in a block.
pub const RECORDS_PER_BLOCK: u32 = (BLOCK_BYTES / RECORD_BYTES) as u32;

/// What a trace disk begins with. The last character is the version of the layout.
pub const MAGIC: [u8; 8] = *b"vSSDtrc1";

const ACCESSES_AT: Range<usize> = 8..16;
const BLOCK_BYTES_AT: Range<usize> = 16..20;
const ZEROS_FROM: usize = 20;

/// The bit of a record that marks a write.
const WRITE: u32 = 1;

const _: () = {
    assert!(BLOCK_BYTES.is_multiple_of(RECORD_BYTES));
    assert!(RECORDS_PER_BLOCK as usize * RECORD_BYTES == BLOCK_BYTES);
    assert!(MAGIC.len() == ACCESSES_AT.start);
    assert!(ACCESSES_AT.end - ACCESSES_AT.start == size_of::<u64>());
    assert!(ACCESSES_AT.end == BLOCK_BYTES_AT.start);
    assert!(BLOCK_BYTES_AT.end - BLOCK_BYTES_AT.start == size_of::<u32>());
    assert!(BLOCK_BYTES_AT.end == ZEROS_FROM && ZEROS_FROM < BLOCK_BYTES);
    assert!(2 * size_of::<u32>() == RECORD_BYTES);
};

/// The contents of the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of accesses in the trace.
    pub accesses: u64,
}

/// Why a disk cannot be replayed as a trace disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotATraceDisk {
    /// It does not begin like one.
    Magic,
    /// Its accesses are to blocks of another size.
    BlockBytes(u32),
    /// What should be zeros in the header is not.
    Reserved,
    /// It announces more accesses than it has room for.
    TooShort {
        /// Accesses that it announces.
        accesses: u64,
        /// Accesses that the disk has room for.
        room: u64,
    },
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The block of the trace disk.
    pub block: u64,
    /// The record in that block, from 0.
    pub index: u32,
}

/// A record of the trace disk: one access to one block of the origin disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The block.
    pub block: u32,
    /// Whether it is written.
    pub write: bool,
    /// The number of the request that it belongs to, modulo 2^31: equal for the blocks
    /// of one request, and different for the next one.
    pub request: u32,
}

impl Header {
    /// How many blocks the disk has, the header's and a last one that is not full included.
    pub fn disk_blocks(self) -> u64 {
        1 + self.accesses.div_ceil(u64::from(RECORDS_PER_BLOCK))
    }

    /// The first block of the disk.
    pub fn encode(self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..MAGIC.len()].copy_from_slice(&MAGIC);
        block[ACCESSES_AT].copy_from_slice(&self.accesses.to_le_bytes());
        block[BLOCK_BYTES_AT].copy_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
        block
    }

    /// Reads the first block of a disk of `disk_bytes`. A header that is taken announces no
    /// access past the end of that disk. The disk may be longer: devices round their
    /// size up.
    ///
    /// # Errors
    /// When it is not a trace disk, of another layout, or shorter than its header states.
    pub fn decode(block: &[u8; BLOCK_BYTES], disk_bytes: u64) -> Result<Self, NotATraceDisk> {
        if block[..MAGIC.len()] != MAGIC {
            return Err(NotATraceDisk::Magic);
        }
        let mut accesses = [0; size_of::<u64>()];
        accesses.copy_from_slice(&block[ACCESSES_AT]);
        let mut bytes = [0; size_of::<u32>()];
        bytes.copy_from_slice(&block[BLOCK_BYTES_AT]);
        match u32::from_le_bytes(bytes) {
            bytes if bytes as usize == BLOCK_BYTES => {}
            other => return Err(NotATraceDisk::BlockBytes(other)),
        }
        if block[ZEROS_FROM..].iter().any(|byte| *byte != 0) {
            return Err(NotATraceDisk::Reserved);
        }
        let header = Self {
            accesses: u64::from_le_bytes(accesses),
        };
        let room = disk_bytes.saturating_sub(BLOCK_BYTES as u64) / RECORD_BYTES as u64;
        if header.accesses > room {
            return Err(NotATraceDisk::TooShort {
                accesses: header.accesses,
                room,
            });
        }
        Ok(header)
    }
}

impl Place {
    /// Where the access with this number is, counted from 0.
    pub fn of(access: u64) -> Self {
        let per_block = u64::from(RECORDS_PER_BLOCK);
        Self {
            // No overflow: a quotient by 512 is far from the end of 64 bits.
            block: 1 + access / per_block,
            index: (access % per_block) as u32,
        }
    }

    /// The record's bytes in its block.
    pub fn bytes(self) -> Range<usize> {
        let from = self.index as usize * RECORD_BYTES;
        from..from + RECORD_BYTES
    }
}

impl AccessRecord {
    /// Numbers of requests count modulo this.
    pub const REQUESTS: u64 = 1 << 31;

    /// An access of the request with this number in its trace.
    pub fn new(block: u32, write: bool, request: u64) -> Self {
        Self {
            block,
            write,
            request: (request % Self::REQUESTS) as u32,
        }
    }

    /// The record.
    pub fn encode(self) -> [u8; RECORD_BYTES] {
        let flags = self.request << 1 | if self.write { WRITE } else { 0 };
        let word = u64::from(flags) << 32 | u64::from(self.block);
        word.to_le_bytes()
    }

    /// Reads a record. Any bytes are one.
    pub fn decode(record: [u8; RECORD_BYTES]) -> Self {
        let word = u64::from_le_bytes(record);
        let (block, flags) = (word as u32, (word >> 32) as u32);
        Self {
            block,
            write: flags & WRITE != 0,
            request: flags >> 1,
        }
    }
}

impl fmt::Display for NotATraceDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("it does not start like a trace disk"),
            Self::BlockBytes(bytes) => {
                write!(
                    f,
                    "its blocks have {bytes} bytes, where {BLOCK_BYTES} are read"
                )
            }
            Self::Reserved => f.write_str("its header is of another version, or damaged"),
            Self::TooShort { accesses, room } => write!(
                f,
                "it announces {accesses} accesses and has room for {room}"
            ),
        }
    }
}

impl core::error::Error for NotATraceDisk {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes_of_the_header() {
        let block = Header {
            accesses: 0x0102_0304_0506,
        }
        .encode();
        let golden = [
            b'v', b'S', b'S', b'D', b't', b'r', b'c', b'1', // magic
            6, 5, 4, 3, 2, 1, 0, 0, // accesses
            0, 0x10, 0, 0, // bytes of a block
            0, 0, 0, 0,
        ];
        assert_eq!(block[..24], golden);
        assert!(block[24..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn golden_bytes_of_records() {
        for (access, golden) in [
            (AccessRecord::new(0, false, 0), [0; 8]),
            (
                AccessRecord::new(0x0403_0201, true, 0),
                [1, 2, 3, 4, 1, 0, 0, 0],
            ),
            (
                AccessRecord::new(7, false, 0x4030_2010),
                [7, 0, 0, 0, 0x20, 0x40, 0x60, 0x80],
            ),
            (
                AccessRecord::new(u32::MAX, true, AccessRecord::REQUESTS - 1),
                [0xff; 8],
            ),
            // The number wraps round and does not touch the other fields.
            (
                AccessRecord::new(1, true, AccessRecord::REQUESTS),
                [1, 0, 0, 0, 1, 0, 0, 0],
            ),
        ] {
            assert_eq!(access.encode(), golden);
            assert_eq!(AccessRecord::decode(golden), access);
        }
    }

    #[test]
    fn a_header_fits_its_disk_or_is_refused() {
        for (accesses, needed) in [(0, 1), (1, 2), (512, 2), (513, 3), (1024, 3)] {
            let header = Header { accesses };
            assert_eq!(header.disk_blocks(), needed);
            let block = header.encode();
            let bytes = 4096 + 8 * accesses;
            for disk_bytes in [bytes, bytes + 1, 4096 * needed, u64::MAX] {
                assert_eq!(Header::decode(&block, disk_bytes), Ok(header));
            }
            if let Some(room) = accesses.checked_sub(1) {
                let short = NotATraceDisk::TooShort { accesses, room };
                assert_eq!(Header::decode(&block, bytes - 1), Err(short));
            }
        }
        let huge = Header { accesses: u64::MAX }.encode();
        for disk_bytes in [0, 4096, 1 << 40, u64::MAX] {
            assert!(Header::decode(&huge, disk_bytes).is_err());
        }
    }

    #[test]
    fn what_is_no_header_says_why() {
        let good = Header { accesses: 9 }.encode();
        let changed = |at: usize| {
            let mut block = good;
            block[at] ^= 1;
            Header::decode(&block, 8192)
        };
        for at in 0..8 {
            assert_eq!(changed(at), Err(NotATraceDisk::Magic), "{at}");
        }
        assert_eq!(changed(17), Err(NotATraceDisk::BlockBytes(4096 ^ 256)));
        for at in 20..BLOCK_BYTES {
            assert_eq!(changed(at), Err(NotATraceDisk::Reserved), "{at}");
        }
        let zeros = Header::decode(&[0; BLOCK_BYTES], 8192);
        assert_eq!(zeros, Err(NotATraceDisk::Magic));
    }

    #[test]
    fn places_follow_one_another() {
        let place = |block, index| Place { block, index };
        assert_eq!(Place::of(0), place(1, 0));
        assert_eq!(Place::of(511), place(1, 511));
        assert_eq!(Place::of(511).bytes(), 4088..4096);
        assert_eq!(Place::of(512), place(2, 0));
        assert_eq!(Place::of(u64::MAX), place(1 + (u64::MAX >> 9), 511));
    }

    proptest! {
        #[test]
        fn any_record_reads_and_writes_back(bytes: [u8; RECORD_BYTES]) {
            prop_assert_eq!(AccessRecord::decode(bytes).encode(), bytes);
        }

        #[test]
        fn accesses_of_a_header_are_on_its_disk(accesses: u64, disk_bytes: u64) {
            let block = Header { accesses }.encode();
            if let Ok(header) = Header::decode(&block, disk_bytes)
                && let Some(last) = header.accesses.checked_sub(1)
            {
                let place = Place::of(last);
                let end = place.block * BLOCK_BYTES as u64 + place.bytes().end as u64;
                prop_assert!(end <= disk_bytes);
            }
        }
    }
}
