//! Where things are on the backing of a pool, and the bytes of their headers.
//! All numbers are little-endian.
//!
//! ```text
//!  superblock                             header of a commit
//!   0  "vSSDpool"                          0  "vCMT"
//!   8  version u32, 2                      4  flags u32: 1 hard, 2 snapshot
//!  12  bytes in a block u32                8  epoch u64
//!  16  physical blocks u32               16  sequence u64
//!  20  overcommit u32, thousandths        24  bytes of records u32
//!  24  bytes of an area u64               28  CRC of the commit before u32
//!  32  offset of physical block 0 u64    32  boot id, 16 bytes
//!  40  epoch u64                          48  session u64
//!  48  live area u32                      56  zeros
//!  52  zeros                              60  CRC-32 of all else u32
//!  56  bytes of the snapshot u64          64  records
//!  64  session u64
//! 124  CRC-32 of bytes 0 to 123 u32
//! ```
//!
//! The page of a session is described in [`session`](super::session).

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::backing::Room;
use crate::pool::Shape;

/// What journal reads and writes are multiples of, bytes: more than direct I/O
/// asks for anywhere.
pub const PAGE: u64 = 4096;

/// Where the pages of sessions begin, behind two superblocks.
pub const SESSIONS: u64 = 2 * PAGE;

/// Sessions that are remembered, each in a page of its own.
pub const SESSIONS_KEPT: u64 = 16;

/// Where the first area begins.
pub const AREAS: u64 = SESSIONS + SESSIONS_KEPT * PAGE;

/// The alignment of the data area: a region of 4 KiB blocks.
const DATA_ALIGNMENT: u64 = 2 << 20;

const SUPERBLOCK_MAGIC: [u8; 8] = *b"vSSDpool";
const COMMIT_MAGIC: [u8; 4] = *b"vCMT";
const VERSION: u32 = 2;
const SUPERBLOCK_LEN: usize = 128;

/// Bytes of a commit's header.
pub const COMMIT_HEADER_LEN: usize = 64;

/// A commit that makes everything before it durable.
pub const HARD: u32 = 1;

/// A part of what an area begins with, written before a superblock names the area.
pub const SNAPSHOT: u32 = 2;

/// Bytes of the longest commit.
pub const LONGEST_COMMIT: u64 = 64 << 20;

/// Bytes of an area that are used before it is compacted, however little its snapshot takes.
const QUIET: u64 = 32 << 20;

/// How many times the bytes of its snapshot an area is used before it is compacted.
const GROWTH: u64 = 4;

/// Bytes of an area: twice what describes a pool in which no two blocks are
/// neighbours, and room for the largest change of ownership.
fn area_len(shape: Shape) -> u64 {
    let physical_blocks = u64::from(shape.physical_blocks);
    let held = physical_blocks * u64::from(shape.overcommit_permille) / 1000;
    (4 * (1 << 20) + 10 * physical_blocks + held / 2).next_multiple_of(PAGE)
}

/// What a pool of that shape needs of its backing. Room for all of its journal, and for as much of
/// that as it uses until there is a lot to record.
pub fn room(shape: Shape) -> Room {
    let superblock = Superblock::new(shape, 0, 0, SessionId(0));
    let busy = superblock.compacted_at().next_multiple_of(PAGE);
    let [first, second] = [0, 1].map(|area| superblock.area(area)..superblock.area(area) + busy);
    Room {
        len: superblock.pool_len(),
        reserved: superblock.data,
        busy: vec![0..first.end, second],
    }
}

/// The contents of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The shape of the pool.
    pub shape: Shape,
    /// Bytes of each of the two areas.
    pub area_len: u64,
    /// Where the physical blocks begin.
    pub data: u64,
    /// Counts superblocks in the upper half, so that the last one is found; the lower half is
    /// random, so that leftovers are not taken for new.
    pub epoch: u64,
    /// The live area: 0 or 1.
    pub live: u32,
    /// Bytes of the snapshot that the area begins with.
    pub snapshot: u64,
    /// The session that wrote it.
    pub session: SessionId,
}

