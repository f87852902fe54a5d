//! Stack distances in O(log n) per access.

use alloc::vec::Vec;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::hash::BuildBlockHasher;

/// Lower bound of the positions, so that a small set of blocks is not renumbered often. Marks and
/// tree of so many take 3 KiB.
const POSITIONS_MIN: usize = 1 << 14;

/// The LRU stack of all blocks accessed, as marks on a line.
///
/// Each access takes the next position, marks it, and clears the mark at the block's previous
/// position. The marks after that position are the blocks accessed since. Marks are bits of
/// words, and a Fenwick tree sums the words: it is 1/64 the size of a tree over positions, and
/// so fits in the processor's cache.
///
/// ```text
///  accesses   a b c b a                    a again: marks after a's = c b
///  marks      . . 1 1 1   ◀ next           before: 1 . 1 1, distance 2 + 1
/// ```
///
/// When positions run out, the blocks are renumbered in order, onto a line at least twice as
/// long as their count. So the accesses between two renumberings are at least as many as the
/// blocks, and memory depends on the number of blocks, not of accesses.
#[derive(Clone, Debug)]
pub struct StackDistances {
    positions: HashMap<u64, usize, BuildBlockHasher>,
    marks: Vec<u64>,
    // tree[i - 1] sums the words (i - lowest bit of i)..i.
    tree: Vec<u32>,
    next: usize,
}

impl Default for StackDistances {
    fn default() -> Self {
        Self::new()
    }
}

impl StackDistances {
    /// An empty stack.
    pub fn new() -> Self {
        let mut distances = Self {
            positions: HashMap::default(),
            marks: Vec::new(),
            tree: Vec::new(),
            next: 0,
        };
        distances.renumber();
        distances
    }

    /// Number of blocks in the stack.
    pub fn blocks(&self) -> usize {
        self.positions.len()
    }

    /// Moves `block` to the top. Returns its previous depth, from 1 at the top, or `None` if it
    /// was not in the stack.
    pub fn access(&mut self, block: u64) -> Option<u64> {
        if self.next == self.marks.len() * 64 {
            self.renumber();
        }
        let next = self.next;
        self.next += 1;
        let count = self.positions.len();
        let before = match self.positions.entry(block) {
            Entry::Occupied(mut entry) => Some(entry.insert(next)),
            Entry::Vacant(entry) => {
                entry.insert(next);
                None
            }
        };
        let Some(position) = before else {
            self.marks[next / 64] |= 1 << (next % 64);
            self.add(next / 64, 1);
            return None;
        };
        let distance = count - self.marks_before(position);
        self.move_mark(position, next);
        Some(distance as u64)
    }

    /// Removes `block` from the stack.
    pub fn remove(&mut self, block: u64) {
        if let Some(position) = self.positions.remove(&block) {
            self.clear(position);
        }
    }

    /// Bytes of heap, about.
    pub fn memory_bytes(&self) -> usize {
        let positions = self.positions.capacity() * (size_of::<(u64, usize)>() + 1);
        positions + self.marks.capacity() * 8 + self.tree.capacity() * 4
    }

    fn clear(&mut self, position: usize) {
        self.marks[position / 64] &= !(1 << (position % 64));
        self.add(position / 64, u32::MAX);
    }

    /// Clears a mark and sets a later one. Sums that include both stay as they are.
    fn move_mark(&mut self, from: usize, to: usize) {
        self.marks[from / 64] &= !(1 << (from % 64));
        self.marks[to / 64] |= 1 << (to % 64);
        let (mut less, mut more) = (from / 64 + 1, to / 64 + 1);
        while less != more {
            let (index, count) = if less < more {
                (&mut less, u32::MAX)
            } else {
                (&mut more, 1)
            };
            let Some(sum) = self.tree.get_mut(*index - 1) else {
                break;
            };
            *sum = sum.wrapping_add(count);
            *index += *index & index.wrapping_neg();
        }
    }

    /// Adds to the sums that include `word`, modulo 2^32, so that adding `u32::MAX` subtracts 1.
    fn add(&mut self, word: usize, count: u32) {
        let mut index = word + 1;
        while let Some(sum) = self.tree.get_mut(index - 1) {
            *sum = sum.wrapping_add(count);
            index += index & index.wrapping_neg();
        }
    }

    /// Number of marks before `position`.
    fn marks_before(&self, position: usize) -> usize {
        let mut index = position / 64;
        let below = self.marks[index] & ((1 << (position % 64)) - 1);
        let mut count = below.count_ones() as usize;
        while index > 0 {
            count += self.tree[index - 1] as usize;
            index &= index - 1;
        }
        count
    }

    /// Moves all marks to the front, in order, and leaves free positions behind them.
    fn renumber(&mut self) {
        let mut positions = core::mem::take(&mut self.positions);
        for position in positions.values_mut() {
            *position = self.marks_before(*position);
        }
        self.positions = positions;
        self.next = self.positions.len();
        let words = (2 * self.next).max(POSITIONS_MIN).div_ceil(64);
        // Sums have 32 bits: 2^32 blocks are a disk of 16 TiB, and would take more than 64 GiB
        // of memory here.
        assert!(self.next < u32::MAX as usize, "too many blocks for a stack");
        self.marks.clear();
        self.marks.resize(words, 0);
        self.marks[..self.next / 64].fill(u64::MAX);
        self.marks[self.next / 64] = (1 << (self.next % 64)) - 1;
        self.tree.clear();
        self.tree
            .extend(self.marks.iter().map(|word| word.count_ones()));
        for index in 1..=words {
            let parent = index + (index & index.wrapping_neg());
            if parent <= words {
                self.tree[parent - 1] += self.tree[index - 1];
            }
        }
    }
}
