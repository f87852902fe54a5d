//! A few blocks get most accesses: Zipf's law over ranks, and which block has
//! which rank.

use core::fmt;

use rand::distr::Distribution;
use rand_distr::Zipf as Ranks;

use super::Rng;

/// See [`super::Pattern::Zipf`].
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: Ranks<f64>,
    capacity: u64,
    step: u64,
    rng: Rng,
}

/// The exponent is not a finite number of at least 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZipfError;

impl fmt::Display for ZipfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Zipf distribution takes a finite exponent of at least 0, such as 0.99")
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Zipf {
    pub(super) fn new(exponent: f64, capacity: u32, rng: Rng) -> Result<Self, ZipfError> {
        if !exponent.is_finite() || exponent < 0.0 {
            return Err(ZipfError);
        }
        let capacity = u64::from(capacity);
        // The golden section of the device: multiples of it fall between those
        // before, so that hot blocks lie evenly scattered, and the same for
        // every seed, since which blocks are hot is a matter of the workload.
        let mut step = (capacity as f64 * 0.618_033_988_749_895) as u64;
        while gcd(step, capacity) != 1 {
            step += 1;
        }
        Ok(Self {
            ranks: Ranks::new(capacity as f64, exponent).map_err(|_| ZipfError)?,
            capacity,
            step,
            rng,
        })
    }

    pub(super) fn next_block(&mut self) -> u32 {
        // Ranks count from 1.
        let rank = self.ranks.sample(&mut self.rng) as u64 - 1;
        (rank % self.capacity * self.step % self.capacity) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;
    use alloc::vec;

    #[test]
    fn shares_of_ranks_follow_the_law() {
        let (capacity, draws) = (1000u32, 200_000);
        let mut counts = vec![0u32; capacity as usize];
        let pattern = Pattern::Zipf { exponent: 1.0 };
        let mut stream = pattern.stream(capacity, 5, 0).unwrap();
        for _ in 0..draws {
            counts[stream.next_block() as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=capacity).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1, 2, 10, 50] {
            let expected = f64::from(draws) / harmonic / f64::from(rank);
            let found = f64::from(counts[rank as usize - 1]);
            // Six standard errors, and what sorting by luck adds.
            let bound = 6.0 * square_root(expected) + 0.02 * expected;
            assert!(
                (found - expected).abs() < bound,
                "rank {rank}: {found} of {expected}"
            );
        }
    }

    /// Newton's square root: `core` has none.
    fn square_root(x: f64) -> f64 {
        (0..60).fold(x, |root, _| 0.5 * (root + x / root))
    }

    #[test]
    fn every_rank_has_a_block_of_its_own() {
        for capacity in [1u32, 2, 3, 10, 997, 1000, 4096] {
            let zipf = super::Zipf::new(0.5, capacity, super::super::rng(1)).unwrap();
            let mut seen = vec![false; capacity as usize];
            for rank in 0..u64::from(capacity) {
                let block = (rank * zipf.step % zipf.capacity) as usize;
                assert!(!seen[block], "capacity {capacity}");
                seen[block] = true;
            }
        }
    }

    #[test]
    fn hopeless_exponents_are_refused() {
        for exponent in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Pattern::Zipf { exponent }.stream(10, 1, 0).is_err());
        }
    }
}
