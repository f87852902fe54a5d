//! VMs and curves for tests: handmade ones, and random ones that include hostile reports.

use proptest::prelude::*;

use super::{Bounds, Curve, Demand, Goal, Point, Vm, VmId};

/// A curve through (blocks, misses).
pub fn curve(accesses: f64, points: &[(u32, f64)]) -> Curve {
    let points = points.iter();
    let points = points.map(|&(blocks, misses)| Point { blocks, misses });
    Curve::new(accesses, points).expect("a curve")
}

/// A VM that holds its base and has no demand.
pub fn vm(id: u32, (reservation, limit, weight): (u32, u32, u32), held: u32) -> Vm {
    Vm {
        id: VmId(id),
        bounds: Bounds::new(reservation, limit, weight).expect("bounds"),
        base: held,
        goal: None,
        held,
        resizing: None,
        demand: Demand::default(),
    }
}

impl Vm {
    /// The same with a demand that its curve explains.
    pub fn with(mut self, curve: Curve) -> Self {
        self.demand.accesses = curve.accesses() as u64;
        self.demand.hits = (curve.accesses() - curve.misses(self.held)) as u64;
        self.demand.curve = Some(curve);
        self
    }
}

/// Curves with up to `points` points up to `blocks` blocks: slopes, flats and cliffs.
pub fn curves(blocks: u32, points: usize) -> impl Strategy<Value = Curve> {
    let step = (1..=(blocks / points as u32).max(1), 0..4_u32, 0.0..1.0_f64);
    let accesses = prop_oneof![0..=3_u32, 1..=10_000_u32];
    (accesses, prop::collection::vec(step, 1..=points)).prop_map(|(accesses, steps)| {
        let (mut size, mut misses) = (0, f64::from(accesses));
        let points = steps.into_iter().map(|(blocks, kind, part)| {
            size += blocks;
            misses *= [1.0, 1.0 - part / 16.0, 1.0 - part, 0.0][kind as usize];
            Point {
                blocks: size,
                misses,
            }
        });
        Curve::new(accesses.into(), points).expect("a falling curve")
    })
}

/// Numbers of blocks: few, some, or any.
pub fn sizes() -> impl Strategy<Value = u32> {
    prop_oneof![0..=16_u32, 0..=4096_u32, any::<u32>()]
}

/// Counts that may be as large as they can.
fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..10_000_u64, any::<u64>()]
}

fn demands() -> impl Strategy<Value = Demand> {
    let curve = || prop::option::of(prop_oneof![curves(64, 8), curves(1 << 20, 32)]);
    let counts = (counts(), counts(), counts());
    let hints = (prop::option::of(sizes()), prop::option::of(sizes()));
    (counts, curve(), curve(), hints).prop_map(
        |((accesses, hits, writes), curve, reads, (recent, wanted))| Demand {
            accesses,
            hits,
            writes,
            curve,
            reads,
            recent,
            wanted,
        },
    )
}

fn goals() -> impl Strategy<Value = Option<Goal>> {
    let hit_ratio = (0.0..=1.0_f64).prop_map(|ratio| Goal::hit_ratio(ratio).ok());
    let served = counts().prop_map(|hits| Goal::served(hits as f64).ok());
    prop_oneof![Just(None), hit_ratio, served]
}

/// VMs that report what they like and hold what they like.
pub fn any_vms(most: usize) -> impl Strategy<Value = Vec<Vm>> {
    let bounds = (sizes(), sizes(), prop_oneof![1..=3_u32, 1..=10_000_u32]);
    let held = (sizes(), sizes(), prop::option::of(sizes()));
    let vm = (bounds, held, goals(), demands());
    prop::collection::vec(vm, 0..=most).prop_map(|vms| {
        let vms = (0..).zip(vms);
        vms.map(
            |(id, ((one, other, weight), (base, held, resizing), goal, demand))| Vm {
                id: VmId(id),
                bounds: Bounds::new(one.min(other), one.max(other), weight).expect("bounds"),
                base,
                goal,
                held,
                resizing,
                demand,
            },
        )
        .collect()
    })
}

/// The sum of blocks.
pub fn sum(blocks: &[u32]) -> u64 {
    blocks.iter().map(|&blocks| u64::from(blocks)).sum()
}
