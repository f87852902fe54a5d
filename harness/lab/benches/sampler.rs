//! What the sample for the demand costs a guest with a cache: the same replays with `sample=2048` and
//! without, in pairs on two twins, in random order of the two. Each request goes through the cache, the
//! driver, its queue and the backend, and data move. Then the sampler alone, and a report.
//!
//! ```sh
//! cargo bench -p lab --bench sampler
//! ```
//!
//! A twin has neither exits nor a medium, so a request costs less than in any real guest, and the
//! part of the sampler is an upper bound.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use guest_cache::mrc::DemandSampler;
use lab::testbed::{Disks, GuestChannel, OriginShape, Shape};
use lab::twin::Twin;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::demand::MAX_POINTS;
use vssd_host::size::ByteSize;

const BLOCK: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(600);

/// Blocks of the vSSD, and blocks whose accesses are sampled.
const BLOCKS: u32 = 16_384;
const SAMPLE: usize = 2048;

/// Requests of a replay, and pairs of replays of a load.
const REQUESTS: u32 = 60_000;
const PAIRS: usize = 41;

/// Accesses of the sampler alone, and times that it is measured.
const ACCESSES: u32 = 1_000_000;
const TIMES: usize = 21;

/// Loads of the guest: a name, and a replay.
const LOADS: [(&str, &str); 4] = [
    ("hits", "workload=uniform span=12000"),
    ("hits, all sampled", "workload=uniform span=2000"),
    ("misses", "workload=sequential span=60000"),
    (
        "zipf, a tenth writes",
        "workload=zipf:0.9 span=60000 writes=10",
    ),
];

fn run(twin: &mut Twin, line: &str) -> Duration {
    let command = line.parse().expect("a command");
    let began = Instant::now();
    twin.run(&command, PATIENCE)
        .expect("the guest carries it out");
    began.elapsed()
}

/// A guest with a warm cache that samples so many blocks.
fn guest(sample: usize) -> Twin {
    let size = ByteSize(u64::from(BLOCKS) * BLOCK);
    let mut twin = Twin::start(Disks {
        vssd: Shape {
            size,
            block_size: ByteSize(BLOCK),
            written: size,
        },
        origin: Some(OriginShape {
            size: ByteSize(256 << 20),
            media: None,
        }),
        trace: None,
    })
    .expect("a twin starts");
    run(
        &mut twin,
        &format!("cache write=write-through sample={sample}"),
    );
    twin
}

/// The median and its 95 % interval, from ranks: about half the count, and a deviation of its root.
fn median(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (count, middle) = (values.len() as f64, values.len() / 2);
    let reach = (1.96 * count.sqrt() / 2.0).ceil() as usize;
    [
        values[middle],
        values[middle.saturating_sub(reach)],
        values[(middle + reach).min(values.len() - 1)],
    ]
}

fn main() {
    let seed = 1;
    println!("seed {seed}; medians of {PAIRS} pairs, with 95 % intervals");
    let mut rng = SmallRng::seed_from_u64(seed);
    for (name, load) in LOADS {
        let mut guests = [guest(0), guest(SAMPLE)];
        let mut times = [Vec::new(), Vec::new()];
        for pair in 0..=PAIRS as u64 {
            let line = format!("replay {load} seed={pair} count={REQUESTS} depth=16 check=false");
            let first = rng.random_range(0..2);
            for side in [first, 1 - first] {
                let elapsed = run(&mut guests[side], &line);
                // The first pair fills the caches.
                if pair > 0 {
                    times[side].push(elapsed.as_nanos() as f64 / f64::from(REQUESTS));
                }
            }
        }
        let pairs = times[0].iter().zip(&times[1]);
        let more = pairs.map(|(without, with)| 100.0 * (with / without - 1.0));
        let [more, least, most] = median(more.collect());
        let [ns, ..] = median(times[0].clone());
        println!(
            "{name:<24} {ns:>7.0} ns a request without, {more:>6.2} % more with [{least:.2}, {most:.2}]"
        );
    }
    for (name, span) in [("not sampled", 1_u32 << 28), ("sampled", 2000)] {
        let mut sampler = DemandSampler::new(SAMPLE).expect("a sample");
        let mut pass = || {
            let began = Instant::now();
            for _ in 0..ACCESSES {
                sampler.access(black_box(rng.random_range(0..span)), true, false);
            }
            began.elapsed().as_nanos() as f64 / f64::from(ACCESSES)
        };
        pass();
        let [ns, least, most] = median((0..TIMES).map(|_| pass()).collect());
        println!("access, {name:<16} {ns:>7.1} ns with a random number [{least:.1}, {most:.1}]");
    }
    report(&mut rng);
}

/// A report after a period of a skewed load, whose curve has many points.
fn report(rng: &mut SmallRng) {
    let mut sampler = DemandSampler::new(SAMPLE).expect("a sample");
    let mut points = 0;
    let mut pass = || {
        for _ in 0..ACCESSES {
            let skewed = rng.random_range(0.0_f64..1.0).powi(4) * 60_000.0;
            sampler.access(skewed as u32, true, rng.random_range(0..10) == 0);
        }
        let began = Instant::now();
        let demand = black_box(sampler.take(MAX_POINTS / 2 - 1));
        points = points.max(demand.curve.len() + demand.reads.len());
        began.elapsed().as_nanos() as f64 / 1000.0
    };
    let [us, least, most] = median((0..TIMES).map(|_| pass()).collect());
    let bytes = 32 + 8 * points;
    println!("a report {us:>20.1} us [{least:.1}, {most:.1}], {bytes} bytes at most");
}
