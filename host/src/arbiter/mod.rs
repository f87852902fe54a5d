//! How many blocks of a pool each vSSD should hold, decided anew in every period.
//!
//! ```text
//!  VMs: held, bounds, demand
//!        │
//!        ▼
//!   Problem ──▶ Policy ──▶ Plan ──▶ Damping ──▶ targets of this period ──▶ Drive ──▶ Decisions
//!   floors,     one of     targets   worth it?   (blocks each)             shrinks     who, from,
//!   ceilings    twelve     reasons   how fast?                             first       to, why
//! ```
//!
//! - [`curve`]: misses by size of a cache
//! - [`vm`]: what is known of a VM, and which reservations a pool can take on
//! - [`problem`], [`fill`], [`descent`]: what is to be divided, in proportion to weights or to where
//!   it saves the most misses
//! - [`policy`]: the policies, one a file
//! - [`regret`]: whether moves have been worth it lately, or fixed parts had missed less
//! - [`damping`]: which moves are worth it, and how much of them in a period
//! - [`drive`]: resizes, deadlines, guests that do not answer
//!
//! Nothing here does I/O, waits, logs, or knows the time or chance: the caller says when a period is
//! over and carries out what is decided. The caller may be restarted: an arbiter without a past
//! decides the same, but for the age of the resizes under way and what moves have cost so far.

pub mod curve;
pub mod damping;
pub mod descent;
pub mod drive;
pub mod fill;
pub mod policy;
pub mod problem;
pub mod regret;
pub mod span;
pub mod vm;

mod decision;
#[cfg(test)]
mod fixtures;
mod reported;

use std::borrow::Cow;

pub use self::curve::{BadCurve, Curve, Point};
pub use self::damping::{BadDamping, Damped, Damping};
pub use self::decision::{Decision, Why};
pub use self::drive::{Action, Patience};
pub use self::policy::{Plan, Policy, PolicyName, Reason};
pub use self::problem::Problem;
pub use self::reported::{CURVE_CHANGED, CURVE_MEMORY, Reports};
pub use self::vm::{BadBounds, BadGoal, Bounds, Demand, Goal, NotAdmitted, Vm, VmId, admit};
pub use vssd::advice::Advice;

use self::drive::{Drive, Step};
use self::regret::Regret;

/// Decides how many blocks each VM of a pool holds. See the module.
#[derive(Clone, Debug)]
pub struct Arbiter {
    policy: PolicyName,
    damping: Damping,
    drive: Drive,
    /// For a policy whose moves have to pay, from its first plan on.
    regret: Option<Regret>,
}

/// What an arbiter decided in a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// What to do now, shrinks first.
    pub decisions: Vec<Decision>,
    /// Blocks that the policy wants each VM to hold, in the order of the VMs. A VM that is set aside
    /// has what it holds.
    pub targets: Vec<u32>,
    /// What the cache of each VM should keep off its vSSD, in the order of the VMs. One that is set
    /// aside has no advice.
    pub advice: Vec<Advice>,
    /// The VMs that were left out, as their guests do not answer, ascending.
    pub aside: Vec<VmId>,
    outlook: Outlook,
}

impl Arbiter {
    /// An arbiter that goes by `policy`.
    ///
    /// # Errors
    /// When a parameter of the damping is invalid.
    pub fn new(
        policy: PolicyName,
        damping: Damping,
        patience: Patience,
    ) -> Result<Self, BadDamping> {
        damping.check()?;
        Ok(Self {
            policy,
            damping,
            drive: Drive::new(patience),
            regret: None,
        })
    }

    /// The policy that it goes by.
    pub fn policy(&self) -> PolicyName {
        self.policy
    }

    /// Goes by another policy from the next period on. Resizes under way go on.
    pub fn set_policy(&mut self, policy: PolicyName) {
        if policy != self.policy {
            self.policy = policy;
            self.regret = None;
        }
    }

