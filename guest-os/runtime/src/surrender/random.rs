//! Any held blocks, each subset equally likely.

use vssd::block_set::BlockSet;
use workloads::pattern::{Rng, rng};

use super::{Surrender, pick_uniformly};

/// See [`workloads::Policy::Random`].
pub struct Random(Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(rng(seed))
    }
}

impl Surrender for Random {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        pick_uniformly(held, count, &mut self.0)
    }
}
