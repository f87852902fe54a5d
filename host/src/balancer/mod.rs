//! The arbiter at work in a backend: hears the guests, decides, and moves blocks, period by period.
//!
//! ```text
//!            Service, a thread                        Balancer, no I/O
//!  ┌───────────────────────────────────┐
//!  │ ask for reports, a tenth of a     │  Seen, Heard  ┌──────────────────────────┐
//!  │ period at most                    ├──────────────▶│ Memory ──▶ Arbiter       │
//!  │                                   │    Orders     │ demand,    decide,       │
//!  │ each order on a thread of its own │◀──────────────┤ curves     resume        │
//!  │ until the period ends: what       │     Seen      │                          │
//!  │ shrinks freed goes to growths     ├──────────────▶│ history of decisions     │
//!  └───────────────────────────────────┘               └──────────────────────────┘
//! ```
//!
//! - this module: [`Balancer`], which can be stepped without threads
//! - [`service`]: its thread; [`spec`]: what operators set; [`demand`]: what guests demand
//!
//! A vSSD without a driver that answers keeps what it holds, as its blocks cannot be taken without
//! breaking a file system; the others divide the rest. The decisions themselves are those of
//! [`arbiter`](crate::arbiter).

pub mod demand;
pub mod service;
pub mod spec;

mod history;

use std::collections::BTreeMap;

use self::demand::{Heard, Memory};
pub use self::history::{Counts, Entry, History};
pub use self::service::Service;
pub use self::spec::{ArbiterSpec, LivePick, LivePolicy, Period, Share};
use crate::arbiter::{
    Action, Advice, Arbiter, BadDamping, Bounds, Damping, Decision, Patience, Round, Vm, VmId,
};

/// Growths of a vSSD within a period, at most: a guest that declines what it is offered would be
/// offered it again and again.
const GROWTHS_PER_PERIOD: u32 = 4;

/// A vSSD, as the host sees it now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Its weight and goal.
    pub share: Share,
    /// Blocks that are kept for it.
    pub reservation: u32,
    /// Blocks that it may hold.
    pub limit: u32,
    /// Blocks that it held when it was first served.
    pub base: u32,
    /// Blocks that it holds.
    pub held: u32,
    /// Blocks that it is to hold when the resize under way ends; `None` when none is.
    pub resizing: Option<u32>,
    /// Whether its driver answers.
    pub is_attended: bool,
}

impl Seen {
    /// Blocks that no other may have: those that it holds, is offered, or has reserved.
    fn kept(&self) -> u32 {
        self.held.max(self.reservation).max(self.offered())
    }

    /// Blocks that it holds when a growth under way ends.
    fn offered(&self) -> u32 {
        self.resizing.unwrap_or(0).max(self.held)
    }
}

/// The blocks that are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Blocks of the pool, without those of vSSDs that are not served.
    pub blocks: u32,
    /// Of these, blocks that no VM holds.
    pub free: u32,
}

impl Room {
    /// The same without what is promised to vSSDs that take no part.
    fn free_for<'a>(self, vssds: impl Iterator<Item = &'a Seen>) -> u32 {
        let away = vssds.filter(|seen| !seen.is_attended);
        let promised: u64 = away.map(|seen| u64::from(seen.offered() - seen.held)).sum();
        u64::from(self.free).saturating_sub(promised) as u32
    }
}

/// A decision to carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The decision.
    pub decision: Decision,
    /// The same in one line, with the names of vSSDs.
    pub line: String,
}

/// Whether a vSSD takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has its part of what is divided.
    Active,
    /// Its guest neither gave nor took blocks in time: it keeps what it holds for a while.
    SetAside,
    /// No driver answers: it keeps what it holds.
    #[default]
    NoDriver,
}

/// What is known of a vSSD.
#[derive(Debug, Default)]
pub struct Known {
    name: String,
    memory: Memory,
    growths: u32,
    /// Blocks that the policy wants it to hold; `None` before the first decision.
    pub wanted: Option<u32>,
    /// Whether it takes part.
    pub standing: Standing,
    /// What its cache is advised.
    pub advice: Advice,
    /// What was decided for it.
    pub history: History,
}

impl Known {
    /// Whether its guest reported a curve lately.
    pub fn has_curve(&self) -> bool {
        self.memory.has_curve()
    }

    /// The part of the accesses that hit, as its guest reported it lately.
    pub fn hit_ratio(&self) -> Option<f64> {
        self.memory.hit_ratio()
    }

    /// Advises its cache so from now on.
    fn advise(&mut self, now_ns: u64, advice: Advice, policy: LivePolicy, vm: &Vm) {
        if advice != self.advice {
            self.advice = advice;
            let (name, writes) = (&self.name, 100.0 * vm.demand.write_ratio());
            let line =
                format!("{name}: advice: {advice} ({policy}: {writes:.0} % of accesses write)");
            self.history.note(now_ns, line);
        }
    }
}

/// Decides for the vSSDs of a backend. See the module.
#[derive(Debug)]
pub struct Balancer {
    spec: ArbiterSpec,
    arbiter: Arbiter,
    round: Option<Round>,
    periods: u64,
    known: BTreeMap<VmId, Known>,
}

impl Balancer {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// None: the damping is the default.
    pub fn new(spec: ArbiterSpec) -> Result<Self, BadDamping> {
        Ok(Self {
            spec,
            arbiter: arbiter(spec.policy)?,
            round: None,
            periods: 0,
            known: BTreeMap::new(),
        })
    }

