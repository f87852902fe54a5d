//! The state of the backend as it is reported to clients of the control socket and to Prometheus.
//!
//! No request waits for a report for longer than it takes to copy a histogram.

use std::time::{Duration, Instant};

use vssd::device::Phase;
use vssd::error::Reject;

use super::protocol::{
    ActivityLatency, AgentStatus, Connection, CountersStatus, LatencyStatus, OperationLatency,
    PoolStatus, Rate, Resized, TrackerName, TrackerStatus, TransportName, UnderWay, VssdStatus,
    end_label,
};
use crate::backend::Backend;
use crate::latency::{Activity, Operation, histogram};
use crate::pick::Tracker;
use crate::pool::Pool;
use crate::stats::{Counters, Stats};
use crate::transport::Transport;
use crate::view::Finished;
use crate::vssd::Vssd;

/// How long a status waits for busy vSSDs, to report their present state and not their last known
/// one: longer than they compute, but shorter than they may wait for the backing.
const STATUS_PATIENCE: Duration = Duration::from_millis(30);

/// What is used of a pool, as it is reported.
pub fn pool_status(pool: &Pool) -> PoolStatus {
    let (usage, work) = (pool.usage(), pool.work());
    PoolStatus {
        block_size: pool.block_size(),
        physical_blocks: usage.physical_blocks,
        free: usage.free + usage.deferred,
        deferred: usage.deferred,
        reserved: usage.owed,
        committed: usage.committed,
        limit: usage.limit,
        commits: work.commits,
        journal_bytes: work.bytes,
        compactions: work.compactions,
        media: pool.wear(),
    }
}

/// A resize that ended, as it is reported.
pub fn resized(finished: &Finished) -> Resized {
    let outcome = &finished.outcome;
    Resized {
        id: outcome.id,
        from: outcome.from,
        target: outcome.target,
        held: outcome.held,
        revoked: outcome.revoked,
        block_size: finished.block_size,
        exchanges: outcome.exchanges,
        end: end_label(outcome.end).to_owned(),
        agreed: outcome.agreed,
        elapsed_ns: outcome.finished_ns.saturating_sub(outcome.started_ns),
        device_ns: finished.device_ns,
        message_bytes: finished.message_bytes,
        withheld: finished.withheld,
    }
}

/// How long requests of a vSSD took and had to wait; `reset` starts over.
pub fn latency(vssd: &Vssd, reset: bool) -> LatencyStatus {
    // Copied, so that no request waits while buckets are listed.
    let mut stats = vssd.stats();
    let latency = stats.latency.clone();
    if reset {
        stats.latency.reset();
    }
    drop(stats);
    let activities = Activity::ALL.map(|activity| {
        let measured = latency.during(activity);
        let operations = Operation::ALL.map(|of| OperationLatency::new(of, measured.service(of)));
        ActivityLatency {
            activity,
            operations: operations.to_vec(),
            longest_stall_ns: measured.longest_stall_ns,
        }
    });
    LatencyStatus {
        activities: activities.to_vec(),
    }
}

/// The windows over which rates are reported, seconds.
const RATE_WINDOWS_S: [u64; 2] = [1, 10];

/// The states of all vSSDs, as they are reported.
pub fn statuses(backend: &Backend) -> Vec<VssdStatus> {
    let until = Instant::now() + STATUS_PATIENCE;
    let vssds = backend.vssds();
    vssds.iter().map(|vssd| status(vssd, until)).collect()
}

