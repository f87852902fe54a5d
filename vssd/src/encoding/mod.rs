//! Block sets in a message: a sequence of segments in ascending block order.
//!
//! ```text
//!  segment header, 16 bytes          entries
//!  kind u32 | entries u32 | first u32 | blocks u32 | …
//!    1 extents: entries of { start u32, len u32 };          first is 0
//!    2 bitmap:  entries of u64, bit b of entry e is block first + 64 e + b;
//!               first is a multiple of 64
//!    3 list:    entries of u64, all sectors of a block one by one; first is 0
//! ```
//!
//! Per window of 4096 blocks the encoder takes extents or a bitmap, whichever
//! is smaller; neighbouring windows of the same kind share a segment. A
//! message is decoded once into a [`SetView`], which promises that its blocks
//! lie in the device and in strictly ascending order, hence are distinct.
//!
//! - [`encode()`]: from a set to segments
//! - [`SetView`]: from segments to a set, checked

mod encode;
mod view;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use encode::{Encoded, encode};
pub use view::SetView;

/// Bytes of a segment header.
pub const SEGMENT_HEADER_LEN: usize = 16;

/// Most entries of a list segment, as in the 2017 system: 2 MiB of sectors.
pub const LIST_MAX: u32 = 4096;

const EXTENTS: u32 = 1;
const BITMAP: u32 = 2;
const LIST: u32 = 3;

const WINDOW_WORDS: usize = 64;
const ENTRY_LEN: usize = 8;

/// The front of a segment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SegmentHeader {
    kind: U32,
    entries: U32,
    first: U32,
    blocks: U32,
}

/// An entry of an extents segment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Extent {
    start: U32,
    len: U32,
}

