//! Steps by hand. `tests` of the module above drives a model of a pool.

use super::super::fixtures::vm;
use super::*;

const PATIENCE: Patience = Patience {
    deadline_periods: 2,
    aside_periods: 3,
};

const SHRINK: Action = Action::Shrink {
    deadline_periods: 2,
};

fn holding(id: u32, held: u32, resizing: Option<u32>) -> Vm {
    Vm {
        resizing,
        ..vm(id, (0, u32::MAX, 1), held)
    }
}

/// The steps of a period, as (VM, blocks, action), with nothing due.
fn period(drive: &mut Drive, free: u32, vms: &[Vm], targets: &[u32]) -> Vec<(u32, u32, Action)> {
    drive.observe(vms);
    let steps = drive.steps(free, vms, targets, &vec![0; vms.len()]);
    let steps = steps.into_iter();
    steps
        .map(|step| (vms[step.index].id.0, step.to, step.action))
        .collect()
}

#[test]
fn shrinks_come_first_and_grows_only_from_free_blocks() {
    let mut drive = Drive::new(PATIENCE);
    let vms = [
        holding(0, 10, None),
        holding(1, 10, None),
        holding(2, 5, None),
    ];
    let targets = [14, 2, 9];
    assert_eq!(period(&mut drive, 0, &vms, &targets), [(1, 2, SHRINK)]);
    // Six came back, two are still out: who has the smaller part of its target goes first.
    let vms = [
        holding(0, 10, None),
        holding(1, 4, Some(2)),
        holding(2, 5, None),
    ];
    let grows = [(2, 9, Action::Grow), (0, 12, Action::Grow)];
    assert_eq!(period(&mut drive, 6, &vms, &targets), grows);
    // No guest has accepted yet: the six are promised.
    let vms = [
        holding(0, 10, Some(12)),
        holding(1, 2, None),
        holding(2, 5, Some(9)),
    ];
    assert_eq!(period(&mut drive, 8, &vms, &targets), []);
    let vms = [
        holding(0, 12, None),
        holding(1, 2, None),
        holding(2, 9, None),
    ];
    assert_eq!(
        period(&mut drive, 2, &vms, &targets),
        [(0, 14, Action::Grow)]
    );
    let vms = [
        holding(0, 14, None),
        holding(1, 2, None),
        holding(2, 9, None),
    ];
    assert_eq!(period(&mut drive, 0, &vms, &targets), []);
}

#[test]
fn who_lacks_what_is_due_grows_first() {
    let mut drive = Drive::new(PATIENCE);
    let vms = [holding(0, 1, None), holding(1, 8, None)];
    drive.observe(&vms);
    let steps = drive.steps(4, &vms, &[10, 12], &[1, 12]);
    assert_eq!(
        steps[0],
        Step {
            index: 1,
            to: 12,
            action: Action::Grow
        }
    );
    assert_eq!(steps.len(), 1);
}

#[test]
fn a_late_guest_is_revoked_and_then_set_aside_until_it_gave() {
    let mut drive = Drive::new(PATIENCE);
    let late = [holding(0, 10, Some(4))];
    assert_eq!(
        period(&mut drive, 0, &[holding(0, 10, None)], &[4]),
        [(0, 4, SHRINK)]
    );
    assert_eq!(period(&mut drive, 0, &late, &[4]), []);
    for _ in 2..4 {
        assert_eq!(period(&mut drive, 0, &late, &[4]), [(0, 4, Action::Revoke)]);
        assert!(!drive.is_aside(VmId(0)));
    }
    // The plan leaves it out now, so its target is what it holds; revoking goes on.
    for _ in 4..9 {
        assert_eq!(
            period(&mut drive, 0, &late, &[10]),
            [(0, 4, Action::Revoke)]
        );
        assert!(drive.is_aside(VmId(0)));
    }
    assert_eq!(period(&mut drive, 6, &[holding(0, 4, None)], &[4]), []);
    assert!(!drive.is_aside(VmId(0)));
}

