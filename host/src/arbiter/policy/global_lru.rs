//! `global-lru`: what one LRU over the blocks of all VMs would give each: as many as it has among
//! the most recently used of the pool. The unified cache that Centaur (Koller et al., ICAC 2015)
//! compares itself with.
//!
//! While that LRU has free blocks, the next misses take them, so they are divided by misses. A VM
//! without a count keeps what it holds. There is no isolation: a scan takes from everyone, down
//! to the reservations.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::fill::{Price, fill};
use crate::arbiter::problem::Problem;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct GlobalLru;

impl Policy for GlobalLru {
    fn name(&self) -> PolicyName {
        PolicyName::GlobalLru
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let vms = problem.vms.iter();
        let recent: Vec<u32> = vms.map(|vm| vm.demand.recent.unwrap_or(vm.held)).collect();
        let prices: Vec<Price> = recent.iter().map(|&blocks| blocks.into()).collect();
        let targets = fill(problem.blocks, &problem.spans_up_to(&recent), &prices);
        let misses = problem.vms.iter().map(|vm| vm.demand.misses() as f64);
        let misses: Vec<Price> = misses.map(Price::from).collect();
        let targets = fill(problem.blocks, &problem.spans_from(&targets), &misses);
        let reasons = recent.into_iter().map(Reason::Recent).collect();
        Plan::exact(targets, problem, reasons)
    }
}
