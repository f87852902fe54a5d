//! The points of a sweep: a number by name at each, as a table and as lines.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{Area, Header, INK, Mark, Swatch, dress, marker, sheet, text};
use results::chart::{Drawing, Figure, scale};
use results::stats::Mean;
use results::verdict::{Source, Table, Verdict, distinct};

use super::looks::LOOKS;

/// By name, the numbers of all seeds.
type Numbers = BTreeMap<String, Vec<f64>>;

/// What a sweep comes to.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    axes: Vec<String>,
    outcome: &'static str,
    /// Each with its values on the axes.
    points: Vec<(Vec<String>, Numbers)>,
    /// The names, in the order in which they came.
    names: Vec<String>,
}

impl Points {
    pub(crate) fn new(axes: &[String], outcome: &'static str) -> Self {
        Self {
            axes: axes.to_vec(),
            outcome,
            points: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Adds the numbers of one seed at a point.
    pub(crate) fn add(&mut self, values: &[String], numbers: Vec<(String, f64)>) {
        if self.points.last().is_none_or(|(last, _)| last != values) {
            self.points.push((values.to_vec(), BTreeMap::new()));
        }
        for (name, number) in numbers {
            if !self.names.contains(&name) {
                self.names.push(name.clone());
            }
            if let Some((_, numbers)) = self.points.last_mut() {
                numbers.entry(name).or_default().push(number);
            }
        }
    }
}

/// Judges a sweep of which so many cells are missing, and so many failed.
pub(crate) fn judge(title: &str, points: &Points, missing: usize, failed: usize) -> Verdict {
    let mut verdict = Verdict {
        title: title.to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(points)],
    };
    verdict.claim(
        Source::Requirement,
        "Every cell of the sweep was run.",
        missing == 0 && failed == 0 && !points.points.is_empty(),
        format!(
            "{} points have rows; {missing} cells are missing and {failed} impossible or failed.",
            points.points.len()
        ),
    );
    verdict
}

fn table(points: &Points) -> Table {
    let mut head: Vec<String> = points.axes.iter().map(|axis| format!("`{axis}`")).collect();
    head.push("seeds".to_owned());
    head.extend(points.names.iter().map(|name| format!("{name} [95 % CI]")));
    let row = |(values, numbers): &(Vec<String>, Numbers)| {
        let seeds = numbers.values().map(Vec::len).max().unwrap_or(0);
        let means = points.names.iter().map(|name| {
            let mean = numbers.get(name).and_then(|numbers| Mean::of(numbers));
            mean.map_or("-".to_owned(), |mean| mean.text(2))
        });
        let values = values.iter().cloned();
        values.chain([seeds.to_string()]).chain(means).collect()
    };
    Table {
        title: format!("Points: {}", points.outcome),
        head,
        rows: points.points.iter().map(row).collect(),
    }
}

/// A line over the first axis: its name, and a mean at each place where there is one.
struct Line {
    name: String,
    means: Vec<(f64, Mean)>,
}

/// The places on the first axis, and a line for each name and each choice on the others.
fn lines(points: &Points) -> (Vec<&str>, Vec<Line>) {
    let first = points.points.iter().map(|(values, _)| values[0].as_str());
    let places = distinct(first);
    let mut lines: Vec<Line> = Vec::new();
    for (values, numbers) in &points.points {
        let further = points.axes.iter().zip(values).skip(1);
        let further: String = further
            .map(|(axis, value)| format!(", {axis} {value}"))
            .collect();
        let place = places.iter().position(|place| *place == values[0]);
        for name in &points.names {
            let mean = numbers.get(name).and_then(|numbers| Mean::of(numbers));
            let Some((place, mean)) = place.zip(mean) else {
                continue;
            };
            let name = format!("{name}{further}");
            let at = (place as f64, mean);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.means.push(at),
                None => lines.push(Line {
                    name,
                    means: vec![at],
                }),
            }
        }
    }
    (places, lines)
}

/// The figure; none without points.
pub(crate) fn draw(title: &str, points: &Points) -> Result<Vec<Drawing>> {
    if points.points.is_empty() || points.axes.is_empty() {
        return Ok(Vec::new());
    }
    let (places, all) = lines(points);
    let drawn = &all[..all.len().min(LOOKS.len())];
    let legend = drawn.iter().zip(LOOKS);
    let header = Header {
        title,
        subtitle: points.outcome,
        legend: legend
            .map(|(line, (color, mark))| (Swatch::MarkedLine(color, mark), line.name.clone()))
            .collect(),
    };
    let svg = sheet(&header, |area| body(area, points, &places, drawn))?;
    let mut caption =
        "Means over the seeds, with 95 % intervals. Values of the axis stand side by \
                       side, whatever their distance."
            .to_owned();
    if drawn.len() < all.len() {
        caption.push_str(&format!(
            " The first {} of {} lines; the table has all.",
            drawn.len(),
            all.len()
        ));
    }
    let figure = Figure {
        stem: "sweep",
        title: title.to_owned(),
        caption,
    };
    Ok(vec![(figure, svg)])
}

fn body(area: &Area<'_>, points: &Points, places: &[&str], lines: &[Line]) -> Result<()> {
    let means = lines.iter().flat_map(|line| &line.means);
    let most = means.map(|(_, mean)| mean.bounds.map_or(mean.value, |(_, high)| high));
    let most = most.fold(0.0, f64::max).max(1.0) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(40)
        .x_label_area_size(62)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Axis::linear(-0.5..places.len() as f64 - 0.5, Vec::new(), scale::count),
            Axis::linear(0.0..most, scale::linear_ticks(most, 6), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc(points.axes[0].as_str())
        .y_desc(points.outcome)
        .draw()?;
    for (line, (color, mark)) in lines.iter().zip(LOOKS) {
        for (x, mean) in &line.means {
            let (low, high) = mean.bounds.unwrap_or((mean.value, mean.value));
            let path = [(*x, low), (*x, high)];
            chart.draw_series([PathElement::new(path, color.stroke_width(1))])?;
        }
        let path: Vec<(f64, f64)> = line
            .means
            .iter()
            .map(|(x, mean)| (*x, mean.value))
            .collect();
        let style = color.stroke_width(mark.line_width());
        chart.draw_series([PathElement::new(path.clone(), style)])?;
        chart.draw_series(path.iter().map(|at| marker(*at, 5, WHITE, Mark::Full)))?;
        chart.draw_series(path.iter().map(|at| marker(*at, 5, color, mark)))?;
    }
    let plot = chart.plotting_area();
    let (x_range, y_range) = area.get_pixel_range();
    for (i, value) in places.iter().enumerate() {
        let (x, y) = plot.map_coordinate(&(i as f64, 0.0));
        let at = (x - x_range.start, y - y_range.start + 8);
        let style = text(14, INK, HPos::Center, VPos::Top);
        area.draw(&Text::new(*value, at, style))?;
    }
    Ok(())
}
