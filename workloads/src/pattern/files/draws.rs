//! What a file workload draws, by arithmetic that is the same on every machine: that of `libm`,
//! since the logarithms and powers of two standard libraries need not agree in the last bit,
//! and one other draw makes another history.

use rand::RngExt;

use super::super::Rng;

const BLOCK_BYTES: f64 = 4096.0;

/// Mean and deviation of the natural logarithm of a file's bytes: the default of Impressions (N.
/// Agrawal, A. Arpaci-Dusseau, R. Arpaci-Dusseau, "Generating Realistic Impressions for
/// File-System Benchmarking", FAST 2009), fitted to the files of N. Agrawal, W. Bolosky, J.
/// Douceur, J. Lorch, "A Five-Year Study of File-System Metadata", FAST 2007.
const SIZE_MEAN: f64 = 9.48;
const SIZE_DEVIATION: f64 = 2.46;

/// Above 512 MiB that fit has another tail, of 6 in 100,000 files, which is left out.
const SIZE_LIMIT: u32 = 1 << 17;

/// Lifetimes have a Pareto distribution of this shape. W. Vogels, "File system usage in Windows
/// NT 4.0", SOSP 1999, finds heavy tails in all that he measures; between 1 and 2, the mean
/// is finite and the variance is not. The papers have lifetimes in seconds and the number of
/// accesses is not known for them, so the mean is a parameter.
const LIFETIME_SHAPE: f64 = 1.5;

/// No lifetime is longer, in accesses: no history is as long.
const LIFETIME_LIMIT: f64 = (1u64 << 48) as f64;

/// Above 0, at most 1.
fn draw_positive(rng: &mut Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

/// Of the standard normal distribution (G. Box, M. Muller, 1958).
fn draw_normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(draw_positive(rng)));
    radius * libm::cos(core::f64::consts::TAU * rng.random::<f64>())
}

/// The blocks of a new file, at most `max`: longer ones are drawn again.
pub fn draw_size(rng: &mut Rng, max: u32) -> u32 {
    let limit = f64::from(max.min(SIZE_LIMIT));
    loop {
        let bytes = libm::exp(SIZE_MEAN + SIZE_DEVIATION * draw_normal(rng));
        let blocks = libm::ceil(bytes / BLOCK_BYTES);
        if blocks <= limit {
            return blocks as u32;
        }
    }
}

/// The lifetime of a temporary file, in accesses.
pub fn draw_lifetime(rng: &mut Rng, mean: f64) -> u64 {
    let least = mean * (LIFETIME_SHAPE - 1.0) / LIFETIME_SHAPE;
    let factor = libm::exp(-libm::log(draw_positive(rng)) / LIFETIME_SHAPE);
    (least * factor).min(LIFETIME_LIMIT) as u64
}

/// A rank of `count`, from 0 on, by Zipf's law of the exponent 1: rank r is drawn in proportion
/// to the logarithm of (r + 2) / (r + 1), by the inverse of the sum.
pub fn draw_rank(rng: &mut Rng, count: usize) -> usize {
    let all = libm::log(count as f64 + 1.0);
    let drawn = libm::exp(rng.random::<f64>() * all) as usize;
    drawn.clamp(1, count) - 1
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::super::rng;
    use super::*;

    #[test]
    fn sizes_have_the_median_and_mean_of_the_fit() {
        let mut rng = rng(1);
        let mut sizes: Vec<u32> = (0..200_000)
            .map(|_| draw_size(&mut rng, u32::MAX))
            .collect();
        sizes.sort_unstable();
        // exp(9.48) bytes are 3.2 blocks.
        assert_eq!(sizes[100_000], 4);
        let mean = sizes.iter().map(|&size| f64::from(size)).sum::<f64>() / 200_000.0;
        // exp(9.48 + 2.46^2 / 2) bytes are 66 blocks, a tenth of them in files above the limit.
        assert!((50.0..80.0).contains(&mean), "{mean}");
        assert!((0..1000).all(|_| draw_size(&mut rng, 16) <= 16));
    }

    #[test]
    fn lifetimes_have_the_mean_asked_for_and_a_heavy_tail() {
        let mut rng = rng(2);
        let mut lifetimes: Vec<u64> = (0..200_000)
            .map(|_| draw_lifetime(&mut rng, 3000.0))
            .collect();
        lifetimes.sort_unstable();
        assert!(lifetimes[0] >= 1000);
        // 1000 times 2^(2/3).
        assert!((1570..1610).contains(&lifetimes[100_000]));
        let mean = lifetimes.iter().sum::<u64>() as f64 / 200_000.0;
        assert!((2700.0..3600.0).contains(&mean), "{mean}");
    }

    #[test]
    fn ranks_follow_the_law() {
        let mut rng = rng(3);
        let mut counts = [0u32; 100];
        (0..100_000).for_each(|_| counts[draw_rank(&mut rng, 100)] += 1);
        for (rank, &count) in (1u32..).zip(&counts).take(20) {
            let share = libm::log(1.0 + 1.0 / f64::from(rank)) / libm::log(101.0);
            let expected = 100_000.0 * share;
            let bound = 6.0 * libm::sqrt(expected);
            assert!((f64::from(count) - expected).abs() < bound, "rank {rank}");
        }
        assert!((0..100).all(|_| draw_rank(&mut rng, 1) == 0));
    }
}
