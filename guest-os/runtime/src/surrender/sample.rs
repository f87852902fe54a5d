//! Blocks that a sample of the workload did not touch: the guest of 2017.
//!
//! Of the held blocks that the sample never drew, a random choice is given up: the sample gives no
//! reason to prefer one of them. (Giving up the highest instead would be perfect for a Gaussian at
//! the low end of the device, by accident.) When these do not suffice, the blocks drawn least often
//! follow, and among equals again any.

use alloc::vec::Vec;

use rand::RngExt;
use vssd::block_set::BlockSet;
use workloads::Workload;
use workloads::pattern::{PatternError, Rng, rng};

use super::Surrender;

/// How often a sample of the workload drew each block.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    draws: Vec<u32>,
}

impl Sample {
    /// Adds `count` draws of `workload` from access `start` on, over a device
    /// of `capacity` blocks.
    pub fn draw(
        &mut self,
        workload: Workload,
        seed: u64,
        start: u64,
        count: u64,
        capacity: u32,
    ) -> Result<(), PatternError> {
        let mut stream = workload.stream(capacity, seed, start)?;
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

/// See [`workloads::GuestPick::Sample`].
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
        let rng = &mut self.rng;
        let sample = &self.sample;
        held.least(count, |block| sample.of(block), |n| rng.random_range(0..n))
    }
}
