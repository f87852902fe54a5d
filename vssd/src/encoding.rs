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

use crate::block_set::{Bitmap, BlockSet, Run, count_ones};
use crate::error::Reject;
use crate::units::Geometry;
use crate::wire::Encoding;

/// Bytes of a segment header.
pub const SEGMENT_HEADER_LEN: usize = 16;

/// Most entries of a list segment, as in the 2017 system: 2 MiB of sectors.
pub const LIST_MAX: u32 = 4096;

const EXTENTS: u32 = 1;
const BITMAP: u32 = 2;
const LIST: u32 = 3;

const WINDOW_WORDS: usize = 64;
const ENTRY_LEN: usize = 8;

/// What an encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes written.
    pub len: usize,
    /// Blocks in them.
    pub blocks: u32,
    /// The first of these, or a block before it with none between.
    pub first: u32,
    /// The first block that was not looked at; at or past the capacity when all were.
    pub next: u32,
}

/// Writes the blocks of `set` at or after `from`, at most `limit` of them and
/// as many as fit into `out`.
///
/// `geometry` converts blocks to sectors for the list encoding. The lists of
/// [`Encoding::List4096`] hold at most [`LIST_MAX`] entries whatever the room.
pub fn encode(
    set: &impl Bitmap,
    from: u32,
    limit: u32,
    encoding: Encoding,
    geometry: Geometry,
    out: &mut [u8],
) -> Encoded {
    match encoding {
        Encoding::Compact => encode_compact(set, from, limit, out),
        Encoding::List4096 => encode_list(set, from, limit, geometry, out),
    }
}

/// The words of `set` from the one of block `from` on, without the blocks
/// before `from`.
fn word_from(set: &impl Bitmap, index: usize, from: u32) -> u64 {
    let word = set.word(index);
    if index == (from / 64) as usize {
        word & (u64::MAX << (from % 64))
    } else {
        word
    }
}

/// Leaves the lowest `limit` blocks of a window in it; returns how many there are.
fn cut_to(limit: u32, window: &mut [u64]) -> u32 {
    let mut blocks = 0;
    for word in window {
        let (kept, ones) = lowest(*word, limit - blocks);
        *word = kept;
        blocks += ones;
    }
    blocks
}

/// Number of runs in a window, or as many as it has words if there are more:
/// from there on a bitmap is no larger.
fn count_runs(window: &[u64]) -> usize {
    let (mut runs, mut carry) = (0, 0);
    for word in window {
        runs += (word & !(word << 1 | carry)).count_ones() as usize;
        carry = word >> 63;
        if runs >= window.len() {
            return window.len();
        }
    }
    runs
}

/// The lowest `count` set bits of a word, and how many these are.
fn lowest(word: u64, count: u32) -> (u64, u32) {
    let ones = match word {
        0 => 0,
        u64::MAX => 64,
        _ => word.count_ones(),
    };
    if ones <= count {
        return (word, ones);
    }
    let mut rest = word;
    for _ in 0..count {
        rest &= rest - 1;
    }
    (word & !rest, count)
}

/// Writes segments into a buffer and keeps the open one's header true.
struct Segments<'a> {
    out: &'a mut [u8],
    len: usize,
    blocks: u32,
    first: Option<u32>,
    open: Option<Open>,
}

#[derive(Clone, Copy)]
struct Open {
    header: usize,
    kind: u32,
    first: u32,
    entries: u32,
    blocks: u32,
    /// The block after the last one of the segment.
    end: u32,
}

