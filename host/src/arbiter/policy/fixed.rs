//! `static`: each VM has its base and keeps it, as an instance store of EC2 does (AWS, "Amazon EC2
//! User Guide", instance store volumes: their size is that of the instance type).
//!
//! Bases that do not fit together are cut in proportion. What is above them stays free. This is
//! what every other policy has to beat.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::fill::{Price, fill};
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Static;

impl Policy for Static {
    fn name(&self) -> PolicyName {
        PolicyName::Static
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let reasons = problem.vms.iter().map(|vm| Reason::Base(vm.base)).collect();
        Plan::exact(bases(problem), problem, reasons)
    }
}

/// The base of each VM, cut where they do not fit.
pub(super) fn bases(problem: &Problem) -> Vec<u32> {
    let bases: Vec<u32> = problem.vms.iter().map(|vm| vm.base).collect();
    let prices: Vec<Price> = bases.iter().map(|&base| base.into()).collect();
    fill(problem.blocks, &problem.spans_up_to(&bases), &prices)
}
