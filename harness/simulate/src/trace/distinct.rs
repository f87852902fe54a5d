//! How many different blocks there are, in bounded memory.
//!
//! Up to a bound they are kept and counted. Past it they are estimated by HyperLogLog
//! (Flajolet et al., AofA'07): a block's hash picks one of 2^14 registers, which keeps the
//! longest run of zeros that any hash of its had at the top. The standard error is
//! 1.04 / sqrt(2^14), which is 0.8 %. The corrections that the estimator needs for small
//! counts (linear counting, the tables of HyperLogLog++) are not here, because small
//! counts are exact; nor is the one for large counts, because hashes have 64 bits.

use std::collections::HashSet;

use crate::mrc::hash::rank;

/// Different blocks up to which the count is exact: about 64 MiB of them.
const EXACT_MAX: usize = 1 << 22;

const REGISTER_BITS: u32 = 14;
const REGISTERS: usize = 1 << REGISTER_BITS;

/// Counts from which on the plain estimator is good: HyperLogLog++ corrects up to five
/// times the number of registers.
const ESTIMATE_MIN: usize = 5 * REGISTERS;

const _: () = assert!(EXACT_MAX >= ESTIMATE_MIN);

/// A number of different blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub blocks: u64,
    /// Whether that is exact; if not, it is within 2.5 % in 997 of 1000 cases.
    pub exact: bool,
}

/// The blocks seen so far.
pub struct Distinct {
    exact_max: usize,
    seen: Seen,
}

enum Seen {
    Each(HashSet<u64>),
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::with_bound(EXACT_MAX)
    }
}

impl Distinct {
    fn with_bound(exact_max: usize) -> Self {
        debug_assert!(exact_max >= ESTIMATE_MIN);
        Self {
            exact_max,
            seen: Seen::Each(HashSet::new()),
        }
    }

    /// A block is seen, perhaps again.
    pub fn add(&mut self, block: u64) {
        match &mut self.seen {
            Seen::Registers(registers) => register(registers, block),
            Seen::Each(blocks) => {
                blocks.insert(block);
                if blocks.len() > self.exact_max {
                    let mut registers = Box::new([0; REGISTERS]);
                    for block in blocks.iter() {
                        register(&mut registers, *block);
                    }
                    self.seen = Seen::Registers(registers);
                }
            }
        }
    }

    /// How many different ones.
    pub fn count(&self) -> Count {
        match &self.seen {
            Seen::Each(blocks) => Count {
                blocks: blocks.len() as u64,
                exact: true,
            },
            Seen::Registers(registers) => Count {
                blocks: estimate(registers),
                exact: false,
            },
        }
    }
}

fn register(registers: &mut [u8; REGISTERS], block: u64) {
    let hash = rank(0, block);
    let register = &mut registers[(hash >> (u64::BITS - REGISTER_BITS)) as usize];
    // The bit that is set ends the run where the rest of the hash does.
    let rest = hash << REGISTER_BITS | 1 << (REGISTER_BITS - 1);
    *register = (*register).max(rest.leading_zeros() as u8 + 1);
}

fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let count = REGISTERS as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / count);
    let sum: f64 = registers.iter().map(|run| (-f64::from(*run)).exp2()).sum();
    (alpha * count * count / sum).round() as u64
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
        // In a row, far apart, and at the end of what there is.
        for block in [
            |at: u64| at,
            |at: u64| at << 20,
            |at: u64| u64::MAX - 7 * at,
        ] {
            let mut distinct = Distinct::with_bound(ESTIMATE_MIN);
            let mut wanted = 0;
            for end in [100_000, 1_000_000, 3_000_000] {
                // Half of each round was there before.
                for at in wanted / 2..end {
                    distinct.add(block(at));
                }
                wanted = end;
                let Count { blocks, exact } = distinct.count();
                let error = blocks as f64 / wanted as f64 - 1.0;
                assert!(!exact && error.abs() < 0.025, "{blocks} of {wanted}");
            }
        }
    }
}
