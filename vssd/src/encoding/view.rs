//! From the segments of an untrusted message to a set of blocks.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, transmute};

use super::{BITMAP, EXTENTS, Extent, LIST, SegmentHeader};
use crate::block_set::{Bitmap, BlockSet, Run, count_ones, spans};
use crate::error::Reject;
use crate::units::Geometry;

/// A checked block set in the bytes of a message: all blocks are in the
/// device, in strictly ascending order.
#[derive(Clone, Copy, Debug)]
pub struct SetView<'a> {
    bytes: &'a [u8],
    blocks: u32,
    sectors_per_block: u32,
}

fn words(entries: &[U64]) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + '_ {
    entries.iter().map(|entry| entry.get())
}

/// A segment of a message, its entries not checked yet.
struct Segment<'a> {
    kind: u32,
    first: u32,
    blocks: u32,
    entries: &'a [U64],
}

impl<'a> Segment<'a> {
    /// The words of a bitmap with their indices in the set; `None` when it is
    /// no bitmap.
    fn bitmap(&self) -> Option<impl Iterator<Item = (usize, u64)> + use<'a>> {
        let index = (self.first / 64) as usize;
        (self.kind == BITMAP).then(|| (index..).zip(words(self.entries)))
    }

    /// The runs of extents, or the blocks of a list.
    fn extents(&self, sectors_per_block: u32) -> impl Iterator<Item = Run> + use<'a> {
        let is_list = self.kind == LIST;
        let step = if is_list {
            sectors_per_block as usize
        } else {
            1
        };
        self.entries.iter().step_by(step).map(move |entry| {
            if is_list {
                Run {
                    start: (entry.get() / u64::from(sectors_per_block)) as u32,
                    len: 1,
                }
            } else {
                let extent: Extent = transmute!(*entry);
                Run {
                    start: extent.start.get(),
                    len: extent.len.get(),
                }
            }
        })
    }
}

/// Splits the first segment off; `None` when the bytes end within it.
fn split_segment(bytes: &[u8]) -> Option<(Segment<'_>, &[u8])> {
    let (header, rest) = SegmentHeader::ref_from_prefix(bytes).ok()?;
    let count = header.entries.get() as usize;
    let (entries, rest) = <[U64]>::ref_from_prefix_with_elems(rest, count).ok()?;
    let segment = Segment {
        kind: header.kind.get(),
        first: header.first.get(),
        blocks: header.blocks.get(),
        entries,
    };
    Some((segment, rest))
}

/// The blocks that a message has named so far.
struct Named {
    capacity: u64,
    /// The least block that the next entry may name.
    floor: u64,
    count: u64,
}

impl Named {
    /// `count` blocks, the first of them `start`, and the last before `end`.
    fn take(&mut self, start: u64, end: u64, count: u64) -> Result<(), Reject> {
        if start < self.floor {
            return Err(Reject::Unordered);
        }
        if end > self.capacity {
            return Err(Reject::OutOfRange);
        }
        self.floor = end;
        self.count += count;
        Ok(())
    }

    fn take_extents(&mut self, entries: &[U64]) -> Result<(), Reject> {
        for entry in entries {
            let extent: Extent = transmute!(*entry);
            let start = u64::from(extent.start.get());
            let len = u64::from(extent.len.get());
            if len == 0 {
                return Err(Reject::Malformed);
            }
            self.take(start, start + len, len)?;
        }
        Ok(())
    }

    fn take_bitmap(&mut self, first: u32, entries: &[U64]) -> Result<(), Reject> {
        if !first.is_multiple_of(64) {
            return Err(Reject::Malformed);
        }
        // Words past the last block are refused even if they are zeros:
        // code that works word by word has no room for them.
        let base = u64::from(first);
        let end = base / 64 + entries.len() as u64;
        if end > self.capacity.div_ceil(64) {
            return Err(Reject::OutOfRange);
        }
        // A bitmap is in order by itself: its first and last block delimit it.
        let mut set = words(entries).enumerate().filter(|(_, word)| *word != 0);
        let Some((i, word)) = set.next() else {
            return Ok(());
        };
        let start = base + 64 * i as u64 + u64::from(word.trailing_zeros());
        let (j, last) = set.next_back().unwrap_or((i, word));
        let end = base + 64 * (j as u64 + 1) - u64::from(last.leading_zeros());
        self.take(start, end, u64::from(count_ones(words(entries))))
    }

    /// A list names every sector of each block.
    fn take_list(&mut self, sectors_per_block: u32, entries: &[U64]) -> Result<(), Reject> {
        let per_block = u64::from(sectors_per_block);
        if !(entries.len() as u64).is_multiple_of(per_block) {
            return Err(Reject::Malformed);
        }
        let mut expected = 0;
        for (sector, i) in words(entries).zip(0u64..) {
            if i.is_multiple_of(per_block) {
                if !sector.is_multiple_of(per_block) {
                    return Err(Reject::Malformed);
                }
                let block = sector / per_block;
                self.take(block, block.saturating_add(1), 1)?;
            } else if sector != expected {
                return Err(Reject::Malformed);
            }
            expected = sector.wrapping_add(1);
        }
        Ok(())
    }
}

