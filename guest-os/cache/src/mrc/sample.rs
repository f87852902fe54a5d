//! SHARDS with a fixed sample size: constant memory for any number of blocks.

use alloc::collections::BinaryHeap;
use core::fmt;

use super::distances::StackDistances;
use super::hash::Ranks;

/// The accesses to a given number of blocks, those of least hash.
///
/// The rate starts at 1. When the sample exceeds its size, the block with the largest hash is
/// removed and the rate falls to that hash: from then on only blocks below it are sampled. The
/// paper rescales all counts by the ratio of the rates at each fall. Weighting each access by
/// 1 / (current rate) is equivalent up to a constant factor, without rescaling.
#[derive(Clone, Debug)]
pub struct Sample {
    ranks: Ranks,
    blocks_max: usize,
    // Blocks of this rank or below are sampled.
    rank_last: u64,
    rate: f64,
    // Rank and number of each sampled block.
    blocks: BinaryHeap<(u64, u64)>,
    distances: StackDistances,
}

/// An access in the sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Accesses that it stands for.
    pub weight: f64,
    /// Its estimated distance: that in the sample, divided by the rate; `None` for the first access to
    /// its block.
    pub distance: Option<u64>,
}

/// A sample of no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSample;

impl fmt::Display for NoSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid sample of 0 blocks; expected at least 1, e.g. 8192")
    }
}

impl core::error::Error for NoSample {}

impl Sample {
    /// At most `blocks_max` blocks; `seed` selects them.
    ///
    /// # Errors
    /// When these are none.
    pub fn new(blocks_max: usize, seed: u64) -> Result<Self, NoSample> {
        if blocks_max == 0 {
            return Err(NoSample);
        }
        Ok(Self {
            ranks: Ranks::new(seed),
            blocks_max,
            rank_last: u64::MAX,
            rate: 1.0,
            blocks: BinaryHeap::new(),
            distances: StackDistances::new(),
        })
    }

    /// The current sampling rate.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether accesses to `block` are sampled.
    #[inline]
    pub fn has(&self, block: u64) -> bool {
        self.ranks.of(block) <= self.rank_last
    }

    /// Number of sampled blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// A block is accessed; `None` if it is not in the sample.
    #[inline]
    pub fn access(&mut self, block: u64) -> Option<Sampled> {
        let rank = self.ranks.of(block);
        // Most accesses end here.
        (rank <= self.rank_last).then(|| self.access_sampled(rank, block))
    }

    fn access_sampled(&mut self, rank: u64, block: u64) -> Sampled {
        let rate = self.rate;
        let distance = self.distances.access(block);
        if distance.is_none() {
            self.admit(rank, block);
        }
        Sampled {
            weight: 1.0 / rate,
            distance: distance.map(|distance| (distance as f64 / rate + 0.5) as u64),
        }
    }

    fn admit(&mut self, rank: u64, block: u64) {
        self.blocks.push((rank, block));
        if self.blocks.len() > self.blocks_max
            && let Some((rank, block)) = self.blocks.pop()
        {
            // Ranks differ, so one is left below this.
            self.rank_last = rank - 1;
            self.rate = rank as f64 / (1_u128 << 64) as f64;
            self.distances.remove(block);
        }
    }

    /// Bytes of heap, about.
    pub fn memory_bytes(&self) -> usize {
        self.distances.memory_bytes() + self.blocks.capacity() * size_of::<(u64, u64)>()
    }
}