/// The state of a vSSD, as it is reported: that of now if it is not busy until then.
pub fn status(vssd: &Vssd, until: Instant) -> VssdStatus {
    let now = vssd.now_ns();
    let latency = Operation::ALL.map(|operation| service_times(vssd, operation));
    let view = vssd.view(until);
    let connection = Connection::of(vssd);
    let under_way = view.resize.map(|resize| UnderWay {
        id: resize.id,
        from: resize.from,
        target: resize.request.target,
        phase: match resize.phase {
            Phase::Moving => "moving".to_owned(),
            Phase::Settling { .. } => "settling".to_owned(),
        },
        elapsed_ms: now.saturating_sub(resize.started_ns) / 1_000_000,
    });
    // None if it is being deleted.
    let account = vssd.pool.account(&vssd.volume).unwrap_or_default();
    let stats = vssd.stats();
    VssdStatus {
        name: vssd.name.clone(),
        socket: vssd.socket.display().to_string(),
        block_size: vssd.geometry.block_size(),
        capacity: vssd.geometry.capacity(),
        held: view.held,
        quota: account.bounds.quota,
        reservation: account.bounds.reservation,
        used: account.owned,
        digest: format!("{:016x}", view.digest),
        target: under_way.as_ref().map_or(view.held, |resize| resize.target),
        agreed: view.agreed,
        connected: connection == Connection::Connected,
        connection,
        peer_pid: vssd.peer().pid,
        draining: vssd.is_draining(),
        restarts: vssd.restarts(),
        driver: view.driver,
        transport: match vssd.transport {
            Transport::Virtqueues => TransportName::Virtqueues,
            Transport::Stream { .. } => TransportName::Stream,
        },
        request_queues: vssd.transport.request_queues(),
        agent: AgentStatus::of(vssd),
        encoding: view.encoding.into(),
        advice: view.advice.into(),
        tracker: TrackerStatus {
            kind: TrackerName(stats.tracker.as_ref().map(Tracker::serves)),
            memory_bytes: stats.tracker.as_ref().map_or(0, Tracker::memory_bytes) as u64,
        },
        resize: under_way,
        last_resize: view.last.as_ref().map(resized),
        counters: counters(&stats.counters),
        rates: RATE_WINDOWS_S
            .map(|window_s| rate(&stats, window_s, vssd.now_ns()))
            .to_vec(),
        latency: latency.to_vec(),
    }
}

/// How long requests of one operation took. The statistics are locked for one histogram at a time:
/// a request waits for microseconds at most.
fn service_times(vssd: &Vssd, operation: Operation) -> OperationLatency {
    let mut all = histogram();
    for activity in Activity::ALL {
        let stats = vssd.stats();
        // All have the same bounds.
        let _ = all.add(stats.latency.during(activity).service(operation));
    }
    OperationLatency::new(operation, &all)
}

fn rate(stats: &Stats, window_s: u64, now_ns: u64) -> Rate {
    let ([read, write], ns) = stats.recent.during(window_s, now_ns, &stats.counters);
    let seconds = ns as f64 / 1e9;
    let rate = |count: u64| count as f64 / seconds;
    Rate {
        seconds,
        reads: rate(read.requests),
        read_bytes: rate(read.bytes),
        writes: rate(write.requests),
        written_bytes: rate(write.bytes),
    }
}

fn counters(counters: &Counters) -> CountersStatus {
    CountersStatus {
        reads: counters.read.requests,
        read_bytes: counters.read.bytes,
        writes: counters.write.requests,
        written_bytes: counters.write.bytes,
        zeroings: counters.zero.requests,
        flushes: counters.flush,
        io_errors: counters.io_errors,
        no_space: counters.no_space,
        bad_chains: counters.bad_chains,
        bad_frames: counters.bad_frames,
        commands: counters.commands,
        polls_found: counters.polls.found,
        polls_vain: counters.polls.vain,
        resizes: counters.resizes,
        resize_ends: counters
            .resize_ends
            .iter()
            .map(|(end, count)| ((*end).to_owned(), *count))
            .collect(),
        surrendered: counters.surrendered,
        revoked: counters.revoked,
        granted: counters.granted,
        rejects: Reject::ALL
            .iter()
            .zip(counters.rejects)
            .filter(|(_, count)| *count > 0)
            .map(|(reject, count)| (reject.label().to_owned(), count))
            .collect(),
    }
}
