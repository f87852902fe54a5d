//! Cost of the sample from which a guest reports its demand, alone: an access outside of the sample,
//! an access in it, and a report. What it costs a guest is in `harness bench sampler`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use guest_cache::mrc::DemandSampler;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::demand::MAX_POINTS;

/// Blocks whose accesses are sampled.
const SAMPLE: usize = 2048;

/// Accesses between two reports.
const ACCESSES: u64 = 100_000;

fn accesses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sampler");
    group.throughput(Throughput::Elements(ACCESSES));
    for (name, span) in [("outside", 1_u32 << 28), ("sampled", 2000)] {
        let mut rng = SmallRng::seed_from_u64(1);
        let blocks: Vec<u32> = (0..ACCESSES).map(|_| rng.random_range(0..span)).collect();
        let mut sampler = DemandSampler::new(SAMPLE).expect("a sample");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for block in &blocks {
                    sampler.access(black_box(*block), true, false);
                }
            });
        });
    }
    group.finish();
}

/// A report after accesses that are skewed, whose curve has many points.
fn report(criterion: &mut Criterion) {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut sampler = DemandSampler::new(SAMPLE).expect("a sample");
    for _ in 0..ACCESSES {
        let skewed = rng.random_range(0.0_f64..1.0).powi(4) * 60_000.0;
        sampler.access(skewed as u32, true, rng.random_range(0..10) == 0);
    }
    criterion.bench_function("sampler/report", |bencher| {
        bencher.iter_batched(
            || sampler.clone(),
            |mut sampler| sampler.take(MAX_POINTS / 2 - 1),
            criterion::BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, accesses, report);
criterion_main!(benches);
