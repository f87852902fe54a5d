//! Misses of the guest's cache over its size, and how long hits and misses take.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREY, Header, INK, Mark, Swatch, VERMILLION, dress, marker, sheet, text,
};
use results::chart::spans::{self, Span};
use results::chart::{Drawing, Figure, scale};
use results::verdict::distinct;
use simulate::replay::Contender;
use vssd_host::emulation::MediaKind;

use super::claims::{NO_MEDIUM, workloads};
use super::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow};
use crate::experiments::common::looks::LOOKS;

/// Cells with a disk that are drawn; the table has all.
const CELLS: usize = 14;

/// The figures; none of what there are no rows of.
pub(crate) fn draw(
    rows: &[BlockCacheRow],
    sims: &[BlockCacheSimRow],
    timings: &[BlockCacheTimingRow],
) -> Result<Vec<Drawing>> {
    let mut drawings = Vec::new();
    drawings.extend(misses(rows, sims)?);
    drawings.extend(latency(timings)?);
    Ok(drawings)
}

/// A policy's colour and mark.
fn look(place: usize) -> (RGBColor, Mark) {
    LOOKS[place % LOOKS.len()]
}

fn misses(rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) -> Result<Option<Drawing>> {
    let names = distinct(rows.iter().map(|row| row.policy.as_str()));
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let title = "Accesses that miss the cache on a vSSD";
    let bound = (INK, Mark::Hollow);
    let legend = names
        .iter()
        .enumerate()
        .map(|(place, name)| (look(place), (*name).to_owned()))
        .chain([(bound, Contender::Belady.name().to_owned())])
        .map(|((color, mark), name)| (Swatch::MarkedLine(color, mark), name));
    let header = Header {
        title,
        subtitle: &format!(
            "{} accesses through the cache of a guest, by policy and size.",
            scale::count(first.accesses() as f64)
        ),
        legend: legend.collect(),
    };
    let workloads = workloads(rows);
    let svg = sheet(&header, |area| {
        let parts = area.split_evenly((1, workloads.len()));
        for (workload, part) in workloads.iter().zip(parts) {
            panel(&part, workload, &names, rows, sims)?;
        }
        Ok(())
    })?;
    let figure = Figure {
        stem: "blockcache",
        title: title.to_owned(),
        caption: "Each point is a cache that was empty at first and saw all accesses. `belady` was not run by a \
                  guest: it knows what comes, and no policy that lets every missed block in can be below it. The \
                  sizes are on a logarithmic axis."
            .to_owned(),
    };
    Ok(Some((figure, svg)))
}

/// Powers of two, of which not more stand on an axis than there is room for.
fn size_ticks(from: f64, to: f64) -> Vec<f64> {
    let all = scale::powers(2.0, from, to);
    let every = all.len().div_ceil(6).max(1);
    all.into_iter().step_by(every).collect()
}

fn panel(
    area: &Area<'_>,
    workload: &str,
    names: &[&str],
    rows: &[BlockCacheRow],
    sims: &[BlockCacheSimRow],
) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    area.draw(&Text::new(
        workload.to_owned(),
        (84 + (width as i32 - 84 - 24) / 2, 12),
        text(17, INK, HPos::Center, VPos::Center),
    ))?;
    let of = || rows.iter().filter(|row| row.workload == workload);
    let sizes = || of().map(|row| f64::from(row.slots.max(1)));
    let (least, most) = (
        sizes().fold(f64::INFINITY, f64::min),
        sizes().fold(1.0, f64::max),
    );
    let (from, to) = (least * 0.85, most * 1.18);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(28)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(70)
        .build_cartesian_2d(
            Axis::logarithmic(from..to, size_ticks(from, to), scale::count),
            Axis::linear(0.0..102.0, scale::linear_ticks(100.0, 6), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Slots of the cache")
        .y_desc("Accesses that miss (%)")
        .draw()?;
    let bound = sims
        .iter()
        .filter(|sim| sim.workload == workload && sim.policy == Contender::Belady.name())
        .map(|sim| (f64::from(sim.slots.max(1)), 100.0 * sim.miss_ratio()));
    let mut lines = vec![((INK, Mark::Hollow), bound.collect::<Vec<_>>())];
    for (place, name) in names.iter().enumerate() {
        let points = of()
            .filter(|row| row.policy == *name)
            .map(|row| (f64::from(row.slots.max(1)), 100.0 * row.miss_ratio()));
        lines.push((look(place), points.collect()));
    }
    for ((color, mark), mut points) in lines {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path = PathElement::new(points.clone(), color.stroke_width(mark.line_width()));
        chart.draw_series([path])?;
        chart.draw_series(points.iter().map(|at| marker(*at, 4, WHITE, Mark::Full)))?;
        chart.draw_series(points.iter().map(|at| marker(*at, 4, color, mark)))?;
    }
    Ok(())
}

fn latency(timings: &[BlockCacheTimingRow]) -> Result<Option<Drawing>> {
    let slow = timings.iter().filter(|row| row.medium != NO_MEDIUM);
    let lines: Vec<spans::Line> = slow
        .take(CELLS)
        .map(|row| {
            let span = |color, count, p50_ns, p99_ns| {
                (count > 0).then_some(Span {
                    color,
                    p50_ns,
                    p99_ns,
                })
            };
            let hits = span(BLUE, row.hits, row.hit_p50_ns, row.hit_p99_ns);
            let misses = span(VERMILLION, row.misses, row.miss_p50_ns, row.miss_p99_ns);
            let reads = (row.hits + row.misses).max(1) as f64;
            spans::Line {
                name: format!("{}, {} slots", row.policy, scale::count(row.slots.into())),
                spans: hits.into_iter().chain(misses).collect(),
                note: format!("{:.0} % hit", 100.0 * row.hits as f64 / reads),
            }
        })
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let title = "Time of a hit and of a miss, in front of a disk";
    let header = Header {
        title,
        subtitle: "Reads of 4 KiB by the guest's clock: half took no longer than the dot, 99 % than the ring.",
        legend: vec![
            (Swatch::MarkedLine(BLUE, Mark::Full), "hit".to_owned()),
            (
                Swatch::MarkedLine(VERMILLION, Mark::Full),
                "miss".to_owned(),
            ),
            (
                Swatch::Line(GREY),
                "an access of the disk's model".to_owned(),
            ),
        ],
    };
    let disk_ns = MediaKind::Hdd.times().read_ns;
    let svg = sheet(&header, |area| {
        spans::chart(area, &lines, disk_ns, "Time of a read")
    })?;
    let figure = Figure {
        stem: "blockcache_latency",
        title: title.to_owned(),
        caption: "One line for each cell that was run in front of an origin disk that imitates a disk. The axis is \
                  logarithmic."
            .to_owned(),
    };
    Ok(Some((figure, svg)))
}
