//! Loads that change too fast for their moves, and slowly enough.

use super::super::fixtures::{curve, sum, vm};
use super::super::{Arbiter, Bounds, Curve, Damping, Decision, Patience, PolicyName, Vm};

const POOL: u32 = 2000;
/// A tenth of an equal part is reserved.
const ANY: (u32, u32, u32) = (POOL / 20, u32::MAX, 1);

/// Two VMs of which one works while the other is idle, by turns of `turn` periods.
struct Pair {
    arbiter: Arbiter,
    turn: u32,
    held: [u32; 2],
    period: u32,
}

/// What became of a pair.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Misses by the curves, and those of blocks that came in anew.
    misses: f64,
    /// The same with equal parts.
    equal: f64,
    /// Blocks by which VMs grew.
    moved: u32,
    lines: Vec<String>,
}

impl Outcome {
    /// Misses saved over equal parts, %.
    fn saved(&self) -> f64 {
        100.0 * (1.0 - self.misses / self.equal)
    }
}

/// The curve of a VM that works, or of an idle one.
fn load(works: bool) -> Curve {
    let accesses = if works { 4000.0 } else { 40.0 };
    let points = (1..=20).map(|part| (part * 100, accesses * 0.87_f64.powi(part as i32)));
    let points: Vec<(u32, f64)> = points.collect();
    curve(accesses, &points)
}

impl Pair {
    fn new(policy: PolicyName, damping: Damping, turn: u32) -> Self {
        let arbiter = Arbiter::new(policy, damping, Patience::default());
        Self {
            arbiter: arbiter.expect("valid parameters"),
            turn,
            held: [POOL / 2; 2],
            period: 0,
        }
    }

    fn vms(&self) -> Vec<Vm> {
        let works = |id: u32| (self.period / self.turn + id).is_multiple_of(2);
        let vms = (0..2).map(|id| {
            let held = self.held[id as usize];
            let vm = vm(id, ANY, held).with(load(works(id)));
            Vm {
                base: POOL / 2,
                ..vm
            }
        });
        vms.collect()
    }

    fn run(&mut self, periods: u32) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..periods {
            let vms = self.vms();
            for vm in &vms {
                outcome.misses += vm.curve().misses(vm.held);
                outcome.equal += vm.curve().misses(POOL / 2);
            }
            for line in self.decide(vms) {
                outcome.moved += line.1;
                outcome.misses += f64::from(line.1) / 2.0;
                outcome.lines.push(line.0);
            }
            self.period += 1;
        }
        outcome
    }

    /// Carries out what is decided for `vms`: lines, and blocks by which a VM grew.
    fn decide(&mut self, mut vms: Vec<Vm>) -> Vec<(String, u32)> {
        let free = |held: &[u32]| POOL - sum(held) as u32;
        let round = self.arbiter.decide(POOL, free(&self.held), &vms);
        let mut lines = self.carry_out(round.decisions.clone());
        for (vm, held) in vms.iter_mut().zip(self.held) {
            vm.held = held;
        }
        let more = self.arbiter.resume(free(&self.held), &vms, &round);
        lines.extend(self.carry_out(more));
        lines
    }

    fn carry_out(&mut self, decisions: Vec<Decision>) -> Vec<(String, u32)> {
        let decisions = decisions.into_iter();
        let lines = decisions.map(|decision| {
            self.held[decision.id.0 as usize] = decision.to;
            let grown = decision.to.saturating_sub(decision.from);
            (decision.to_string(), grown)
        });
        lines.collect()
    }
}

#[test]
fn what_changes_too_fast_is_not_followed() {
    for policy in [PolicyName::Mrc, PolicyName::Hull, PolicyName::Harvest] {
        for turn in 1..=3 {
            let mut pair = Pair::new(policy, Damping::default(), turn);
            let start = pair.run(24);
            let later = pair.run(48);
            assert_eq!(later.moved, 0, "{policy}, turns of {turn}");
            assert!(later.saved() > -1e-9, "{policy}: {}", later.saved());
            // What it cost to find out: a few periods' misses.
            assert!(start.saved() > -20.0, "{policy}: {}", start.saved());
        }
    }
}

#[test]
fn what_changes_slowly_is_followed() {
    for turn in [16, 32] {
        let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), turn);
        let mut free = Pair::new(
            PolicyName::Mrc,
            Damping {
                horizon_periods: None,
                ..Damping::default()
            },
            turn,
        );
        let (outcome, unbooked) = (pair.run(128), free.run(128));
        assert!(outcome.saved() > 10.0, "{}", outcome.saved());
        assert!(outcome.saved() > unbooked.saved() - 3.0);
    }
}

#[test]
fn a_load_that_settles_is_followed_again() {
    let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), 2);
    pair.run(40);
    assert_eq!(pair.run(8).moved, 0);
    pair.turn = 1000;
    pair.run(16);
    assert!(pair.held[0] > POOL * 3 / 4, "{:?}", pair.held);
}

#[test]
fn the_reason_is_said_and_blocks_go_back() {
    let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), 2);
    let lines = pair.run(24).lines;
    let why =
        "vm1: 100 -> 1000 blocks (mrc: base of 1000 blocks, as moves cost more than they save)";
    assert_eq!(lines.last().map(String::as_str), Some(why), "{lines:?}");
    assert_eq!(pair.held, [POOL / 2; 2]);
}

#[test]
fn another_policy_starts_with_new_books() {
    let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), 2);
    pair.run(40);
    pair.arbiter.set_policy(PolicyName::Mrc);
    assert_eq!(pair.run(8).moved, 0, "the same policy");
    pair.arbiter.set_policy(PolicyName::Hull);
    assert!(pair.run(8).moved > 0);
}

#[test]
fn estimated_curves_are_not_booked() {
    let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), 2);
    for _ in 0..40 {
        let mut vms = pair.vms();
        for vm in &mut vms {
            vm.demand.curve = None;
        }
        for (line, _) in pair.decide(vms) {
            assert!(!line.contains("moves cost more"), "{line}");
        }
        pair.period += 1;
    }
}

#[test]
fn what_is_due_is_not_given_back() {
    let mut pair = Pair::new(PolicyName::Mrc, Damping::default(), 2);
    pair.run(40);
    for _ in 0..4 {
        let mut vms = pair.vms();
        vms[0].bounds = Bounds::new(POOL * 3 / 4, POOL, 1).expect("bounds");
        pair.decide(vms);
    }
    assert_eq!(pair.held, [1500, 500]);
}
