//! Balloon size by step, and read errors over it.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::{Scale, linear_ticks};
use results::chart::series::Series;
use results::chart::sheet::{BLUE, Mark, VERMILLION};

use super::rows::CorrectnessRow;

/// More steps than this are a few pixels wide, and need thin lines.
const WIDE_STEPS: usize = 60;

/// The parts of the run, by their steps; every other one is shaded.
fn parts(rows: &[CorrectnessRow]) -> Vec<Series> {
    let mut from = -0.5;
    let part = |(at, rows): (usize, &[CorrectnessRow])| {
        let name = match rows[0].part.as_str() {
            "walk" => "planned sizes",
            "random" => "random sizes, I/O in flight",
            other => other,
        };
        let start = from;
        from += rows.len() as f64;
        if at % 2 == 1 {
            Series::shade(name, start, from)
        } else {
            Series::heading(name, start, from)
        }
    };
    let parts = rows.chunk_by(|a, b| a.part == b.part);
    parts.enumerate().map(part).collect()
}

/// The figure; none without rows.
pub(crate) fn draw(rows: &[CorrectnessRow]) -> Result<Vec<Drawing>> {
    let differing = rows
        .iter()
        .filter(|row| row.read_errors != row.balloon_blocks)
        .count();
    let result = if differing == 0 {
        "as many reads failed as the host held blocks".to_owned()
    } else {
        format!("at {differing} of them, read errors and blocks held by the host differ")
    };
    let count = rows.len() as f64;
    let capacity = rows.iter().map(|row| row.capacity_blocks).max();
    let capacity = f64::from(capacity.unwrap_or(0).max(1));
    let held = |row: &CorrectnessRow| f64::from(row.balloon_blocks);
    let line = (0..)
        .zip(rows)
        .map(|(at, row)| (f64::from(at) - 0.5, held(row)));
    let end = rows.last().map(|row| (count - 0.5, held(row)));
    let dots = (0..)
        .zip(rows)
        .map(|(at, row)| (f64::from(at), f64::from(row.read_errors)));
    let series = [
        Series::new("blocks held by the host", (BLUE, Mark::Full)).steps(line.chain(end)),
        Series::dots(
            "read errors of a sequential read",
            (VERMILLION, Mark::Full),
            dots,
        ),
    ];
    let series = series.map(|series| {
        if rows.len() > WIDE_STEPS {
            series.fine()
        } else {
            series
        }
    });
    plot::draw([Plot::new(
        "correctness",
        "Read errors follow the balloon",
        Scale::linear("Step")
            .range(-0.5, count - 0.5)
            .ticks(linear_ticks(0.0, count - 1.0, 16))
            .without_grid(),
        Scale::linear("Blocks")
            .range(0.0, 1.06 * capacity)
            .ticks((0..=4).map(|quarter| f64::from(quarter) * capacity / 4.0).collect()),
    )
    .subtitle(format!(
        "Every block is read after each of {} steps: {result}.",
        rows.len()
    ))
    .caption(
        "The line is the balloon: the number of blocks that the host holds. A dot is the number of blocks that the \
         guest could not read after that step. If every dot is on the line, exactly the surrendered blocks fail.",
    )
    .panel("", parts(rows).into_iter().chain(series))])
}
