//! Sets of block numbers: what a guest holds, what a host took.
//!
//! A set is a bitmap with a running count: 1 bit a block, so the 8,388,608
//! blocks of a 32 GiB vSSD take 1 MiB whatever their pattern. A sorted list of
//! extents would be smaller for contiguous sets and 64 times larger for
//! scattered ones, which are the common case after a guest chose by use.

mod words;

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

pub(crate) use self::words::count_ones;
pub use self::words::spans;
use self::words::{Parts, TOGETHER, count_alike, mask};

/// A maximal or partial run of consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block.
    pub start: u32,
    /// Number of blocks, never 0.
    pub len: u32,
}

impl Run {
    /// The block after the last one. Cannot wrap: capacities end below 2^32.
    pub fn end(self) -> u32 {
        self.start + self.len
    }
}

/// Read access to a bitmap, 64 blocks a word, so that a set and the complement
/// of a set can be encoded by the same code.
pub trait Bitmap {
    /// Number of words.
    fn word_count(&self) -> usize;
    /// Word `index`: bit b stands for block `64 * index + b`. Bits beyond the
    /// capacity are 0.
    fn word(&self, index: usize) -> u64;
}

/// A set of blocks below a fixed capacity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockSet {
    words: Vec<u64>,
    capacity: u32,
    len: u32,
}

impl BlockSet {
    /// The empty set of blocks below `capacity`.
    pub fn empty(capacity: u32) -> Self {
        Self {
            words: vec![0; capacity.div_ceil(64) as usize],
            capacity,
            len: 0,
        }
    }

    /// The set of all blocks below `capacity`.
    pub fn full(capacity: u32) -> Self {
        let mut set = Self::empty(capacity);
        set.insert_range(0, capacity);
        set
    }

    /// The set whose bitmap is `words`, 64 blocks a word.
    ///
    /// # Panics
    /// When these are not as many words as the capacity takes, or a block
    /// beyond the capacity is in them.
    pub fn from_words(capacity: u32, words: Vec<u64>) -> Self {
        assert_eq!(words.len(), capacity.div_ceil(64) as usize);
        let beyond = match (words.last(), capacity % 64) {
            (Some(last), used @ 1..) => last >> used,
            _ => 0,
        };
        assert_eq!(beyond, 0, "a block beyond the capacity");
        let mut set = Self {
            words,
            capacity,
            len: 0,
        };
        set.len = set.recount();
        set
    }

    /// The number of blocks that could be in the set.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The number of blocks in the set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True when no block is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when `block` is in the set; false also for one beyond the capacity.
    pub fn contains(&self, block: u32) -> bool {
        block < self.capacity && self.words[(block / 64) as usize] >> (block % 64) & 1 == 1
    }

    /// True when all of `start..start + len` is in the set; false when it
    /// leaves the capacity.
    #[inline]
    pub fn contains_range(&self, start: u32, len: u32) -> bool {
        // Bits beyond the capacity are 0, so that blocks found in a word are within it.
        let word = self.words.get((start / 64) as usize);
        let found = word.map_or(0, |word| (word >> (start % 64)).trailing_ones());
        (1..=found).contains(&len) || self.contains_words(start, len)
    }

    /// As [`contains_range`](Self::contains_range), for any number of words.
    fn contains_words(&self, start: u32, len: u32) -> bool {
        if !self.is_within_capacity(start, len) {
            return false;
        }
        let parts = Parts::of(start, len);
        let all = |words: &[u64]| words.iter().fold(u64::MAX, |all, word| all & word);
        parts
            .ends()
            .all(|(word, bits)| self.words[word] & bits == bits)
            && self.words[parts.whole]
                .chunks(TOGETHER)
                .all(|words| all(words) == u64::MAX)
    }

    /// True when some block of `start..start + len` is in the set; blocks
    /// beyond the capacity are not.
    pub fn intersects_range(&self, start: u32, len: u32) -> bool {
        let len = len.min(self.capacity.saturating_sub(start));
        spans(start, len).any(|(word, bits)| self.words[word] & bits != 0)
    }

    /// Adds `start..start + len`; returns how many were not in before.
    ///
    /// # Panics
    /// When the range leaves the capacity.
    pub fn insert_range(&mut self, start: u32, len: u32) -> u32 {
        assert!(
            self.is_within_capacity(start, len),
            "{start}+{len} beyond capacity"
        );
        let parts = Parts::of(start, len);
        let ends: u32 = parts
            .ends()
            .map(|(word, bits)| self.insert_bits(word, bits))
            .sum();
        let whole = &mut self.words[parts.whole];
        let added = whole.len() as u32 * 64 - count_alike(whole);
        whole.fill(u64::MAX);
        self.len += added;
        ends + added
    }

