//! Time over size, for shrinking and growing: the thesis' figure, with the
//! exchange of 2017 beside ours.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;

use super::super::study::overhead::{Point, points};
use super::{Area, FONT, bytes_label, colour, drawing, figure, time_label};
use crate::record::OverheadRow;

/// A line of the figure.
struct Line {
    label: String,
    colour: RGBColor,
    at: Vec<(f64, f64)>,
    dashed: bool,
}

fn lines(rows: &[OverheadRow], time: fn(&Point) -> f64) -> Vec<Line> {
    points(rows)
        .into_iter()
        .map(|((encoding, pick), points)| {
            let scattered = pick == "scattered";
            let colour = match (encoding.as_str(), scattered) {
                ("compact", true) => colour::BLUE,
                ("compact", false) => colour::GREEN,
                (_, true) => colour::VERMILION,
                (_, false) => colour::ORANGE,
            };
            let kind = match scattered {
                true => "scattered blocks",
                false => "contiguous blocks",
            };
            Line {
                label: format!("{encoding}, {kind}"),
                colour,
                at: points
                    .iter()
                    .map(|point| (point.bytes as f64, time(point)))
                    .collect(),
                dashed: !scattered,
            }
        })
        .collect()
}

fn panel(area: &Area<'_>, title: &str, lines: &[Line], range: (f64, f64)) -> Result<()> {
    let sizes = || lines.iter().flat_map(|line| &line.at).map(|at| at.0);
    let smallest = sizes().fold(f64::INFINITY, f64::min);
    let largest = sizes().fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 22))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(
            ((smallest / 1.3)..(largest * 1.3)).log_scale().base(2.0),
            (range.0..range.1).log_scale(),
        )
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_desc("size of the resize")
        .y_desc("time until both lists agree")
        .x_labels(7)
        .x_label_formatter(&|x| bytes_label(*x))
        .y_label_formatter(&time_label)
        .axis_desc_style((FONT, 17))
        .label_style((FONT, 14))
        .draw()
        .map_err(drawing)?;
    for line in lines {
        let colour = line.colour;
        let stroke = colour.stroke_width(2);
        let series = match line.dashed {
            true => chart.draw_series(DashedLineSeries::new(line.at.iter().copied(), 8, 5, stroke)),
            false => chart.draw_series(LineSeries::new(line.at.iter().copied(), stroke)),
        };
        series
            .map_err(drawing)?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        chart
            .draw_series(line.at.iter().map(|at| Circle::new(*at, 4, colour.filled())))
            .map_err(drawing)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(colour::BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()
        .map_err(drawing)
}

/// Draws the figure.
pub(super) fn draw(rows: &[OverheadRow], folder: &Path) -> Result<Vec<PathBuf>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let shrink = lines(rows, |point| point.shrink_ns);
    let grow = lines(rows, |point| point.grow_ns);
    // One scale for both panels, or they could not be compared.
    let times = || {
        shrink
            .iter()
            .chain(&grow)
            .flat_map(|line| &line.at)
            .map(|at| at.1)
    };
    let lowest = times().fold(f64::INFINITY, f64::min) / 2.0;
    let highest = times().fold(0.0, f64::max) * 40.0;
    figure(folder, "overhead", |area| {
        let (left, right) = area.split_horizontally(super::SIZE.0 / 2);
        panel(&left, "Shrink", &shrink, (lowest, highest))?;
        panel(&right, "Grow back", &grow, (lowest, highest))
    })
}