impl<'a> SetView<'a> {
    /// Checks a payload. Work and result are bounded by its length.
    pub fn parse(payload: &'a [u8], geometry: Geometry) -> Result<Self, Reject> {
        let sectors_per_block = geometry.sectors_per_block();
        let mut named = Named {
            capacity: u64::from(geometry.capacity()),
            floor: 0,
            count: 0,
        };
        let mut rest = payload;
        while !rest.is_empty() {
            let (segment, tail) = split_segment(rest).ok_or(Reject::Malformed)?;
            let Segment {
                kind,
                first,
                entries,
                ..
            } = segment;
            rest = tail;
            if entries.is_empty() || (kind != BITMAP && first != 0) {
                return Err(Reject::Malformed);
            }
            let before = named.count;
            match kind {
                EXTENTS => named.take_extents(entries)?,
                BITMAP => named.take_bitmap(first, entries)?,
                LIST => named.take_list(sectors_per_block, entries)?,
                _ => return Err(Reject::Malformed),
            }
            if named.count - before != u64::from(segment.blocks) {
                return Err(Reject::Malformed);
            }
        }
        Ok(Self {
            bytes: payload,
            blocks: named.count as u32,
            sectors_per_block,
        })
    }

    /// Number of blocks.
    pub fn len(&self) -> u32 {
        self.blocks
    }

    /// True when there is no block in it.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// The bytes, as they travelled.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (segment, tail) = split_segment(rest)?;
            rest = tail;
            Some(segment)
        })
    }

    /// The runs of the set in ascending order; two may touch where the
    /// encoding cut them.
    pub fn runs(&self) -> impl Iterator<Item = Run> + use<'a> {
        let sectors_per_block = self.sectors_per_block;
        self.segments().flat_map(move |segment| {
            let (extents, words) = match segment.kind {
                BITMAP => (None, Some(word_runs(segment.first, segment.entries))),
                _ => (Some(segment.extents(sectors_per_block)), None),
            };
            extents
                .into_iter()
                .flatten()
                .chain(words.into_iter().flatten())
        })
    }
}

impl SetView<'_> {
    /// Calls `each` with the blocks of the set as words of a bitmap, index and
    /// bits, in ascending order. Bits of a word may come in several pieces
    /// where the encoding cut them; a piece may be empty.
    pub fn for_each_word(&self, mut each: impl FnMut(usize, u64)) {
        for segment in self.segments() {
            match segment.bitmap() {
                Some(words) => words.for_each(|(index, bits)| each(index, bits)),
                None => segment
                    .extents(self.sectors_per_block)
                    .for_each(|run| spans(run.start, run.len).for_each(|(i, b)| each(i, b))),
            }
        }
    }
}

/// The runs of a bitmap in a message, cut at word borders.
fn word_runs(first: u32, entries: &[U64]) -> impl Iterator<Item = Run> + '_ {
    words(entries).zip(0..).flat_map(move |(word, i)| {
        let base = first + 64 * i;
        let mut at = 0;
        core::iter::from_fn(move || {
            let rest = word.checked_shr(at).unwrap_or(0);
            (rest != 0).then(|| {
                let start = at + rest.trailing_zeros();
                let len = (word >> start).trailing_ones();
                at = start + len;
                Run {
                    start: base + start,
                    len,
                }
            })
        })
    })
}

/// Set operations with a checked view, word by word where it is a bitmap.
/// The view must have been checked against the set's capacity.
impl BlockSet {
    /// True when every block of the view is in the set.
    pub fn contains_view(&self, view: &SetView<'_>) -> bool {
        view.segments().all(|segment| match segment.bitmap() {
            Some(mut words) => words.all(|(index, bits)| bits & !self.word(index) == 0),
            None => segment
                .extents(view.sectors_per_block)
                .all(|run| self.contains_range(run.start, run.len)),
        })
    }

    /// Adds the blocks of the view; returns how many were not in before.
    pub fn insert_view(&mut self, view: &SetView<'_>) -> u32 {
        view.segments()
            .map(|segment| match segment.bitmap() {
                Some(words) => self.insert_words(words, segment.blocks),
                None => segment
                    .extents(view.sectors_per_block)
                    .map(|run| self.insert_range(run.start, run.len))
                    .sum(),
            })
            .sum()
    }

    /// Removes the blocks of the view; returns how many were in before.
    pub fn remove_view(&mut self, view: &SetView<'_>) -> u32 {
        view.segments()
            .map(|segment| match segment.bitmap() {
                Some(words) => self.remove_words(words, segment.blocks),
                None => segment
                    .extents(view.sectors_per_block)
                    .map(|run| self.remove_range(run.start, run.len))
                    .sum(),
            })
            .sum()
    }
}