    /// What to do at the end of a period, for a pool of `pool_blocks` blocks of which no VM holds
    /// `free_blocks`, and all its VMs. `free_blocks` includes what is promised to VMs that grow.
    ///
    /// # Panics
    /// When two of the VMs have the same id.
    pub fn decide(&mut self, pool_blocks: u32, free_blocks: u32, vms: &[Vm]) -> Round {
        let mut ids: Vec<VmId> = vms.iter().map(|vm| vm.id).collect();
        ids.sort_unstable();
        let differ = ids.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(differ, "two VMs of one id");
        self.drive.observe(vms);
        ids.retain(|id| self.drive.is_aside(*id));
        let outlook = self.outlook(pool_blocks, vms);
        Round {
            decisions: self.decisions(free_blocks, vms, &outlook),
            targets: outlook.targets.clone(),
            advice: outlook.advice.clone(),
            aside: ids,
            outlook,
        }
    }

    /// What to do when shrinks of `round` have ended before the period has: what its growths lacked
    /// and is free now. `vms` are those of the round, with what they hold by now, in any order; one
    /// that the round does not know keeps what it has.
    pub fn resume(&mut self, free_blocks: u32, vms: &[Vm], round: &Round) -> Vec<Decision> {
        let outlook = round.outlook.of(vms);
        self.decisions(free_blocks, vms, &outlook)
    }

    /// The steps from what VMs hold to what they should hold at the end of this period.
    fn decisions(&mut self, free_blocks: u32, vms: &[Vm], outlook: &Outlook) -> Vec<Decision> {
        let steps = self
            .drive
            .steps(free_blocks, vms, &outlook.now, &outlook.due);
        let gives = largest(vms, &outlook.now, |held, now| held.saturating_sub(now));
        let gains = largest(vms, &outlook.now, |held, now| now.saturating_sub(held));
        let decision = |step: Step| Decision {
            id: vms[step.index].id,
            from: vms[step.index].held,
            to: step.to,
            action: step.action,
            policy: self.policy,
            why: self.why(step, &vms[step.index], outlook),
            other: match step.action {
                Action::Shrink { .. } => gains,
                Action::Grow => gives,
                Action::Revoke | Action::Cancel => None,
            },
        };
        steps.into_iter().map(decision).collect()
    }

    /// What the VMs should hold that are not set aside. One that is keeps what it holds, and its
    /// reservation waits for it.
    fn outlook(&mut self, pool_blocks: u32, vms: &[Vm]) -> Outlook {
        let drive = &self.drive;
        let is_aside = |vm: &Vm| drive.is_aside(vm.id);
        let kept = vms.iter().filter(|vm| is_aside(vm));
        let kept = kept.map(|vm| u64::from(vm.held.max(vm.bounds.reservation())));
        let blocks = u64::from(pool_blocks).saturating_sub(kept.sum()) as u32;
        let planned: Vec<usize> = (0..vms.len())
            .filter(|&index| !is_aside(&vms[index]))
            .collect();
        let rest: Cow<[Vm]> = if planned.len() == vms.len() {
            Cow::Borrowed(vms)
        } else {
            planned.iter().map(|&index| vms[index].clone()).collect()
        };
        let mut problem = Problem::new(blocks, &rest);
        let (plan, damped) = self.plan(&mut problem);

        let held: Vec<u32> = vms.iter().map(|vm| vm.held).collect();
        let mut outlook = Outlook {
            ids: vms.iter().map(|vm| vm.id).collect(),
            targets: held.clone(),
            now: held,
            due: vec![0; vms.len()],
            floors: vec![0; vms.len()],
            reasons: vec![None; vms.len()],
            advice: vec![Advice::NONE; vms.len()],
            saved: damped.saved,
        };
        for (position, index) in planned.into_iter().enumerate() {
            outlook.targets[index] = plan.targets[position];
            outlook.now[index] = damped.targets[position];
            outlook.due[index] = plan.due[position];
            outlook.floors[index] = problem.spans()[position].floor;
            outlook.reasons[index] = Some(plan.reasons[position]);
            outlook.advice[index] = plan.advice[position];
        }
        outlook
    }

