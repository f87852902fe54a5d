//! Compares distances with those of a naive stack, curves with simulated caches, and estimates
//! with the exact curve.

use std::collections::VecDeque;

use guest_cache::mrc::DemandSampler;
use rand::RngExt;
use workloads::pattern::rng;
use workloads::{Pattern, Workload};

use super::{BadRate, Curve, Exact, FixedRate, FixedSize, NoSample, StackDistances};

/// A naive LRU stack, the top first.
#[derive(Default)]
struct Naive(VecDeque<u64>);

impl Naive {
    fn remove(&mut self, block: u64) -> Option<u64> {
        let depth = self.0.iter().position(|other| *other == block)?;
        self.0.remove(depth);
        Some(depth as u64 + 1)
    }

    fn access(&mut self, block: u64) -> Option<u64> {
        let distance = self.remove(block);
        self.0.push_front(block);
        distance
    }
}

/// Misses of an LRU cache of `blocks` blocks, simulated.
fn simulated_misses(accesses: &[u64], blocks: usize) -> u64 {
    let mut cache = Naive::default();
    let mut misses = 0;
    for block in accesses {
        misses += u64::from(cache.access(*block).is_none());
        cache.0.truncate(blocks);
    }
    misses
}

/// A mix of accesses to hot blocks, to all blocks, and in sequence.
fn accesses(seed: u64, count: usize, blocks: u64) -> Vec<u64> {
    let mut random = rng(seed);
    let mut at = 0;
    (0..count)
        .map(|_| {
            let hot = blocks.div_ceil(10);
            at = match random.random_range(0..4) {
                0 => random.random_range(0..blocks),
                1 => (at + 1) % blocks,
                _ => random.random_range(0..hot),
            };
            // Block numbers of a large disk.
            at * 0x1_0000_0001
        })
        .collect()
}

fn zipf(exponent: f64, seed: u64, blocks: u32, count: usize) -> Vec<u64> {
    let workload = Workload {
        pattern: Pattern::Zipf { exponent },
        phase: None,
    };
    let mut stream = workload.stream(blocks, seed, 0).expect("a Zipf workload");
    (0..count).map(|_| u64::from(stream.next_block())).collect()
}

fn exact(accesses: &[u64]) -> Exact {
    let mut exact = Exact::new();
    accesses.iter().for_each(|block| exact.access(*block));
    exact
}

fn fixed_rate(accesses: &[u64], rate: f64, seed: u64) -> FixedRate {
    let mut estimate = FixedRate::new(rate, seed).unwrap();
    accesses.iter().for_each(|block| estimate.access(*block));
    estimate
}

fn fixed_size(accesses: &[u64], blocks: usize, seed: u64) -> FixedSize {
    let mut estimate = FixedSize::new(blocks, seed).unwrap();
    accesses.iter().for_each(|block| estimate.access(*block));
    estimate
}

#[test]
fn distances_are_depths_in_a_naive_stack() {
    // A few blocks are renumbered in place; many make the line grow.
    for (seed, blocks) in [(1, 1), (2, 2), (3, 64), (4, 700), (5, 6000)] {
        let mut stack = Naive::default();
        let mut distances = StackDistances::new();
        for (index, block) in accesses(seed, 30_000, blocks).into_iter().enumerate() {
            let place = format!("seed {seed}, access {index}");
            if index % 50 == 49 {
                stack.remove(block);
                distances.remove(block);
            } else {
                assert_eq!(distances.access(block), stack.access(block), "{place}");
            }
            assert_eq!(distances.blocks(), stack.0.len(), "{place}");
        }
    }
}

#[test]
fn memory_depends_on_the_number_of_blocks_only() {
    let mut distances = StackDistances::new();
    for block in accesses(1, 1_000_000, 100) {
        distances.access(block);
    }
    assert!(
        distances.memory_bytes() < 8192,
        "{}",
        distances.memory_bytes()
    );
    (0..100_000).for_each(|block| assert_eq!(distances.access(!block), None));
    assert!(distances.memory_bytes() <= 64 * distances.blocks());
}

#[test]
fn the_exact_curve_is_that_of_simulated_caches() {
    for seed in 0..20 {
        let trace = accesses(seed, 600, 5 + seed * 3);
        let exact = exact(&trace);
        let curve = exact.curve();
        assert_eq!(curve.miss_ratio(0), 1.0);
        for blocks in 1..=exact.blocks() + 2 {
            let misses = simulated_misses(&trace, blocks as usize);
            assert_eq!(exact.misses(blocks), misses, "seed {seed}, {blocks} blocks");
            let ratio = misses as f64 / trace.len() as f64;
            let error = (curve.miss_ratio(blocks) - ratio).abs();
            assert!(error < 1e-9, "seed {seed}, {blocks} blocks");
        }
        assert_eq!(exact.misses(exact.blocks()), exact.blocks());
    }
}

#[test]
fn a_scan_misses_until_it_fits() {
    let scan: Vec<u64> = (0..10).flat_map(|_| 0..1000).collect();
    let curve = exact(&scan).curve();
    assert_eq!(curve.steps().count(), 1);
    assert_eq!(curve.miss_ratio(999), 1.0);
    assert!((curve.miss_ratio(1000) - 0.1).abs() < 1e-12);
}

