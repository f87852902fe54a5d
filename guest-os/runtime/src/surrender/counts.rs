//! The blocks accessed least often, by a count of every access since this pick
//! was set.

use alloc::vec;
use alloc::vec::Vec;

use rand::RngExt;
use vssd::block_set::BlockSet;
use workloads::pattern::{Rng, rng};

use super::Surrender;

/// See [`workloads::GuestPick::Counts`].
pub struct Counts {
    counts: Vec<u32>,
    rng: Rng,
}

impl Counts {
    pub(super) fn new(capacity: u32, seed: u64) -> Self {
        Self {
            counts: vec![0; capacity as usize],
            rng: rng(seed),
        }
    }
}

impl Surrender for Counts {
    fn accessed(&mut self, block: u32) {
        let count = &mut self.counts[block as usize];
        *count = count.saturating_add(1);
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