    /// Removes `start..start + len`; returns how many were in before.
    ///
    /// # Panics
    /// When the range leaves the capacity.
    pub fn remove_range(&mut self, start: u32, len: u32) -> u32 {
        assert!(
            self.is_within_capacity(start, len),
            "{start}+{len} beyond capacity"
        );
        let parts = Parts::of(start, len);
        let ends: u32 = parts
            .ends()
            .map(|(word, bits)| self.remove_bits(word, bits))
            .sum();
        let whole = &mut self.words[parts.whole];
        let removed = count_alike(whole);
        whole.fill(0);
        self.len -= removed;
        ends + removed
    }

    /// Adds one block; true when it was not in before.
    pub fn insert(&mut self, block: u32) -> bool {
        self.insert_range(block, 1) == 1
    }

    /// Removes one block; true when it was in before.
    pub fn remove(&mut self, block: u32) -> bool {
        self.remove_range(block, 1) == 1
    }

    /// Adds the blocks of word `index` given by `bits`; returns how many were
    /// not in before.
    pub fn insert_bits(&mut self, index: usize, bits: u64) -> u32 {
        let word = &mut self.words[index];
        let added = (bits & !*word).count_ones();
        *word |= bits;
        self.len += added;
        added
    }

    /// Removes the blocks of word `index` given by `bits`; returns how many
    /// were in before.
    pub fn remove_bits(&mut self, index: usize, bits: u64) -> u32 {
        let word = &mut self.words[index];
        let removed = (bits & *word).count_ones();
        *word &= !bits;
        self.len -= removed;
        removed
    }

    /// Removes all blocks.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    /// Adds all blocks of `other`, a set of the same capacity.
    pub fn union_with(&mut self, other: &Self) {
        assert_eq!(self.capacity, other.capacity);
        let bits = other.words.iter().copied().enumerate();
        self.insert_words(bits, other.len);
    }

    /// Removes all blocks of `other`, a set of the same capacity; returns how
    /// many of them were in before.
    pub fn subtract(&mut self, other: &Self) -> u32 {
        assert_eq!(self.capacity, other.capacity);
        let bits = other.words.iter().copied().enumerate();
        self.remove_words(bits, other.len)
    }

    /// Adds the blocks of many words, `blocks` in all; returns how many were
    /// not in before.
    ///
    /// Sets change by the million blocks, nearly always by blocks that are all out or all in.
    /// Checking that takes an `and` a word; counting bits takes ten times as long on a processor
    /// without an instruction for it, and the guest cannot rely on one.
    pub(crate) fn insert_words(
        &mut self,
        words: impl Iterator<Item = (usize, u64)>,
        blocks: u32,
    ) -> u32 {
        let mut known = 0;
        for (index, bits) in words {
            let word = &mut self.words[index];
            known |= bits & *word;
            *word |= bits;
        }
        let before = self.len;
        self.len = match known {
            0 => before + blocks,
            _ => self.recount(),
        };
        self.len - before
    }

    /// Removes the blocks of many words, `blocks` in all; returns how many
    /// were in before. See [`insert_words`](Self::insert_words).
    pub(crate) fn remove_words(
        &mut self,
        words: impl Iterator<Item = (usize, u64)>,
        blocks: u32,
    ) -> u32 {
        let (mut known, mut unknown) = (0, 0);
        for (index, bits) in words {
            let word = &mut self.words[index];
            known |= bits & *word;
            unknown |= bits & !*word;
            *word &= !bits;
        }
        let before = self.len;
        self.len = match (known, unknown) {
            (_, 0) => before - blocks,
            (0, _) => before,
            _ => self.recount(),
        };
        before - self.len
    }

    /// Removes all blocks that are not in `other`, a set of the same capacity.
    pub fn intersect(&mut self, other: &Self) {
        assert_eq!(self.capacity, other.capacity);
        for (word, bits) in self.words.iter_mut().zip(&other.words) {
            *word &= bits;
        }
        self.len = self.recount();
    }

