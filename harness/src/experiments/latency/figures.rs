//! Latency over percentile, by phase, and the longest stall beside it.

use std::ops::Range;

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{At, Look, Series};
use results::chart::sheet::{BLUE, GREEN, INK, Mark, SKY, VERMILLION};
use results::quantity;
use results::verdict::distinct;
use vssd_host::latency::{Histogram, buckets};

use super::claims::{Point, Points, device, points};
use super::rows::{LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side};

/// Largest number of nines on the axis: 99.999 %.
const NINES: f64 = 5.0;

/// Nines that make less than a pixel.
const LEAST_STEP: f64 = 0.01;

/// The strip to the right of the curves for the longest stalls.
const STALLS: Range<f64> = 5.2..6.4;

/// Place of a share of requests on the axis, in nines: 90 % at 1, 99 % at 2.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(f64::MIN_POSITIVE).log10()
}

/// The label of a tick.
fn percent(nines: f64) -> String {
    match nines {
        n if n > STALLS.start => "stall".to_owned(),
        n if n < 1.0 => "50".to_owned(),
        n => {
            let decimals = (n.round() as usize).saturating_sub(2);
            format!("{:.decimals$}", 100.0 - 100.0 * 10f64.powf(-n))
        }
    }
}

/// Resizes have thick lines.
fn look(phase: LatencyPhase) -> Look {
    match phase {
        LatencyPhase::Before => (INK, Mark::Hollow),
        LatencyPhase::Shrink => (VERMILLION, Mark::Full),
        LatencyPhase::Between => (SKY, Mark::Hollow),
        LatencyPhase::Grow => (BLUE, Mark::Full),
        LatencyPhase::After => (GREEN, Mark::Hollow),
    }
}

/// The curve of a histogram: at each latency, the share of requests that did not exceed it. It
/// ends where less than one request is left.
fn curve(latencies: &Histogram) -> Vec<At> {
    let total = latencies.len() as f64;
    let last = total.log10().min(NINES);
    let mut seen = 0.0;
    let mut path: Vec<At> = Vec::new();
    for (value_ns, count) in buckets(latencies) {
        let latency = latencies.highest_equivalent(value_ns) as f64;
        // From the first request of the bucket to its last.
        for share in [seen / total, (seen + count as f64) / total] {
            let point = (nines(share).min(last), latency);
            let is_near = |(place, _): &At| (point.0 - place).abs() < LEAST_STEP;
            // Of three points above each other the middle one adds nothing.
            if path.iter().rev().take(2).filter(|at| is_near(at)).count() == 2 {
                path.pop();
            }
            path.push(point);
        }
        seen += count as f64;
    }
    path
}

/// The figures, one for each side; none for a side without rows.
pub(crate) fn draw(
    rows: &[LatencyRow],
    buckets: &[LatencyBucketRow],
    cycles: &[LatencyCycleRow],
) -> Result<Vec<Drawing>> {
    let mut points = points(rows, buckets);
    points.retain(|_, point| !point.latencies.is_empty());
    plot::draw(Side::ALL.map(|side| of_side(side, &points, cycles)))
}

fn of_side(side: Side, points: &Points, cycles: &[LatencyCycleRow]) -> Plot {
    let (stem, title, caption) = match side {
        Side::Guest => (
            "latency_guest",
            "Latency while resizing, in the guest",
            "Latency is the time from submission until the guest takes the request back. A request belongs to a \
             resize that overlaps with it. \"Stall\" is the longest time with requests in flight and no completion.",
        ),
        Side::Backend => (
            "latency_backend",
            "Latency while resizing, at the backend",
            "Latency is the time from when the backend takes a request from its ring until it is served, without \
             the wait in the ring. \"Stall\" is the longest wait of a request for the lock of the pool, which a \
             resize holds.",
        ),
    };
    let places = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].map(nines);
    let middle = (STALLS.start + STALLS.end) / 2.0;
    let percentiles = Scale::linear("Percentile of requests (%)")
        .range(0.0, STALLS.end)
        .ticks(places.into_iter().chain([middle]).collect())
        .format(percent);
    let plot = Plot::new(stem, title, percentiles, Scale::times("Latency"))
        .subtitle(cycles.first().map_or(String::new(), |cycle| {
            format!(
                "A {} device shrinks by {} ({}) and grows back, with {} requests in flight.",
                device(cycle.filled),
                quantity::bytes(f64::from(cycle.blocks) * f64::from(cycle.block_size_bytes)),
                cycle.pick,
                cycle.depth
            )
        }))
        .caption(format!(
            "At each percentile, the curve is the latency that this share of the requests did not exceed. Both axes \
             are logarithmic and the same in both panels. {caption}"
        ));
    let of_side = || points.iter().filter(|((_, of, _), _)| *of == side);
    let encodings = distinct(of_side().map(|((encoding, ..), _)| encoding.as_str()));
    encodings.into_iter().fold(plot, |plot, encoding| {
        let phases = of_side().filter(|((of, ..), _)| of == encoding);
        let lines = phases.map(|((.., phase), point)| line(*phase, point));
        let strip = Series::shade("", STALLS.start, STALLS.end);
        plot.panel(encoding, [strip].into_iter().chain(lines))
    })
}

/// The curve of a phase, and its stall. Stalls are side by side, because those of quiet phases
/// are nearly equal.
fn line(phase: LatencyPhase, point: &Point) -> Series {
    let step = (STALLS.end - STALLS.start) / (LatencyPhase::ALL.len() + 1) as f64;
    let place = STALLS.start + step * (phase as usize + 1) as f64;
    let stall = (point.longest_stall_ns > 0).then_some((place, point.longest_stall_ns as f64));
    Series::new(phase.to_string(), look(phase))
        .path(curve(&point.latencies))
        .marks(stall)
}

#[cfg(test)]
mod tests {
    use vssd_host::latency::histogram;

    use super::*;

    #[test]
    fn percentages_stand_at_their_nines() {
        for (share, label) in [
            (0.5, "50"),
            (0.9, "90"),
            (0.99, "99"),
            (0.999, "99.9"),
            (0.99999, "99.999"),
        ] {
            assert_eq!(percent(nines(share)), label);
        }
        assert_eq!(percent(STALLS.end), "stall");
    }

    /// Inverts the curve: the share of requests up to a latency.
    #[test]
    fn a_curve_ends_where_the_requests_do() {
        let mut latencies = histogram();
        for (value_ns, count) in [(1_000, 900), (10_000, 90), (100_000, 10)] {
            latencies.record_n(value_ns, count).unwrap();
        }
        let path = curve(&latencies);
        let at = |wanted: f64| {
            let found = path.iter().rev().find(|(x, _)| *x < wanted).unwrap();
            found.1.round() / 1_000.0
        };
        assert!(path.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert!((at(nines(0.89)) - 1.0).abs() < 0.01);
        assert!((at(nines(0.98)) - 10.0).abs() < 0.1);
        let (end, most) = *path.last().unwrap();
        assert!((end - 3.0).abs() < 1e-9, "1000 requests are three nines");
        assert_eq!(most, latencies.max() as f64);
    }
}
