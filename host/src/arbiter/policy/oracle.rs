//! `oracle`: [`mrc`] on the curves of the next period instead of the last: what
//! knowledge of the future would save, as a bound for the others. Only an experiment that replays a
//! trace has such curves; it reports them as those of the demand, with the accesses of that period.

use super::{Plan, Policy, PolicyName, mrc};
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Policy for Oracle {
    fn name(&self) -> PolicyName {
        PolicyName::Oracle
    }

    fn plan(&self, problem: &Problem) -> Plan {
        mrc::Mrc.plan(problem)
    }
}