/// The session of a commit or superblock: one opening of the pool. Counts openings in the upper
/// half; the lower half is random, so that no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The number of openings up to this one.
    pub fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The opening after the one with that number.
    pub fn after(number: u32) -> Self {
        Self(u64::from(number.wrapping_add(1)) << 32 | u64::from(rand::random::<u32>()))
    }
}

/// A superblock as it lies at the front of its page.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    magic: [u8; 8],
    version: U32,
    block_size: U32,
    physical_blocks: U32,
    overcommit_permille: U32,
    area_len: U64,
    data: U64,
    epoch: U64,
    live: U32,
    unused: [u8; 4],
    snapshot: U64,
    session: U64,
    zeros: [u8; 52],
    crc: U32,
}

const _: () = assert!(size_of::<RawSuperblock>() == SUPERBLOCK_LEN);

impl RawSuperblock {
    fn checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..SUPERBLOCK_LEN - size_of::<U32>()])
    }
}

/// The header of a commit as it lies at the front of its page.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawCommitHeader {
    magic: [u8; 4],
    flags: U32,
    epoch: U64,
    sequence: U64,
    payload_len: U32,
    previous: U32,
    boot: [u8; 16],
    session: U64,
    zeros: [u8; 4],
    crc: U32,
}

const _: () = assert!(size_of::<RawCommitHeader>() == COMMIT_HEADER_LEN);

impl Superblock {
    /// A superblock of a pool without anything in it.
    pub fn new(shape: Shape, epoch: u64, live: u32, session: SessionId) -> Self {
        let area_len = area_len(shape);
        Self {
            shape,
            area_len,
            data: (AREAS + 2 * area_len).next_multiple_of(DATA_ALIGNMENT),
            epoch,
            live,
            snapshot: 0,
            session,
        }
    }

    /// Bytes after which the area is compacted. That bounds how much is read when the pool is
    /// opened, and keeps what is written within what was written before, for which a file system has
    /// to find no more room.
    pub fn compacted_at(&self) -> u64 {
        let wanted = QUIET.max(self.snapshot.saturating_mul(GROWTH));
        wanted.min(self.area_len / 2)
    }

    /// Bytes of the area that are used at most: where the commit after which it is
    /// compacted ends, and some more for when that fails.
    pub fn used_len(&self) -> u64 {
        let used = self.compacted_at() * 2 + LONGEST_COMMIT;
        used.max(self.snapshot + LONGEST_COMMIT).min(self.area_len)
    }

    /// Bytes that the pool takes on its backing.
    pub fn pool_len(&self) -> u64 {
        self.data + u64::from(self.shape.physical_blocks) * u64::from(self.shape.block_size)
    }

    /// Where area `area` begins.
    pub fn area(&self, area: u32) -> u64 {
        AREAS + u64::from(area) * self.area_len
    }

    /// Where this superblock belongs: not where the one before it is.
    pub fn offset(&self) -> u64 {
        (self.epoch >> 32) % 2 * PAGE
    }

    /// Its page.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawSuperblock {
            magic: SUPERBLOCK_MAGIC,
            version: VERSION.into(),
            block_size: self.shape.block_size.into(),
            physical_blocks: self.shape.physical_blocks.into(),
            overcommit_permille: self.shape.overcommit_permille.into(),
            area_len: self.area_len.into(),
            data: self.data.into(),
            epoch: self.epoch.into(),
            live: self.live.into(),
            unused: [0; 4],
            snapshot: self.snapshot.into(),
            session: self.session.0.into(),
            zeros: [0; 52],
            crc: U32::ZERO,
        };
        raw.crc = raw.checksum().into();
        let mut page = raw.as_bytes().to_vec();
        page.resize(PAGE as usize, 0);
        page
    }

    /// The version of the superblock in a page, if this program does not know it.
    pub fn other_version(page: &[u8]) -> Option<u32> {
        let (raw, _) = RawSuperblock::ref_from_prefix(page).ok()?;
        let version = raw.version.get();
        (raw.magic == SUPERBLOCK_MAGIC && version != VERSION).then_some(version)
    }

    /// Reads a page; `None` when it holds no superblock that this program knows.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let (raw, _) = RawSuperblock::ref_from_prefix(page).ok()?;
        let sound = raw.magic == SUPERBLOCK_MAGIC && (cfg!(fuzzing) || raw.crc == raw.checksum());
        if !sound || raw.version != VERSION {
            return None;
        }
        let shape = Shape {
            block_size: raw.block_size.get(),
            physical_blocks: raw.physical_blocks.get(),
            overcommit_permille: raw.overcommit_permille.get(),
        };
        let superblock = Self {
            shape,
            area_len: raw.area_len.get(),
            data: raw.data.get(),
            epoch: raw.epoch.get(),
            live: raw.live.get(),
            snapshot: raw.snapshot.get(),
            session: SessionId(raw.session.get()),
        };
        // The checks at its creation may be relied on.
        let expected = Self {
            snapshot: superblock.snapshot,
            ..Self::new(shape, superblock.epoch, superblock.live, superblock.session)
        };
        let sound = superblock == expected
            && superblock.live < 2
            && superblock.snapshot <= superblock.area_len
            && shape.is_possible();
        sound.then_some(superblock)
    }
}

