//! The thread of the arbiter: asks guests for reports, has the [`Balancer`] decide, and carries out
//! what it decides.
//!
//! It serves all vSSDs, so it waits for none: it reads what was published of each, and every order
//! is carried out on a thread of its own, as a revocation may take as long as the backing. A vSSD
//! whose last order is under way gets no other. What the thread knows may be lost at any time: it
//! begins anew with what vSSDs hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use workloads::{HostPick, Pick};

use super::demand::Heard;
use super::{ArbiterSpec, Balancer, LivePick, Order, Room, Seen};
use crate::arbiter::{Action, BadDamping, Patience, VmId};
use crate::backend::Backend;
use crate::causes::Causes;
use crate::log_limit::LogLimit;
use crate::pick::Tracker;
use crate::pool::Pool;
use crate::resize_request::{ResizeRequest, StartError, Target};
use crate::scheduling::let_others_first;
use crate::threads::survive;
use crate::vssd::Vssd;

/// The part of a period for which reports are waited for.
const PART_FOR_REPORTS: u32 = 10;

/// What divides the pool of a backend among its vSSDs.
#[derive(Debug)]
pub struct Service {
    balancer: Mutex<Balancer>,
    /// Orders that are being carried out: blocks that each vSSD is to hold.
    pending: Mutex<BTreeMap<VmId, u32>>,
    refusals: LogLimit,
    untracked: LogLimit,
}

/// What the thread remembers from period to period.
#[derive(Debug, Default)]
struct Turn {
    /// The number of reports of each vSSD that were heard.
    heard: BTreeMap<VmId, u64>,
    /// The vSSDs whose blocks move.
    moving: BTreeSet<VmId>,
    /// What this thread has tracked of requests, and no operator.
    tracked: BTreeMap<VmId, HostPick>,
}

impl Service {
    /// One that has not started yet.
    ///
    /// # Errors
    /// None: the damping is the default.
    pub fn new(spec: ArbiterSpec) -> Result<Self, BadDamping> {
        Ok(Self {
            balancer: Mutex::new(Balancer::new(spec)?),
            pending: Mutex::default(),
            refusals: LogLimit::default(),
            untracked: LogLimit::default(),
        })
    }

