//! `mrc` against all divisions, and against hulls.

use super::super::super::fixtures::{curve, curves, vm};
use super::super::super::{Curve, VmId};
use super::*;

fn misses(vms: &[Vm], targets: &[u32]) -> f64 {
    let vms = vms.iter().zip(targets);
    vms.map(|(vm, target)| vm.curve().misses(*target)).sum()
}

/// The fewest misses of all divisions.
fn brute_force(blocks: u32, vms: &[Vm]) -> f64 {
    let Some((first, rest)) = vms.split_first() else {
        return 0.0;
    };
    let reserved: u32 = rest.iter().map(|vm| vm.bounds.reservation()).sum();
    let most = first.bounds.limit().min(blocks - reserved);
    let sizes = first.bounds.reservation()..=most;
    let with = |size: u32| first.curve().misses(size) + brute_force(blocks - size, rest);
    sizes.map(with).fold(f64::INFINITY, f64::min)
}

#[test]
fn a_cliff_that_fits_is_taken_and_one_that_does_not_is_left() {
    // Two cliffs of 60 blocks and 600 misses, and 4 misses for each of 100 blocks.
    let cliff = curve(600.0, &[(59, 600.0), (60, 0.0)]);
    let slope = curve(400.0, &[(100, 0.0)]);
    let any = (0, u32::MAX, 1);
    let vms = [
        vm(0, any, 0).with(cliff.clone()),
        vm(1, any, 0).with(cliff),
        vm(2, any, 0).with(slope),
    ];
    // The hull spends 40 on half a cliff.
    assert_eq!(plan(PolicyName::Hull, 100, &vms).targets, [60, 40, 0]);
    let plan = plan(PolicyName::Mrc, 100, &vms);
    assert_eq!(plan.targets[2], 40);
    assert_eq!(misses(&vms, &plan.targets), 600.0 + 240.0);
}

#[test]
fn cliffs_of_a_large_pool_are_found_to_the_block() {
    // Too large for steps of one block: 1001 saves 900, but 1000 saves nothing.
    let cliff = |size: u32| curve(1e6, &[(size - 1, 1e6), (size, 1e5)]);
    let any = (0, u32::MAX, 1);
    let sizes = [100_001, 77_777, 123_457];
    let vms: Vec<Vm> = (0..)
        .zip(sizes)
        .map(|(id, size)| vm(id, any, 0).with(cliff(size)))
        .collect();
    let plan = plan(PolicyName::Mrc, 224_000, &vms);
    assert_eq!(misses(&vms, &plan.targets), 1e6 + 2e5, "{:?}", plan.targets);
}

#[test]
fn oracle_is_mrc_on_what_it_is_told() {
    let any = (0, u32::MAX, 1);
    let vms = [3, 9, 4].map(|size| vm(size, any, 2).with(curve(90.0, &[(size, 0.0)])));
    let both = [PolicyName::Oracle, PolicyName::Mrc].map(|policy| plan(policy, 11, &vms));
    assert_eq!(both[0], both[1]);
}

fn small_vms() -> impl Strategy<Value = Vec<Vm>> {
    let vm_of = (curves(12, 5), 0..3_u32, 0..14_u32);
    prop::collection::vec(vm_of, 1..=4).prop_map(|vms| {
        let vms = (0..).zip(vms);
        vms.map(|(id, (curve, reservation, extra))| {
            vm(id, (reservation, reservation + extra, 1), 3).with(curve)
        })
        .collect()
    })
}

/// A convex curve: the hull of any.
fn convex(blocks: u32) -> impl Strategy<Value = Curve> {
    curves(blocks, 12).prop_map(|curve| curve.hull())
}

proptest! {
    #[test]
    fn no_division_has_fewer_misses(vms in small_vms(), more in 0..20_u32) {
        let reserved: u32 = vms.iter().map(|vm| vm.bounds.reservation()).sum();
        let blocks = reserved + more;
        let best = brute_force(blocks, &vms);
        for policy in [PolicyName::Mrc, PolicyName::Oracle] {
            let found = misses(&vms, &plan(policy, blocks, &vms).targets);
            prop_assert!((found - best).abs() <= 1e-9 * (1.0 + best), "{} {}", found, best);
        }
    }

    #[test]
    fn hulls_are_as_good_on_convex_curves(
        curves in prop::collection::vec(convex(5000), 1..=80),
        blocks in 0..200_000_u32,
    ) {
        let any = (0, u32::MAX, 1);
        let vms: Vec<Vm> = (0..).zip(curves).map(|(id, curve)| vm(id, any, 0).with(curve)).collect();
        let of = |policy| misses(&vms, &plan(policy, blocks, &vms).targets);
        let (mrc, hull) = (of(PolicyName::Mrc), of(PolicyName::Hull));
        prop_assert!((mrc - hull).abs() <= 1e-6 * (1.0 + hull), "{} {}", mrc, hull);
    }

    #[test]
    fn it_is_never_worse_than_hulls(
        curves in prop::collection::vec(curves(5000, 12), 1..=80),
        blocks in 0..200_000_u32,
    ) {
        let vms = (0..).zip(curves);
        let vms: Vec<Vm> = vms
            .map(|(id, curve)| Vm { id: VmId(id), ..vm(id, (id, 9999, 1), 0).with(curve) })
            .collect();
        let of = |policy| misses(&vms, &plan(policy, blocks, &vms).targets);
        let (mrc, hull) = (of(PolicyName::Mrc), of(PolicyName::Hull));
        prop_assert!(mrc <= hull * (1.0 + 1e-9) + 1e-9, "{} {}", mrc, hull);
    }
}

/// The fewest misses, by dynamic programming over single blocks.
fn block_by_block(blocks: u32, vms: &[Vm]) -> f64 {
    let mut least = vec![0.0; blocks as usize + 1];
    for vm in vms {
        let curve = vm.curve();
        let own: Vec<f64> = (0..=blocks).map(|size| curve.misses(size)).collect();
        let with = |all: usize| {
            let sizes = 0..=all;
            let sums = sizes.map(|size| own[size] + least[all - size]);
            sums.fold(f64::INFINITY, f64::min)
        };
        least = (0..least.len()).map(with).collect();
    }
    least[blocks as usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn steps_are_nearly_as_good_as_single_blocks(
        curves in prop::collection::vec(curves(1500, 8), 6),
        blocks in 1200..1800_u32,
    ) {
        let any = (0, u32::MAX, 1);
        let vms: Vec<Vm> = (0..).zip(curves).map(|(id, curve)| vm(id, any, 0).with(curve)).collect();
        let best = block_by_block(blocks, &vms);
        let found = misses(&vms, &plan(PolicyName::Mrc, blocks, &vms).targets);
        let accesses: f64 = vms.iter().map(|vm| vm.curve().accesses()).sum();
        prop_assert!(found - best <= 0.001 * accesses, "{} {} of {}", found, best, accesses);
    }
}
