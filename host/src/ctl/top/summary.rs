//! What happened in an interval: the difference of the states of a backend at its ends.
//!
//! Time is that of the backend, so a reading that comes late makes no rate wrong. What went back
//! has begun anew in between: a backend or a vSSD that was restarted has no rate, and a histogram
//! that was reset counts from the reset on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::balancer::Standing;
use crate::control::protocol::{
    ArbiterStatus, DecisionStatus, PoolStatus, ShareStatus, Status, UnderWay, VssdStatus,
};
use crate::latency::{self, Bucket, Operation};

/// The state of a backend.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub status: Status,
    /// `None` when the arbiter is off.
    pub arbiter: Option<ArbiterStatus>,
}

/// What happened between two readings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reply", rename = "top")]
pub(super) struct Summary {
    /// Length of the interval, seconds; `None` at the first reading of a backend.
    pub seconds: Option<f64>,
    /// Restarts of the backend since the first reading.
    pub restarts: u64,
    pub uptime_ms: u64,
    pub backing: String,
    pub pool: PoolStatus,
    /// `None` when it is off.
    pub arbiter: Option<Arbiter>,
    pub vssds: Vec<Row>,
    /// The last decisions of the arbiter, the newest first.
    pub decisions: Vec<DecisionStatus>,
}

/// How the arbiter is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Arbiter {
    pub policy: String,
    pub period: String,
    pub pick: String,
    /// Periods that have ended.
    pub periods: u64,
}

/// A vSSD. Sizes are in blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub name: String,
    /// `none`, `connecting`, `plain`, `vssd` or `draining`.
    pub guest: &'static str,
    pub block_size: u32,
    pub capacity: u32,
    pub held: u32,
    /// What it may hold.
    pub limit: u32,
    /// What the arbiter wants it to hold; `None` before its first decision.
    pub wanted: Option<u32>,
    pub weight: Option<u32>,
    pub standing: Option<Standing>,
    /// By the guest's last report to the arbiter.
    pub hit_ratio: Option<f64>,
    /// `None` at its first reading.
    pub rates: Option<Rates>,
    pub resize: Option<UnderWay>,
}

/// What a vSSD did in the interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    pub reads: Flow,
    pub writes: Flow,
    /// Service times of reads and writes together; `None` without any.
    pub latency: Option<Latency>,
}

/// Requests of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Flow {
    /// Requests a second.
    pub requests: f64,
    /// Bytes a second.
    pub bytes: f64,
    pub latency: Option<Latency>,
}

/// Service times of requests, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub p50_ns: u64,
    pub p99_ns: u64,
}

/// The last reading.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<Snapshot>,
    restarts: u64,
}

impl History {
    /// What happened since the last reading. A backend that did not answer in between is the same
    /// if its process is.
    pub(super) fn next(&mut self, now: Snapshot) -> Summary {
        let is_same = |before: &Snapshot| {
            before.status.pid == now.status.pid && before.status.uptime_ms <= now.status.uptime_ms
        };
        let before = self.before.take();
        self.restarts += u64::from(before.as_ref().is_some_and(|before| !is_same(before)));
        let before = before.filter(is_same);
        let summary = summary(before.as_ref(), &now, self.restarts);
        self.before = Some(now);
        summary
    }
}

fn summary(before: Option<&Snapshot>, now: &Snapshot, restarts: u64) -> Summary {
    let status = &now.status;
    let elapsed_ms = before.map(|before| status.uptime_ms - before.status.uptime_ms);
    let seconds = elapsed_ms.filter(|ms| *ms > 0).map(|ms| ms as f64 / 1e3);
    let earlier: BTreeMap<&str, &VssdStatus> = before
        .iter()
        .flat_map(|before| &before.status.vssds)
        .map(|vssd| (vssd.name.as_str(), vssd))
        .collect();
    let shares: BTreeMap<&str, &ShareStatus> = now
        .arbiter
        .iter()
        .flat_map(|arbiter| &arbiter.vssds)
        .map(|share| (share.name.as_str(), share))
        .collect();
    let rows = status.vssds.iter().map(|vssd| {
        let before = earlier.get(vssd.name.as_str()).copied();
        let rates = before
            .zip(seconds)
            .and_then(|(before, seconds)| rates(before, vssd, seconds));
        row(vssd, shares.get(vssd.name.as_str()).copied(), rates)
    });
    Summary {
        seconds,
        restarts,
        uptime_ms: status.uptime_ms,
        backing: status.backing.clone(),
        pool: status.pool,
        arbiter: now.arbiter.as_ref().map(|arbiter| Arbiter {
            policy: arbiter.policy.to_string(),
            period: arbiter.period.to_string(),
            pick: arbiter.pick.to_string(),
            periods: arbiter.periods,
        }),
        vssds: rows.collect(),
        decisions: now
            .arbiter
            .as_ref()
            .map(|arbiter| arbiter.recent.clone())
            .unwrap_or_default(),
    }
}