    /// What decides, locked; nothing waits while it is.
    pub fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock()
    }

    /// Starts the thread. It ends with the backend.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn spawn(self: &Arc<Self>, backend: &Arc<Backend>) -> io::Result<()> {
        let spec = self.balancer().spec();
        tracing::info!(
            "the arbiter divides the pool by `{}` every {}",
            spec.policy,
            spec.period
        );
        let (service, backend) = (self.clone(), backend.clone());
        let forever = move || {
            while !backend.is_ending() {
                if survive(|| service.run(&backend)).is_none() {
                    tracing::error!("the arbiter panicked; it begins anew with the next period");
                    // It has just been made in the same way.
                    let _ = service.balancer().restart();
                }
            }
        };
        thread::Builder::new()
            .name("arbiter".to_owned())
            .spawn(forever)?;
        Ok(())
    }

    fn run(self: &Arc<Self>, backend: &Arc<Backend>) {
        let (notifier, clock) = (&backend.context().notifier, &backend.context().clock);
        let mut turn = Turn::default();
        let mut began = clock.now_ns();
        while !backend.is_ending() {
            let generation = notifier.generation();
            let period = self.period().as_nanos() as u64;
            let left = began.saturating_add(period).saturating_sub(clock.now_ns());
            if left > 0 {
                self.resume(backend, &mut turn);
                notifier.wait(generation, Duration::from_nanos(left));
                continue;
            }
            self.end_period(backend, &mut turn);
            // A period that was missed is not made up for.
            let now = clock.now_ns();
            began = began.saturating_add(period);
            if now.saturating_sub(began) >= period {
                began = now;
            }
        }
    }

    fn period(&self) -> Duration {
        self.balancer().spec().period.length()
    }

    fn end_period(self: &Arc<Self>, backend: &Arc<Backend>, turn: &mut Turn) {
        let vssds = backend.vssds();
        let pick = self.balancer().spec().pick;
        self.track(pick, &vssds, &mut turn.tracked);
        let mut reports = self.hear(backend, &vssds, &mut turn.heard);
        let (room, seen) = self.look(backend.pool(), &vssds);
        let requests: BTreeMap<VmId, _> = vssds.iter().map(|v| (id(v), v.requests())).collect();
        let seen: Vec<(Seen, Heard)> = seen
            .into_iter()
            .map(|seen| {
                let heard = Heard {
                    requests: requests.get(&seen.id).copied().unwrap_or_default(),
                    report: reports.remove(&seen.id),
                };
                (seen, heard)
            })
            .collect();
        let now = backend.context().clock.now_ns();
        let orders = self.balancer().decide(now, room, &seen);
        self.advise(&vssds);
        self.carry_out(backend, &vssds, orders, pick);
        turn.moving = self.moving(&vssds);
    }

    /// Gives caches the advice of the period. A vSSD that is busy has it in the next one.
    fn advise(&self, vssds: &[Arc<Vssd>]) {
        for vssd in vssds {
            let known = self.balancer().known(id(vssd)).map(|known| known.advice);
            let Some(advice) = known.filter(|advice| *advice != vssd.glance().advice) else {
                continue;
            };
            if vssd.try_advise(advice) {
                tracing::info!("{}: advice: {advice}", vssd.name);
            }
        }
    }

    /// Gives blocks that shrinks have freed to the growths that lack them.
    fn resume(self: &Arc<Self>, backend: &Arc<Backend>, turn: &mut Turn) {
        let vssds = backend.vssds();
        let moving = self.moving(&vssds);
        let have_ended = !turn.moving.is_subset(&moving);
        turn.moving = moving;
        if have_ended {
            let (room, seen) = self.look(backend.pool(), &vssds);
            let now = backend.context().clock.now_ns();
            let orders = self.balancer().resume(now, room, &seen);
            // Only growths, for which nothing is picked.
            self.carry_out(backend, &vssds, orders, LivePick::default());
            turn.moving.append(&mut self.moving(&vssds));
        }
    }

    /// Tracks requests where the pick needs that, and no longer where the pick before it did. What
    /// an operator tracks stays.
    fn track(&self, pick: LivePick, vssds: &[Arc<Vssd>], tracked: &mut BTreeMap<VmId, HostPick>) {
        let served: BTreeSet<VmId> = vssds.iter().map(|vssd| id(vssd)).collect();
        tracked.retain(|id, _| served.contains(id));
        for vssd in vssds {
            let now = vssd.stats().tracker.as_ref().map(Tracker::serves);
            let is_ours = now.is_none() || now == tracked.get(&id(vssd)).copied();
            if now == pick.tracked() || !is_ours {
                continue;
            }
            match (vssd.track(pick.tracked()), pick.tracked()) {
                (Ok(()), Some(pick)) => drop(tracked.insert(id(vssd), pick)),
                (Ok(()), None) => drop(tracked.remove(&id(vssd))),
                (Err(error), _) => {
                    if let Some(times) = self.untracked.due() {
                        tracing::error!(
                            vssd = %vssd.name, times, "no `{pick}` for the arbiter: {error}"
                        );
                    }
                }
            }
        }
    }

    /// The new reports, after a tenth of a period at most. One that comes later is heard in the
    /// next period.
    fn hear(
        &self,
        backend: &Backend,
        vssds: &[Arc<Vssd>],
        heard: &mut BTreeMap<VmId, u64>,
    ) -> BTreeMap<VmId, Option<vssd::demand::Demand>> {
        let (notifier, clock) = (&backend.context().notifier, &backend.context().clock);
        let patience = (self.period() / PART_FOR_REPORTS).as_nanos() as u64;
        let until = clock.now_ns().saturating_add(patience);
        let served: BTreeSet<VmId> = vssds.iter().map(|vssd| id(vssd)).collect();
        heard.retain(|id, _| served.contains(id));
        let busy = self.pending.lock().clone();
        let free = vssds.iter().filter(|vssd| !busy.contains_key(&id(vssd)));
        let mut asked: Vec<(&Arc<Vssd>, u64)> = free
            .filter_map(|vssd| Some((vssd, vssd.try_request_report()?)))
            .collect();
        for (vssd, before) in &asked {
            heard.entry(id(vssd)).or_insert(*before);
        }
        let mut reports = BTreeMap::new();
        let mut answered = |vssd: &Vssd, before: u64, heard: &mut BTreeMap<VmId, u64>| {
            let report = vssd.try_report_since(before);
            let is_answered = report.is_some();
            if let Some((count, demand)) = report {
                heard.insert(id(vssd), count);
                reports.insert(id(vssd), demand);
            }
            is_answered
        };
        loop {
            let generation = notifier.generation();
            asked.retain(|(vssd, before)| !answered(vssd, *before, heard));
            let left = until.saturating_sub(clock.now_ns());
            if asked.is_empty() || left == 0 || backend.is_ending() {
                break;
            }
            notifier.wait(generation, Duration::from_nanos(left));
        }
        // Those that came too late for the period before.
        for (vssd, _) in asked {
            let known = heard.get(&id(vssd)).copied().unwrap_or_default();
            answered(vssd, known, heard);
        }
        reports
    }

    /// The vSSDs whose blocks move, or are about to.
    fn moving(&self, vssds: &[Arc<Vssd>]) -> BTreeSet<VmId> {
        let mut moving: BTreeSet<VmId> = self.pending.lock().keys().copied().collect();
        let resizing = vssds.iter().filter(|vssd| {
            let view = vssd.glance();
            view.resize
                .is_some_and(|resize| resize.request.target != view.held)
        });
        moving.extend(resizing.map(|vssd| id(vssd)));
        moving
    }

    /// The pool and its vSSDs as they are now, those left out that have just been deleted.
    pub fn look(&self, pool: &Pool, vssds: &[Arc<Vssd>]) -> (Room, Vec<Seen>) {
        let pending = self.pending.lock().clone();
        let mut members: BTreeMap<String, _> = pool
            .members()
            .into_iter()
            .map(|member| (member.name, member.account))
            .collect();
        let seen = vssds.iter().filter_map(|vssd| {
            let account = members.remove(&vssd.name)?;
            let (view, id) = (vssd.glance(), id(vssd));
            let under_way = view.resize.map(|resize| resize.request.target);
            Some(Seen {
                id,
                name: vssd.name.clone(),
                share: vssd.share(),
                reservation: account.bounds.reservation,
                limit: account.bounds.quota,
                base: vssd.base(),
                held: view.held,
                resizing: pending.get(&id).copied().or(under_way),
                is_attended: view.driver,
            })
        });
        let seen: Vec<Seen> = seen.collect();
        let rest = members.values();
        let (mut kept, mut held) = (0, 0);
        for account in rest {
            kept += u64::from(account.held.max(account.bounds.reservation));
            held += u64::from(account.held);
        }
        held += seen.iter().map(|seen| u64::from(seen.held)).sum::<u64>();
        let physical = pool.usage().physical_blocks;
        let left = |taken: u64| u64::from(physical).saturating_sub(taken) as u32;
        let room = Room {
            blocks: left(kept),
            free: left(held),
        };
        (room, seen)
    }

    fn carry_out(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        vssds: &[Arc<Vssd>],
        orders: Vec<Order>,
        pick: LivePick,
    ) {
        let spec = ArbiterSpec {
            pick,
            ..self.balancer().spec()
        };
        for Order { decision, line } in orders {
            tracing::info!("{line}");
            let id = decision.id;
            let Some(vssd) = vssds.iter().find(|vssd| self::id(vssd) == id) else {
                continue;
            };
            if self.pending.lock().contains_key(&id) {
                self.refuse(vssd, "the order before it is still under way");
                continue;
            }
            self.pending.lock().insert(id, decision.to);
            let (service, backend, vssd) = (self.clone(), backend.clone(), vssd.clone());
            let thread = thread::Builder::new().name(format!("arbiter-{}", vssd.name));
            let name = vssd.clone();
            let act = move || {
                let_others_first();
                let acted = survive(|| {
                    if backend.is_ending() {
                        return Ok(());
                    }
                    act(&vssd, decision.action, decision.to, spec)
                });
                match acted {
                    Some(Ok(())) => {}
                    Some(Err(error)) => service.refuse(&vssd, &Causes(&error).to_string()),
                    None => service.refuse(&vssd, "its thread panicked"),
                }
                service.pending.lock().remove(&id);
                vssd.notifier().notify();
            };
            if let Err(error) = thread.spawn(act) {
                self.refuse(&name, &format!("its thread could not be started: {error}"));
                self.pending.lock().remove(&id);
            }
        }
    }

    fn refuse(&self, vssd: &Vssd, why: &str) {
        self.balancer().refused(id(vssd), why);
        if let Some(times) = self.refusals.due() {
            tracing::warn!(vssd = %vssd.name, times, "an order of the arbiter was refused: {why}");
        }
    }
}