/// The header of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// [`HARD`], [`SNAPSHOT`].
    pub flags: u32,
    /// The epoch of the superblock whose area it is in.
    pub epoch: u64,
    /// Counts the commits of the epoch.
    pub sequence: u64,
    /// Bytes of records.
    pub payload_len: u32,
    /// Checksum of the commit before it: 0 for the first.
    pub previous: u32,
    /// Boot of the machine in which it was written.
    pub boot: [u8; 16],
    /// The session that wrote it.
    pub session: SessionId,
    /// Checksum of header and records.
    pub crc: u32,
}

impl CommitHeader {
    const CRC_AT: usize = COMMIT_HEADER_LEN - size_of::<U32>();

    /// Writes it to the front of `page`.
    pub fn encode(&self, page: &mut [u8]) {
        let raw = RawCommitHeader {
            magic: COMMIT_MAGIC,
            flags: self.flags.into(),
            epoch: self.epoch.into(),
            sequence: self.sequence.into(),
            payload_len: self.payload_len.into(),
            previous: self.previous.into(),
            boot: self.boot,
            session: self.session.0.into(),
            zeros: [0; 4],
            crc: self.crc.into(),
        };
        page[..COMMIT_HEADER_LEN].copy_from_slice(raw.as_bytes());
    }

    /// Reads the front of a page; `None` when it holds no header.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let (raw, _) = RawCommitHeader::ref_from_prefix(page).ok()?;
        (raw.magic == COMMIT_MAGIC).then(|| Self {
            flags: raw.flags.get(),
            epoch: raw.epoch.get(),
            sequence: raw.sequence.get(),
            payload_len: raw.payload_len.get(),
            previous: raw.previous.get(),
            boot: raw.boot,
            session: SessionId(raw.session.get()),
            crc: raw.crc.get(),
        })
    }

    /// The checksum of a commit that begins with this header.
    pub fn checksum(commit: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&commit[..Self::CRC_AT]);
        hasher.update(&commit[COMMIT_HEADER_LEN..]);
        hasher.finalize()
    }

    /// Bytes that the commit takes in the area.
    pub fn commit_len(&self) -> u64 {
        commit_len(self.payload_len as usize)
    }
}

