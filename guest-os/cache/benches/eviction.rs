//! How fast the policies are on one core: requests a second of a Zipf sequence,
//! from an empty cache on, and how long giving up a quarter of a full cache takes.
//! `others.py` beside this file has the same requests for libCacheSim.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use common::{Rng, Zipf};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use guest_cache::eviction::belady::Belady;
use guest_cache::{Cache, Policy};

/// Short ones: a sample is millions of requests.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_secs(1);

const REQUESTS: u32 = 4_000_000;
const BLOCKS: u32 = 1 << 20;
const CAPACITY: u32 = 1 << 17;

fn requests() -> Vec<u32> {
    let (mut rng, zipf) = (Rng::new(1), Zipf::new(BLOCKS));
    (0..REQUESTS)
        .map(|_| common::block(zipf.next(&mut rng)))
        .collect()
}

/// Runs the requests through a cache of whatever type; evaluates to the misses.
macro_rules! run {
    ($cache:ident, $requests:expr) => {{
        let mut misses = 0u32;
        for &block in $requests {
            if $cache.access(block).is_none() {
                black_box($cache.admit(block));
                misses += 1;
            }
        }
        misses
    }};
}

fn throughput(criterion: &mut Criterion) {
    let requests = requests();
    let mut group = criterion.benchmark_group("requests");
    group
        .throughput(Throughput::Elements(u64::from(REQUESTS)))
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURED)
        .sample_size(10);
    for &policy in Policy::ALL {
        let full = || {
            let mut cache = policy.cache(CAPACITY);
            cache.grow(0..CAPACITY);
            cache
        };
        let mut cache = full();
        println!("{policy}: {} misses", run!(cache, &requests));
        group.bench_function(policy.name(), |bencher| {
            bencher.iter_batched_ref(
                full,
                |cache| run!(cache, &requests),
                BatchSize::PerIteration,
            );
        });
    }
    let mut foreseen = Cache::with_policy(CAPACITY, Belady::of(&requests, CAPACITY));
    foreseen.grow(0..CAPACITY);
    group.bench_function("belady", |bencher| {
        bencher.iter_batched_ref(
            || foreseen.clone(),
            |cache| run!(cache, &requests),
            BatchSize::PerIteration,
        );
    });
}

fn surrender(criterion: &mut Criterion) {
    let requests = requests();
    let mut group = criterion.benchmark_group("surrender 64 Ki of 256 Ki blocks");
    group
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURED)
        .sample_size(10);
    for &policy in Policy::ALL {
        let mut used = policy.cache(1 << 18);
        used.grow(0..1 << 18);
        run!(used, &requests);
        assert_eq!(used.len(), 1 << 18);
        group.bench_function(policy.name(), |bencher| {
            bencher.iter_batched_ref(
                || used.clone(),
                |cache| {
                    cache.surrender(1 << 16, |slot, cached| {
                        black_box((slot, cached));
                    })
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, throughput, surrender);
criterion_main!(benches);
