//! Bounds, admission, goals, and the curve that counts.

use super::super::fixtures::{curve, vm};
use super::*;

#[test]
fn bounds_that_cannot_hold_are_refused() {
    let refused = |reservation, limit, weight| {
        Bounds::new(reservation, limit, weight)
            .expect_err("no bounds")
            .to_string()
    };
    assert_eq!(refused(0, 1, 0), "invalid weight 0: expected 1 to 10000");
    assert_eq!(
        refused(0, 1, 10_001),
        "invalid weight 10001: expected 1 to 10000"
    );
    assert_eq!(
        refused(8, 7, 1),
        "invalid limit of 7 blocks: expected at least the reservation of 8"
    );
    assert!(Bounds::new(8, 8, 10_000).is_ok());
}

#[test]
fn a_pool_takes_on_the_reservations_that_it_has_blocks_for() {
    let bounds = |reservation| Bounds::new(reservation, u32::MAX, 1).expect("bounds");
    assert_eq!(admit(10, [bounds(4), bounds(3)], bounds(3)), Ok(()));
    let refused = admit(10, [bounds(4), bounds(3)], bounds(4)).expect_err("one too many");
    assert_eq!(
        refused.to_string(),
        "cannot reserve 4 blocks: the pool has 10, of which 7 are reserved for other VMs"
    );
    let huge = vec![bounds(u32::MAX); 3];
    assert!(admit(u32::MAX, huge, bounds(0)).is_err());
}

#[test]
fn a_goal_needs_the_least_size_that_meets_it() {
    let curve = curve(100.0, &[(10, 50.0), (30, 10.0)]);
    let size = |goal: Result<Goal, BadGoal>| goal.expect("a goal").size(&curve);
    assert_eq!(size(Goal::hit_ratio(0.0)), Some(0));
    assert_eq!(size(Goal::hit_ratio(0.5)), Some(10));
    assert_eq!(size(Goal::hit_ratio(0.7)), Some(20));
    assert_eq!(size(Goal::hit_ratio(0.95)), None);
    assert_eq!(size(Goal::served(50.0)), Some(10));
    // More than it accesses: all of its accesses.
    assert_eq!(size(Goal::served(500.0)), None);
    for bad in [f64::NAN, -0.1, 1.1] {
        assert!(Goal::hit_ratio(bad).is_err());
    }
    for bad in [f64::NAN, -0.1, f64::INFINITY] {
        assert!(Goal::served(bad).is_err());
    }
}

#[test]
fn a_curve_is_scaled_to_the_accesses_that_the_host_counted() {
    let mut vm = vm(0, (0, 100, 1), 10).with(curve(1000.0, &[(10, 500.0)]));
    vm.demand.accesses = 10;
    assert_eq!(vm.curve(), curve(10.0, &[(10, 5.0)]));
    vm.demand.accesses = 0;
    assert_eq!(vm.curve().misses(0), 0.0);
}

#[test]
fn a_vm_without_a_curve_is_estimated() {
    let mut vm = vm(0, (0, 100, 1), 10);
    vm.demand.accesses = 100;
    vm.demand.hits = 50;
    assert_eq!(vm.curve(), Curve::estimated(100, 50, 10, 10));
    vm.demand.curve = Some(curve(0.0, &[(1, 0.0)]));
    assert_eq!(vm.curve(), Curve::estimated(100, 50, 10, 10));
}
