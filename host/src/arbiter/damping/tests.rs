//! Moves by hand, and what holds for all of them.

use proptest::prelude::*;
use strum::IntoEnumIterator;

use super::super::fixtures::{any_vms, curve, sizes, sum, vm};
use super::super::policy::PolicyName;
use super::super::vm::Vm;
use super::*;

const ANY: (u32, u32, u32) = (0, u32::MAX, 1);

fn damp(damping: &Damping, policy: PolicyName, blocks: u32, vms: &[Vm]) -> Damped {
    let problem = Problem::new(blocks, vms);
    damping.damp(&problem, &policy.policy().plan(&problem))
}

/// Two VMs of a pool of 2000 blocks, of which the first would save `rate` misses a block with
/// another 400, and the second loses none. Each misses `misses` times.
fn pair(rate: f64, misses: f64) -> [Vm; 2] {
    let all = misses + 1400.0 * rate;
    let gains = curve(all, &[(1400, misses)]);
    let spare = curve(misses, &[(1, misses)]);
    [vm(0, ANY, 1000).with(gains), vm(1, ANY, 1000).with(spare)]
}

/// VMs shrink by a quarter in a period at most.
fn quarter() -> Damping {
    Damping {
        shrink_per_period: 0.25,
        ..Damping::default()
    }
}

#[test]
fn a_move_is_done_when_it_pays_over_the_horizon() {
    let damping = quarter();
    let moved = |rate| damp(&damping, PolicyName::Mrc, 2000, &pair(rate, 1e4)).targets;
    // A block costs one miss at either side: a quarter a period of eight.
    assert_eq!(moved(0.24), [1000, 1000]);
    assert_eq!(moved(0.26), [1250, 750]);
    let patient = Damping {
        horizon_periods: Some(9),
        ..damping
    };
    assert_eq!(
        damp(&patient, PolicyName::Mrc, 2000, &pair(0.24, 1e4)).targets,
        [1250, 750]
    );
    let dear = Damping {
        misses_per_moved_block: 2.0,
        ..damping
    };
    assert_eq!(
        damp(&dear, PolicyName::Mrc, 2000, &pair(0.26, 1e4)).targets,
        [1000, 1000]
    );
}

#[test]
fn the_misses_saved_are_those_of_the_complete_move() {
    let damped = damp(&quarter(), PolicyName::Mrc, 2000, &pair(1.0, 1e4));
    assert_eq!(damped.saved, 400.0);
    let none = damp(&quarter(), PolicyName::Mrc, 2000, &pair(0.1, 1e4));
    assert_eq!(none.saved, 0.0);
}

#[test]
fn a_vm_grows_by_what_it_misses_and_shrinks_by_a_quarter() {
    let damping = quarter();
    let moved = |misses| damp(&damping, PolicyName::Mrc, 2000, &pair(1.0, misses)).targets;
    // The first has 400 misses more than its floor.
    assert_eq!(moved(1e6), [1250, 750]);
    let slow = Damping {
        grow_per_miss: 0.1,
        ..damping
    };
    assert_eq!(
        damp(&slow, PolicyName::Mrc, 2000, &pair(1.0, 1000.0)).targets,
        [1140, 860]
    );
    // A 64th of the pool in any case.
    let slowest = Damping {
        grow_per_miss: 0.0,
        ..damping
    };
    assert_eq!(
        damp(&slowest, PolicyName::Mrc, 2000, &pair(1.0, 1000.0)).targets,
        [1032, 968]
    );
}

#[test]
fn a_small_change_is_none_unless_it_goes_on() {
    let mut vms = [vm(0, ANY, 6400), vm(1, ANY, 6200)];
    // Equal shares are 6300: a 62nd more for the second.
    let damping = quarter();
    assert_eq!(
        damp(&damping, PolicyName::Equal, 12_600, &vms).targets,
        [6300, 6300]
    );
    vms[1].held = 6250;
    vms[0].held = 6350;
    assert_eq!(
        damp(&damping, PolicyName::Equal, 12_600, &vms).targets,
        [6350, 6250]
    );
    vms[1].resizing = Some(6290);
    assert_eq!(
        damp(&damping, PolicyName::Equal, 12_600, &vms).targets,
        [6300, 6300]
    );
}

#[test]
fn free_blocks_cost_nothing() {
    let mut vms = pair(0.01, 1e4);
    vms[1].held = 600;
    assert_eq!(
        damp(&quarter(), PolicyName::Mrc, 2000, &vms).targets,
        [1400, 600]
    );
}