/// Bytes that a commit with so many bytes of records takes in an area.
pub fn commit_len(payload_len: usize) -> u64 {
    ((COMMIT_HEADER_LEN + payload_len) as u64).next_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        block_size: 4096,
        physical_blocks: 0x0102_0304,
        overcommit_permille: 1500,
    };

    const SESSION: SessionId = SessionId(0x0000_0003_1234_5678);

    #[test]
    fn superblocks_have_these_bytes() {
        let mut superblock = Superblock::new(SHAPE, 0x0000_0007_dead_beef, 1, SESSION);
        superblock.snapshot = 0x1000;
        let page = superblock.encode();
        assert_eq!(page.len(), 4096);
        assert_eq!(&page[..8], b"vSSDpool");
        assert_eq!(page[8..12], [2, 0, 0, 0]);
        assert_eq!(page[12..16], [0, 0x10, 0, 0]);
        assert_eq!(page[16..20], [4, 3, 2, 1]);
        assert_eq!(page[20..24], [0xdc, 5, 0, 0]);
        // 4 MiB, 10 bytes a physical block and half a byte for each that may be held.
        let area: u64 = (4 << 20) + 10 * 0x0102_0304 + 0x0102_0304 * 3 / 4;
        let area = area.next_multiple_of(4096);
        assert_eq!(page[24..32], area.to_le_bytes());
        let data = (18 * 4096 + 2 * area).next_multiple_of(2 << 20);
        assert_eq!(page[32..40], data.to_le_bytes());
        assert_eq!(page[40..48], [0xef, 0xbe, 0xad, 0xde, 7, 0, 0, 0]);
        assert_eq!(page[48..56], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page[56..64], [0, 0x10, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page[64..72], [0x78, 0x56, 0x34, 0x12, 3, 0, 0, 0]);
        assert_eq!(page[72..124], [0; 52]);
        assert_eq!(Superblock::decode(&page), Some(superblock));
        assert_eq!(superblock.offset(), PAGE);
        for byte in 0..SUPERBLOCK_LEN {
            let mut damaged = page.clone();
            damaged[byte] ^= 0x10;
            assert_eq!(Superblock::decode(&damaged), None, "byte {byte}");
        }
        assert_eq!(Superblock::other_version(&page), None);
        let mut before = page.clone();
        before[8] = 1;
        assert_eq!(Superblock::other_version(&before), Some(1));
        assert_eq!(Superblock::other_version(&[0; 4096]), None);
    }

    #[test]
    fn commit_headers_have_these_bytes() {
        let header = CommitHeader {
            flags: HARD,
            epoch: 0x0807_0605_0403_0201,
            sequence: 9,
            payload_len: 5,
            previous: 0xaabb_ccdd,
            boot: *b"0123456789abcdef",
            session: SESSION,
            crc: 0x1122_3344,
        };
        let mut page = [0xff; 64];
        header.encode(&mut page);
        let expected = b"vCMT\x01\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\0\0\0\0\0\0\0\
            \x05\0\0\0\xdd\xcc\xbb\xaa0123456789abcdef\x78\x56\x34\x12\x03\0\0\0\0\0\0\0\x44\x33\x22\x11";
        assert_eq!(&page, expected);
        assert_eq!(CommitHeader::decode(&page), Some(header));
        assert_eq!(header.commit_len(), 4096);
        assert_eq!(commit_len(4033), 8192);
    }

    #[test]
    fn the_parts_do_not_overlap() {
        for physical_blocks in [1, 1000, 8 << 20, u32::MAX - 1] {
            let superblock = Superblock::new(
                Shape {
                    physical_blocks,
                    ..SHAPE
                },
                0,
                0,
                SESSION,
            );
            assert!(superblock.area(1) >= superblock.area(0) + superblock.area_len);
            assert!(superblock.data >= superblock.area(1) + superblock.area_len);
            assert_eq!(superblock.data % DATA_ALIGNMENT, 0);
            // What is written in advance is aligned for direct I/O, and never large.
            let room = room(Shape {
                physical_blocks,
                ..SHAPE
            });
            for part in &room.busy {
                assert!(part.start % PAGE == 0 && part.end % PAGE == 0, "{part:?}");
                assert!(part.end <= room.reserved && part.end - part.start <= 40 << 20);
            }
        }
    }

    /// A snapshot always leaves room for the longest commit, if the area has it, and what is
    /// used is bounded by the snapshot and not by the area.
    #[test]
    fn an_area_is_compacted_by_what_is_in_it() {
        let mut superblock = Superblock::new(SHAPE, 0, 0, SESSION);
        assert_eq!(superblock.compacted_at(), 32 << 20);
        assert_eq!(superblock.used_len(), 128 << 20);
        superblock.snapshot = 10 << 20;
        assert_eq!(superblock.compacted_at(), 40 << 20);
        superblock.snapshot = superblock.area_len - PAGE;
        assert_eq!(superblock.compacted_at(), superblock.area_len / 2);
        assert_eq!(superblock.used_len(), superblock.area_len);
        let small = Shape {
            physical_blocks: 100,
            ..SHAPE
        };
        let superblock = Superblock::new(small, 0, 0, SESSION);
        assert_eq!(superblock.compacted_at(), superblock.area_len / 2);
        assert_eq!(superblock.used_len(), superblock.area_len);
    }
}