    /// What was set.
    pub fn spec(&self) -> ArbiterSpec {
        self.spec
    }

    /// Sets the policy, the period and the pick, from the next period on.
    pub fn set(&mut self, spec: ArbiterSpec) {
        self.arbiter.set_policy(spec.policy.name());
        self.spec = spec;
    }

    /// Periods that have ended.
    pub fn periods(&self) -> u64 {
        self.periods
    }

    /// What is known of a vSSD.
    pub fn known(&self, id: VmId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// The last `most` decisions for all vSSDs, the newest first.
    pub fn recent(&self, most: usize) -> Vec<&Entry> {
        let histories = self.known.values().map(|known| &known.history);
        let mut entries: Vec<_> = histories.flat_map(History::entries).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at_ns));
        entries.truncate(most);
        entries
    }

    /// Forgets what is under way, after a panic: an arbiter may start at any time.
    ///
    /// # Errors
    /// None: the damping is the default.
    pub fn restart(&mut self) -> Result<(), BadDamping> {
        self.arbiter = arbiter(self.spec.policy)?;
        self.round = None;
        self.known.clear();
        Ok(())
    }

    /// What to do at the end of a period, at time `now_ns`.
    pub fn decide(&mut self, now_ns: u64, room: Room, vssds: &[(Seen, Heard)]) -> Vec<Order> {
        self.periods += 1;
        let mut before = std::mem::take(&mut self.known);
        let mut vms = Vec::with_capacity(vssds.len());
        let mut kept = 0;
        for (seen, heard) in vssds {
            let mut known = before.remove(&seen.id).unwrap_or_default();
            known.name.clone_from(&seen.name);
            known.growths = 0;
            known.wanted = Some(seen.held);
            known.standing = Standing::NoDriver;
            let demand = known.memory.hear(heard);
            if let Some(vm) = vm(seen, demand) {
                vms.push(vm);
            } else {
                kept += u64::from(seen.kept());
            }
            self.known.insert(seen.id, known);
        }
        let blocks = u64::from(room.blocks).saturating_sub(kept) as u32;
        let free = room.free_for(vssds.iter().map(|(seen, _)| seen));
        let round = self.arbiter.decide(blocks, free, &vms);
        for ((vm, wanted), advice) in vms.iter().zip(&round.targets).zip(&round.advice) {
            if let Some(known) = self.known.get_mut(&vm.id) {
                known.wanted = Some(*wanted);
                known.advise(now_ns, *advice, self.spec.policy, vm);
                known.standing = match round.aside.binary_search(&vm.id) {
                    Ok(_) => Standing::SetAside,
                    Err(_) => Standing::Active,
                };
            }
        }
        let orders = self.order(now_ns, round.decisions.clone());
        self.round = Some(round);
        orders
    }

    /// What else to do before the period ends, as resizes have ended: growths that lacked blocks.
    pub fn resume(&mut self, now_ns: u64, room: Room, vssds: &[Seen]) -> Vec<Order> {
        let Some(round) = &self.round else {
            return Vec::new();
        };
        let vms = vssds
            .iter()
            .filter_map(|seen| vm(seen, crate::arbiter::Demand::default()));
        let vms: Vec<Vm> = vms.collect();
        let free = room.free_for(vssds.iter());
        let mut decisions = self.arbiter.resume(free, &vms, round);
        decisions.retain(|decision| {
            let known = self.known.get(&decision.id);
            let may_grow = known.is_some_and(|known| known.growths < GROWTHS_PER_PERIOD);
            decision.action == Action::Grow && may_grow
        });
        self.order(now_ns, decisions)
    }

    /// An order was not carried out, for this reason.
    pub fn refused(&mut self, id: VmId, why: &str) {
        if let Some(known) = self.known.get_mut(&id) {
            known.growths = GROWTHS_PER_PERIOD;
            known.history.refuse(why);
        }
    }

    fn order(&mut self, now_ns: u64, decisions: Vec<Decision>) -> Vec<Order> {
        let mut orders = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let name = |id: VmId| match self.known.get(&id) {
                Some(known) => known.name.clone(),
                None => id.to_string(),
            };
            let line = decision.line(name);
            if let Some(known) = self.known.get_mut(&decision.id) {
                known.growths += u32::from(decision.action == Action::Grow);
                known.history.add(now_ns, &decision, &line);
            }
            orders.push(Order { decision, line });
        }
        orders
    }
}

fn arbiter(policy: LivePolicy) -> Result<Arbiter, BadDamping> {
    Arbiter::new(policy.name(), Damping::default(), Patience::default())
}

/// What the arbiter gets to know of a vSSD; `None` of one that takes no part.
fn vm(seen: &Seen, demand: crate::arbiter::Demand) -> Option<Vm> {
    // The pool has checked that the limit is not below the reservation.
    let limit = seen.limit.max(seen.reservation);
    let bounds = Bounds::new(seen.reservation, limit, seen.share.weight()).ok()?;
    seen.is_attended.then(|| Vm {
        id: seen.id,
        bounds,
        base: seen.base,
        goal: seen.share.goal().ok().flatten(),
        held: seen.held,
        resizing: seen.resizing,
        demand,
    })
}

#[cfg(test)]
mod tests;
