//! Where on the vSSD the bytes of a file system lie, and which blocks are never given up.
//!
//! ```text
//!  file system  │ 0 ─────────── segment ──────────────│ (its own addresses, as FIEMAP tells them)
//!                 ╲                                   ╲
//!  vSSD    │ keep │ 8 MiB │ … free to give up … │ keep │ blocks
//! ```
//!
//! A balloon is counted in *units*: the smaller of a block of the file system and one of the vSSD.
//! A block of the vSSD can be given up when all its units are in the balloon.

use std::ops::Range;

use vssd::block_set::{BlockSet, Run};
use vssd::units::Geometry;

use crate::disk::Segment;
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Layout {
    geometry: Geometry,
    unit: u64,
    segments: Vec<Segment>,
    /// Blocks that are never given up.
    kept: BlockSet,
    /// Blocks that lie within the file system as a whole.
    own: BlockSet,
}

impl Layout {
    /// A layout of a file system with blocks of `fs_block` bytes. `keep_out` are ranges of bytes of
    /// the vSSD.
    ///
    /// # Errors
    /// When a segment is not made of whole blocks, or the vSSD has too many blocks to count.
    pub fn new(
        geometry: Geometry,
        fs_block: u64,
        segments: Vec<Segment>,
        keep_out: &[Range<u64>],
    ) -> Result<Self> {
        let block = u64::from(geometry.block_size());
        if !fs_block.is_power_of_two() || fs_block < 512 {
            return Err(Error::refused(format_args!(
                "the file system has blocks of {fs_block} bytes, which is no power of two"
            )));
        }
        let unit = fs_block.min(block);
        if geometry.capacity_bytes() / unit > u64::from(u32::MAX - 63) {
            return Err(Error::refused(format_args!(
                "the vSSD has more than 4294967232 blocks of {unit} bytes"
            )));
        }
        let mut own = BlockSet::empty(geometry.capacity());
        for segment in &segments {
            if !segment.to.is_multiple_of(block) || !segment.from.is_multiple_of(block) {
                return Err(Error::refused(format_args!(
                    "a part of the file system begins at byte {} of the vSSD, which is not a \
                     multiple of its block of {block} bytes: make the partition or volume anew at \
                     a multiple of it",
                    segment.to
                )));
            }
            let end = segment.to.checked_add(segment.len);
            if end.is_none_or(|end| end > geometry.capacity_bytes()) {
                return Err(Error::refused(format_args!(
                    "the file system reaches beyond the end of the vSSD, {} bytes",
                    geometry.capacity_bytes()
                )));
            }
            own.insert_range((segment.to / block) as u32, (segment.len / block) as u32);
        }
        let mut kept = BlockSet::empty(geometry.capacity());
        for range in keep_out {
            let end = range.end.min(geometry.capacity_bytes()).div_ceil(block);
            let start = range.start / block;
            if start < end {
                kept.insert_range(start as u32, (end - start) as u32);
            }
        }
        Ok(Self {
            geometry,
            unit,
            segments,
            kept,
            own,
        })
    }

    /// The shape of the vSSD.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// An empty set of units.
    pub fn no_units(&self) -> BlockSet {
        BlockSet::empty((self.geometry.capacity_bytes() / self.unit) as u32)
    }

    /// Adds the units of a range of the file system's bytes.
    pub fn cover(&self, units: &mut BlockSet, range: Range<u64>) {
        for part in self.on_vssd(range) {
            let start = part.to.div_ceil(self.unit);
            let end = (part.to + part.len) / self.unit;
            if start < end {
                units.insert_range(start as u32, (end - start) as u32);
            }
        }
    }

    /// The parts of a range that lie on the vSSD.
    fn on_vssd(&self, range: Range<u64>) -> impl Iterator<Item = Segment> + '_ {
        self.segments
            .iter()
            .filter_map(move |segment| segment.slice(range.clone()))
    }

    /// The blocks of which all units are in `units`.
    pub fn whole_blocks(&self, units: &BlockSet) -> BlockSet {
        let per_block = (u64::from(self.geometry.block_size()) / self.unit) as u32;
        if per_block == 1 {
            return units.clone();
        }
        let mut blocks = BlockSet::empty(self.geometry.capacity());
        for run in units.runs() {
            let start = run.start.div_ceil(per_block);
            let end = run.end() / per_block;
            if start < end {
                blocks.insert_range(start, end - start);
            }
        }
        blocks
    }

    /// Removes blocks that are never given up.
    pub fn remove_kept(&self, blocks: &mut BlockSet) {
        blocks.subtract(&self.kept);
    }

    /// Keeps the blocks that lie within the file system.
    pub fn retain_own(&self, blocks: &mut BlockSet) {
        blocks.intersect(&self.own);
    }

    /// Calls `each` with the parts of `range`, bytes of the file system, that touch none of the
    /// blocks in `gone`. What lies on another disk touches none.
    pub fn parts_outside(
        &self,
        range: Range<u64>,
        gone: &BlockSet,
        mut each: impl FnMut(Range<u64>),
    ) {
        let block = u64::from(self.geometry.block_size());
        let mut from = range.start;
        for part in self.on_vssd(range.clone()) {
            let first = (part.to / block) as u32;
            let last = ((part.to + part.len).div_ceil(block)) as u32;
            let runs = runs_within(gone, first..last);
            for run in runs {
                // Back to addresses of the file system, and into the part.
                let start = u64::from(run.start) * block;
                let end = u64::from(run.end()) * block;
                let start = part.from + start.saturating_sub(part.to);
                let end = part.from + (end - part.to).min(part.len);
                if from < start {
                    each(from..start);
                }
                from = end;
            }
        }
        if from < range.end {
            each(from..range.end);
        }
    }
}

