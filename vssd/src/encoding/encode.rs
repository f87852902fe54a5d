//! From a set of blocks to the segments of a message.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    BITMAP, ENTRY_LEN, EXTENTS, Extent, LIST, LIST_MAX, SEGMENT_HEADER_LEN, SegmentHeader,
    WINDOW_WORDS,
};
use crate::block_set::{Bitmap, Run};
use crate::units::Geometry;
use crate::wire::Encoding;

/// The result of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes written.
    pub len: usize,
    /// Blocks in them.
    pub blocks: u32,
    /// The first of these, or a block before it with none between.
    pub first: u32,
    /// The first block that was not visited; at or past the capacity when all were.
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

/// Writes segments into a buffer and keeps the header of the open one up to date.
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
            let header = SegmentHeader {
                kind: open.kind.into(),
                entries: open.entries.into(),
                first: open.first.into(),
                blocks: open.blocks.into(),
            };
            let room = &mut self.out[open.header..];
            header.write_to_prefix(room).expect("room for the header");
            self.blocks += open.blocks;
        }
    }

    fn entry(&mut self, entry: &(impl IntoBytes + Immutable), blocks: u32, end: u32) {
        let room = &mut self.out[self.len..self.len + ENTRY_LEN];
        entry.write_to(room).expect("an entry has 8 bytes");
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
            let written = &mut self.out[..self.len];
            let (_, last) = Extent::mut_from_suffix(written).expect("an extent was written");
            last.len += run.len;
            open.blocks += run.len;
            open.end = run.end();
            return;
        }
        let extent = Extent {
            start: run.start.into(),
            len: run.len.into(),
        };
        self.entry(&extent, run.len, run.end());
    }

    /// Adds a window to the open bitmap, or opens one for it.
    fn bitmap(&mut self, first: u32, words: &[u64], blocks: u32) {
        self.open(BITMAP, first);
        let room = &mut self.out[self.len..];
        let (entries, _) =
            <[U64]>::mut_from_prefix_with_elems(room, words.len()).expect("room for the window");
        for (entry, word) in entries.iter_mut().zip(words) {
            entry.set(*word);
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
        let (mut any, mut all) = (0, u64::MAX);
        for (i, slot) in window[..words].iter_mut().enumerate() {
            *slot = set.word(index + i);
            any |= *slot;
            all &= *slot;
        }
        if any == 0 {
            index += words;
            continue;
        }
        let whole = words as u32 * 64;
        if all == u64::MAX && first >= from && left >= whole {
            segments.extent(Run {
                start: first,
                len: whole,
            });
            left -= whole;
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
    // caller requested no more, and a later call must not depend on `next`.
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
                segments.entry(&U64::new(sector), blocks, block + 1);
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
