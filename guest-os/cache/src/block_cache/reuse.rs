//! Blocks that missed not long ago: one that misses again is reused, and worth a slot.
//!
//! A block that is read once takes a slot from another and wears the SSD for nothing. LARC keeps such
//! blocks out by a queue of those that missed last (Huang, Wei, Chen, Chen and Feng, "Improving
//! flash-based disk cache with Lazy Adaptive Replacement", MSST 2013). Here two Bloom filters stand
//! for the queue, 4 bytes a slot together instead of 12: one takes the misses of now, the other has
//! those before. They change places after as many misses as there are slots, which is the longest
//! queue of LARC, so a block is remembered for that many misses at least and twice as many at most.
//!
//! A filter may take a block for another that missed, about one in 200. That admits a block too
//! early and does no harm else.

use alloc::vec::Vec;

/// Misses for which a word of a filter has bits: 16 bits each.
const MISSES_PER_WORD: u32 = 4;

/// Misses after which the filters change places, at least: a tiny cache learns something too.
const LEAST: u32 = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Reuse {
    now: Vec<u64>,
    before: Vec<u64>,
    /// Misses until they change places.
    left: u32,
}

impl Reuse {
    /// A block misses in a cache of `slots` slots. Whether it missed before, not long ago.
    pub fn missed(&mut self, block: u32, slots: u32) -> bool {
        if self.left == 0 {
            self.turn(slots.max(LEAST));
        }
        let hash = hash(block);
        let bits = bits(hash);
        let was_before = find(&self.before, hash).is_some_and(|at| self.before[at] & bits == bits);
        let Some(at) = find(&self.now, hash) else {
            return was_before;
        };
        let is_known = self.now[at] & bits == bits;
        if !is_known {
            self.now[at] |= bits;
            self.left -= 1;
        }
        is_known || was_before
    }

    /// The misses of now are those before, and there are none of now.
    fn turn(&mut self, misses: u32) {
        core::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.now
            .resize(misses.div_ceil(MISSES_PER_WORD) as usize, 0);
        self.left = misses;
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        (self.now.capacity() + self.before.capacity()) * size_of::<u64>()
    }
}

fn hash(block: u32) -> u64 {
    let hash = (u64::from(block) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// The word of a block, by the high half of its hash; none in an empty filter.
fn find(words: &[u64], hash: u64) -> Option<usize> {
    let at = ((hash >> 32) * words.len() as u64) >> 32;
    (!words.is_empty()).then_some(at as usize)
}

/// The bits of a block in its word, by the low half of its hash: up to four.
fn bits(hash: u64) -> u64 {
    (0..4).fold(0, |bits, part| bits | 1 << (hash >> (6 * part) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_reused_at_its_second_miss_within_as_many_as_there_are_slots() {
        let mut reuse = Reuse::default();
        let slots = 1000;
        assert!(!reuse.missed(7, slots));
        assert!(reuse.missed(7, slots));
        let found = |reuse: &mut Reuse, blocks: core::ops::Range<u32>| {
            let found = blocks.filter(|&block| reuse.missed(block, slots));
            found.count()
        };
        // All blocks of a loop that is shorter than the cache are, and few of one that is twice as
        // long.
        let mut short = Reuse::default();
        assert!(found(&mut short, 0..slots) < 10);
        assert_eq!(found(&mut short, 0..slots), slots as usize);
        let mut long = Reuse::default();
        for _ in 0..10 {
            let many = found(&mut long, 0..2 * slots + 100);
            assert!(many < 50, "{many} of a scan");
        }
    }

    #[test]
    fn memory_follows_the_slots() {
        let mut reuse = Reuse::default();
        assert_eq!(reuse.memory_bytes(), 0);
        for block in 0..10_000 {
            reuse.missed(block, 1 << 12);
        }
        assert!(reuse.memory_bytes() <= 4 << 12);
        // Few slots remember few blocks, and none is not a number of them.
        for block in 0..100_000 {
            reuse.missed(block, 0);
        }
        assert!(!reuse.missed(5, 0));
    }
}