#[test]
fn a_shrink_under_way_takes_less_but_never_more() {
    let mut drive = Drive::new(PATIENCE);
    assert_eq!(
        period(&mut drive, 0, &[holding(0, 10, None)], &[6]),
        [(0, 6, SHRINK)]
    );
    let shrinking = [holding(0, 9, Some(6))];
    assert_eq!(period(&mut drive, 0, &shrinking, &[3]), []);
    // Late, and revoked as far as was asked, not to 3.
    assert_eq!(
        period(&mut drive, 0, &shrinking, &[3]),
        [(0, 6, Action::Revoke)]
    );
    let mut drive = Drive::new(PATIENCE);
    assert_eq!(period(&mut drive, 0, &shrinking, &[8]), [(0, 8, SHRINK)]);
    assert_eq!(
        period(&mut drive, 0, &[holding(0, 9, Some(8))], &[9]),
        [(0, 9, Action::Cancel)]
    );
}

#[test]
fn a_shrink_that_turns_into_a_grow_ends() {
    let mut drive = Drive::new(PATIENCE);
    let shrinking = [holding(0, 9, Some(6))];
    assert_eq!(
        period(&mut drive, 0, &shrinking, &[12]),
        [(0, 9, Action::Cancel)]
    );
    assert_eq!(
        period(&mut drive, 2, &shrinking, &[12]),
        [(0, 11, Action::Grow)]
    );
}

#[test]
fn a_guest_that_does_not_accept_is_set_aside_for_a_while() {
    let mut drive = Drive::new(PATIENCE);
    let (settled, offered) = ([holding(0, 4, None)], [holding(0, 4, Some(9))]);
    assert_eq!(
        period(&mut drive, 5, &settled, &[9]),
        [(0, 9, Action::Grow)]
    );
    assert_eq!(period(&mut drive, 5, &offered, &[9]), []);
    assert_eq!(
        period(&mut drive, 5, &offered, &[9]),
        [(0, 4, Action::Cancel)]
    );
    for _ in 0..2 {
        assert!(drive.is_aside(VmId(0)));
        assert_eq!(period(&mut drive, 5, &settled, &[4]), []);
    }
    assert_eq!(
        period(&mut drive, 5, &settled, &[9]),
        [(0, 9, Action::Grow)]
    );
}

#[test]
fn a_cancel_that_was_not_carried_out_promises_nothing_twice() {
    let mut drive = Drive::new(PATIENCE);
    let offered = [holding(0, 4, Some(9)), holding(1, 4, None)];
    for _ in 0..12 {
        let steps = period(&mut drive, 5, &offered, &[9, 9]);
        assert!(
            steps
                .iter()
                .all(|(id, _, action)| (*id, *action) == (0, Action::Cancel)),
            "{steps:?}"
        );
    }
}

#[test]
fn a_grow_under_way_can_be_lowered_but_not_raised() {
    let mut drive = Drive::new(PATIENCE);
    let growing = [holding(0, 4, Some(9))];
    assert_eq!(period(&mut drive, 20, &growing, &[15]), []);
    assert_eq!(
        period(&mut drive, 20, &growing, &[7]),
        [(0, 7, Action::Grow)]
    );
    let mut drive = Drive::new(PATIENCE);
    assert_eq!(
        period(&mut drive, 20, &growing, &[4]),
        [(0, 4, Action::Cancel)]
    );
    assert_eq!(period(&mut drive, 20, &growing, &[2]), [(0, 2, SHRINK)]);
}

#[test]
fn who_is_gone_is_forgotten() {
    let mut drive = Drive::new(PATIENCE);
    period(&mut drive, 0, &[holding(0, 10, None)], &[4]);
    period(&mut drive, 0, &[], &[]);
    assert!(drive.states.is_empty());
    // One that comes with the same id has its own deadline.
    assert_eq!(period(&mut drive, 0, &[holding(0, 10, Some(4))], &[4]), []);
    assert_eq!(drive.states[&VmId(0)], State::Shrinking(0));
}

#[test]
fn an_arbiter_without_a_past_goes_on_with_what_is_under_way() {
    let mut drive = Drive::new(PATIENCE);
    let vms = [
        holding(0, 10, Some(4)),
        holding(1, 3, Some(5)),
        holding(2, 1, None),
    ];
    assert_eq!(
        period(&mut drive, 4, &vms, &[4, 9, 9]),
        [(2, 3, Action::Grow)]
    );
    assert_eq!(drive.states[&VmId(0)], State::Shrinking(0));
    assert_eq!(drive.states[&VmId(1)], State::Growing(0));
}
