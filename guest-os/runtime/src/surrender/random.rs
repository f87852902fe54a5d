//! Any held blocks, each subset equally likely.

use rand::RngExt;
use vssd::block_set::BlockSet;
use workloads::pattern::{Rng, rng};

use super::Surrender;

/// See [`workloads::GuestPick::Random`].
pub struct Random(Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(rng(seed))
    }
}

impl Surrender for Random {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        held.sample(count, |n| self.0.random_range(0..n))
    }
}
