//! One small case or more for each policy but `mrc`.

use super::super::super::fixtures::{curve, vm};
use super::super::super::{Curve, Goal};
use super::*;

/// Bounds that bind nothing.
const ANY: (u32, u32, u32) = (0, u32::MAX, 1);

/// 100 misses less with each of `blocks` blocks.
fn line(blocks: u32) -> Curve {
    curve(f64::from(blocks) * 100.0, &[(blocks, 0.0)])
}

fn targets(policy: PolicyName, blocks: u32, vms: &[Vm]) -> Vec<u32> {
    plan(policy, blocks, vms).targets
}

#[test]
fn static_is_the_base_cut_to_bounds_and_pool() {
    let mut vms = [
        vm(0, (0, 50, 1), 60),
        vm(1, (30, 90, 1), 20),
        vm(2, ANY, 40),
    ];
    assert_eq!(targets(PolicyName::Static, 200, &vms), [50, 30, 40]);
    vms[2].base = 400;
    // The second is held up by its reservation; the others have 90 as 60 to 400.
    assert_eq!(targets(PolicyName::Static, 120, &vms), [11, 30, 79]);
}

#[test]
fn equal_fills_what_bounds_leave() {
    let vms = [
        vm(0, (0, 20, 9), 0),
        vm(1, (70, 90, 1), 0),
        vm(2, ANY, 0),
        vm(3, ANY, 0),
    ];
    assert_eq!(targets(PolicyName::Equal, 200, &vms), [20, 70, 55, 55]);
}

#[test]
fn shares_follow_weights_within_bounds() {
    let vms = [
        vm(0, (0, 900, 200), 0),
        vm(1, (0, 900, 500), 0),
        vm(2, (300, 900, 100), 0),
    ];
    let plan = plan(PolicyName::Shares, 1000, &vms);
    assert_eq!(plan.targets, [200, 500, 300]);
    assert_eq!(plan.reasons[1].to_string(), "weight 500 of 800");
}

#[test]
fn reservation_limit_taxes_idle_blocks() {
    // The first uses 99 of its blocks, the other everything it could get.
    let vms = [
        vm(0, ANY, 0).with(line(100)),
        vm(1, ANY, 0).with(line(1000)),
    ];
    // 159 cost as much as 99 + 4 * 60 = 339, and one more 343: the second is at 341.
    assert_eq!(targets(PolicyName::ReservationLimit, 500, &vms), [159, 341]);
    // A reservation is not taxed away.
    let reserved = [vm(0, (300, 400, 1), 0).with(line(100)), vms[1].clone()];
    assert_eq!(
        targets(PolicyName::ReservationLimit, 500, &reserved),
        [300, 200]
    );
}

#[test]
fn working_sets_are_given_and_the_rest_stays_free() {
    let vms = [
        vm(0, (0, 900, 1), 0).with(line(100)),
        vm(1, (0, 900, 3), 0).with(line(400)),
    ];
    assert_eq!(targets(PolicyName::WorkingSet, 900, &vms), [99, 396]);
    // Too few: by weight.
    assert_eq!(targets(PolicyName::WorkingSet, 200, &vms), [50, 150]);
    assert_eq!(targets(PolicyName::WorkingSet, 480, &vms), [99, 381]);
}

#[test]
fn hull_takes_a_cliff_as_a_slope() {
    // A cliff at 60 saves 600 misses, 10 a block; the other saves 5 a block.
    let cliff = curve(600.0, &[(59, 600.0), (60, 0.0)]);
    let slope = curve(500.0, &[(100, 0.0)]);
    let vms = [vm(0, ANY, 0).with(cliff), vm(1, ANY, 0).with(slope)];
    assert_eq!(targets(PolicyName::Hull, 100, &vms), [60, 40]);
    // With fewer blocks than the cliff needs it is out of reach, and its hull is flat.
    assert_eq!(targets(PolicyName::Hull, 50, &vms), [0, 50]);
}

#[test]
fn what_no_vm_gains_from_stays_with_its_holder() {
    let vms = [vm(0, ANY, 70).with(line(10)), vm(1, ANY, 20).with(line(10))];
    for policy in [PolicyName::Hull, PolicyName::Mrc] {
        // 10 are free and go to whom has fewer.
        assert_eq!(targets(policy, 100, &vms), [70, 30], "{policy}");
    }
}

#[test]
fn goals_come_first_and_the_rest_saves_misses() {
    let goal = |ratio| Goal::hit_ratio(ratio).ok();
    let mut vms = [
        vm(0, (0, 900, 1), 0).with(curve(100.0, &[(200, 0.0)])),
        vm(1, (0, 900, 3), 0).with(curve(9000.0, &[(900, 0.0)])),
    ];
    vms[0].goal = goal(0.5);
    let plan_feasible = plan(PolicyName::Slo, 300, &vms);
    assert_eq!(plan_feasible.targets, [100, 200]);
    assert_eq!(plan_feasible.due, [100, 0]);
    assert_eq!(
        plan_feasible.reasons[0].to_string(),
        "a hit ratio of 0.5 needs 100 blocks"
    );
    assert_eq!(plan_feasible.reasons[1], Reason::FewestMisses);
    // 100 and 450 do not fit into 80: 1 to 3.
    vms[1].goal = Goal::served(4500.0).ok();
    let plan = plan(PolicyName::Slo, 80, &vms);
    assert_eq!(plan.targets, [20, 60]);
    assert_eq!(
        plan.reasons[1].to_string(),
        "4500 hits a period needs 450 blocks, more than there are for all"
    );
}

