//! `slo`: each VM has the least size that meets its goal, a hit ratio or a rate of hits, and the
//! rest goes to where it saves the most misses (Koller et al., "Centaur: Host-side SSD caching for
//! storage performance control", ICAC 2015).
//!
//! When the goals together need more than the pool has, they are cut by weight, as there is no
//! right order between promises that cannot be kept. A goal that no known size meets counts as
//! the size with the fewest known misses.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::descent::descend;
use crate::arbiter::fill::fill;
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Slo;

impl Policy for Slo {
    fn name(&self) -> PolicyName {
        PolicyName::Slo
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let needs = problem.vms.iter().zip(&problem.curves).map(|(vm, curve)| {
            let best = || curve.size_for(curve.floor()).unwrap_or(0);
            vm.goal
                .map_or(0, |goal| goal.size(curve).unwrap_or_else(best))
        });
        let needs: Vec<u32> = needs.collect();
        let clamped = (0..)
            .zip(&needs)
            .map(|(index, &needs)| problem.clamp(index, needs));
        let total: u64 = clamped.map(u64::from).sum();
        let feasible = total <= u64::from(problem.blocks);
        let due = fill(
            problem.blocks,
            &problem.spans_up_to(&needs),
            &problem.weights(),
        );
        // VMs without a goal have their floors when goals are infeasible: nothing is left.
        let mut targets =
            descend(problem.blocks, &problem.curves, &problem.spans_from(&due)).targets;
        problem.hand_out_rest(&mut targets);
        let mut plan = Plan::minimal(targets, problem);
        let vms = problem.vms.iter().zip(needs).zip(&mut plan.reasons);
        for ((vm, needs), reason) in vms {
            if let Some(goal) = vm.goal {
                *reason = Reason::Goal {
                    goal,
                    needs,
                    feasible,
                };
            }
        }
        Plan { due, ..plan }
    }
}
