//! SHARDS with a fixed sample size: constant memory for any number of blocks.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use super::curve::Curve;
use super::distances::StackDistances;
use super::hash;

/// Significant bits of a bin: the width of a bin is at most 1/128 of its distance.
const BIN_BITS: u32 = 7;

/// Counts the accesses to a given number of blocks, those of least hash.
///
/// The rate starts at 1. When the sample exceeds its size, the block with the largest hash is
/// removed and the rate falls to that hash: from then on only blocks below it are sampled. The
/// paper rescales all counts by the ratio of the rates at each fall. Weighting each access by
/// 1 / (current rate) is equivalent up to a constant factor, without rescaling.
///
/// Distances are divided by the rate and can have any value, so they are counted in bins of
/// logarithmic width: a count per distance would not take constant memory.
#[derive(Clone, Debug)]
pub struct FixedSize {
    seed: u64,
    blocks_max: usize,
    // Blocks of a rank below this one are sampled; initially 2^64.
    rank_end: u128,
    // Rank and number of each sampled block.
    sample: BinaryHeap<(u64, u64)>,
    distances: StackDistances,
    // By the least distance of the bin.
    hits: BTreeMap<u64, f64>,
    sampled: f64,
    accesses: u64,
}

/// A sample of no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSample;

impl fmt::Display for NoSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid sample of 0 blocks; expected at least 1, e.g. 8192")
    }
}

impl std::error::Error for NoSample {}

/// The least distance in the bin of `distance`.
fn bin(distance: u64) -> u64 {
    let width_log2 = distance
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(BIN_BITS);
    distance >> width_log2 << width_log2
}

impl FixedSize {
    /// Samples at most `blocks_max` blocks; `seed` selects them.
    pub fn new(blocks_max: usize, seed: u64) -> Result<Self, NoSample> {
        if blocks_max == 0 {
            return Err(NoSample);
        }
        Ok(Self {
            seed,
            blocks_max,
            rank_end: 1 << 64,
            sample: BinaryHeap::new(),
            distances: StackDistances::new(),
            hits: BTreeMap::new(),
            sampled: 0.0,
            accesses: 0,
        })
    }

    /// The current sampling rate.
    pub fn rate(&self) -> f64 {
        self.rank_end as f64 / 2f64.powi(64)
    }

    /// Number of sampled blocks.
    pub fn blocks(&self) -> usize {
        self.sample.len()
    }

    /// Counts an access.
    pub fn access(&mut self, block: u64) {
        self.accesses += 1;
        let rank = hash::rank(self.seed, block);
        if u128::from(rank) >= self.rank_end {
            return;
        }
        let rate = self.rate();
        self.sampled += 1.0 / rate;
        match self.distances.access(block) {
            Some(distance) => {
                let real = (distance as f64 / rate).round() as u64;
                *self.hits.entry(bin(real)).or_default() += 1.0 / rate;
            }
            None => self.admit(rank, block),
        }
    }

    fn admit(&mut self, rank: u64, block: u64) {
        self.sample.push((rank, block));
        if self.sample.len() > self.blocks_max
            && let Some((rank, block)) = self.sample.pop()
        {
            self.rank_end = u128::from(rank);
            self.distances.remove(block);
        }
    }

    /// The estimated curve, with the same correction as in [`super::FixedRate`].
    pub fn curve(&self) -> Curve {
        let accesses = self.accesses as f64;
        let shortest = self
            .hits
            .keys()
            .next()
            .map(|bin| (*bin, accesses - self.sampled));
        let hits = self.hits.iter().map(|(bin, count)| (*bin, *count));
        Curve::of(accesses, shortest.into_iter().chain(hits))
    }
}
