//! `working-set`: a VM has the blocks that it uses (Denning, "The working set model for program
//! behavior", CACM 1968) and no more; the rest stays free. CloudCache sizes caches so (Arteaga et
//! al., "CloudCache: On-demand flash cache management for cloud computing", FAST 2016), and
//! migrates VMs when they do not fit; here they are cut by weight then.
//!
//! It cannot tell a working set that is read often from one that is read twice.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::curve::Curve;
use crate::arbiter::fill::fill;
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct WorkingSet;

impl Policy for WorkingSet {
    fn name(&self) -> PolicyName {
        PolicyName::WorkingSet
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let sets: Vec<u32> = problem.curves.iter().map(Curve::working_set).collect();
        let spans = problem.spans_up_to(&sets);
        let targets = fill(problem.blocks, &spans, &problem.weights());
        let reasons = sets.into_iter().map(Reason::WorkingSet).collect();
        Plan::exact(targets, problem, reasons)
    }
}
