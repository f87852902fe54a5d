//! Latency over percentile, by phase, and the longest stall beside it.

use std::ops::Range;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, Header, INK, Mark, SHADE, SKY, Swatch, VERMILLION, dress, marker, sheet,
    text,
};
use results::chart::{Drawing, Figure, scale};
use vssd_host::latency::{Histogram, buckets};

use super::claims::{Measured, Points, points};
use super::rows::{LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side};

/// How many nines of requests the axis shows: up to 99.999 %.
const NINES: f64 = 5.0;

/// Nines that make less than a pixel.
const LEAST_STEP: f64 = 0.01;

/// The strip to the right of these for the longest stalls.
const STALLS: Range<f64> = 5.2..6.4;

/// Place of a share of requests on the axis, in nines: 90 % at 1, 99 % at 2.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(f64::MIN_POSITIVE).log10()
}

/// What stands beside a place on the axis.
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

/// A phase's colour, and the width of its line: what a resize does stands out.
fn look(phase: LatencyPhase) -> (RGBColor, Mark) {
    match phase {
        LatencyPhase::Before => (INK, Mark::Hollow),
        LatencyPhase::Shrink => (VERMILLION, Mark::Full),
        LatencyPhase::Between => (SKY, Mark::Hollow),
        LatencyPhase::Grow => (BLUE, Mark::Full),
        LatencyPhase::After => (GREEN, Mark::Hollow),
    }
}

/// The curve of a histogram: at each latency, the share of requests that took
/// no longer. It ends where no single request is left.
fn curve(latencies: &Histogram) -> Vec<(f64, f64)> {
    let total = latencies.len() as f64;
    let last = total.log10().min(NINES);
    let mut seen = 0.0;
    let mut path: Vec<(f64, f64)> = Vec::new();
    for (value_ns, count) in buckets(latencies) {
        let latency = latencies.highest_equivalent(value_ns) as f64;
        // From the first request of the bucket to its last.
        for share in [seen / total, (seen + count as f64) / total] {
            let point = (nines(share).min(last), latency);
            let near = |(place, _): &(f64, f64)| (point.0 - place).abs() < LEAST_STEP;
            // Of three points above each other the middle one shows nothing.
            if path.iter().rev().take(2).filter(|at| near(at)).count() == 2 {
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
    let points = points(rows, buckets);
    let mut drawings = Vec::new();
    for side in Side::ALL {
        let any = |((_, of, _), point): (&(String, Side, LatencyPhase), &Measured)| {
            *of == side && !point.latencies.is_empty()
        };
        if points.iter().any(any) {
            drawings.push(of_side(side, &points, cycles)?);
        }
    }
    Ok(drawings)
}

fn of_side(side: Side, points: &Points, cycles: &[LatencyCycleRow]) -> Result<Drawing> {
    let (stem, title, caption) = match side {
        Side::Guest => (
            "latency_guest",
            "Latency while resizing, in the guest",
            "From the submission of a request until the guest took it back. A request belongs to \
             the resize that was under way at any time meanwhile; \"stall\" is the longest time \
             in which requests were in flight and none came back.",
        ),
        Side::Backend => (
            "latency_backend",
            "Latency while resizing, at the backend",
            "From when the backend took a request from its ring until it had served it, without \
             the time that it waited there. \"Stall\" is the longest time that \
             a request waited for the lock of the pool, which a resize holds.",
        ),
    };
    let subtitle = match cycles.first() {
        None => String::new(),
        Some(cycle) => {
            let bytes = f64::from(cycle.blocks) * f64::from(cycle.block_size_bytes);
            let device = match cycle.filled {
                true => "written in full",
                false => "sparse",
            };
            format!(
                "A shrink by {} ({}) of a device that was {device}, and the grow back, with {} requests in flight.",
                scale::bytes(bytes),
                cycle.pick,
                cycle.depth
            )
        }
    };
    let legend = LatencyPhase::ALL.map(|phase| {
        let (color, mark) = look(phase);
        (Swatch::MarkedLine(color, mark), phase.label().to_owned())
    });
    let header = Header {
        title,
        subtitle: &subtitle,
        legend: legend.to_vec(),
    };
    let svg = sheet(&header, |area| panels(area, side, points))?;
    let figure = Figure {
        stem,
        title: title.to_owned(),
        caption: format!(
            "At each percentage on the axis below, that share of the requests took no longer than \
             the curve says; both axes are logarithmic, and both panels have the same. {caption}"
        ),
    };
    Ok((figure, svg))
}

fn panels(area: &Area<'_>, side: Side, points: &Points) -> Result<()> {
    let of_side = || points.iter().filter(|((_, of, _), _)| *of == side);
    let mut encodings: Vec<&str> = of_side().map(|((name, _, _), _)| name.as_str()).collect();
    encodings.dedup();
    let (mut least, mut most) = (f64::INFINITY, 0f64);
    for (_, point) in of_side().filter(|(_, point)| !point.latencies.is_empty()) {
        least = least.min(point.latencies.min() as f64);
        most = most.max(point.latencies.max().max(point.longest_stall_ns) as f64);
    }
    // A little room round the curves; a logarithmic axis has no 0.
    let y = least.max(1.0) / 1.5..most.max(2.0) * 2.0;
    let parts = area.split_evenly((1, encodings.len()));
    for (encoding, part) in encodings.into_iter().zip(parts) {
        let phases: Vec<(LatencyPhase, &Measured)> = of_side()
            .filter(|((name, _, _), _)| name == encoding)
            .map(|((_, _, phase), point)| (*phase, point))
            .collect();
        panel(&part, encoding, &phases, y.clone())?;
    }
    Ok(())
}

fn panel(
    area: &Area<'_>,
    encoding: &str,
    phases: &[(LatencyPhase, &Measured)],
    y: Range<f64>,
) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    area.draw(&Text::new(
        encoding.to_owned(),
        (84 + (width as i32 - 84 - 24) / 2, 12),
        text(17, INK, HPos::Center, VPos::Center),
    ))?;
    let middle = (STALLS.start + STALLS.end) / 2.0;
    let places = [nines(0.5), 1.0, 2.0, 3.0, 4.0, 5.0, middle].to_vec();
    let times = scale::powers(10.0, y.start, y.end);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(28)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Axis::linear(0.0..STALLS.end, places, percent),
            Axis::logarithmic(y.clone(), times, scale::time),
        )?;
    let strip = [(STALLS.start, y.start), (STALLS.end, y.end)];
    chart.draw_series([Rectangle::new(strip, SHADE.filled())])?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Requests (%)").y_desc("Latency").draw()?;
    let with_requests = phases.iter().filter(|(_, of)| !of.latencies.is_empty());
    for (phase, point) in with_requests {
        let (color, mark) = look(*phase);
        let path = curve(&point.latencies);
        chart.draw_series([PathElement::new(
            path,
            color.stroke_width(mark.line_width()),
        )])?;
    }
    // Side by side, because those of quiet phases are much the same.
    let step = (STALLS.end - STALLS.start) / (LatencyPhase::ALL.len() + 1) as f64;
    for (phase, point) in phases {
        let (color, mark) = look(*phase);
        let place = STALLS.start + step * (*phase as usize + 1) as f64;
        if point.longest_stall_ns > 0 {
            let at = (place, point.longest_stall_ns as f64);
            chart.draw_series([marker(at, 5, color, mark)])?;
        }
    }
    Ok(())
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

    /// The curve is read backwards: the share of requests up to a latency.
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
