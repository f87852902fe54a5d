//! Records: the changes of a pool in a commit.
//!
//! A record is a kind, the length of what follows, both 32 bits, and 32-bit
//! numbers, with bytes last and padded. Sets of blocks are as on the wire
//! ([`SetView`]), so that a change of ownership goes from the guest's message into
//! the journal by one copy, however many blocks it is about.

use vssd::encoding::SetView;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use crate::pool::allocator::{Bounds, REGION, VolumeId};
use crate::pool::volume::{PhysicalBlocks, WindowMap};

const VOLUME: u32 = 1;
const REMOVED: u32 = 2;
const GRANTED: u32 = 3;
const RELEASED: u32 = 4;
const MAPPED: u32 = 5;
const UNMAPPED: u32 = 6;
const LINEAR: u32 = 7;
const TABLE: u32 = 8;
const NEXT: u32 = 9;

/// 32-bit numbers of a window's bitmap.
const WRITTEN_LEN: usize = (REGION / 32) as usize;

/// Records under construction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A volume was created, or its bounds changed.
    Volume {
        /// Its number.
        id: VolumeId,
        /// Its blocks.
        blocks: u32,
        /// What it may use.
        bounds: Bounds,
        /// Its name.
        name: &'a str,
    },
    /// A volume was removed, with all its blocks.
    Removed(VolumeId),
    /// Blocks are held from now on; the bytes are a set.
    Granted(VolumeId, &'a [u8]),
    /// Blocks are not held any more, and their physical blocks are free.
    Released(VolumeId, &'a [u8]),
    /// Blocks in a row lie at physical blocks in a row.
    Mapped {
        /// Their volume.
        id: VolumeId,
        /// First block.
        block: u32,
        /// First physical block.
        physical: u32,
        /// How many.
        count: u32,
    },
    /// Blocks in a row read as zeros again.
    Unmapped {
        /// Their volume.
        id: VolumeId,
        /// First block.
        block: u32,
        /// How many.
        count: u32,
    },
    /// A window that no earlier record describes.
    Window(VolumeId, u32, WindowMap),
    /// No volume ever had that number or a higher one.
    Next(VolumeId),
}

impl Batch {
    /// The records.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn push(&mut self, kind: u32, numbers: &[u32], bytes: &[u8]) {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        let len = 4 * numbers.len() + bytes.len() + padding;
        for number in [kind, len as u32].iter().chain(numbers) {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(&[0; 4][..padding]);
    }

    /// A volume was created, or its bounds changed.
    pub fn volume(&mut self, id: VolumeId, blocks: u32, bounds: Bounds, name: &str) {
        let Bounds { quota, reservation } = bounds;
        let numbers = [id.0, blocks, quota, reservation, name.len() as u32];
        self.push(VOLUME, &numbers, name.as_bytes());
    }

    /// A volume was removed.
    pub fn removed(&mut self, id: VolumeId) {
        self.push(REMOVED, &[id.0], &[]);
    }

    /// Blocks are held.
    pub fn granted(&mut self, id: VolumeId, blocks: &SetView<'_>) {
        let bytes = blocks.as_bytes();
        self.push(GRANTED, &[id.0, bytes.len() as u32], bytes);
    }

    /// Blocks are not held any more.
    pub fn released(&mut self, id: VolumeId, blocks: &SetView<'_>) {
        let bytes = blocks.as_bytes();
        self.push(RELEASED, &[id.0, bytes.len() as u32], bytes);
    }

    /// Blocks lie at physical blocks.
    pub fn mapped(&mut self, id: VolumeId, block: u32, physical: u32, count: u32) {
        self.push(MAPPED, &[id.0, block, physical, count], &[]);
    }

    /// Blocks read as zeros.
    pub fn unmapped(&mut self, id: VolumeId, block: u32, count: u32) {
        self.push(UNMAPPED, &[id.0, block, count], &[]);
    }

    /// No volume ever had that number.
    pub fn next(&mut self, id: VolumeId) {
        self.push(NEXT, &[id.0], &[]);
    }

    /// The map of a window.
    pub fn window(&mut self, id: VolumeId, index: u32, map: &WindowMap) {
        let mut numbers = vec![id.0, index];
        let halves = |word: &u64| [*word as u32, (*word >> 32) as u32];
        numbers.extend(map.written.iter().flat_map(halves));
        let kind = match &map.physical_blocks {
            PhysicalBlocks::Linear(home) => {
                numbers.push(*home);
                LINEAR
            }
            PhysicalBlocks::Table(physical_blocks) => {
                numbers.extend(physical_blocks);
                TABLE
            }
        };
        self.push(kind, &numbers, &[]);
    }
}

/// The record at the front of `bytes`, and what follows it; `None` when that
/// is not a record.
pub fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let ([kind, len], rest) = <[U32; 2]>::ref_from_prefix(bytes).ok()?;
    let (body, rest) = rest.split_at_checked(len.get() as usize)?;
    let numbers = <[U32]>::ref_from_bytes(body).ok()?;
    let number = |index: usize| numbers.get(index).map(|number| number.get());
    let id = VolumeId(number(0)?);
    let tail = |numbers: usize, len: usize| {
        let bytes = body.get(4 * numbers..)?;
        (bytes.len() == len.checked_next_multiple_of(4)?).then(|| &bytes[..len])
    };
    let record = match kind.get() {
        VOLUME => Record::Volume {
            id,
            blocks: number(1)?,
            bounds: Bounds {
                quota: number(2)?,
                reservation: number(3)?,
            },
            name: std::str::from_utf8(tail(5, number(4)? as usize)?).ok()?,
        },
        REMOVED => Record::Removed(id),
        NEXT => Record::Next(id),
        GRANTED => Record::Granted(id, tail(2, number(1)? as usize)?),
        RELEASED => Record::Released(id, tail(2, number(1)? as usize)?),
        MAPPED => Record::Mapped {
            id,
            block: number(1)?,
            physical: number(2)?,
            count: number(3)?,
        },
        UNMAPPED => Record::Unmapped {
            id,
            block: number(1)?,
            count: number(2)?,
        },
        kind @ (LINEAR | TABLE) => {
            let mut written = [0; WRITTEN_LEN / 2];
            for (index, word) in written.iter_mut().enumerate() {
                let low = number(2 + 2 * index)?;
                *word = u64::from(low) | u64::from(number(3 + 2 * index)?) << 32;
            }
            let first = 2 + WRITTEN_LEN;
            let physical_blocks = match kind {
                LINEAR => PhysicalBlocks::Linear(number(first)?),
                _ => {
                    let count: u32 = written.iter().map(|word| word.count_ones()).sum();
                    let physical_blocks = (first..first + count as usize).map(number);
                    PhysicalBlocks::Table(physical_blocks.collect::<Option<_>>()?)
                }
            };
            Record::Window(
                id,
                number(1)?,
                WindowMap {
                    written,
                    physical_blocks,
                },
            )
        }
        _ => return None,
    };
    Some((record, rest))
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use vssd::units::Geometry;

    use super::*;

    fn full(bytes: &mut Batch) {
        let geometry = Geometry::new(4096, 100).unwrap();
        // Extents: one of 7 blocks from 3 on.
        let set = [1u32, 1, 0, 7, 3, 7].map(u32::to_le_bytes).concat();
        let set = SetView::parse(&set, geometry).unwrap();
        let bounds = Bounds {
            quota: 90,
            reservation: 5,
        };
        bytes.volume(VolumeId(7), 100, bounds, "vm-one");
        bytes.granted(VolumeId(7), &set);
        bytes.mapped(VolumeId(7), 3, 40, 2);
        bytes.unmapped(VolumeId(7), 3, 1);
        let mut written = [0; 8];
        written[1] = 0b101 << 60;
        for physical_blocks in [
            PhysicalBlocks::Linear(512),
            PhysicalBlocks::Table(vec![9, 4]),
        ] {
            bytes.window(
                VolumeId(7),
                1,
                &WindowMap {
                    written,
                    physical_blocks,
                },
            );
        }
        bytes.released(VolumeId(7), &set);
        bytes.removed(VolumeId(7));
        bytes.next(VolumeId(8));
    }

    #[test]
    fn records_come_back() {
        let mut batch = Batch::default();
        full(&mut batch);
        let (mut rest, mut again, mut kinds) = (batch.bytes(), Batch::default(), 0);
        let geometry = Geometry::new(4096, 100).unwrap();
        while let Some((record, tail)) = split(rest) {
            match record {
                Record::Volume {
                    id,
                    blocks,
                    bounds,
                    name,
                } => again.volume(id, blocks, bounds, name),
                Record::Removed(id) => again.removed(id),
                Record::Next(id) => again.next(id),
                Record::Granted(id, set) => {
                    again.granted(id, &SetView::parse(set, geometry).unwrap());
                }
                Record::Released(id, set) => {
                    again.released(id, &SetView::parse(set, geometry).unwrap());
                }
                Record::Mapped {
                    id,
                    block,
                    physical,
                    count,
                } => again.mapped(id, block, physical, count),
                Record::Unmapped { id, block, count } => again.unmapped(id, block, count),
                Record::Window(id, index, map) => again.window(id, index, &map),
            }
            kinds += 1;
            rest = tail;
        }
        assert_eq!((rest.len(), kinds), (0, 9));
        assert_eq!(again.bytes(), batch.bytes());
    }

    #[test]
    fn records_have_these_bytes() {
        let mut batch = Batch::default();
        batch.mapped(VolumeId(1), 2, 3, 4);
        batch.removed(VolumeId(5));
        let expected = [5u32, 16, 1, 2, 3, 4, 2, 4, 5].map(u32::to_le_bytes);
        assert_eq!(batch.bytes(), expected.concat());
    }

    #[test]
    fn garbage_is_no_record() {
        let mut batch = Batch::default();
        full(&mut batch);
        for seed in 0..20_000 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut bytes = batch.bytes().to_vec();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(0..=bytes.len()));
            let mut rest = &bytes[..];
            while let Some((_, tail)) = split(rest) {
                assert!(tail.len() < rest.len());
                rest = tail;
            }
        }
    }
}
