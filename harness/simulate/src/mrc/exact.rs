//! The exact curve, from all accesses.

use super::{Curve, StackDistances};

/// Counts the stack distances of all accesses.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    distances: StackDistances,
    // At index i, accesses of distance i + 1.
    hits: Vec<u64>,
    accesses: u64,
}

impl Exact {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an access.
    pub fn access(&mut self, block: u64) {
        self.accesses += 1;
        if let Some(distance) = self.distances.access(block) {
            let index = distance as usize - 1;
            if index >= self.hits.len() {
                self.hits.resize(index + 1, 0);
            }
            self.hits[index] += 1;
        }
    }

    /// Number of accesses counted.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }

    /// Number of distinct blocks.
    pub fn blocks(&self) -> u64 {
        self.distances.blocks() as u64
    }

    /// Misses of an initially empty cache of `blocks` blocks.
    pub fn misses(&self, blocks: u64) -> u64 {
        let held = self.hits.len().min(blocks as usize);
        self.accesses - self.hits[..held].iter().sum::<u64>()
    }

    /// The distances that occur, ascending, and their counts.
    pub(super) fn hits(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.hits.iter().zip(1..);
        counts.filter_map(|(count, distance)| (*count > 0).then_some((distance, *count)))
    }

    pub fn curve(&self) -> Curve {
        let hits = self
            .hits()
            .map(|(distance, count)| (distance, count as f64));
        Curve::of(self.accesses as f64, hits)
    }
}
