//! The exact curve: every access counts.

use super::curve::Curve;
use super::distances::StackDistances;

/// Counts the stack distances of all accesses.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    distances: StackDistances,
    // Accesses of distance index + 1; as long as the longest distance.
    hits: Vec<u64>,
    accesses: u64,
}

impl Exact {
    /// Of no accesses yet.
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

    /// How many accesses were counted.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }

    /// How many different blocks they were of.
    pub fn blocks(&self) -> u64 {
        self.distances.blocks() as u64
    }

    /// How many accesses miss in a cache of `blocks` blocks, empty at first.
    pub fn misses(&self, blocks: u64) -> u64 {
        let held = self.hits.len().min(blocks as usize);
        self.accesses - self.hits[..held].iter().sum::<u64>()
    }

    /// The distances that occur, ascending, with their counts.
    pub(super) fn hits(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.hits.iter().zip(1..);
        counts.filter_map(|(count, distance)| (*count > 0).then_some((distance, *count)))
    }

    /// The miss ratio at every size.
    pub fn curve(&self) -> Curve {
        let hits = self
            .hits()
            .map(|(distance, count)| (distance, count as f64));
        Curve::of(self.accesses as f64, hits)
    }
}