fn row(vssd: &VssdStatus, share: Option<&ShareStatus>, rates: Option<Rates>) -> Row {
    Row {
        name: vssd.name.clone(),
        guest: if vssd.draining {
            "draining"
        } else {
            vssd.guest()
        },
        block_size: vssd.block_size,
        capacity: vssd.capacity,
        held: vssd.held,
        limit: vssd.quota,
        wanted: share.and_then(|share| share.wanted),
        weight: share.map(|share| share.weight),
        standing: share.map(|share| share.standing),
        hit_ratio: share.and_then(|share| share.hit_ratio),
        rates,
        resize: vssd.resize.clone(),
    }
}

/// `None` when a count went back: the vSSD was removed and added again.
fn rates(before: &VssdStatus, now: &VssdStatus, seconds: f64) -> Option<Rates> {
    let a_second = |count: fn(&VssdStatus) -> u64| {
        let difference = count(now).checked_sub(count(before))?;
        Some(difference as f64 / seconds)
    };
    let (reads, writes) = (
        service_times(before, now, Operation::Read),
        service_times(before, now, Operation::Write),
    );
    Some(Rates {
        latency: quantiles(&[&reads, &writes]),
        reads: Flow {
            requests: a_second(|vssd| vssd.counters.reads)?,
            bytes: a_second(|vssd| vssd.counters.read_bytes)?,
            latency: quantiles(&[&reads]),
        },
        writes: Flow {
            requests: a_second(|vssd| vssd.counters.writes)?,
            bytes: a_second(|vssd| vssd.counters.written_bytes)?,
            latency: quantiles(&[&writes]),
        },
    })
}

fn service_times(before: &VssdStatus, now: &VssdStatus, operation: Operation) -> Vec<Bucket> {
    let of = |vssd: &VssdStatus| {
        let found = vssd.latency.iter().find(|of| of.operation == operation);
        found.map(|of| of.buckets.clone()).unwrap_or_default()
    };
    since(&of(before), of(now))
}

/// What was counted since `before`; all of `now` if a count went back, as after a reset.
fn since(before: &[Bucket], now: Vec<Bucket>) -> Vec<Bucket> {
    let mut rest: BTreeMap<u64, u64> = before.iter().copied().collect();
    let difference = now
        .iter()
        .map(|&(value, count)| {
            let earlier = rest.remove(&value).unwrap_or_default();
            Some((value, count.checked_sub(earlier)?))
        })
        .collect::<Option<Vec<_>>>();
    match difference {
        Some(difference) if rest.is_empty() => difference,
        _ => now,
    }
}

