//! The points of a sweep: numbers by name at each, as a table and as lines.

use std::collections::BTreeMap;

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{LOOKS, Series};
use results::stats::Mean;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};

/// By name, the numbers of all seeds.
type Numbers = BTreeMap<String, Vec<f64>>;

/// The points of a sweep over its axes.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    axes: Vec<String>,
    outcome: &'static str,
    /// The values on the axes, and the numbers there.
    points: Vec<(Vec<String>, Numbers)>,
    /// Names of the numbers, in the order of their first appearance.
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

/// Judges a sweep with this many missing and failed cells.
pub(crate) fn judge(title: &str, points: &Points, missing: usize, failed: usize) -> Verdict {
    let count = points.points.len();
    let evidence = format!(
        "{count} points have rows; {missing} cells are missing, and {failed} are impossible or failed."
    );
    Verdict::new(title)
        .require(
            "Every cell of the sweep was run.",
            Some(Measured::new(
                missing == 0 && failed == 0 && count > 0,
                evidence,
            )),
        )
        .tables([table(points)])
}

fn mean(numbers: &Numbers, name: &str) -> Option<Mean> {
    Mean::of(numbers.get(name)?)
}

fn table(points: &Points) -> Table {
    let axes = points.axes.iter().map(|axis| format!("`{axis}`"));
    let names = points.names.iter().map(|name| format!("{name} [95 % CI]"));
    let row = |(values, numbers): &(Vec<String>, Numbers)| {
        let seeds = numbers.values().map(Vec::len).max().unwrap_or(0);
        let means = points
            .names
            .iter()
            .map(|name| or_dash(mean(numbers, name), |mean| mean.text(2)));
        let values = values.iter().cloned();
        values.chain([seeds.to_string()]).chain(means).collect()
    };
    Table {
        title: format!("Points: {}", points.outcome),
        head: axes.chain(["seeds".to_owned()]).chain(names).collect(),
        rows: points.points.iter().map(row).collect(),
    }
}

/// A line over the first axis: its name, and a mean at each place where there is one.
type Line = (String, Vec<(f64, Mean)>);

/// The places on the first axis, and a line over them for each name and each combination of values
/// of the other axes.
fn lines(points: &Points) -> (Vec<&str>, Vec<Line>) {
    let first = points
        .points
        .iter()
        .filter_map(|(values, _)| values.first());
    let places = distinct(first.map(String::as_str));
    let mut lines: Vec<Line> = Vec::new();
    for (values, numbers) in &points.points {
        let others = points.axes.iter().zip(values).skip(1);
        let others: String = others
            .map(|(axis, value)| format!(", {axis} {value}"))
            .collect();
        let place = places.iter().position(|place| *place == values[0]);
        for name in &points.names {
            let Some((place, mean)) = place.zip(mean(numbers, name)) else {
                continue;
            };
            let name = format!("{name}{others}");
            let at = (place as f64, mean);
            match lines.iter_mut().find(|(of, _)| *of == name) {
                Some((_, means)) => means.push(at),
                None => lines.push((name, vec![at])),
            }
        }
    }
    (places, lines)
}

/// The figure; none without points.
pub(crate) fn draw(title: &str, points: &Points) -> Result<Vec<Drawing>> {
    let Some(axis) = points.axes.first() else {
        return Ok(Vec::new());
    };
    let (places, lines) = lines(points);
    let count = lines.len();
    let left_out = if count > LOOKS.len() {
        let drawn = LOOKS.len();
        format!(" The first {drawn} of {count} lines are drawn; the table has all.")
    } else {
        String::new()
    };
    let series = lines.into_iter().zip(LOOKS);
    plot::draw([Plot::new(
        "sweep",
        title,
        Scale::names(axis, places),
        Scale::linear(points.outcome),
    )
    .subtitle(points.outcome)
    .caption(format!(
        "Means over the seeds, with 95 % intervals. The values of the axis have equal distances.{left_out}"
    ))
    .panel(
        "",
        series.map(|((name, means), look)| Series::means(name, look, means)),
    )])
}
