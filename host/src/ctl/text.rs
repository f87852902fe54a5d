//! The text output of `vssdctl`.
//!
//! Tables have fixed columns instead of a table crate's fitted ones: under `watch` each line stays
//! comparable with those before it.

use std::fmt::Write as _;

use vssd::error::Reject;

use super::arbiter::{describe_advice, describe_decisions, describe_status as describe_arbiter};
use crate::control::protocol::{
    Added, AgentConnection, DemandStatus, LatencyStatus, Rate, Reply, Resized, Status, VssdStatus,
};
use crate::latency;
use crate::resize_request::MOUNTED;
use crate::size::ByteSize;

/// A reply as text.
pub(super) fn describe(reply: &Reply) -> String {
    match reply {
        Reply::Ok => "done\n".to_owned(),
        Reply::Added(added) => describe_added(added),
        Reply::Status(status) => describe_status(status),
        Reply::Started { id } => format!("resize {id}\n"),
        Reply::Resized(resized) => describe_resized(resized),
        Reply::Latency(latency) => describe_latency(latency),
        Reply::Demand { demand } => describe_demand(demand.as_ref()),
        Reply::Arbiter(status) => describe_arbiter(status),
        Reply::Decisions { vssd, decisions } => describe_decisions(vssd, decisions),
        Reply::Error { message } => format!("{message}\n"),
    }
}

fn describe_added(added: &Added) -> String {
    let mut text = if added.new {
        "created a new vSSD\n".to_owned()
    } else {
        "done\n".to_owned()
    };
    for warning in &added.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn describe_resized(resized: &Resized) -> String {
    let size = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(resized.block_size));
    let verb = if resized.target < resized.from {
        "took"
    } else {
        "gave"
    };
    let moved = resized.from.abs_diff(resized.held);
    let wanted = resized.from.abs_diff(resized.target);
    if wanted == 0 {
        return format!(
            "{}: the guest holds {} already\n",
            resized.end,
            size(resized.held)
        );
    }
    let mut text = format!(
        "{}: {verb} {moved} of {wanted} blocks ({} of {}) in {:.1} ms ({} exchanges), guest holds {}",
        resized.end,
        size(moved),
        size(wanted),
        resized.elapsed_ns as f64 / 1e6,
        resized.exchanges,
        size(resized.held)
    );
    if resized.revoked > 0 {
        let _ = write!(text, "; {} were taken by force", resized.revoked);
    }
    text.push_str(if resized.agreed {
        "; both lists agree\n"
    } else {
        "; the guest has not confirmed its list\n"
    });
    if resized.withheld {
        let _ = writeln!(
            text,
            "The agent did not give the rest, and taking it by force loses what is in these blocks, \
             {MOUNTED}: to take it anyway, repeat with --force"
        );
    }
    text
}

fn describe_latency(status: &LatencyStatus) -> String {
    let mut text = format!(
        "{:<9} {:<6} {:>10} {:>12} {:>12} {:>12} {:>12}\n",
        "DURING", "OP", "REQUESTS", "P50 (us)", "P99 (us)", "P99.9 (us)", "MAX (us)"
    );
    let micros = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    for during in &status.activities {
        for of in during.operations.iter().filter(|of| !of.buckets.is_empty()) {
            let mut service = latency::histogram();
            latency::add(&mut service, &of.buckets);
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| micros(service.value_at_quantile(q)));
            let _ = writeln!(
                text,
                "{:<9} {:<6} {:>10} {p50:>12} {p99:>12} {p999:>12} {:>12}",
                during.activity.label(),
                of.operation.label(),
                service.len(),
                micros(service.max()),
            );
        }
    }
    let _ = writeln!(text, "{:<9} {:>17}", "DURING", "STALL MAX (us)");
    for during in &status.activities {
        let stall = micros(during.longest_stall_ns);
        let _ = writeln!(text, "{:<9} {stall:>17}", during.activity.label());
    }
    text
}

/// A point for each tenth of the accesses, so that a curve fits on a screen.
fn describe_demand(demand: Option<&DemandStatus>) -> String {
    let Some(demand) = demand else {
        return "the guest has nothing to report: no cache of it samples its accesses\n".to_owned();
    };
    let mut text = format!(
        "{} accesses since the last report, {} hits, {} writes\n",
        demand.accesses, demand.hits, demand.writes
    );
    if demand.curve.is_empty() {
        return text;
    }
    let _ = writeln!(text, "{:>12} {:>12}", "BLOCKS", "MISSES (%)");
    let mut last = u32::MAX;
    for (index, point) in demand.curve.iter().enumerate() {
        let is_last = index + 1 == demand.curve.len();
        if is_last || point.misses_ppm / 100_000 < last / 100_000 {
            let percent = f64::from(point.misses_ppm) / 10_000.0;
            let _ = writeln!(text, "{:>12} {percent:>12.2}", point.blocks);
            last = point.misses_ppm;
        }
    }
    text
}