/// What the arbiter calls a vSSD: no other of the pool ever has the same number.
pub fn id(vssd: &Vssd) -> VmId {
    VmId(vssd.volume.id().0)
}

/// Carries out an order.
fn act(vssd: &Vssd, action: Action, to: u32, spec: ArbiterSpec) -> Result<(), StartError> {
    let period = spec.period.length();
    let request = |pick, deadline| ResizeRequest {
        target: Target::To(to.into()),
        pick,
        deadline: Some(deadline),
        revoke: true,
        force: false,
        seed: None,
    };
    let under_way = vssd.glance().resize;
    let request = match action {
        Action::Cancel => {
            vssd.cancel();
            return Ok(());
        }
        Action::Shrink { deadline_periods } => request(spec.pick.pick(), period * deadline_periods),
        // The arbiter cancels it before that, and sets the guest aside.
        Action::Grow => {
            let periods = 2 * Patience::default().deadline_periods;
            request(Pick::Guest, period * periods)
        }
        Action::Revoke => {
            let soon = vssd.now_ns().saturating_add(period.as_nanos() as u64);
            let of_itself = under_way.as_ref().is_some_and(|resize| {
                let deadline = resize.request.deadline_ns;
                resize.request.revoke && deadline.is_some_and(|at| at <= soon)
            });
            if of_itself {
                return Ok(());
            }
            request(Pick::Guest, Duration::ZERO)
        }
    };
    // A device has one resize at a time.
    if under_way.is_some() {
        vssd.cancel();
    }
    vssd.resize(request).map(drop)
}

#[cfg(test)]
mod tests;
