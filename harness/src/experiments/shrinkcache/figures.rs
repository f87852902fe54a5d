//! Hits of a cache over its accesses, through a shrink and the grow back.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, GREY, Header, INK, SHADE, Swatch, VERMILLION, dress, sheet, text,
};
use results::chart::{Drawing, Figure, scale};

use super::claims::Windows;
use super::rows::{
    ALWAYS_SMALL, DROP_ALL, HOST_LRU, NEVER_SHRUNK, SURRENDER, ShrinkCacheRow, UNIFORM,
};
use crate::experiments::common::looks::PURPLE;

/// What is drawn, what lies above last: way, colour, width of the line, and words for it.
const LINES: [(&str, RGBColor, u32, &str); 6] = [
    (NEVER_SHRUNK, GREY, 1, "never shrunk"),
    (ALWAYS_SMALL, INK, 1, "always so small"),
    (DROP_ALL, PURPLE, 2, "host drops all"),
    (UNIFORM, VERMILLION, 2, "host takes at random"),
    (HOST_LRU, GREEN, 2, "host takes by LRU"),
    (SURRENDER, BLUE, 2, "the cache chooses"),
];

/// The figure; none without rows.
pub(crate) fn draw(rows: &[ShrinkCacheRow]) -> Result<Vec<Drawing>> {
    let windows = Windows(rows);
    let of_phase = |phase: &str| {
        let of = windows.of(SURRENDER).filter(|row| row.phase == phase);
        of.collect::<Vec<_>>()
    };
    let (full, small) = (of_phase("before"), of_phase("shrunk"));
    let (Some(full), Some(small)) = (full.last(), small.last()) else {
        return Ok(Vec::new());
    };
    let title = "Hits of a cache through a shrink and the grow back";
    let header = Header {
        title,
        subtitle: &format!(
            "From {} to {} slots and back; each point is {} accesses.",
            scale::count(full.slots.into()),
            scale::count(small.slots.into()),
            scale::count(small.window as f64)
        ),
        legend: LINES
            .iter()
            .filter(|(way, ..)| windows.of(way).next().is_some())
            .map(|(_, color, _, name)| (Swatch::Line(*color), (*name).to_owned()))
            .collect(),
    };
    let svg = sheet(&header, |area| chart(area, &windows, full, small))?;
    let figure = Figure {
        stem: "shrinkcache",
        title: title.to_owned(),
        caption: "All lines are of the same accesses, so what moves them all at once is the workload. The two thin \
                  ones are no guests but the cache's code alone: a cache that keeps its size, and one that always had \
                  what the shrink leaves. The shaded part is the time between the shrink and the grow."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn chart(
    area: &Area<'_>,
    windows: &Windows<'_>,
    full: &ShrinkCacheRow,
    small: &ShrinkCacheRow,
) -> Result<()> {
    let end = windows.0.iter().map(|row| row.accesses).max();
    let end = end.unwrap_or(1) as f64;
    let percent = |row: &ShrinkCacheRow| 100.0 * row.hit_ratio();
    let top = windows.0.iter().map(percent).fold(1.0, f64::max) * 1.08;
    let top = top.min(102.0);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(30)
        .margin_right(28)
        .x_label_area_size(52)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Axis::linear(0.0..end, scale::linear_ticks(end, 8), scale::count),
            Axis::linear(0.0..top, scale::linear_ticks(top, 8), scale::count),
        )?;
    let (from, to) = (full.accesses as f64, small.accesses as f64);
    let shrunk = Rectangle::new([(from, 0.0), (to, top)], SHADE.filled());
    chart.draw_series([shrunk])?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_x_mesh()
        .x_desc("Accesses")
        .y_desc("Accesses that hit (%)")
        .draw()?;
    for (way, color, width, _) in LINES {
        let points = windows.of(way).map(|row| {
            // In the middle of its window.
            let at = row.accesses as f64 - row.window as f64 / 2.0;
            (at, percent(row))
        });
        let points: Vec<(f64, f64)> = points.collect();
        chart.draw_series([PathElement::new(points, color.stroke_width(width))])?;
    }
    let plot = chart.plotting_area();
    let (columns, rows) = area.get_pixel_range();
    for (at, name) in [(from, "shrink"), (to, "grow")] {
        let (x, y) = plot.map_coordinate(&(at, top));
        let style = text(15, GREY, HPos::Center, VPos::Bottom);
        let place = (x - columns.start, y - rows.start - 6);
        area.draw(&Text::new(name, place, style))?;
    }
    Ok(())
}