/// The runs of `blocks` within a range.
fn runs_within(blocks: &BlockSet, range: Range<u32>) -> impl Iterator<Item = Run> + '_ {
    let mut from = range.start;
    std::iter::from_fn(move || {
        let start = blocks.next_in(from).filter(|start| *start < range.end)?;
        from = blocks.next_out(start).unwrap_or(range.end).min(range.end);
        Some(Run {
            start,
            len: from - start,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn segment(from: u64, len: u64, to: u64) -> Segment {
        Segment { from, len, to }
    }

    fn layout(block: u32, fs_block: u64, segments: Vec<Segment>) -> Layout {
        let geometry = Geometry::new(block, 16 * MIB / u64::from(block)).unwrap();
        Layout::new(geometry, fs_block, segments, &[]).unwrap()
    }

    #[test]
    fn only_whole_blocks_are_covered() {
        let layout = layout(8192, 1024, vec![segment(0, 15 * MIB, MIB)]);
        let mut units = layout.no_units();
        // The last kilobyte of one block, two blocks, the first of another.
        layout.cover(&mut units, 7168..25 << 10);
        let blocks = layout.whole_blocks(&units);
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [129, 130]);
        // Two extents make a block whole.
        layout.cover(&mut units, 0..7168);
        assert_eq!(layout.whole_blocks(&units).next_in(0), Some(128));
    }

    #[test]
    fn what_is_kept_rounds_outwards() {
        let geometry = Geometry::new(4096, 16).unwrap();
        let all = segment(0, 65536, 0);
        let keep = [0..1, 65535..65536, 8191..8193, 9 << 40..10 << 40];
        let layout = Layout::new(geometry, 4096, vec![all], &keep).unwrap();
        let mut blocks = BlockSet::full(16);
        layout.remove_kept(&mut blocks);
        assert_eq!(blocks.len(), 12);
        for kept in [0, 1, 2, 15] {
            assert!(!blocks.contains(kept), "{kept}");
        }
    }

    #[test]
    fn a_segment_off_the_blocks_or_the_disk_is_refused() {
        let geometry = Geometry::new(8192, 16).unwrap();
        for (segment, words) in [
            (segment(0, 8192, 63 * 512), "begins at byte 32256"),
            (
                segment(4096, 8192, 8192),
                "multiple of its block of 8192 bytes",
            ),
            (segment(0, 2 * 65536 + 1, 0), "beyond the end"),
            (segment(0, u64::MAX, 8192), "beyond the end"),
        ] {
            let said = Layout::new(geometry, 4096, vec![segment], &[]).unwrap_err();
            assert!(said.to_string().contains(words), "{said}");
        }
        let said = Layout::new(geometry, 3000, vec![], &[]).unwrap_err();
        assert!(said.to_string().contains("3000"), "{said}");
    }

    proptest! {
        /// Against a model of one kilobyte at a time: two segments in reverse order, with a hole
        /// on another disk between them.
        #[test]
        fn parts_outside_are_exact(
            start in 0_u64..12_000,
            len in 1_u64..4_000,
            gone in proptest::collection::btree_set(0_u32..2048, 0..200),
            block in prop_oneof![Just(1024_u32), Just(4096), Just(16384)],
        ) {
            let kib = 1024;
            let segments = vec![
                segment(0, 4 * MIB, 8 * MIB),
                segment(6 * MIB, 6 * MIB, MIB),
            ];
            let layout = layout(block, 1024, segments);
            let mut set = BlockSet::empty(layout.geometry().capacity());
            for number in gone {
                set.insert(number % layout.geometry().capacity());
            }
            let mut found = std::collections::BTreeSet::new();
            layout.parts_outside(start * kib..(start + len) * kib, &set, |part| {
                assert!(part.start < part.end);
                assert!(part.start % kib == 0 && part.end % kib == 0);
                for at in part.start / kib..part.end / kib {
                    assert!(found.insert(at), "{at} twice");
                }
            });
            for at in start..start + len {
                let on_vssd = match at * kib {
                    byte if byte < 4 * MIB => Some(8 * MIB + byte),
                    byte if (6 * MIB..12 * MIB).contains(&byte) => Some(byte - 5 * MIB),
                    _ => None,
                };
                let is_gone = on_vssd.is_some_and(|byte| {
                    set.contains((byte / u64::from(block)) as u32)
                });
                prop_assert_eq!(found.contains(&at), !is_gone, "{}", at);
            }
        }
    }
}
