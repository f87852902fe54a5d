//! When each block was last accessed, for the picker of the least recently used:
//! the guest counts its accesses, the hypervisor the requests that it sees.
//!
//! Times are the numbers of accesses, four bytes a block. A list in order of
//! use would need eight, and several writes with every access instead of one;
//! in return it would pick without a pass over all blocks, but picks are rare.

use alloc::vec;
use alloc::vec::Vec;

use crate::block_set::BlockSet;

/// The last access to each block.
#[derive(Clone, Debug)]
pub struct Recency {
    /// Number of the last access; 0 for none.
    last: Vec<u32>,
    now: u32,
}

impl Recency {
    /// None of `capacity` blocks has been accessed.
    pub fn new(capacity: u32) -> Self {
        Self {
            last: vec![0; capacity as usize],
            now: 0,
        }
    }

    /// These blocks are accessed.
    ///
    /// # Panics
    /// When they are not all among the `capacity` blocks.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        if self.now == u32::MAX {
            self.renumber();
        }
        self.now += 1;
        self.last[first as usize..(first + count) as usize].fill(self.now);
    }

    /// Replaces the times by their ranks. There are at most as many as blocks,
    /// so that this happens once in billions of accesses.
    #[cold]
    fn renumber(&mut self) {
        let mut times: Vec<u32> = self.last.iter().copied().filter(|&at| at > 0).collect();
        times.sort_unstable();
        times.dedup();
        for last in self.last.iter_mut().filter(|last| **last > 0) {
            // Every time is there: they were collected from here.
            *last = times.partition_point(|at| at < last) as u32 + 1;
        }
        self.now = times.len() as u32;
    }

    /// Memory that the times take, bytes.
    pub fn memory_bytes(&self) -> usize {
        core::mem::size_of_val(self.last.as_slice())
    }

    /// At most `count` blocks of `set`, those whose last access lies furthest
    /// back; of those never accessed, any. `below(n)` returns a random number
    /// below `n`.
    pub fn oldest(&self, count: u32, set: &BlockSet, below: impl FnMut(u32) -> u32) -> BlockSet {
        set.least(count, |block| self.last[block as usize], below)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Against a list that keeps blocks in order of use, across a renumbering.
    #[test]
    fn it_picks_what_a_list_in_order_of_use_would() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let capacity = 64;
            let mut recency = Recency::new(capacity);
            recency.now = u32::MAX - 150;
            let mut order: Vec<u32> = Vec::new();
            for _ in 0..300 {
                let block = rng.random_range(0..capacity);
                recency.accessed(block, 1);
                order.retain(|&other| other != block);
                order.push(block);
            }
            let mut granted = BlockSet::empty(capacity);
            for &block in &order {
                granted.insert(block);
            }
            let count = rng.random_range(0..granted.len());
            let picks = recency.oldest(count, &granted, |n| rng.random_range(0..n));
            let mut oldest = order[..count as usize].to_vec();
            oldest.sort_unstable();
            assert!(picks.iter().eq(oldest), "seed {seed}");
            assert!(
                recency.now < u32::MAX - 150,
                "seed {seed}: never renumbered"
            );
        }
    }

    #[test]
    fn what_was_never_accessed_goes_first() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut recency = Recency::new(100);
        recency.accessed(10, 30);
        let picks = recency.oldest(70, &BlockSet::full(100), |n| rng.random_range(0..n));
        assert!(!picks.intersects_range(10, 30));
    }
}
