//! The number of distinct blocks, in bounded memory.
//!
//! Up to a limit blocks are kept in a set, and the count is exact. Past it, HyperLogLog estimates
//! the count with a standard error of 1.04 / sqrt(2^14), which is 0.8 %.

use std::collections::HashSet;

use hyperloglockless::HyperLogLog;

/// Limit of the exact count; the set takes about 64 MiB.
const EXACT_MAX: usize = 1 << 22;

/// The estimator has 2^14 registers.
const PRECISION: u8 = 14;

/// A number of distinct blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub blocks: u64,
    /// False for an estimate, which is within 2.5 % with a probability of 0.997.
    pub exact: bool,
}

/// Counts distinct blocks.
pub struct Distinct {
    exact_max: usize,
    seen: Seen,
}

enum Seen {
    Exact(HashSet<u64>),
    Estimate(HyperLogLog),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::with_limit(EXACT_MAX)
    }
}

impl Distinct {
    fn with_limit(exact_max: usize) -> Self {
        Self {
            exact_max,
            seen: Seen::Exact(HashSet::new()),
        }
    }

    pub fn add(&mut self, block: u64) {
        match &mut self.seen {
            Seen::Estimate(estimate) => estimate.insert(&block),
            Seen::Exact(blocks) => {
                blocks.insert(block);
                if blocks.len() > self.exact_max {
                    let mut estimate = HyperLogLog::seeded(PRECISION, 0);
                    estimate.extend(blocks.iter());
                    self.seen = Seen::Estimate(estimate);
                }
            }
        }
    }

    pub fn count(&self) -> Count {
        match &self.seen {
            Seen::Exact(blocks) => Count {
                blocks: blocks.len() as u64,
                exact: true,
            },
            Seen::Estimate(estimate) => Count {
                blocks: estimate.count() as u64,
                exact: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_exact() {
        let mut distinct = Distinct::default();
        for block in (0..1000).chain(500..1500) {
            distinct.add(block);
        }
        let expected = Count {
            blocks: 1500,
            exact: true,
        };
        assert_eq!(distinct.count(), expected);
    }

    #[test]
    fn large_counts_are_close() {
        // Consecutive, far apart, and at the end of the address space.
        for block in [
            |at: u64| at,
            |at: u64| at << 20,
            |at: u64| u64::MAX - 7 * at,
        ] {
            let mut distinct = Distinct::with_limit(50_000);
            let mut expected = 0;
            for end in [100_000, 1_000_000, 3_000_000] {
                // Half of each round repeats blocks.
                for at in expected / 2..end {
                    distinct.add(block(at));
                }
                expected = end;
                let Count { blocks, exact } = distinct.count();
                let error = blocks as f64 / expected as f64 - 1.0;
                assert!(!exact && error.abs() < 0.025, "{blocks} of {expected}");
            }
        }
    }
}
