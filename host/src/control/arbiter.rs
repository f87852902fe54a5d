//! The arbiter as clients of the control socket see and change it.

use std::sync::Arc;

use super::protocol::{ArbiterChange, ArbiterStatus, DecisionStatus, ShareStatus};
use crate::backend::Backend;
use crate::balancer::service::id;
use crate::balancer::{ArbiterSpec, Entry, Service};

/// Decisions for all vSSDs that a status has.
const RECENT: usize = 20;

/// The answer of a backend that has none.
const OFF: &str = "the arbiter is off: start vssd-host with --arbiter policy=NAME, or with an \
                   [arbiter] table in its configuration";

fn service(backend: &Backend) -> Result<&Arc<Service>, String> {
    backend.balancer().ok_or_else(|| OFF.to_owned())
}

/// Its state.
///
/// # Errors
/// When it is off.
pub fn status(backend: &Backend) -> Result<ArbiterStatus, String> {
    let service = service(backend)?;
    let (_, seen) = service.look(backend.pool(), &backend.vssds());
    let now = backend.context().clock.now_ns();
    let balancer = service.balancer();
    let spec = balancer.spec();
    let vssds = seen.into_iter().map(|seen| {
        let known = balancer.known(seen.id);
        let counts = known.map(|known| known.history.counts());
        let newest = known.and_then(|known| known.history.entries().next());
        ShareStatus {
            standing: known.map(|known| known.standing).unwrap_or_default(),
            held: seen.held,
            wanted: known.and_then(|known| known.wanted),
            weight: seen.share.weight(),
            reservation: seen.reservation,
            limit: seen.limit,
            hit_ratio_goal: seen.share.hit_ratio(),
            hit_ratio: known.and_then(|known| known.hit_ratio()),
            curve: known.is_some_and(|known| known.has_curve()),
            advice: known.map(|known| known.advice.into()).unwrap_or_default(),
            decisions: counts.unwrap_or_default().by_action(),
            last: newest.map(|entry| decision(entry, now)),
            name: seen.name,
        }
    });
    let vssds = vssds.collect();
    let recent = balancer.recent(RECENT).into_iter();
    Ok(ArbiterStatus {
        policy: spec.policy,
        period: spec.period,
        pick: spec.pick,
        periods: balancer.periods(),
        block_size: backend.pool().block_size(),
        vssds,
        recent: recent.map(|entry| decision(entry, now)).collect(),
    })
}

/// The last decisions for a vSSD, the newest first.
///
/// # Errors
/// When the arbiter is off, or there is no such vSSD.
pub fn explain(backend: &Backend, name: &str) -> Result<Vec<DecisionStatus>, String> {
    let service = service(backend)?;
    let vssd = backend.find(name).map_err(|error| error.to_string())?;
    let now = backend.context().clock.now_ns();
    let balancer = service.balancer();
    let known = balancer.known(id(&vssd));
    let entries = known.map(|known| known.history.entries());
    let entries = entries.into_iter().flatten();
    Ok(entries.map(|entry| decision(entry, now)).collect())
}

/// Changes it: all of `change`, or nothing when a part of it is invalid.
///
/// # Errors
/// When the arbiter is off, there is no such vSSD, or a weight is out of range.
pub fn set(backend: &Backend, change: &ArbiterChange) -> Result<(), String> {
    let service = service(backend)?;
    let mut shares = Vec::new();
    for (name, weight) in &change.weights {
        let vssd = backend.find(name).map_err(|error| error.to_string())?;
        let share = vssd.share().weighing(*weight);
        let share = share.map_err(|error| format!("{name}: {error}"))?;
        shares.push((vssd, share));
    }
    for (vssd, share) in shares {
        vssd.set_share(share);
    }
    let mut balancer = service.balancer();
    let spec = balancer.spec();
    balancer.set(ArbiterSpec {
        policy: change.policy.unwrap_or(spec.policy),
        period: change.period.unwrap_or(spec.period),
        pick: change.pick.unwrap_or(spec.pick),
    });
    drop(balancer);
    backend.context().notifier.notify();
    Ok(())
}

fn decision(entry: &Entry, now_ns: u64) -> DecisionStatus {
    DecisionStatus {
        ago_ms: now_ns.saturating_sub(entry.at_ns) / 1_000_000,
        line: entry.line.clone(),
        refused: entry.refused.clone(),
    }
}
