//! Counts of accesses by distance, in bins of logarithmic width.

use alloc::vec::Vec;

/// Significant bits of a bin: the width of a bin is at most 1/128 of its distance.
const BITS: u32 = 7;

/// Counts by distance. A distance that is estimated can have any value, and a count for each
/// would not take constant memory: these are at most 7,424 bins.
///
/// ```text
///  bin       0  1 …  255  256  257 …  383  384 …
///  from      0  1 …  255  256  258 …  510  512 …     the least distance of the bin
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct Bins {
    counts: Vec<f64>,
}

impl Bins {
    /// Counts an access of this distance, with the weight of its sample.
    #[inline]
    pub(super) fn add(&mut self, distance: u64, weight: f64) {
        let bin = bin(distance);
        if bin >= self.counts.len() {
            self.counts.resize(bin + 1, 0.0);
        }
        self.counts[bin] += weight;
    }

    /// The least distance of each bin that has accesses, in ascending order, and their count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, f64)> {
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0.0)
            .map(|(bin, count)| (least(bin), *count))
    }

    /// Forgets all accesses.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Bytes of heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<f64>()
    }
}

/// The bin of a distance.
#[inline]
fn bin(distance: u64) -> usize {
    let width_log2 = (distance | 1).ilog2().saturating_sub(BITS);
    ((width_log2 as usize) << BITS) + (distance >> width_log2) as usize
}

/// The least distance in a bin.
fn least(bin: usize) -> u64 {
    let width_log2 = (bin >> BITS).saturating_sub(1);
    ((bin - (width_log2 << BITS)) as u64) << width_log2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distance_is_in_the_bin_that_begins_at_most_an_128th_below_it() {
        let edges = (0..64).flat_map(|log2| {
            let edge = 1_u64 << log2;
            [edge - 1, edge, edge + 1, edge + edge / 3]
        });
        for distance in (0..4096).chain(edges).chain([u64::MAX]) {
            let bin = bin(distance);
            assert!(least(bin) <= distance, "{distance}");
            assert!(distance - least(bin) <= distance / 128, "{distance}");
            assert_eq!(super::bin(least(bin)), bin, "{distance}");
        }
    }

    #[test]
    fn counts_come_back_by_distance() {
        let mut bins = Bins::default();
        for distance in [1_000_000, 3, 1_000_001, 3, 255, u64::MAX] {
            bins.add(distance, 0.5);
        }
        let counts: Vec<(u64, f64)> = bins.iter().collect();
        let far = counts[2].0;
        assert!((999_000..=1_000_000).contains(&far), "{far}");
        let top = 255 << 56;
        assert_eq!(counts, [(3, 1.0), (255, 0.5), (far, 1.0), (top, 0.5)]);
        assert!(bins.counts.len() <= 7424);
        bins.clear();
        assert_eq!(bins.iter().count(), 0);
    }
}
