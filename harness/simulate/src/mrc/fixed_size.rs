//! SHARDS of a fixed size: constant memory for any number of blocks.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use super::curve::Curve;
use super::distances::StackDistances;
use super::hash;

/// Bits of a distance that tell its bin from others of the same magnitude: a
/// bin is at most a 128th of its distance wide.
const BIN_BITS: u32 = 7;

/// Counts the accesses to the blocks of least hash, a given number of them.
///
/// The rate begins at 1. When the sample grows past its size, the block of the
/// largest hash leaves it, and the rate falls to that hash: from there on only
/// blocks below it count. The paper multiplies all counts by the new rate over
/// the old one at each fall; to count each access as one over the rate of its
/// time is the same up to a factor, and touches nothing twice.
///
/// Distances go into bins of logarithmic width, as the falling rate makes them
/// any number, and counts of each would not be constant memory.
#[derive(Clone, Debug)]
pub struct FixedSize {
    seed: u64,
    blocks_max: usize,
    // Blocks of a rank below this one count; 2^64 at first.
    rank_end: u128,
    // The rank and the number of each block in the sample.
    sample: BinaryHeap<(u64, u64)>,
    distances: StackDistances,
    // By the least distance of a bin.
    hits: BTreeMap<u64, f64>,
    sampled: f64,
    accesses: u64,
}

/// A sample of no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSample;

impl fmt::Display for NoSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample takes at least one block; 8192 are usual")
    }
}

impl std::error::Error for NoSample {}

/// The least number in the bin of `distance`.
fn bin(distance: u64) -> u64 {
    let width_log2 = distance
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(BIN_BITS);
    distance >> width_log2 << width_log2
}

impl FixedSize {
    /// Samples at most `blocks_max` blocks; `seed` says which.
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

    /// The share of blocks that count by now.
    pub fn rate(&self) -> f64 {
        self.rank_end as f64 / 2f64.powi(64)
    }

    /// How many blocks the sample has.
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

    /// The estimated miss ratio at every size, corrected as
    /// [`super::FixedRate`]'s is.
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
