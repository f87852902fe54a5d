//! The curve of all accesses, from a sample of fixed size.

use super::bins::Bins;
use super::curve::Curve;
use super::sample::{NoSample, Sample};

/// Counts the accesses of a [`Sample`], in constant memory.
#[derive(Clone, Debug)]
pub struct FixedSize {
    sample: Sample,
    hits: Bins,
    sampled: f64,
    accesses: u64,
}

impl FixedSize {
    /// Samples at most `blocks_max` blocks; `seed` selects them.
    ///
    /// # Errors
    /// When these are none.
    pub fn new(blocks_max: usize, seed: u64) -> Result<Self, NoSample> {
        Ok(Self {
            sample: Sample::new(blocks_max, seed)?,
            hits: Bins::default(),
            sampled: 0.0,
            accesses: 0,
        })
    }

    /// The current sampling rate.
    pub fn rate(&self) -> f64 {
        self.sample.rate()
    }

    /// Number of sampled blocks.
    pub fn blocks(&self) -> usize {
        self.sample.blocks()
    }

    /// Counts an access.
    pub fn access(&mut self, block: u64) {
        self.accesses += 1;
        let Some(sampled) = self.sample.access(block) else {
            return;
        };
        self.sampled += sampled.weight;
        if let Some(distance) = sampled.distance {
            self.hits.add(distance, sampled.weight);
        }
    }

    /// The estimated curve. The number of sampled accesses should match the rate; it does not if a
    /// very hot block is in the sample or missing from it, which would shift the whole curve. The
    /// difference is counted as accesses of the shortest distance, that of accesses to a hot block
    /// (SHARDS-adj, section 3.4 of the paper).
    pub fn curve(&self) -> Curve {
        let accesses = self.accesses as f64;
        let shortest = self.hits.iter().next();
        let shortest = shortest.map(|(distance, _)| (distance, accesses - self.sampled));
        Curve::of(accesses, shortest.into_iter().chain(self.hits.iter()))
    }
}
