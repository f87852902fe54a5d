//! Times of several things below each other: half of the requests of each took no
//! longer than its dot, 99 of a hundred no longer than its ring.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::scale;
use super::sheet::{Area, GREY, INK, Mark, dress, marker, text, text_width};

/// Size of names and notes.
const TEXT: u32 = 15;

/// Times of the requests of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// How it looks.
    pub color: RGBColor,
    /// Half of the requests took no longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub p99_ns: u64,
}

/// A row of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What stands to the left.
    pub name: String,
    /// The times.
    pub spans: Vec<Span>,
    /// What stands to the right.
    pub note: String,
}

/// Draws the rows from top to bottom, and a line at `reference_ns` through all of them.
pub fn chart(area: &Area<'_>, lines: &[Line], reference_ns: u64, what: &str) -> Result<()> {
    let count = lines.len() as f64;
    let times = lines
        .iter()
        .flat_map(|line| &line.spans)
        .flat_map(|span| [span.p50_ns, span.p99_ns])
        .chain([reference_ns])
        .map(|ns| ns.max(1) as f64);
    let (least, most) = times.fold((f64::INFINITY, 1.0), |(a, b), t| (a.min(t), f64::max(b, t)));
    let range = least / 1.8..most * 1.8;
    let ticks = scale::powers(10.0, range.start, range.end);
    let width = |text: fn(&Line) -> &str| {
        let widths = lines.iter().map(|line| text_width(text(line), TEXT));
        widths.max().unwrap_or(0) + 24
    };
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(width(|line| &line.note))
        .x_label_area_size(52)
        .y_label_area_size(width(|line| &line.name))
        .build_cartesian_2d(
            Axis::logarithmic(range.clone(), ticks, scale::time),
            Axis::linear(0.0..count, Vec::new(), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_y_mesh().disable_y_axis().x_desc(what).draw()?;
    let reference = reference_ns as f64;
    let path = [(reference, 0.0), (reference, count)];
    chart.draw_series([PathElement::new(path, GREY.stroke_width(2))])?;
    for (i, line) in lines.iter().enumerate() {
        let middle = count - 0.5 - i as f64;
        for (place, span) in line.spans.iter().enumerate() {
            // Side by side where there are several.
            let y = middle + 0.22 * ((line.spans.len() - 1) as f64 / 2.0 - place as f64);
            let [p50, p99] = [span.p50_ns, span.p99_ns].map(|ns| (ns.max(1) as f64, y));
            chart.draw_series([PathElement::new([p50, p99], span.color.stroke_width(2))])?;
            chart.draw_series([marker(p99, 5, WHITE, Mark::Full)])?;
            chart.draw_series([marker(p99, 5, span.color, Mark::Hollow)])?;
            chart.draw_series([marker(p50, 6, span.color, Mark::Full)])?;
        }
    }
    let plot = chart.plotting_area();
    let (columns, rows) = area.get_pixel_range();
    for (i, line) in lines.iter().enumerate() {
        let y = count - 0.5 - i as f64;
        let (left, down) = plot.map_coordinate(&(range.start, y));
        let (right, _) = plot.map_coordinate(&(range.end, y));
        let (left, right, down) = (
            left - columns.start,
            right - columns.start,
            down - rows.start,
        );
        let name = text(TEXT, INK, HPos::Right, VPos::Center);
        area.draw(&Text::new(line.name.as_str(), (left - 10, down), name))?;
        let note = text(TEXT, GREY, HPos::Left, VPos::Center);
        area.draw(&Text::new(line.note.as_str(), (right + 10, down), note))?;
    }
    Ok(())
}
