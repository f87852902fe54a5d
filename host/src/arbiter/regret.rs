//! Whether it pays to follow demand, beside fixed parts.
//!
//! Where loads change faster than caches warm, every move comes too late, however well it looks by
//! the curves of its period. So books are kept of two ways to divide the pool, as of two experts
//! between which to change costs something (Blum and Burch, "On-line learning and the metrical task
//! system problem", Machine Learning 39, 2000):
//!
//! ```text
//!  stay:    the misses of a period with each VM at its base
//!  follow:  those with each VM at what it has by the plans so far, and what its growth has to fill
//!
//!  balance: stay - follow, in which older periods count less
//!
//!        behind by LEAVE periods
//!  following ─────────────────▶ staying: VMs get their bases, and plans are followed on paper
//!            ◀─────────────────
//!        ahead by BACK periods
//! ```
//!
//! Both sides are read off the same curves, so what is wrong with a curve is wrong with both. The
//! curves are those of accesses, whatever a cache holds: staying tells as much of following as
//! following does. A VM without a curve of its guest's counts for neither.

use std::collections::BTreeMap;

use super::policy::{Plan, Reason};
use super::problem::Problem;
use super::vm::VmId;

/// What the balance of before counts for in the next period.
const MEMORY: f64 = 0.95;

/// Misses that a block costs by which a VM grows. Not one, as misses that come in any case fill blocks
/// too: of the blocks that a cache grows by, about half are filled by others (experiment `multiplex`,
/// day and night).
const FILL: f64 = 0.5;

/// How far following may be behind, in periods of the misses of staying.
const LEAVE: f64 = 0.4;

/// How far it has to be ahead on paper to be taken up again, in the same unit. More than [`LEAVE`], as
/// to change back and forth costs more than either.
const BACK: f64 = 1.0;

/// The balance goes no lower than so many periods, so that following is taken up again soon after
/// loads have settled, however long they changed too fast.
const WORST: f64 = 4.0;

/// The books. See the module.
#[derive(Clone, Debug, Default)]
pub struct Regret {
    /// While staying: blocks that each VM would hold by the plans so far.
    paper: Option<BTreeMap<VmId, u32>>,
    /// Misses that following has saved.
    balance: f64,
    /// Misses of staying, and the number of periods, each counted like the balance.
    stay: f64,
    periods: f64,
}

impl Regret {
    /// Books the period that ends. Returns what each VM would hold by the plans so far when following
    /// does not pay; `None` when it does.
    pub fn settle(&mut self, problem: &Problem) -> Option<Vec<u32>> {
        let held = self.followed(problem);
        let bases = problem.bases();
        let (mut stay, mut follow) = (0.0, 0.0);
        for (index, vm) in problem.vms.iter().enumerate() {
            if vm.demand.curve.is_some() {
                let curve = &problem.curves[index];
                stay += curve.misses(bases[index]);
                follow += curve.misses(held[index]);
            }
        }
        self.stay = MEMORY * self.stay + stay;
        self.periods = MEMORY * self.periods + 1.0;
        let period = self.stay / self.periods;
        self.balance = (MEMORY * self.balance + stay - follow).max(-WORST * period);
        if self.paper.is_none() && self.balance < -LEAVE * period {
            self.paper = Some(BTreeMap::new());
        } else if self.paper.is_some() && self.balance > BACK * period {
            *self = Self::default();
        }
        self.paper.is_some().then_some(held)
    }

    /// What each VM of `problem` holds, or would hold on paper.
    fn followed(&self, problem: &Problem) -> Vec<u32> {
        let held = problem.vms.iter().zip(&problem.held);
        let on_paper = |id| self.paper.as_ref().and_then(|paper| paper.get(id)).copied();
        held.map(|(vm, &held)| on_paper(&vm.id).unwrap_or(held))
            .collect()
    }

    /// VMs that follow go from what they hold in `problem` to `targets`.
    pub fn follow(&mut self, problem: &Problem, targets: &[u32]) {
        let moves = problem.vms.iter().zip(&problem.held).zip(targets);
        let moves = moves.filter(|((vm, _), _)| vm.demand.curve.is_some());
        let grown = moves.map(|((_, &held), &target)| f64::from(target.saturating_sub(held)));
        self.balance -= FILL * grown.sum::<f64>();
        if let Some(paper) = &mut self.paper {
            let ids = problem.vms.iter().map(|vm| vm.id);
            *paper = ids.zip(targets.iter().copied()).collect();
        }
    }
}

impl Plan {
    /// The plan to stay: each VM has what is due to it, and its base as far as that fits.
    pub fn stay(self, problem: &Problem) -> Self {
        let vms = problem.vms.iter();
        Self {
            targets: problem.raised(&self.due, &problem.bases()),
            reasons: vms.map(|vm| Reason::Stays(vm.base)).collect(),
            fewest_misses: false,
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
