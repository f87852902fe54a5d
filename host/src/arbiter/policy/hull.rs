//! `hull`: the fewest misses by the convex hulls of the curves (Beckmann and Sanchez, "Talus: A
//! simple way to remove cliffs in cache performance", HPCA 2015), which a
//! [greedy division](crate::arbiter::descent) finds.
//!
//! Compared with [`mrc`](super::mrc) it costs little and wastes at most the cliff of one VM, as
//! all others stop at the ends of their segments, where hull and curve are the same. What no VM
//! gains from stays with its holder, or is divided by weight.

use super::{Plan, Policy, PolicyName};
use crate::arbiter::descent::descend;
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Hull;

impl Policy for Hull {
    fn name(&self) -> PolicyName {
        PolicyName::Hull
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let mut targets = descend(problem.blocks, &problem.curves, &problem.spans).targets;
        problem.hand_out_rest(&mut targets);
        Plan::minimal(targets, problem)
    }
}
