//! `reservation-limit`: a reservation is guaranteed, and up to the limit a VM has its part by
//! weight of what the VMs use: min, max, shares and the idle memory tax of Waldspurger, "Memory
//! resource management in VMware ESX Server", OSDI 2002.
//!
//! An idle block costs a VM as much as `1 / (1 - tax)` blocks in use, and all VMs pay the same for
//! each unit of weight. A VM uses the blocks of its working set.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::curve::Curve;
use crate::arbiter::fill::{Price, fill};
use crate::arbiter::problem::Problem;

/// The tax on idle blocks, the default of ESX.
pub const IDLE_TAX: f64 = 0.75;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ReservationLimit;

impl Policy for ReservationLimit {
    fn name(&self) -> PolicyName {
        PolicyName::ReservationLimit
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let active: Vec<u32> = problem.curves.iter().map(Curve::working_set).collect();
        let vms = problem.vms.iter().zip(&active);
        let prices = vms.clone().map(|(vm, &active)| Price {
            weight: vm.bounds.weight().into(),
            active: active.into(),
            idle_factor: 1.0 / (1.0 - IDLE_TAX),
        });
        let prices: Vec<Price> = prices.collect();
        let targets = fill(problem.blocks, &problem.spans, &prices);
        let reasons = vms.map(|(vm, &active)| Reason::Active {
            weight: vm.bounds.weight(),
            active,
        });
        Plan::exact(targets, problem, reasons.collect())
    }
}
