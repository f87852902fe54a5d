//! `static`: each VM has its base and keeps it, as an instance store of EC2 does (AWS, "Amazon EC2
//! User Guide", instance store volumes: their size is that of the instance type).
//!
//! Bases that do not fit together are cut in proportion. What is above them stays free. This is
//! what every other policy has to beat.

use super::{Plan, Policy, PolicyName, Reason};
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
        Plan::exact(problem.bases(), problem, reasons)
    }
}
