//! `harvest`: each VM owns its base. What it leaves idle is lent to VMs that gain from it, and
//! taken back as soon as it needs more (Reidys et al., "BlockFlex: Enabling storage harvesting with
//! software-defined flash in modern cloud platforms", OSDI 2022; Sun et al., "FleetIO: Managing
//! multi-tenant cloud storage with multi-agent reinforcement learning", ASPLOS 2025).
//!
//! These predict demand from many features; here a VM needs the blocks that are [in use](in_use), or
//! what its guest asks for when that is more, and an eighth on top, so that it can grow for a
//! period before blocks come back. What it owns and needs is [due](Plan::due): no damping delays it.
//! What no VM gains from goes back to its owner.

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::curve::{Curve, Point};
use crate::arbiter::descent::descend;
use crate::arbiter::problem::Problem;

/// The part of its needs that a VM keeps on top: one in so many blocks.
const HEADROOM_DIVISOR: u32 = 8;

/// Misses that a block in use saves in a period, at least: one that saves none in eight periods lies
/// idle. Those are the periods over which a move has to pay by default.
const IN_USE: f64 = 1.0 / 8.0;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Harvest;

/// The size, in blocks, up to which each block is in use. How often a VM accesses blocks counts, and
/// not only which: a working set that is hardly accessed lies idle.
fn in_use(curve: &Curve) -> u32 {
    let hull = curve.hull();
    let saves = |pair: &&[Point]| {
        let blocks = f64::from(pair[1].blocks - pair[0].blocks);
        pair[0].misses - pair[1].misses >= IN_USE * blocks
    };
    let used = hull.points().windows(2).take_while(saves).last();
    used.map_or(0, |pair| pair[1].blocks)
}

impl Policy for Harvest {
    fn name(&self) -> PolicyName {
        PolicyName::Harvest
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let bases = problem.bases();
        let owned = problem.vms.iter().zip(&problem.curves).zip(&bases);
        let owned = owned.map(|((vm, curve), &base)| {
            let needs = in_use(curve).max(vm.demand.wanted.unwrap_or(0));
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
        let mut plan = Plan::minimal(problem.raised(&lent, &bases), problem);
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