    /// True when every block of this set is in `other`, a set of the same
    /// capacity.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        assert_eq!(self.capacity, other.capacity);
        let beyond = |a: &[u64], b: &[u64]| a.iter().zip(b).fold(0, |any, (a, b)| any | a & !b);
        let pairs = self
            .words
            .chunks(TOGETHER)
            .zip(other.words.chunks(TOGETHER));
        pairs.into_iter().all(|(a, b)| beyond(a, b) == 0)
    }

    /// The first block at or after `from` that is in the set.
    pub fn next_in(&self, from: u32) -> Option<u32> {
        self.scan(from..self.capacity, |word| word)
    }

    /// The first block of `range` that is in the set; blocks beyond the capacity are not.
    pub fn next_in_range(&self, range: Range<u32>) -> Option<u32> {
        self.scan(range, |word| word)
    }

    /// The first block at or after `from`, below the capacity, that is not in
    /// the set.
    pub fn next_out(&self, from: u32) -> Option<u32> {
        self.scan(from..self.capacity, |word| !word)
    }

    /// The first block of `range` that is not in the set, below the capacity.
    pub fn next_out_range(&self, range: Range<u32>) -> Option<u32> {
        self.scan(range, |word| !word)
    }

    fn scan(&self, range: Range<u32>, view: impl Fn(u64) -> u64) -> Option<u32> {
        let (from, end) = (range.start, range.end.min(self.capacity));
        if from >= end {
            return None;
        }
        let words = &self.words[..end.div_ceil(64) as usize];
        let first = (from / 64) as usize;
        let mut word = view(words[first]) & (u64::MAX << (from % 64));
        let mut index = first;
        if word == 0 {
            let rest = &words[first + 1..];
            let none = |words: &&[u64]| words.iter().fold(0, |any, word| any | view(*word)) == 0;
            let skipped = rest.chunks_exact(TOGETHER).take_while(none).count();
            index += skipped * TOGETHER;
        }
        while word == 0 {
            index += 1;
            word = view(*words.get(index)?);
        }
        let block = index as u32 * 64 + word.trailing_zeros();
        (block < end).then_some(block)
    }

    /// The maximal runs of the set, in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.next_in(from)?;
            from = self.next_out(start).unwrap_or(self.capacity);
            Some(Run {
                start,
                len: from - start,
            })
        })
    }

    /// The blocks of the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut bits = word;
            core::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    index as u32 * 64 + bit
                })
            })
        })
    }

    /// `count` blocks of the set, or all if there are fewer, each subset equally
    /// likely: selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S).
    /// `below(n)` draws a number below n, each equally likely.
    pub fn sample(&self, count: u32, mut below: impl FnMut(u32) -> u32) -> Self {
        let mut picked = Self::empty(self.capacity);
        let mut wanted = count.min(self.len);
        let mut left = self.len;
        for block in self.iter() {
            if wanted == 0 {
                break;
            }
            if below(left) < wanted {
                picked.insert(block);
                wanted -= 1;
            }
            left -= 1;
        }
        picked
    }

    /// At most `count` members, those with the highest numbers.
    pub fn last(&self, count: u32) -> Self {
        let mut picked = Self::empty(self.capacity);
        let mut keep = self.len.saturating_sub(count);
        for run in self.runs() {
            let kept = keep.min(run.len);
            keep -= kept;
            picked.insert_range(run.start + kept, run.len - kept);
        }
        picked
    }

    /// At most `count` members with the smallest keys. Where keys are equal and
    /// not all of them fit, a random choice of these is made as by
    /// [`sample`](Self::sample): block numbers never decide.
    pub fn least<K: Ord>(
        &self,
        count: u32,
        key: impl Fn(u32) -> K,
        below: impl FnMut(u32) -> u32,
    ) -> Self {
        if count == 0 || count >= self.len {
            return if count == 0 {
                Self::empty(self.capacity)
            } else {
                self.clone()
            };
        }
        let mut keyed: Vec<(K, u32)> = self.iter().map(|block| (key(block), block)).collect();
        let (_, last, _) = keyed.select_nth_unstable(count as usize - 1);
        let limit = key(last.1);
        let (mut picked, mut equal) = (Self::empty(self.capacity), Self::empty(self.capacity));
        for (key, block) in keyed {
            match key.cmp(&limit) {
                Ordering::Less => picked.insert(block),
                Ordering::Equal => equal.insert(block),
                Ordering::Greater => false,
            };
        }
        picked.union_with(&equal.sample(count - picked.len, below));
        picked
    }

    /// A recount of the blocks, which must equal [`len`](Self::len).
    pub fn recount(&self) -> u32 {
        count_ones(self.words.iter().copied())
    }

    /// A 64-bit digest of which blocks are in the set (SPEC.md, 4.9). It distinguishes lists that
    /// drifted apart, not lists that were made to collide: a guest that lies about its list harms
    /// only itself.
    pub fn digest(&self) -> u64 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        self.words
            .iter()
            .fold(u64::from(self.capacity), |hash, &word| {
                (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29)
            })
    }

    fn is_within_capacity(&self, start: u32, len: u32) -> bool {
        u64::from(start) + u64::from(len) <= u64::from(self.capacity)
    }
}

impl Bitmap for BlockSet {
    fn word_count(&self) -> usize {
        self.words.len()
    }

    fn word(&self, index: usize) -> u64 {
        self.words[index]
    }
}

/// The blocks below the capacity that are *not* in a set.
pub struct Complement<'a>(pub &'a BlockSet);

impl Bitmap for Complement<'_> {
    fn word_count(&self) -> usize {
        self.0.words.len()
    }

    fn word(&self, index: usize) -> u64 {
        let left = self.0.capacity - index as u32 * 64;
        let outside = !self.0.words[index];
        // Only the last word may reach beyond the capacity.
        match left {
            0..64 => outside & mask(0, left),
            _ => outside,
        }
    }
}

/// The blocks of the first set that are not in the second, one of the same capacity.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a>(pub &'a BlockSet, pub &'a BlockSet);

impl Bitmap for Difference<'_> {
    fn word_count(&self) -> usize {
        self.0.words.len()
    }

    fn word(&self, index: usize) -> u64 {
        self.0.words[index] & !self.1.words[index]
    }
}

#[cfg(test)]
mod tests;