impl Segments<'_> {
    fn room(&self) -> usize {
        self.out.len() - self.len
    }

    /// Starts a segment unless the open one is of this kind and, for bitmaps,
    /// reaches up to `first`.
    fn open(&mut self, kind: u32, first: u32) {
        let goes_on = |open: &Open| open.kind == kind && (kind != BITMAP || open.end == first);
        if self.open.as_ref().is_some_and(goes_on) {
            return;
        }
        self.close();
        self.first.get_or_insert(first);
        self.open = Some(Open {
            header: self.len,
            kind,
            first: if kind == BITMAP { first } else { 0 },
            entries: 0,
            blocks: 0,
            end: first,
        });
        self.len += SEGMENT_HEADER_LEN;
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let fields = [open.kind, open.entries, open.first, open.blocks];
            for (i, field) in fields.into_iter().enumerate() {
                let at = open.header + 4 * i;
                self.out[at..at + 4].copy_from_slice(&field.to_le_bytes());
            }
            self.blocks += open.blocks;
        }
    }

    fn entry(&mut self, bytes: [u8; ENTRY_LEN], blocks: u32, end: u32) {
        self.out[self.len..self.len + ENTRY_LEN].copy_from_slice(&bytes);
        self.len += ENTRY_LEN;
        let open = self.open.as_mut().expect("a segment is open");
        open.entries += 1;
        open.blocks += blocks;
        open.end = end;
    }

    /// Adds a run to the open extents segment, joining it to the last extent
    /// when that one ends where it starts.
    fn extent(&mut self, run: Run) {
        self.open(EXTENTS, run.start);
        let open = self.open.as_mut().expect("just opened");
        if open.entries > 0 && open.end == run.start {
            let at = self.len - 4;
            let field: [u8; 4] = self.out[at..].first_chunk().copied().expect("four bytes");
            let len = u32::from_le_bytes(field) + run.len;
            self.out[at..at + 4].copy_from_slice(&len.to_le_bytes());
            open.blocks += run.len;
            open.end = run.end();
            return;
        }
        let mut bytes = [0; ENTRY_LEN];
        bytes[0..4].copy_from_slice(&run.start.to_le_bytes());
        bytes[4..8].copy_from_slice(&run.len.to_le_bytes());
        self.entry(bytes, run.len, run.end());
    }

    /// Adds a window to the open bitmap, or opens one for it.
    fn bitmap(&mut self, first: u32, words: &[u64], blocks: u32) {
        self.open(BITMAP, first);
        let room = &mut self.out[self.len..][..words.len() * ENTRY_LEN];
        for (entry, word) in room.as_chunks_mut::<ENTRY_LEN>().0.iter_mut().zip(words) {
            *entry = word.to_le_bytes();
        }
        self.len += words.len() * ENTRY_LEN;
        let open = self.open.as_mut().expect("just opened");
        open.entries += words.len() as u32;
        open.blocks += blocks;
        open.end = first + 64 * words.len() as u32;
    }

    fn finish(mut self, next: u32) -> Encoded {
        self.close();
        Encoded {
            len: self.len,
            blocks: self.blocks,
            first: self.first.unwrap_or(next),
            next,
        }
    }
}

fn encode_compact(set: &impl Bitmap, from: u32, limit: u32, out: &mut [u8]) -> Encoded {
    let mut segments = Segments {
        out,
        len: 0,
        blocks: 0,
        first: None,
        open: None,
    };
    let mut left = limit;
    let mut index = (from / 64) as usize;
    let mut window = [0; WINDOW_WORDS];
    while index < set.word_count() && left > 0 {
        let first = index as u32 * 64;
        let words = WINDOW_WORDS.min(set.word_count() - index);
        if segments.room() < SEGMENT_HEADER_LEN + words * ENTRY_LEN {
            return segments.finish(first.max(from));
        }
        let mut any = 0;
        for (i, slot) in window[..words].iter_mut().enumerate() {
            *slot = set.word(index + i);
            any |= *slot;
        }
        if any == 0 {
            index += words;
            continue;
        }
        if first < from {
            window[0] &= u64::MAX << (from - first);
        }
        let blocks = cut_to(left, &mut window[..words]);
        let runs = count_runs(&window[..words]);
        left -= blocks;
        if blocks != 0 && runs < words {
            for run in runs_of(&window[..words], first) {
                segments.extent(run);
            }
        } else if blocks != 0 {
            segments.bitmap(first, &window[..words], blocks);
        }
        index += words;
    }
    // With `limit` used up there may be blocks left in the last window; the
    // caller asked for no more, and a later call must not depend on `next`.
    segments.finish((index as u64 * 64).min(u64::from(u32::MAX)) as u32)
}

/// The runs of a few words that start at block `first`.
fn runs_of(words: &[u64], first: u32) -> impl Iterator<Item = Run> + '_ {
    let total = words.len() as u32 * 64;
    let seek = move |from: u32, wanted: bool| {
        let mut at = from;
        while at < total {
            let word = words[(at / 64) as usize];
            let view = if wanted { word } else { !word } >> (at % 64);
            if view != 0 {
                return at + view.trailing_zeros();
            }
            at = (at / 64 + 1) * 64;
        }
        total
    };
    let mut at = 0;
    core::iter::from_fn(move || {
        let start = seek(at, true);
        (start < total).then(|| {
            at = seek(start, false);
            Run {
                start: first + start,
                len: at - start,
            }
        })
    })
}

fn encode_list(
    set: &impl Bitmap,
    from: u32,
    limit: u32,
    geometry: Geometry,
    out: &mut [u8],
) -> Encoded {
    let mut segments = Segments {
        out,
        len: 0,
        blocks: 0,
        first: None,
        open: None,
    };
    let sectors = geometry.sectors_per_block();
    let mut left = limit.min(LIST_MAX / sectors);
    let mut next = from;
    let mut index = (from / 64) as usize;
    'words: while index < set.word_count() {
        let mut word = word_from(set, index, from);
        while word != 0 {
            let block = index as u32 * 64 + word.trailing_zeros();
            next = block;
            if left == 0 || segments.room() < SEGMENT_HEADER_LEN + sectors as usize * ENTRY_LEN {
                break 'words;
            }
            segments.open(LIST, block);
            let first = geometry.first_sector(block);
            for sector in first..first + u64::from(sectors) {
                let blocks = u32::from(sector == first);
                segments.entry(sector.to_le_bytes(), blocks, block + 1);
            }
            left -= 1;
            next = block + 1;
            word &= word - 1;
        }
        index += 1;
    }
    if index >= set.word_count() {
        next = geometry.capacity();
    }
    segments.finish(next)
}

