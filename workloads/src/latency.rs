//! Latencies counted in buckets, as in an HdrHistogram.
//!
//! Up to 256 ns a bucket is one nanosecond wide, and twice as wide from each
//! power of two to the next, so that a value is known to 1 in 128. That is the layout of an
//! [HdrHistogram](https://hdrhistogram.org) of two significant digits; the
//! crate of that name needs `std`, and this one serves where there is none.
//! What leaves is a list of [`Bucket`]s, from which either can be made again.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Significant digits of an HdrHistogram that has the same buckets.
pub const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest latency that is recorded, nanoseconds: 68 seconds. Longer
/// ones count as that long.
pub const MAX_NS: u64 = (1 << MAX_BITS) - 1;

const MAX_BITS: u32 = 36;

/// Bits of a value that are kept.
const KEPT_BITS: u32 = 8;

/// Buckets between a power of two and the next, above 256 ns.
const HALF: usize = 1 << (KEPT_BITS - 1);

const BUCKETS: usize = (MAX_BITS - KEPT_BITS + 2) as usize * HALF;

/// The lowest latency of a bucket, nanoseconds, and how many were counted there.
pub type Bucket = (u64, u64);

/// How many low bits of a value its bucket does not tell.
fn lost_bits(value_ns: u64) -> u32 {
    (u64::BITS - value_ns.leading_zeros()).saturating_sub(KEPT_BITS)
}

fn index(value_ns: u64) -> usize {
    let value_ns = value_ns.min(MAX_NS);
    let lost = lost_bits(value_ns);
    lost as usize * HALF + (value_ns >> lost) as usize
}

fn lowest(index: usize) -> u64 {
    let lost = (index / HALF).saturating_sub(1);
    ((index - lost * HALF) as u64) << lost
}

/// The highest latency in the bucket of `value_ns`.
pub fn highest(value_ns: u64) -> u64 {
    value_ns.min(MAX_NS) | ((1 << lost_bits(value_ns.min(MAX_NS))) - 1)
}

/// Latencies, counted.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
        }
    }
}

impl Histogram {
    /// Counts a latency.
    pub fn record(&mut self, value_ns: u64) {
        self.counts[index(value_ns)] += 1;
    }

    /// The buckets in which something was counted, in ascending order.
    pub fn buckets(&self) -> Vec<Bucket> {
        (0..)
            .map(lowest)
            .zip(self.counts.iter().copied())
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The buckets of several histograms together, in ascending order.
pub fn merged<'a>(histograms: impl IntoIterator<Item = &'a [Bucket]>) -> Vec<Bucket> {
    let mut counts = BTreeMap::new();
    for &(value_ns, count) in histograms.into_iter().flatten() {
        let sum: &mut u64 = counts.entry(value_ns).or_default();
        *sum = sum.saturating_add(count);
    }
    counts.into_iter().collect()
}

/// Latencies counted in all.
pub fn total(buckets: &[Bucket]) -> u64 {
    buckets
        .iter()
        .fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// The latency that `per_mille` of a thousand do not exceed, as the highest of
/// its bucket; 0 of none. `buckets` are in ascending order.
pub fn quantile_ns(buckets: &[Bucket], per_mille: u32) -> u64 {
    let wanted = (u128::from(total(buckets)) * u128::from(per_mille)).div_ceil(1000);
    let mut seen = 0;
    buckets
        .iter()
        .find(|(_, count)| {
            seen += u128::from(*count);
            seen >= wanted
        })
        .map_or(0, |(value_ns, _)| highest(*value_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};

    /// Values of all magnitudes.
    fn any_latency(rng: &mut impl Rng) -> u64 {
        let bits = rng.random_range(1..=MAX_BITS);
        rng.random_range(0..1u64 << bits)
    }

    #[test]
    fn buckets_are_those_of_an_hdr_histogram() {
        let theirs =
            hdrhistogram::Histogram::<u64>::new_with_bounds(1, MAX_NS, SIGNIFICANT_DIGITS).unwrap();
        assert_eq!(theirs.distinct_values(), BUCKETS);
        let mut rng = crate::pattern::rng(11);
        let edges = [0, 1, 127, 128, 255, 256, 257, 511, 512, MAX_NS];
        let random = (0..100_000).map(|_| any_latency(&mut rng));
        for value in edges.into_iter().chain(random) {
            assert_eq!(lowest(index(value)), theirs.lowest_equivalent(value));
            assert_eq!(highest(value), theirs.highest_equivalent(value), "{value}");
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
        assert_eq!(highest(u64::MAX), MAX_NS);
    }

    /// Against the values themselves, sorted.
    #[test]
    fn quantiles_are_right_to_a_hundredth() {
        for seed in 0..200 {
            let mut rng = crate::pattern::rng(seed);
            let count = rng.random_range(1..3000);
            let mut values: Vec<u64> = (0..count).map(|_| any_latency(&mut rng)).collect();
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let buckets = histogram.buckets();
            assert_eq!(total(&buckets), count);
            for per_mille in [0, 1, 500, 900, 990, 999, 1000] {
                let rank = (count * u64::from(per_mille)).div_ceil(1000).max(1);
                let exact = values[rank as usize - 1];
                let found = quantile_ns(&buckets, per_mille);
                assert!(
                    (exact..=exact + exact / 100).contains(&found),
                    "seed {seed}: {per_mille} of a thousand within {found}, in truth {exact}"
                );
            }
        }
    }

    #[test]
    fn nothing_counted_has_no_buckets() {
        assert_eq!(Histogram::default().buckets(), []);
        assert_eq!(quantile_ns(&[], 500), 0);
    }
}
