//! Speed of miss-ratio curves: accesses per second on one core, of a Zipf workload over 1 Mi
//! blocks, for the exact curve and both kinds of samples.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use simulate::mrc::{Exact, FixedRate, FixedSize};
use workloads::{Pattern, Workload};

/// Enough to access about half of the blocks, so that tables are as large as those of a long
/// trace.
const ACCESSES: usize = 4_000_000;

fn trace() -> Vec<u64> {
    let workload = Workload {
        pattern: Pattern::Zipf { exponent: 0.99 },
        phase: None,
    };
    let mut stream = workload.stream(1 << 20, 1, 0).expect("a Zipf workload");
    let next = |_| u64::from(stream.next_block());
    (0..ACCESSES).map(next).collect()
}

fn curves(criterion: &mut Criterion) {
    let trace = trace();
    let mut group = criterion.benchmark_group("mrc");
    group
        .throughput(Throughput::Elements(ACCESSES as u64))
        .sample_size(10);
    group.bench_function("exact", |bencher| {
        let pass = |mut counts: Exact| {
            trace.iter().for_each(|block| counts.access(*block));
            counts
        };
        bencher.iter_batched(Exact::new, pass, BatchSize::PerIteration);
    });
    group.bench_function("SHARDS at 1 %", |bencher| {
        let pass = |mut counts: FixedRate| {
            trace.iter().for_each(|block| counts.access(*block));
            counts
        };
        let new = || FixedRate::new(0.01, 1).expect("a rate");
        bencher.iter_batched(new, pass, BatchSize::PerIteration);
    });
    group.bench_function("SHARDS of 8192 blocks", |bencher| {
        let pass = |mut counts: FixedSize| {
            trace.iter().for_each(|block| counts.access(*block));
            counts
        };
        let new = || FixedSize::new(8192, 1).expect("a size");
        bencher.iter_batched(new, pass, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, curves);
criterion_main!(benches);