/// A checked block set in the bytes of a message: all blocks are in the
/// device, in strictly ascending order.
#[derive(Clone, Copy, Debug)]
pub struct SetView<'a> {
    bytes: &'a [u8],
    blocks: u32,
    sectors_per_block: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn words(bytes: &[u8]) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + '_ {
    bytes
        .as_chunks::<ENTRY_LEN>()
        .0
        .iter()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

/// A segment of a message, its entries not looked at yet.
struct Segment<'a> {
    kind: u32,
    first: u32,
    blocks: u32,
    entries: &'a [u8],
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
        words(self.entries)
            .step_by(step)
            .map(move |entry| match is_list {
                true => Run {
                    start: (entry / u64::from(sectors_per_block)) as u32,
                    len: 1,
                },
                false => Run {
                    start: entry as u32,
                    len: (entry >> 32) as u32,
                },
            })
    }
}

/// Splits the first segment off; `None` when the bytes end within it.
fn split_segment(bytes: &[u8]) -> Option<(Segment<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(SEGMENT_HEADER_LEN)?;
    let entries = u32_at(header, 4) as usize;
    let (entries, rest) = rest.split_at_checked(entries.checked_mul(ENTRY_LEN)?)?;
    let segment = Segment {
        kind: u32_at(header, 0),
        first: u32_at(header, 8),
        blocks: u32_at(header, 12),
        entries,
    };
    Some((segment, rest))
}

impl<'a> SetView<'a> {
    /// Checks a payload. Work and result are bounded by its length.
    pub fn parse(payload: &'a [u8], geometry: Geometry) -> Result<Self, Reject> {
        let capacity = u64::from(geometry.capacity());
        let sectors_per_block = geometry.sectors_per_block();
        // The least block that the next entry may name.
        let mut floor = 0u64;
        let mut total = 0u64;
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
            let mut blocks = 0u64;
            let mut take = |start: u64, end: u64, count: u64| {
                if start < floor {
                    return Err(Reject::Unordered);
                }
                if end > capacity {
                    return Err(Reject::OutOfRange);
                }
                floor = end;
                blocks += count;
                Ok(())
            };
            match kind {
                EXTENTS => {
                    for entry in entries.chunks_exact(ENTRY_LEN) {
                        let start = u64::from(u32_at(entry, 0));
                        let len = u64::from(u32_at(entry, 4));
                        if len == 0 {
                            return Err(Reject::Malformed);
                        }
                        take(start, start + len, len)?;
                    }
                }
                BITMAP => {
                    if !first.is_multiple_of(64) {
                        return Err(Reject::Malformed);
                    }
                    // Within a bitmap the order is a matter of course: its
                    // first and last block say where it lies.
                    let base = u64::from(first);
                    let mut set = words(entries).enumerate().filter(|(_, word)| *word != 0);
                    if let Some((i, word)) = set.next() {
                        let start = base + 64 * i as u64 + u64::from(word.trailing_zeros());
                        let (j, last) = set.next_back().unwrap_or((i, word));
                        let end = base + 64 * (j as u64 + 1) - u64::from(last.leading_zeros());
                        let count = u64::from(count_ones(words(entries)));
                        take(start, end, count)?;
                    }
                }
                LIST => {
                    let per_block = u64::from(sectors_per_block);
                    if !(entries.len() as u64 / 8).is_multiple_of(per_block) {
                        return Err(Reject::Malformed);
                    }
                    let mut expected = 0;
                    for (sector, i) in words(entries).zip(0u64..) {
                        if i.is_multiple_of(per_block) {
                            if !sector.is_multiple_of(per_block) {
                                return Err(Reject::Malformed);
                            }
                            let block = sector / per_block;
                            take(block, block + 1, 1)?;
                        } else if sector != expected {
                            return Err(Reject::Malformed);
                        }
                        expected = sector.wrapping_add(1);
                    }
                }
                _ => return Err(Reject::Malformed),
            }
            if blocks != u64::from(segment.blocks) {
                return Err(Reject::Malformed);
            }
            total += blocks;
        }
        Ok(Self {
            bytes: payload,
            blocks: total as u32,
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

/// The runs of a bitmap in a message, cut at word borders.
fn word_runs(first: u32, bytes: &[u8]) -> impl Iterator<Item = Run> + '_ {
    words(bytes).zip(0..).flat_map(move |(word, i)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_set::Complement;
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