#[test]
fn a_goal_out_of_reach_is_the_best_known_size() {
    let mut vms = [
        vm(0, ANY, 0).with(curve(100.0, &[(50, 60.0), (80, 60.0)])),
        vm(1, ANY, 0).with(line(900)),
    ];
    vms[0].goal = Goal::hit_ratio(0.9).ok();
    assert_eq!(targets(PolicyName::Slo, 300, &vms), [50, 250]);
}

#[test]
fn endurance_counts_reads_and_advises_writers() {
    let mut vms = [vm(0, ANY, 0).with(line(400)), vm(1, ANY, 0).with(line(200))];
    // Nine in ten accesses of the first write, and what it reads again fits into 50.
    vms[0].demand.writes = 36_000;
    vms[0].demand.reads = Some(curve(40_000.0, &[(50, 36_000.0)]));
    vms[1].demand.writes = 10_000;
    let plan_fits = plan(PolicyName::Endurance, 900, &vms);
    assert_eq!(plan_fits.targets, [50, 198]);
    let bypass = Advice {
        bypass_writes: true,
        ..Advice::NONE
    };
    assert_eq!(plan_fits.advice, [bypass, Advice::NONE]);
    // Too few for both: 80 misses of reads a block for the first, 50 for the second.
    let plan_tight = plan(PolicyName::Endurance, 120, &vms);
    assert_eq!(plan_tight.targets, [50, 70]);
    // With 70 blocks the second misses more often than it hits: what it brings in goes unread.
    let reused = Advice {
        admit_reused: true,
        ..Advice::NONE
    };
    assert_eq!(plan_tight.advice, [bypass, reused]);
    // An idle VM is advised nothing.
    vms[1].demand.accesses = 0;
    let idle = plan(PolicyName::Endurance, 120, &vms);
    assert_eq!(idle.advice[1], Advice::NONE);
}

#[test]
fn idle_blocks_are_lent_and_taken_back() {
    let mut vms = [
        vm(0, ANY, 100).with(line(40)),
        vm(1, ANY, 100).with(line(300)),
    ];
    // The first needs 40 and an eighth on top.
    let lent = plan(PolicyName::Harvest, 200, &vms);
    assert_eq!(lent.targets, [45, 155]);
    assert_eq!(lent.due, [45, 100]);
    assert_eq!(
        lent.reasons[0].to_string(),
        "lends 55 idle blocks of its base"
    );
    assert_eq!(lent.reasons[1].to_string(), "borrows 55 idle blocks");
    // It asks for more.
    vms[0].demand.wanted = Some(80);
    let back = plan(PolicyName::Harvest, 200, &vms);
    assert_eq!((back.targets, back.due), (vec![90, 110], vec![90, 100]));
    // It can have its base and no more, whatever it asks for.
    vms[0].demand.wanted = Some(u32::MAX);
    assert_eq!(targets(PolicyName::Harvest, 200, &vms), [100, 100]);
    // No VM gains: bases.
    let idle = [vm(0, ANY, 100), vm(1, ANY, 60)];
    assert_eq!(targets(PolicyName::Harvest, 300, &idle), [100, 60]);
}

#[test]
fn global_lru_counts_recent_blocks_and_gives_free_ones_to_misses() {
    let mut vms = [vm(0, ANY, 10), vm(1, (0, 500, 1), 10), vm(2, ANY, 30)];
    vms[0].demand.recent = Some(20);
    vms[1].demand.recent = Some(40);
    assert_eq!(targets(PolicyName::GlobalLru, 100, &vms), [20, 40, 30]);
    vms[1].demand.accesses = 9;
    assert_eq!(targets(PolicyName::GlobalLru, 100, &vms), [20, 50, 30]);
    // One that exaggerates is cut to its limit, and the rest in proportion.
    vms[1].demand.recent = Some(u32::MAX);
    assert_eq!(targets(PolicyName::GlobalLru, 525, &vms), [10, 500, 15]);
}

#[test]
fn a_vm_without_a_curve_keeps_what_hits() {
    // 90 of 100 hit with 50 blocks; nothing hits with the other's 50.
    let mut vms = [vm(0, ANY, 50), vm(1, (5, 100, 1), 50)];
    for vm in &mut vms {
        vm.demand.accesses = 100;
    }
    vms[0].demand.hits = 90;
    // The estimate needs 50 and 10 misses at 0.9 a block for the rest.
    assert_eq!(targets(PolicyName::Mrc, 70, &vms), [62, 8]);
    assert_eq!(targets(PolicyName::Mrc, 60, &vms), [55, 5]);
}
