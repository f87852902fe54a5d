//! `harvest`: each VM owns its base. What it leaves idle is lent to VMs that gain from it, and
//! taken back as soon as it needs more (Reidys et al., "BlockFlex: Enabling storage harvesting with
//! software-defined flash in modern cloud platforms", OSDI 2022; Sun et al., "FleetIO: Managing
//! multi-tenant cloud storage with multi-agent reinforcement learning", ASPLOS 2025).
//!
//! These predict demand from many features; here a VM needs its working set of the last period, or
//! what its guest asks for when that is more, and an eighth on top, so that it can grow for a
//! period before blocks come back. What it owns and needs is [due](Plan::due): no damping delays it.
//! What nobody gains from goes back to its owner.

use super::{Plan, Policy, PolicyName, Reason, fixed};
use crate::arbiter::descent::descend;
use crate::arbiter::fill::{Price, fill};
use crate::arbiter::problem::Problem;

/// The part of its needs that a VM keeps on top: one in so many blocks.
const HEADROOM_DIVISOR: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Harvest;

impl Policy for Harvest {
    fn name(&self) -> PolicyName {
        PolicyName::Harvest
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let bases = fixed::bases(problem);
        let owned = problem.vms.iter().zip(&problem.curves).zip(&bases);
        let owned = owned.map(|((vm, curve), &base)| {
            let needs = curve.working_set().max(vm.demand.wanted.unwrap_or(0));
            needs
                .saturating_add(needs.div_ceil(HEADROOM_DIVISOR))
                .min(base)
        });
        let owned: Vec<u32> = owned.collect();
        let due: Vec<u32> = (0..)
            .zip(&owned)
            .map(|(index, &blocks)| problem.clamp(index, blocks))
            .collect();
        let lent = descend(problem.blocks, &problem.curves, &problem.spans_from(&due)).targets;
        let mut spans = problem.spans_from(&lent);
        for (span, &base) in spans.iter_mut().zip(&bases) {
            span.ceiling = base.clamp(span.floor, span.ceiling);
        }
        let prices: Vec<Price> = bases.iter().map(|&base| base.into()).collect();
        let targets = fill(problem.blocks, &spans, &prices);
        let mut plan = Plan::minimal(targets, problem);
        let vms = plan.targets.iter().zip(&bases).zip(&mut plan.reasons);
        for ((&target, &base), reason) in vms {
            *reason = match target {
                _ if target > base => Reason::Borrows(target - base),
                _ if target < base => Reason::Lends(base - target),
                _ => Reason::UsesBase(base),
            };
        }
        Plan { due, ..plan }
    }
}
