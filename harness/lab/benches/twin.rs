//! Speed of a twin on one core: workload accesses per second, with data moved and checked, and
//! with hits and misses counted only. The upper bound of the first is the same blocks copied and
//! checked alone.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lab::testbed::{GuestChannel, Shape, Testbed, fill};
use lab::twin::Twin;
use vssd_host::backing::{Backing, MemoryBacking};
use vssd_host::size::ByteSize;
use workloads::command::DEFAULT_WORKLOAD;
use workloads::{Command, Content, Report, command, report};

const SIZE: ByteSize = ByteSize(1 << 30);
const PATIENCE: Duration = Duration::from_secs(3600);

/// Reads per command: enough that the cost of the command itself is negligible.
const READS: u64 = 100_000;

fn read(twin: &mut Twin, seed: u64, check: bool) {
    let command = Command::Read(command::Read {
        workload: DEFAULT_WORKLOAD,
        seed,
        start: 0,
        count: READS,
        depth: 32,
        per_block: false,
        check,
    });
    let reports = twin.run(&command, PATIENCE).expect("the guest reads");
    assert!(
        matches!(reports.last(), Some(Report::Read(report::Read { hits, misses, errors: 0, .. })) if hits + misses == READS),
        "{reports:?}"
    );
}

fn accesses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("twin");
    group
        .throughput(Throughput::Elements(READS))
        .sample_size(20);
    for (name, written, check) in [
        ("reads, moved and checked", SIZE, true),
        ("accesses, counted", ByteSize(0), false),
    ] {
        let mut twin = Twin::start(Shape {
            size: SIZE,
            block_size: ByteSize(4096),
            written,
        })
        .expect("a twin starts");
        if check {
            fill(&mut twin as &mut dyn Testbed, 1).expect("the guest writes");
        }
        let mut seed = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let started = Instant::now();
                for _ in 0..iterations {
                    seed += 1;
                    read(&mut twin, seed, check);
                }
                started.elapsed()
            });
        });
    }
    group.finish();
}

/// The blocks of the same workload, copied from memory of the same size and checked.
fn limit(criterion: &mut Criterion) {
    const BLOCK: usize = 4096;
    let capacity = (SIZE.0 / BLOCK as u64) as u32;
    let content = Content::new(1);
    let medium = MemoryBacking::new(SIZE.0).expect("a medium in memory");
    let mut buffer = vec![0; BLOCK];
    for block in 0..capacity {
        content.fill(block, 1, &mut buffer);
        let slice = buffer.as_mut_slice().into();
        medium
            .write(u64::from(block) * BLOCK as u64, &[slice])
            .expect("memory takes writes");
    }
    let mut group = criterion.benchmark_group("limit");
    group
        .throughput(Throughput::Elements(READS))
        .sample_size(20);
    let mut seed = 0;
    group.bench_function("copy and check alone", |bencher| {
        bencher.iter(|| {
            seed += 1;
            let mut stream = DEFAULT_WORKLOAD
                .stream(capacity, seed, 0)
                .expect("a sound workload");
            for _ in 0..READS {
                let block = stream.next_block();
                let slice = buffer.as_mut_slice().into();
                medium
                    .read(u64::from(block) * BLOCK as u64, &[slice])
                    .expect("memory can be read");
                assert!(content.check(block, 1, &buffer));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, accesses, limit);
criterion_main!(benches);