#[test]
fn errors_are_means_over_all_sizes() {
    for seed in 0..10 {
        let trace = accesses(seed, 3000, 400);
        let one = exact(&trace).curve();
        let other = fixed_rate(&trace, 0.2, seed).curve().unwrap();
        for blocks_max in [1, 7, 400, 1000] {
            let size = |blocks| (one.miss_ratio(blocks) - other.miss_ratio(blocks)).abs();
            let mean = (1..=blocks_max).map(size).sum::<f64>() / blocks_max as f64;
            let found = one.mean_absolute_error(&other, blocks_max);
            assert!((found - mean).abs() < 1e-9, "seed {seed}: {found}, {mean}");
        }
        assert_eq!(one.mean_absolute_error(&one, 1000), 0.0);
    }
}

#[test]
fn a_sample_of_everything_is_exact() {
    for seed in 0..10 {
        let trace = accesses(seed, 5000, 200);
        let curve = exact(&trace).curve();
        let whole = fixed_rate(&trace, 1.0, seed).curve();
        assert_eq!(whole.as_ref(), Some(&curve), "seed {seed}");
        // Bins below 256 are one distance wide.
        assert_eq!(fixed_size(&trace, 200, seed).curve(), curve, "seed {seed}");
    }
}

#[test]
fn a_fixed_size_sample_never_exceeds_its_size() {
    let trace = accesses(3, 100_000, 20_000);
    let mut estimate = FixedSize::new(500, 3).unwrap();
    let mut rate = estimate.rate();
    assert_eq!(rate, 1.0);
    for block in trace {
        estimate.access(block);
        assert!(estimate.blocks() <= 500);
        assert!(estimate.rate() <= rate);
        rate = estimate.rate();
    }
    // 500 of 20,000, within five standard errors.
    assert!((rate - 0.025).abs() < 0.006, "{rate}");
}

#[test]
fn invalid_rates_and_sizes_are_rejected() {
    for rate in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error: BadRate = FixedRate::new(rate, 1).unwrap_err();
        assert!(error.to_string().contains("at most 1"), "{rate}");
    }
    assert_eq!(FixedSize::new(0, 1).unwrap_err(), NoSample);
    // Empty samples: no curve, and no division by zero.
    assert_eq!(FixedRate::new(0.01, 1).unwrap().curve(), None);
    assert_eq!(FixedSize::new(9, 1).unwrap().curve().miss_ratio(5), 1.0);
    assert_eq!(Exact::new().curve().miss_ratio(5), 1.0);
}

/// The errors of 20 samples, ascending, printed.
fn errors(name: &str, exact: &Exact, estimate: impl Fn(u64) -> Curve) -> Vec<f64> {
    let curve = exact.curve();
    let one = |seed| curve.mean_absolute_error(&estimate(seed), exact.blocks());
    let mut errors: Vec<f64> = (0..20).map(one).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    println!(
        "{name}: mean absolute error {mean:.4} on average over 20 samples, worst {:.4}",
        errors[errors.len() - 1]
    );
    errors
}

/// The error is below 0.01 for all samples, not just for one seed.
#[test]
fn shards_is_within_a_hundredth_of_the_exact_curve() {
    let trace = zipf(0.99, 1, 1 << 20, 4_000_000);
    let exact = exact(&trace);
    let at_rate = errors("1 % of the blocks", &exact, |seed| {
        fixed_rate(&trace, 0.01, seed).curve().unwrap()
    });
    let of_size = errors("8192 blocks", &exact, |seed| {
        fixed_size(&trace, 8192, seed).curve()
    });
    for errors in [at_rate, of_size] {
        assert!(errors.iter().all(|error| *error < 0.01), "{errors:.4?}");
    }
}

/// What a guest reports, from the sample that experiments use.
#[test]
fn a_reported_curve_is_within_a_fiftieth_of_the_exact_one() {
    const POINTS: usize = 253;
    for (exponent, seed) in [(0.6, 1), (0.9, 2), (1.2, 3)] {
        let blocks = 100_000;
        let mut sampler = DemandSampler::new(2048).unwrap();
        let mut exact = Exact::new();
        let accesses = zipf(exponent, seed, blocks, 400_000);
        for block in &accesses {
            sampler.access(u32::try_from(*block).unwrap(), false, false);
            exact.access(*block);
        }
        let demand = sampler.take(POINTS);
        let count = demand.accesses as f64;
        let mut above = 1.0;
        let hits = demand.curve.iter().map(|(distance, ratio)| {
            let hits = (above - ratio) * count;
            above = *ratio;
            (*distance, hits)
        });
        let reported = Curve::of(count, hits.collect::<Vec<_>>());
        let error = reported.mean_absolute_error(&exact.curve(), blocks.into());
        assert!(error < 0.02, "zipf {exponent}: {error}");
        assert!(demand.curve.len() <= POINTS + 1);
    }
}