    /// The plan for `problem`, and what of it is to be done in this period.
    fn plan(&mut self, problem: &mut Problem) -> (Plan, Damped) {
        let paper = self.regret.as_mut();
        let paper = paper.and_then(|regret| regret.settle(problem));
        let held = paper.map(|paper| std::mem::replace(&mut problem.held, paper));
        let plan = self.policy.policy().plan(problem);
        let damped = self.damping.damp(problem, &plan);
        if plan.fewest_misses && self.damping.horizon_periods.is_some() {
            let regret = self.regret.get_or_insert_default();
            regret.follow(problem, &damped.targets);
        }
        let Some(held) = held else {
            return (plan, damped);
        };
        problem.held = held;
        let plan = plan.stay(problem);
        let damped = self.damping.damp(problem, &plan);
        (plan, damped)
    }

    fn why(&self, step: Step, vm: &Vm, outlook: &Outlook) -> Why {
        let floor = outlook.floors[step.index];
        match (step.action, outlook.reasons[step.index]) {
            (Action::Revoke, _) => Why::Late,
            (_, None) => Why::Silent,
            (Action::Cancel, _) if self.drive.is_aside(vm.id) => Why::Silent,
            (Action::Grow, _) if vm.held < floor => Why::Reservation(floor),
            (Action::Shrink { .. }, _) if vm.held > vm.bounds.limit() => {
                Why::Limit(vm.bounds.limit())
            }
            (Action::Shrink { .. }, Some(Reason::FewestMisses)) if outlook.saved == 0.0 => Why::Due,
            (_, Some(Reason::FewestMisses)) => Why::Saves(outlook.saved),
            (_, Some(reason)) => Why::Policy(reason),
        }
    }
}

/// What VMs should hold, in the order of the VMs.
#[derive(Clone, Debug, PartialEq)]
struct Outlook {
    ids: Vec<VmId>,
    /// Blocks, by the policy.
    targets: Vec<u32>,
    /// Blocks at the end of this period.
    now: Vec<u32>,
    /// Blocks of these that are due at once.
    due: Vec<u32>,
    /// Blocks that each has in any case.
    floors: Vec<u32>,
    /// What the targets go by; none for a VM that is set aside.
    reasons: Vec<Option<Reason>>,
    advice: Vec<Advice>,
    /// Misses per period that this period's growths save.
    saved: f64,
}

impl Outlook {
    /// The same for other VMs, or in another order.
    fn of(&self, vms: &[Vm]) -> Self {
        let mut outlook = Self {
            ids: vms.iter().map(|vm| vm.id).collect(),
            targets: vms.iter().map(|vm| vm.held).collect(),
            now: vms.iter().map(|vm| vm.held).collect(),
            due: vec![0; vms.len()],
            floors: vec![0; vms.len()],
            reasons: vec![None; vms.len()],
            advice: vec![Advice::NONE; vms.len()],
            saved: self.saved,
        };
        for (index, vm) in vms.iter().enumerate() {
            if let Some(known) = self.ids.iter().position(|id| *id == vm.id) {
                outlook.targets[index] = self.targets[known];
                outlook.now[index] = self.now[known];
                outlook.due[index] = self.due[known];
                outlook.floors[index] = self.floors[known];
                outlook.reasons[index] = self.reasons[known];
                outlook.advice[index] = self.advice[known];
            }
        }
        outlook
    }
}

/// The VM whose size changes most, if one does.
fn largest(vms: &[Vm], now: &[u32], change: impl Fn(u32, u32) -> u32) -> Option<VmId> {
    let changes = vms
        .iter()
        .zip(now)
        .map(|(vm, &now)| (change(vm.held, now), vm.id));
    let largest = changes.max_by_key(|(change, id)| (*change, std::cmp::Reverse(*id)));
    largest.filter(|(change, _)| *change > 0).map(|(_, id)| id)
}

#[cfg(test)]
mod tests;
