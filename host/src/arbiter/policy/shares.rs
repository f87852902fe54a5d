//! `shares`: blocks in proportion to weights, within reservation and limit, whatever the VMs do
//! with them: the proportional shares of SymFlex (Unais and Kulkarni, "SymFlex: Elastic, persistent
//! and symbiotic SSD caching in virtualization environments", ICPE 2021), by
//! [water-filling](crate::arbiter::fill).

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::fill::fill;
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Shares;

impl Policy for Shares {
    fn name(&self) -> PolicyName {
        PolicyName::Shares
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let targets = fill(problem.blocks, &problem.spans, &problem.weights());
        let weights = problem.vms.iter().map(|vm| vm.bounds.weight());
        let total = weights.clone().map(u64::from).sum();
        let reasons = weights.map(|weight| Reason::Weight { weight, total });
        Plan::exact(targets, problem, reasons.collect())
    }
}
