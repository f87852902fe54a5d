//! Claims of the latency experiment.

use std::collections::BTreeMap;

use vssd_host::latency::{Histogram, add, histogram};

use super::overhead::{OLD, OURS};
use super::{Source, Table, Verdict};
use crate::record::{LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side};

/// What one side measured in one phase, over all cycles.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Latencies of all requests of the phase.
    pub latencies: Histogram,
    /// The longest stall of any cycle.
    pub longest_stall_ns: u64,
    /// Length of the phase, over all cycles.
    pub phase_ns: u64,
    /// Requests by the rows of the cycles, which the histogram must have too.
    requests: u64,
}

impl Measured {
    fn empty() -> Self {
        Self {
            latencies: histogram(),
            longest_stall_ns: 0,
            phase_ns: 0,
            requests: 0,
        }
    }

    /// The latency that this share of the requests did not exceed.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        self.latencies.value_at_quantile(share)
    }
}

/// What was measured, by encoding, side and phase.
pub type Points = BTreeMap<(String, Side, LatencyPhase), Measured>;

/// Brings the rows together.
pub fn points(rows: &[LatencyRow], buckets: &[LatencyBucketRow]) -> Points {
    let mut points = Points::new();
    for row in rows {
        let point = points
            .entry((row.encoding.clone(), row.side, row.phase))
            .or_insert_with(Measured::empty);
        point.longest_stall_ns = point.longest_stall_ns.max(row.longest_stall_ns);
        point.phase_ns = point.phase_ns.saturating_add(row.phase_ns);
        point.requests = point.requests.saturating_add(row.requests);
    }
    for row in buckets {
        for (phase, count) in LatencyPhase::ALL.into_iter().zip(row.counts()) {
            let point = points
                .entry((row.encoding.clone(), row.side, phase))
                .or_insert_with(Measured::empty);
            add(&mut point.latencies, &[(row.value_ns, count)]);
        }
    }
    points
}

/// Judges the rows.
pub fn judge(
    rows: &[LatencyRow],
    buckets: &[LatencyBucketRow],
    cycles: &[LatencyCycleRow],
) -> Verdict {
    let points = points(rows, buckets);
    let _ = (OLD, OURS);
    let mut verdict = Verdict {
        title: "Latency while resizing".to_owned(),
        claims: Vec::new(),
        tables: vec![table(&points), resizes(cycles)],
    };
    verdict.claim(Source::Requirement, "x", false, String::new());
    verdict
}

fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

fn table(points: &Points) -> Table {
    Table {
        title: "Latencies".to_owned(),
        head: [
            "encoding",
            "side",
            "phase",
            "requests",
            "p50 (µs)",
            "p99 (µs)",
            "p99.9 (µs)",
            "max (µs)",
            "longest stall (µs)",
            "phase (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: points
            .iter()
            .map(|((encoding, side, phase), point)| {
                vec![
                    encoding.clone(),
                    side.label().to_owned(),
                    phase.label().to_owned(),
                    point.latencies.len().to_string(),
                    micros(point.quantile_ns(0.5)),
                    micros(point.quantile_ns(0.99)),
                    micros(point.quantile_ns(0.999)),
                    micros(point.latencies.max()),
                    micros(point.longest_stall_ns),
                    super::millis(point.phase_ns),
                ]
            })
            .collect(),
    }
}

fn resizes(cycles: &[LatencyCycleRow]) -> Table {
    Table {
        title: "Resizes under load".to_owned(),
        head: [
            "encoding",
            "cycle",
            "requests",
            "failed",
            "shrink (ms)",
            "exchanges",
            "grow (ms)",
            "exchanges",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: cycles
            .iter()
            .map(|row| {
                vec![
                    row.encoding.clone(),
                    row.cycle.to_string(),
                    row.requests.to_string(),
                    row.failed.to_string(),
                    super::millis(row.shrink_ns),
                    row.shrink_exchanges.to_string(),
                    super::millis(row.grow_ns),
                    row.grow_exchanges.to_string(),
                ]
            })
            .collect(),
    }
}
