//! Least recently used first: the time of the last request to each block.
//!
//! Times are the numbers of requests, four bytes a block. A list in order of
//! use would need eight, and several writes with every request instead of one;
//! in return it would pick without a pass over all blocks, but picks are rare.

use rand::RngExt;
use vssd::block_set::BlockSet;

/// The last request to each block.
#[derive(Clone, Debug)]
pub struct Lru {
    /// Number of the last request; 0 for none.
    last: Vec<u32>,
    now: u32,
}

impl Lru {
    /// Nothing has been requested of `capacity` blocks.
    pub fn new(capacity: u32) -> Self {
        Self {
            last: vec![0; capacity as usize],
            now: 0,
        }
    }

    /// A request touched these blocks.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        if self.now == u32::MAX {
            self.renumber();
        }
        self.now += 1;
        self.last[first as usize..(first + count) as usize].fill(self.now);
    }

    /// Replaces the times by their ranks. There are at most as many as blocks,
    /// so that this happens once in billions of requests.
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
        size_of_val(self.last.as_slice())
    }

    /// The blocks of `granted` whose last request lies furthest back; of those
    /// never requested, any.
    pub fn pick(&self, count: u32, granted: &BlockSet, rng: &mut impl RngExt) -> BlockSet {
        granted.least(
            count,
            |block| self.last[block as usize],
            |n| rng.random_range(0..n),
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    /// Against a list that keeps blocks in order of use, across a renumbering.
    #[test]
    fn it_picks_what_a_list_in_order_of_use_would() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let capacity = 64;
            let mut lru = Lru::new(capacity);
            lru.now = u32::MAX - 150;
            let mut order: Vec<u32> = Vec::new();
            for _ in 0..300 {
                let block = rng.random_range(0..capacity);
                lru.accessed(block, 1);
                order.retain(|&other| other != block);
                order.push(block);
            }
            let mut granted = BlockSet::empty(capacity);
            for &block in &order {
                granted.insert(block);
            }
            let count = rng.random_range(0..granted.len());
            let picks = lru.pick(count, &granted, &mut rng);
            let mut oldest = order[..count as usize].to_vec();
            oldest.sort_unstable();
            assert!(picks.iter().eq(oldest), "seed {seed}");
            assert!(lru.now < u32::MAX - 150, "seed {seed}: never renumbered");
        }
    }

    #[test]
    fn what_was_never_requested_goes_first() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut lru = Lru::new(100);
        lru.accessed(10, 30);
        let picks = lru.pick(70, &BlockSet::full(100), &mut rng);
        assert!(!picks.intersects_range(10, 30));
    }
}