fn describe_status(status: &Status) -> String {
    let pool = &status.pool;
    let bytes = |blocks: u64| ByteSize(blocks * u64::from(pool.block_size));
    let mut text = format!(
        "pool {}: {} of {} free, {} of {} committed\n",
        status.backing,
        bytes(pool.free.into()),
        bytes(pool.physical_blocks.into()),
        bytes(pool.committed),
        bytes(pool.limit),
    );
    if let Some(wear) = pool.media {
        let _ = writeln!(
            text,
            "medium: {} written for {} requested ({:.2}x), {} erases, at most {:.1} cycles",
            ByteSize(wear.media_bytes),
            ByteSize(wear.host_bytes),
            wear.write_amplification,
            wear.erases,
            wear.cycles_max
        );
    }
    let _ = writeln!(
        text,
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  {:<10} {:<11} RESIZE",
        "NAME", "SIZE", "QUOTA", "HELD", "WRITTEN", "READS/S", "WRITES/S", "GUEST", "LISTS"
    );
    for vssd in &status.vssds {
        let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(vssd.block_size));
        let guest = vssd.guest();
        // Over the last second.
        let rates = vssd.rates.first();
        let [reads, writes] =
            [|r: &Rate| r.reads, |r: &Rate| r.writes].map(|of| rates.map_or(0.0, of).round());
        let lists = if vssd.agreed { "agreed" } else { "unconfirmed" };
        let resize = vssd.resize.as_ref().map_or("-".to_owned(), |resize| {
            format!("{} to {}", resize.phase, bytes(resize.target))
        });
        let draining = if vssd.draining { ", draining" } else { "" };
        let _ = writeln!(
            text,
            "{:<20} {:>9} {:>9} {:>9} {:>9} {reads:>9} {writes:>9}  {guest:<10} {lists:<11} {resize}{draining}",
            vssd.name,
            bytes(vssd.capacity).to_string(),
            bytes(vssd.quota).to_string(),
            bytes(vssd.held).to_string(),
            bytes(vssd.used).to_string(),
        );
    }
    for vssd in &status.vssds {
        describe_agent(&mut text, vssd);
        describe_advice(&mut text, &vssd.name, vssd.advice);
    }
    describe_failures(&mut text, status);
    describe_unserved(&mut text, status);
    text
}

/// The channel of an agent, if there is one.
fn describe_agent(text: &mut String, vssd: &VssdStatus) {
    let Some(agent) = &vssd.agent else { return };
    let state = match (agent.connection, vssd.driver) {
        (AgentConnection::None, _) => "not connected",
        (AgentConnection::Port, _) => "a serial port is connected, no agent has opened it",
        (AgentConnection::Agent, false) => "an agent was there and does not answer",
        (AgentConnection::Agent, true) => "an agent answers",
    };
    let queues = vssd.request_queues;
    let _ = writeln!(
        text,
        "{}: {queues} request queue{}; agent at {}: {state}",
        vssd.name,
        if queues == 1 { "" } else { "s" },
        agent.socket
    );
}

/// Failed requests, if there are any.
fn describe_failures(text: &mut String, status: &Status) {
    for vssd in &status.vssds {
        let counters = &vssd.counters;
        let not_held = counters.rejects.get(Reject::NotHeld.label());
        for (count, cause) in [
            (counters.io_errors, "failed"),
            (counters.no_space, "found no room in the pool"),
            (
                not_held.copied().unwrap_or(0),
                "addressed blocks that it does not hold",
            ),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{}: {count} requests {cause}", vssd.name);
            }
        }
    }
}

fn describe_unserved(text: &mut String, status: &Status) {
    let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(status.pool.block_size));
    for vssd in &status.unserved {
        let _ = writeln!(
            text,
            "{}: in the pool and not served; {} of {} held, {} written",
            vssd.name,
            bytes(vssd.held),
            bytes(vssd.capacity),
            bytes(vssd.used)
        );
    }
}
