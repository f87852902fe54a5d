//! SHARDS at a fixed rate, corrected: SHARDS-adj.

use std::fmt;

use super::curve::Curve;
use super::exact::Exact;
use super::hash;

/// Counts the accesses to a share of the blocks, chosen by hash.
///
/// The correction (section 3.4 of the paper): the sample should have as many
/// accesses as its rate says. When a very hot block is drawn or left out it has
/// more or fewer; the difference counts as accesses of the shortest distance,
/// which is what accesses to a hot block have. Without it a curve is shifted as
/// a whole.
///
/// How good an estimate is depends on how many blocks are sampled, not on their
/// share: with fewer than some thousand, so 1 % of less than about half a
/// million, expect errors past a hundredth. [`super::FixedSize`] keeps their
/// number where this keeps their share.
#[derive(Clone, Debug)]
pub struct FixedRate {
    seed: u64,
    // Blocks of this rank and below count; the rate's share of 2^64.
    rank_max: u64,
    rate: f64,
    sampled: Exact,
    accesses: u64,
}

/// The rate is no share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadRate(f64);

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rate) = self;
        write!(
            f,
            "a sampling rate is more than 0 and at most 1, such as 0.01, not {rate}"
        )
    }
}

impl std::error::Error for BadRate {}

impl FixedRate {
    /// Samples the share `rate` of all blocks; `seed` says which.
    pub fn new(rate: f64, seed: u64) -> Result<Self, BadRate> {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(BadRate(rate));
        }
        Ok(Self {
            seed,
            // Saturates at the largest number for a rate of 1.
            rank_max: (rate * 2f64.powi(64)) as u64,
            rate,
            sampled: Exact::new(),
            accesses: 0,
        })
    }

    /// Counts an access.
    pub fn access(&mut self, block: u64) {
        self.accesses += 1;
        if hash::rank(self.seed, block) <= self.rank_max {
            self.sampled.access(block);
        }
    }

    /// How many blocks the sample has.
    pub fn blocks(&self) -> u64 {
        self.sampled.blocks()
    }

    /// The estimated miss ratio at every size; `None` when no block was sampled, of which
    /// nothing can be estimated.
    pub fn curve(&self) -> Option<Curve> {
        if self.blocks() == 0 {
            return None;
        }
        let expected = self.accesses as f64 * self.rate;
        let difference = expected - self.sampled.accesses() as f64;
        let real = |distance: u64| (distance as f64 / self.rate).round() as u64;
        let hits = self
            .sampled
            .hits()
            .map(|(d, count)| (real(d), count as f64));
        let shortest = (real(1), difference);
        Some(Curve::of(expected, [shortest].into_iter().chain(hits)))
    }
}