const _: () = assert!(size_of::<SegmentHeader>() == SEGMENT_HEADER_LEN);
const _: () = assert!(size_of::<Extent>() == ENTRY_LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_set::{BlockSet, Complement};
    use crate::error::Reject;
    use crate::units::Geometry;
    use crate::wire::Encoding;
    use alloc::vec;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    fn geometry(capacity: u32) -> Geometry {
        Geometry::new(4096, u64::from(capacity)).unwrap()
    }

    fn random_set(rng: &mut SmallRng, capacity: u32) -> BlockSet {
        let mut set = BlockSet::empty(capacity);
        for _ in 0..rng.random_range(0..6) {
            let start = rng.random_range(0..capacity);
            let len = rng.random_range(0..=capacity - start).min(9000);
            match rng.random_range(0..3) {
                0 => {
                    set.insert_range(start, len);
                }
                1 => (start..start + len)
                    .step_by(rng.random_range(1..70))
                    .for_each(|b| {
                        set.insert(b);
                    }),
                _ => {
                    set.remove_range(start, len);
                }
            }
        }
        set
    }

    /// The last sector number that there is, as a block of one sector.
    #[test]
    fn a_sector_past_all_others_is_out_of_range() {
        let header = SegmentHeader {
            kind: LIST.into(),
            entries: 1.into(),
            first: 0.into(),
            blocks: 1.into(),
        };
        let bytes = [header.as_bytes(), &u64::MAX.to_le_bytes()].concat();
        let geometry = Geometry::new(512, 8).unwrap();
        let refused = SetView::parse(&bytes, geometry).err();
        assert_eq!(refused, Some(Reject::OutOfRange));
    }

    /// Any set, cut into messages of any size, arrives whole.
    #[test]
    fn sets_survive_the_wire() {
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let capacity = rng.random_range(1..40_000);
            let geometry = geometry(capacity);
            let set = random_set(&mut rng, capacity);
            let encoding = if rng.random() {
                Encoding::Compact
            } else {
                Encoding::List4096
            };
            let mut buffer = vec![0; rng.random_range(528..20_000)];
            let mut arrived = BlockSet::empty(capacity);
            let mut from = 0;
            while from < capacity {
                let out = encode(&set, from, u32::MAX, encoding, geometry, &mut buffer);
                let view = SetView::parse(&buffer[..out.len], geometry).unwrap();
                assert_eq!(view.len(), out.blocks, "seed {seed}");
                assert!(set.contains_view(&view), "seed {seed}");
                let by_runs: u32 = view.runs().map(|run| run.len).sum();
                assert_eq!(by_runs, view.len(), "seed {seed}");
                let mut by_words = BlockSet::empty(capacity);
                view.for_each_word(|index, bits| {
                    by_words.insert_bits(index, bits);
                });
                assert_eq!(by_words.len(), view.len(), "seed {seed}");
                assert!(by_words.contains_view(&view), "seed {seed}");
                assert_eq!(arrived.insert_view(&view), view.len(), "seed {seed}");
                assert!(out.next > from, "no progress, seed {seed}");
                from = out.next;
            }
            assert_eq!(arrived, set, "seed {seed}");
            assert_eq!(arrived.len(), arrived.recount(), "seed {seed}");
        }
    }

    #[test]
    fn a_limit_takes_the_lowest_blocks() {
        let mut set = BlockSet::full(1000);
        set.remove_range(0, 10);
        let mut buffer = [0; 2048];
        for encoding in [Encoding::Compact, Encoding::List4096] {
            let out = encode(
                &Complement(&set),
                0,
                7,
                encoding,
                geometry(1000),
                &mut buffer,
            );
            let view = SetView::parse(&buffer[..out.len], geometry(1000)).unwrap();
            assert_eq!(view.runs().map(|run| run.len).sum::<u32>(), 7);
            assert!(view.runs().all(|run| run.end() <= 7));
        }
    }

    #[test]
    fn the_smaller_form_is_taken() {
        let capacity = 1 << 23;
        let mut buffer = vec![0; crate::wire::MAX_PAYLOAD];
        let mut size = |set: &BlockSet| {
            encode(
                set,
                0,
                u32::MAX,
                Encoding::Compact,
                geometry(capacity),
                &mut buffer,
            )
            .len
        };
        assert_eq!(size(&BlockSet::full(capacity)), SEGMENT_HEADER_LEN + 8);
        let mut every_other = BlockSet::empty(capacity);
        (0..capacity).step_by(2).for_each(|b| {
            every_other.insert(b);
        });
        assert_eq!(size(&every_other), SEGMENT_HEADER_LEN + (1 << 20));
    }

    #[test]
    fn bad_sets_are_refused() {
        let g = geometry(100);
        let segment = |kind: u32, first: u32, blocks: u32, entries: &[u64]| {
            let mut bytes = vec![];
            for field in [kind, entries.len() as u32, first, blocks] {
                bytes.extend(field.to_le_bytes());
            }
            entries.iter().for_each(|e| bytes.extend(e.to_le_bytes()));
            bytes
        };
        let extent = |start: u64, len: u64| start | len << 32;
        let refused = |bytes: &[u8]| SetView::parse(bytes, g).unwrap_err();
        assert!(SetView::parse(&[], g).unwrap().is_empty());
        assert_eq!(refused(&[1, 0, 0]), Reject::Malformed);
        assert_eq!(refused(&segment(9, 0, 1, &[1])), Reject::Malformed);
        assert_eq!(refused(&segment(1, 0, 0, &[])), Reject::Malformed);
        assert_eq!(
            refused(&segment(1, 0, 0, &[extent(3, 0)])),
            Reject::Malformed
        );
        assert_eq!(
            refused(&segment(1, 0, 9, &[extent(3, 1)])),
            Reject::Malformed
        );
        assert_eq!(
            refused(&segment(1, 0, 2, &[extent(99, 2)])),
            Reject::OutOfRange
        );
        assert_eq!(
            refused(&segment(
                1,
                0,
                u32::MAX,
                &[extent(u64::from(u32::MAX), 0xffff_ffff)]
            )),
            Reject::OutOfRange
        );
        // Bitmaps that reach past the last word, with nothing in what is past.
        for bytes in [
            segment(2, 128, 0, &[0]),
            segment(2, 0xffff_ffc0, 0, &[0]),
            segment(2, 64, 1, &[1, 0]),
        ] {
            assert_eq!(refused(&bytes), Reject::OutOfRange);
        }
        assert_eq!(
            refused(&segment(1, 0, 4, &[extent(3, 2), extent(4, 2)])),
            Reject::Unordered
        );
        assert_eq!(refused(&segment(2, 1, 1, &[1])), Reject::Malformed);
        assert_eq!(refused(&segment(2, 64, 1, &[1 << 63])), Reject::OutOfRange);
        assert_eq!(refused(&segment(3, 0, 1, &[7])), Reject::Malformed);
        let block = [8, 9, 10, 11, 12, 13, 14, 15];
        assert_eq!(refused(&segment(3, 0, 1, &block[..7])), Reject::Malformed);
        assert_eq!(
            refused(&segment(3, 0, 1, &[8, 9, 10, 11, 12, 13, 14, 16])),
            Reject::Malformed
        );
        let twice = [block, block].concat();
        assert_eq!(refused(&segment(3, 0, 2, &twice)), Reject::Unordered);
        let mut huge = segment(1, 0, 1, &[extent(1, 1)]);
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(refused(&huge), Reject::Malformed);
    }
}
