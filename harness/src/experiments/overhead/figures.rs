//! Time to shrink and to grow over size, and the rate that this makes.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, Header, INK, Mark, Swatch, VERMILLION, dress, marker, sheet, text,
};
use results::chart::{Drawing, Figure, scale};

use super::claims::{Point, points};
use super::rows::OverheadTimingRow;
use crate::experiments::common::encoding::{OLD, OURS};

/// A line of the figure.
struct Line {
    name: String,
    color: RGBColor,
    mark: Mark,
    points: Vec<Point>,
}

/// What is read off a point: the value, and the name of its panel.
type Panel = (&'static str, fn(&Point) -> f64);

/// Nanoseconds by panel.
const TIMES: [Panel; 2] = [
    ("Shrink", |point| point.shrink_ns),
    ("Grow back", |point| point.grow_ns),
];

/// An encoding's colour; picks differ by their markers.
fn color(encoding: &str) -> RGBColor {
    match encoding {
        OURS => BLUE,
        OLD => VERMILLION,
        _ => GREEN,
    }
}

fn lines(rows: &[OverheadTimingRow]) -> Vec<Line> {
    points(rows)
        .into_iter()
        .map(|((encoding, pick), points)| Line {
            color: color(&encoding),
            mark: match pick.as_str() {
                "scattered" => Mark::Full,
                _ => Mark::Hollow,
            },
            name: format!("{encoding}, {pick}"),
            points,
        })
        .collect()
}

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[OverheadTimingRow]) -> Result<Vec<Drawing>> {
    let lines = lines(rows);
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let device = f64::from(first.capacity_blocks) * f64::from(first.block_size_bytes);
    let title = "Time to shrink and to grow back";
    let repetitions = rows.iter().map(|row| row.repetition + 1).max().unwrap_or(0);
    let header = Header {
        title,
        subtitle: &format!(
            "A vSSD of {} in blocks of {}; medians of up to {repetitions}, from the command to both lists agreed.",
            scale::bytes(device),
            scale::bytes(f64::from(first.block_size_bytes))
        ),
        legend: lines
            .iter()
            .map(|line| (Swatch::MarkedLine(line.color, line.mark), line.name.clone()))
            .collect(),
    };
    let svg = sheet(&header, |area| panels(area, &lines))?;
    let figure = Figure {
        stem: "overhead",
        title: title.to_owned(),
        caption: "Both axes are logarithmic, and both panels have the same. `compact` is this \
                  project's encoding, `list-4096` the exchange of 2017 with 4096 sector numbers \
                  each. `scattered` blocks lie apart from each other, `highest` ones side by side."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn panels(area: &Area<'_>, lines: &[Line]) -> Result<()> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let times = || all().flat_map(|point| TIMES.map(|(_, value)| value(point)));
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let bytes = || all().map(|point| point.bytes as f64);
    // A little room round the points; a logarithmic axis has no 0.
    let x = least(&mut bytes()).max(1.0) / 1.5..most(&mut bytes()).max(2.0) * 1.5;
    let y = least(&mut times()).max(1.0) / 2.0..most(&mut times()).max(2.0) * 2.0;
    for (panel, part) in TIMES.into_iter().zip(area.split_evenly((1, 2))) {
        draw_panel(&part, panel, lines, x.clone(), y.clone())?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    (name, value): Panel,
    lines: &[Line],
    x: std::ops::Range<f64>,
    y: std::ops::Range<f64>,
) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    area.draw(&Text::new(
        name,
        (84 + (width as i32 - 84 - 24) / 2, 12),
        text(17, INK, HPos::Center, VPos::Center),
    ))?;
    let sizes = scale::powers(4.0, x.start, x.end);
    let times = scale::powers(10.0, y.start, y.end);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(28)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Axis::logarithmic(x, sizes, scale::bytes),
            Axis::logarithmic(y, times, scale::time),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Blocks taken and given back")
        .y_desc("Time")
        .draw()?;
    for line in lines {
        let path: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|point| (point.bytes as f64, value(point)))
            .collect();
        let style = line.color.stroke_width(line.mark.line_width());
        chart.draw_series([PathElement::new(path.clone(), style)])?;
        chart.draw_series(path.iter().map(|at| marker(*at, 5, WHITE, Mark::Full)))?;
        chart.draw_series(path.iter().map(|at| marker(*at, 5, line.color, line.mark)))?;
    }
    Ok(())
}
