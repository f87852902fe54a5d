//! Every block equally likely.

use rand::RngExt;

use super::Rng;

/// See [`super::Pattern::Uniform`].
#[derive(Clone, Debug)]
pub struct Uniform {
    capacity: u32,
    rng: Rng,
}

impl Uniform {
    pub(super) fn new(capacity: u32, rng: Rng) -> Self {
        Self { capacity, rng }
    }

    pub(super) fn next_block(&mut self) -> u32 {
        self.rng.random_range(0..self.capacity)
    }
}
