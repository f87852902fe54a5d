//! Blocks that a sample of the workload did not touch: the guest of 2017.
//!
//! Of the held blocks that the sample never drew, a random choice goes: among
//! them the sample gives no reason to prefer one. (Giving up the highest
//! instead would be perfect for a Gaussian at the low end of the device, by
//! accident.) When these do not suffice, the blocks drawn least often follow.

use alloc::vec::Vec;

use rand::RngExt;
use vssd::block_set::BlockSet;
use workloads::Pattern;
use workloads::pattern::{PatternError, Rng, rng};

use super::Surrender;

/// How often a sample of the workload drew each block.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    draws: Vec<u32>,
}

impl Sample {
    /// Adds `count` draws of `pattern` over a device of `capacity` blocks.
    pub fn draw(
        &mut self,
        pattern: Pattern,
        seed: u64,
        count: u64,
        capacity: u32,
    ) -> Result<(), PatternError> {
        let mut stream = pattern.stream(capacity, seed)?;
        self.draws.resize(capacity as usize, 0);
        for _ in 0..count {
            let draws = &mut self.draws[stream.next_block() as usize];
            *draws = draws.saturating_add(1);
        }
        Ok(())
    }

    fn of(&self, block: u32) -> u32 {
        self.draws.get(block as usize).copied().unwrap_or(0)
    }
}

/// See [`workloads::Policy::Sample`].
pub struct BySample {
    sample: Sample,
    rng: Rng,
}

impl BySample {
    pub(super) fn new(sample: Sample, seed: u64) -> Self {
        Self {
            sample,
            rng: rng(seed),
        }
    }
}

impl Surrender for BySample {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let mut untouched = BlockSet::empty(held.capacity());
        for block in held.iter().filter(|&block| self.sample.of(block) == 0) {
            untouched.insert(block);
        }
        let mut chosen = untouched.sample(count, |n| self.rng.random_range(0..n));
        let missing = count.min(held.len()) - chosen.len();
        if missing > 0 {
            let mut touched: Vec<u32> = held
                .iter()
                .filter(|&block| self.sample.of(block) > 0)
                .collect();
            touched.sort_by_key(|&block| self.sample.of(block));
            for &block in &touched[..missing as usize] {
                chosen.insert(block);
            }
        }
        chosen
    }
}