/// The quantiles of all these counts; `None` if there are none.
fn quantiles(counts: &[&[Bucket]]) -> Option<Latency> {
    let is_empty = |buckets: &&[Bucket]| buckets.iter().all(|(_, count)| *count == 0);
    if counts.iter().all(is_empty) {
        return None;
    }
    let mut all = latency::histogram();
    for buckets in counts {
        latency::add(&mut all, buckets);
    }
    Some(Latency {
        p50_ns: all.value_at_quantile(0.5),
        p99_ns: all.value_at_quantile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{snapshot, vssd};
    use super::*;

    /// The summary of two readings.
    fn between(before: Snapshot, now: Snapshot) -> Summary {
        let mut history = History::default();
        let first = history.next(before);
        assert_eq!((first.seconds, first.restarts), (None, 0));
        assert!(first.vssds.iter().all(|row| row.rates.is_none()));
        history.next(now)
    }

    #[test]
    fn rates_are_those_of_the_interval() {
        let (mut before, mut now) = (vssd("vm1"), vssd("vm1"));
        before.counters.reads = 1000;
        before.latency[0].buckets = vec![(1_000_000, 1000)];
        now.counters.reads = 1200;
        now.counters.read_bytes = 200 * 4096;
        now.counters.writes = 50;
        now.counters.written_bytes = 50 * 4096;
        now.latency[0].buckets = vec![(10_000, 198), (20_000, 2), (1_000_000, 1000)];
        now.latency[1].buckets = vec![(40_000, 50)];
        let summary = between(snapshot(5000, vec![before]), snapshot(7000, vec![now]));
        assert_eq!(summary.seconds, Some(2.0));
        let rates = summary.vssds[0].rates.unwrap();
        assert_eq!((rates.reads.requests, rates.writes.requests), (100.0, 25.0));
        assert_eq!(rates.reads.bytes, 100.0 * 4096.0);
        assert_eq!(rates.writes.bytes, 25.0 * 4096.0);
        // A value is known to 1 in 128.
        let near = |ns: u64, wanted: u64| ns.abs_diff(wanted) <= wanted / 100;
        let is = |latency: Option<Latency>, p50_ns, p99_ns| {
            let latency = latency.unwrap();
            assert!(near(latency.p50_ns, p50_ns), "{latency:?}");
            assert!(near(latency.p99_ns, p99_ns), "{latency:?}");
        };
        is(rates.reads.latency, 10_000, 10_000);
        is(rates.writes.latency, 40_000, 40_000);
        is(rates.latency, 10_000, 40_000);
    }

    #[test]
    fn a_restarted_backend_has_no_rates_and_is_counted() {
        let mut history = History::default();
        history.next(snapshot(9000, vec![vssd("vm1")]));
        let mut other = snapshot(9500, vec![vssd("vm1")]);
        other.status.pid += 1;
        let summary = history.next(other);
        assert_eq!((summary.seconds, summary.restarts), (None, 1));
        assert_eq!(summary.vssds[0].rates, None);
        let mut earlier = snapshot(100, vec![vssd("vm1")]);
        earlier.status.pid += 1;
        assert_eq!(history.next(earlier.clone()).restarts, 2);
        // Two readings at the same time have no interval.
        let summary = history.next(earlier);
        assert_eq!((summary.seconds, summary.restarts), (None, 2));
    }

    #[test]
    fn a_vssd_that_is_new_or_began_anew_has_no_rates() {
        let mut before = vssd("vm1");
        before.counters.written_bytes = 1;
        let now = snapshot(2000, vec![vssd("vm1"), vssd("vm2")]);
        let summary = between(snapshot(1000, vec![before]), now);
        let rates: Vec<_> = summary.vssds.iter().map(|row| row.rates).collect();
        assert_eq!(rates, [None, None]);
    }

    #[test]
    fn an_idle_vssd_has_rates_and_no_latency() {
        let summary = between(
            snapshot(1000, vec![vssd("vm1")]),
            snapshot(2000, vec![vssd("vm1")]),
        );
        let rates = summary.vssds[0].rates.unwrap();
        assert_eq!((rates.reads.requests, rates.latency), (0.0, None));
    }

    #[test]
    fn histograms_that_were_reset_count_from_the_reset() {
        let now = vec![(5, 3), (8, 2)];
        assert_eq!(since(&[], now.clone()), now);
        assert_eq!(since(&[(5, 1)], now.clone()), [(5, 2), (8, 2)]);
        assert_eq!(since(&[(5, 4)], now.clone()), now);
        assert_eq!(since(&[(5, 1), (7, 1)], now.clone()), now);
        assert_eq!(since(&now, now.clone()), [(5, 0), (8, 0)]);
    }

    #[test]
    fn json_names_the_reply() {
        let summary = between(
            snapshot(1000, vec![vssd("vm1")]),
            snapshot(2000, vec![vssd("vm1")]),
        );
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["reply"], "top");
        assert_eq!(json["vssds"][0]["rates"]["reads"]["requests"], 0.0);
    }
}
