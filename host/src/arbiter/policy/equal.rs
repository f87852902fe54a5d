//! `equal`: all VMs have the same, within their bounds. The split that OSCA (Zhang et al.,
//! ATC 2020) compares itself with.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::fill::{Price, fill};
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Equal;

impl Policy for Equal {
    fn name(&self) -> PolicyName {
        PolicyName::Equal
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let vms = problem.vms.len();
        let targets = fill(problem.blocks, &problem.spans, &vec![Price::from(1.0); vms]);
        Plan::exact(targets, problem, vec![Reason::Equal { vms }; vms])
    }
}
