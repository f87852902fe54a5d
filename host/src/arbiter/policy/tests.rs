//! Each policy on cases that are checked by hand, and what holds for all of them on any input.

mod by_hand;
mod mrc;

use proptest::prelude::*;
use strum::IntoEnumIterator;

use super::super::Vm;
use super::super::fixtures::{any_vms, sizes, sum, vm};
use super::*;

/// What a policy plans for VMs with a pool of `blocks`.
fn plan(policy: PolicyName, blocks: u32, vms: &[Vm]) -> Plan {
    policy.policy().plan(&Problem::new(blocks, vms))
}

/// A policy hands out every block that a VM may have.
fn is_work_conserving(policy: PolicyName) -> bool {
    match policy {
        PolicyName::Equal
        | PolicyName::Shares
        | PolicyName::ReservationLimit
        | PolicyName::Mrc
        | PolicyName::Hull
        | PolicyName::Slo
        | PolicyName::Oracle => true,
        PolicyName::Static
        | PolicyName::WorkingSet
        | PolicyName::Endurance
        | PolicyName::Harvest
        | PolicyName::GlobalLru => false,
    }
}

/// Checks what every plan keeps.
fn check(policy: PolicyName, blocks: u32, vms: &[Vm]) {
    let plan = plan(policy, blocks, vms);
    let count = vms.len();
    assert_eq!(plan.targets.len(), count);
    assert_eq!(
        (plan.due.len(), plan.reasons.len(), plan.advice.len()),
        (count, count, count)
    );
    let planned = sum(&plan.targets);
    assert!(
        planned <= blocks.into(),
        "{policy}: {planned} of {blocks} blocks"
    );
    let reserved: u64 = vms
        .iter()
        .map(|vm| u64::from(vm.bounds.reservation()))
        .sum();
    for ((vm, &target), &due) in vms.iter().zip(&plan.targets).zip(&plan.due) {
        let (id, bounds) = (vm.id, vm.bounds);
        assert!(
            target <= bounds.limit(),
            "{policy}: {id} has {target} of {bounds:?}"
        );
        assert!(
            due <= target,
            "{policy}: {id} has {target}, and {due} are due"
        );
        if reserved <= blocks.into() {
            let reservation = bounds.reservation();
            assert!(due >= reservation, "{policy}: {id} has {due} of {bounds:?}");
        }
    }
    if is_work_conserving(policy) {
        let limits = vms
            .iter()
            .map(|vm| u64::from(vm.bounds.limit().min(blocks)));
        assert_eq!(
            planned,
            limits.sum::<u64>().min(blocks.into()),
            "{policy} leaves blocks"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_plan_keeps_pool_reservations_and_limits(vms in any_vms(12), blocks in sizes()) {
        for policy in PolicyName::iter() {
            check(policy, blocks, &vms);
        }
    }

    #[test]
    fn one_liar_takes_no_reservation_and_no_more_than_its_limit(
        mut vms in any_vms(6),
        liar in any_vms(1),
        reservations in prop::collection::vec(0..100_u32, 6),
    ) {
        for (vm, reservation) in vms.iter_mut().zip(reservations) {
            let limit = vm.bounds.limit().max(reservation);
            vm.bounds = super::super::Bounds::new(reservation, limit, 1).expect("bounds");
        }
        vms.extend(liar.into_iter().map(|liar| Vm {
            id: super::super::VmId(99),
            bounds: super::super::Bounds::new(0, 700, 10_000).expect("bounds"),
            ..liar
        }));
        for policy in PolicyName::iter() {
            check(policy, 1000, &vms);
        }
    }
}

#[test]
fn reservations_that_do_not_fit_are_cut_in_proportion() {
    let vms = [vm(0, (300, 400, 1), 0), vm(1, (100, 400, 9), 0)];
    for policy in PolicyName::iter() {
        assert_eq!(plan(policy, 200, &vms).targets, [150, 50], "{policy}");
    }
}

#[test]
fn a_pool_may_be_empty_and_so_may_the_list_of_vms() {
    for policy in PolicyName::iter() {
        check(policy, 0, &[vm(0, (0, 9, 1), 5)]);
        check(policy, 9, &[]);
        check(policy, 0, &[]);
    }
}

#[test]
fn policies_are_found_by_their_names() {
    for policy in PolicyName::iter() {
        assert_eq!(policy.to_string().parse(), Ok(policy));
        assert_eq!(policy.policy().name(), policy);
    }
    let names: Vec<String> = PolicyName::iter()
        .map(|policy| policy.to_string())
        .collect();
    assert_eq!(
        names.join(" "),
        "static equal shares reservation-limit working-set mrc hull slo endurance harvest global-lru \
         oracle"
    );
    let unknown = "lru".parse::<PolicyName>().expect_err("no policy");
    assert!(
        unknown.starts_with("invalid value `lru`; expected static, equal,"),
        "{unknown}"
    );
}
