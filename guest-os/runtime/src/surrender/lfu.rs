//! The blocks accessed least often, by counts of one byte that age, as a cache would keep them: a
//! block that was hot once does not stay forever.
//!
//! Counts that age are due to Robinson and Devarakonda ("Data cache management
//! using frequency-based replacement", SIGMETRICS 1990); halving all of them
//! after a fixed number of accesses is how TinyLFU does it (Einziger, Friedman
//! and Manes, ACM Transactions on Storage, 2017). Here halves are rounded up: a
//! block accessed once is never again the same as one that never was.

use alloc::vec;
use alloc::vec::Vec;

use rand::RngExt;
use vssd::block_set::BlockSet;
use workloads::pattern::{Rng, rng};

use super::Surrender;

/// Blocks of the device for each access between two halvings. TinyLFU halves a hundred times less
/// often, over the life of a cache; here the counts serve one choice, and have to follow the
/// workload.
const BLOCKS_PER_ACCESS: u32 = 8;

/// See [`workloads::GuestPick::Lfu`].
pub struct Lfu {
    counts: Vec<u8>,
    until_halving: u32,
    rng: Rng,
}

impl Lfu {
    pub(super) fn new(capacity: u32, seed: u64) -> Self {
        Self {
            counts: vec![0; capacity as usize],
            until_halving: Self::period(capacity),
            rng: rng(seed),
        }
    }

    /// Accesses from one halving to the next.
    fn period(capacity: u32) -> u32 {
        (capacity / BLOCKS_PER_ACCESS).max(1)
    }
}

impl Surrender for Lfu {
    fn accessed(&mut self, block: u32) {
        let count = &mut self.counts[block as usize];
        *count = count.saturating_add(1);
        self.until_halving -= 1;
        if self.until_halving == 0 {
            self.counts
                .iter_mut()
                .for_each(|count| *count = count.div_ceil(2));
            self.until_halving = Self::period(self.counts.len() as u32);
        }
    }

    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let rng = &mut self.rng;
        let counts = &self.counts;
        held.least(
            count,
            |block| counts[block as usize],
            |n| rng.random_range(0..n),
        )
    }
}
