//! SHARDS at a fixed rate, corrected: SHARDS-adj.

use std::fmt;

use guest_cache::mrc::rank;

use super::{Curve, Exact};

/// Counts the accesses to a sample of the blocks, chosen by hash.
///
/// The correction (section 3.4 of the paper): the number of sampled accesses should match the
/// rate. It does not if a very hot block is in the sample or missing from it. The difference is
/// counted as accesses of the shortest distance, that of accesses to a hot block. Without the
/// correction the whole curve is shifted.
///
/// The error depends on the number of sampled blocks, not on the rate. With fewer than a few
/// thousand, that is 1 % of less than about half a million, expect errors above 0.01.
/// [`super::FixedSize`] fixes the number of blocks instead of the rate.
#[derive(Clone, Debug)]
pub struct FixedRate {
    seed: u64,
    // Blocks up to this rank are sampled: the rate times 2^64.
    rank_max: u64,
    rate: f64,
    sampled: Exact,
    accesses: u64,
}

/// The rate is not in (0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadRate(f64);

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rate) = self;
        write!(
            f,
            "invalid sampling rate {rate}; expected more than 0 and at most 1, e.g. 0.01"
        )
    }
}

impl std::error::Error for BadRate {}

impl FixedRate {
    /// Samples blocks at `rate`; `seed` selects them.
    pub fn new(rate: f64, seed: u64) -> Result<Self, BadRate> {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(BadRate(rate));
        }
        Ok(Self {
            seed,
            // For a rate of 1 the conversion saturates at u64::MAX.
            rank_max: (rate * 2f64.powi(64)) as u64,
            rate,
            sampled: Exact::new(),
            accesses: 0,
        })
    }

    /// Counts an access.
    pub fn access(&mut self, block: u64) {
        self.accesses += 1;
        if rank(self.seed, block) <= self.rank_max {
            self.sampled.access(block);
        }
    }

    /// Number of sampled blocks.
    pub fn blocks(&self) -> u64 {
        self.sampled.blocks()
    }

    /// The estimated curve; `None` if no block was sampled.
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