#[test]
fn due_blocks_are_given_at_once_whatever_they_cost() {
    // The other would lose 10 misses with each block, and may give a quarter.
    let dear = curve(10_000.0, &[(1000, 0.0)]);
    let vms = [vm(0, (900, 2000, 1), 0), vm(1, ANY, 1000).with(dear)];
    assert_eq!(
        damp(&quarter(), PolicyName::Mrc, 1000, &vms).targets,
        [900, 100]
    );
}

#[test]
fn what_is_above_a_limit_or_the_pool_goes() {
    let vms = [vm(0, (0, 300, 1), 1000), vm(1, ANY, 1000)];
    assert_eq!(
        damp(&quarter(), PolicyName::Mrc, 2000, &vms).targets[0],
        300
    );
    let shrunk = damp(&quarter(), PolicyName::Mrc, 600, &vms).targets;
    assert!(sum(&shrunk) <= 600, "{shrunk:?}");
}

#[test]
fn a_plan_that_leaves_blocks_free_takes_a_quarter_a_period() {
    let mut vms = [vm(0, ANY, 1000).with(curve(1000.0, &[(100, 0.0)]))];
    let mut sizes = Vec::new();
    for _ in 0..10 {
        let targets = damp(&quarter(), PolicyName::WorkingSet, 2000, &vms).targets;
        sizes.push(targets[0]);
        vms[0].held = targets[0];
    }
    assert_eq!(sizes, [750, 562, 421, 315, 236, 177, 132, 99, 99, 99]);
}

#[test]
fn those_that_lose_least_shrink_first() {
    let loses = |rate: f64| curve(1000.0 * rate, &[(1000, 0.0)]);
    let gains = curve(9e5, &[(1100, 0.0)]);
    let vms = [
        vm(0, ANY, 1000).with(loses(3.0)),
        vm(1, ANY, 1000).with(loses(1.0)),
        vm(2, ANY, 1000).with(loses(2.0)),
        vm(3, ANY, 1000).with(gains),
    ];
    let targets = damp(&quarter(), PolicyName::Mrc, 4000, &vms).targets;
    assert_eq!(targets, [1000, 900, 1000, 1100]);
}

#[test]
fn parameters_are_checked() {
    assert_eq!(quarter().check(), Ok(()));
    assert_eq!(Damping::none().check(), Ok(()));
    let bad = Damping {
        grow_per_miss: f64::NAN,
        ..quarter()
    };
    let refused = bad.check().expect_err("no number").to_string();
    assert_eq!(
        refused,
        "invalid damping: grow_per_miss is NaN, expected 0 or more"
    );
}

fn dampings() -> impl Strategy<Value = Damping> {
    let parameters = (
        0.0..0.3_f64,
        prop::option::of(0..9_u32),
        0.0..3.0_f64,
        0.0..2.0_f64,
    );
    (parameters, 0.0..=1.0_f64, 0.0..=1.0_f64).prop_map(
        |((change, horizon, cost, grow), least, shrink)| Damping {
            smallest_change: change,
            horizon_periods: horizon,
            misses_per_moved_block: cost,
            grow_per_miss: grow,
            grow_at_least: least,
            shrink_per_period: shrink,
        },
    )
}

proptest! {
    #[test]
    fn damped_targets_keep_pool_reservations_and_limits(
        vms in any_vms(10),
        blocks in sizes(),
        damping in dampings(),
    ) {
        for policy in PolicyName::iter() {
            let problem = Problem::new(blocks, &vms);
            let plan = policy.policy().plan(&problem);
            let damped = damping.damp(&problem, &plan);
            prop_assert!(sum(&damped.targets) <= blocks.into(), "{policy}");
            for (index, &target) in damped.targets.iter().enumerate() {
                prop_assert_eq!(problem.clamp(index, target), target, "{}", policy);
                prop_assert!(target >= plan.due[index], "{}", policy);
                // Never past the plan.
                let (held, planned) = (vms[index].held, plan.targets[index]);
                prop_assert!(target >= held.min(planned) && target <= held.max(planned), "{}", policy);
            }
        }
    }

    #[test]
    fn without_damping_plans_are_done_at_once(vms in any_vms(10), blocks in sizes()) {
        for policy in PolicyName::iter() {
            let problem = Problem::new(blocks, &vms);
            let plan = policy.policy().plan(&problem);
            let damped = Damping::none().damp(&problem, &plan);
            prop_assert_eq!(damped.targets, plan.targets, "{}", policy);
        }
    }
}
