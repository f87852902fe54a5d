//! Time of one decision for 1000 VMs with curves of 128 points, by policy. The bar is 10 ms: a
//! period is seconds long, and the arbiter must not be seen in the timings of requests.

use criterion::{Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strum::IntoEnumIterator;
use vssd_host::arbiter::{
    Arbiter, Bounds, Curve, Damping, Demand, Goal, Patience, Point, PolicyName, Vm, VmId,
};

const VMS: u32 = 1000;
const POINTS: u32 = 128;
/// 256 MiB of 4 KiB blocks.
const BASE_BLOCKS: u32 = 65_536;

/// Random curves: a third are convex, a third fall at random, a third have two cliffs.
fn curve(rng: &mut SmallRng, kind: u32) -> Curve {
    let accesses = f64::from(rng.random_range(1_000..1_000_000));
    let step = rng.random_range(64..2_048);
    let cliffs = [rng.random_range(1..POINTS), rng.random_range(1..POINTS)];
    let mut misses = accesses;
    let points = (1..=POINTS).map(|point| {
        misses *= match kind % 3 {
            0 => 0.97,
            1 => rng.random_range(0.9..1.0),
            _ if cliffs.contains(&point) => 0.4,
            _ => 1.0,
        };
        Point {
            blocks: point * step,
            misses,
        }
    });
    Curve::new(accesses, points).expect("a falling curve")
}

fn vms() -> Vec<Vm> {
    let mut rng = SmallRng::seed_from_u64(1);
    let vm = |id| {
        let curve = curve(&mut rng, id);
        let held = rng.random_range(0..2 * BASE_BLOCKS);
        Vm {
            id: VmId(id),
            bounds: Bounds::new(BASE_BLOCKS / 16, 4 * BASE_BLOCKS, 100 + id % 3).expect("bounds"),
            base: BASE_BLOCKS,
            goal: (id % 4 == 0).then(|| Goal::hit_ratio(0.5).expect("a ratio")),
            held,
            resizing: None,
            demand: Demand {
                accesses: curve.accesses() as u64,
                hits: (curve.accesses() - curve.misses(held)) as u64,
                writes: rng.random_range(0..curve.accesses() as u64),
                reads: Some(curve.clone()),
                curve: Some(curve),
                recent: Some(rng.random_range(0..2 * BASE_BLOCKS)),
                wanted: None,
            },
        }
    };
    (0..VMS).map(vm).collect()
}

fn decide(criterion: &mut Criterion) {
    let vms = vms();
    let pool_blocks = VMS * BASE_BLOCKS;
    let held: u64 = vms.iter().map(|vm| u64::from(vm.held)).sum();
    let free = u64::from(pool_blocks).saturating_sub(held) as u32;
    let mut group = criterion.benchmark_group("decide");
    for policy in PolicyName::iter() {
        let arbiter = Arbiter::new(policy, Damping::default(), Patience::default())
            .expect("valid parameters");
        group.bench_function(policy.to_string(), |bencher| {
            bencher.iter(|| arbiter.clone().decide(pool_blocks, free, &vms));
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
