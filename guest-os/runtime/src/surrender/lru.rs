//! The blocks whose last access lies furthest back (Denning, "The working set
//! model for program behavior", 1968).

use rand::RngExt;
use vssd::block_set::BlockSet;
use vssd::recency::Recency;
use workloads::pattern::{Rng, rng};

use super::Surrender;

/// See [`workloads::GuestPick::Lru`].
pub struct Lru {
    recency: Recency,
    rng: Rng,
}

impl Lru {
    pub(super) fn new(capacity: u32, seed: u64) -> Self {
        Self {
            recency: Recency::new(capacity),
            rng: rng(seed),
        }
    }
}

impl Surrender for Lru {
    fn accessed(&mut self, block: u32) {
        self.recency.accessed(block, 1);
    }

    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let rng = &mut self.rng;
        self.recency.oldest(count, held, |n| rng.random_range(0..n))
    }
}
