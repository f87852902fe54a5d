//! Time to shrink and to grow back over the size of the resize.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{Look, Series};
use results::chart::sheet::{BLUE, GREEN, Mark, VERMILLION};
use results::quantity;

use super::claims::{Point, points};
use super::rows::OverheadTimingRow;
use crate::experiments::common::encoding::{OLD, OURS};

/// An encoding's colour; picks differ by their marks.
fn look(encoding: &str, pick: &str) -> Look {
    let color = match encoding {
        OURS => BLUE,
        OLD => VERMILLION,
        _ => GREEN,
    };
    let mark = if pick == "scattered" {
        Mark::Full
    } else {
        Mark::Hollow
    };
    (color, mark)
}

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[OverheadTimingRow]) -> Result<Vec<Drawing>> {
    let points = points(rows);
    let lines = |time_ns: fn(&Point) -> f64| {
        points.iter().map(move |((encoding, pick), points)| {
            let at = |point: &Point| (point.bytes as f64, time_ns(point));
            let name = format!("{encoding}, {pick}");
            Series::marked(name, look(encoding, pick), points.iter().map(at))
        })
    };
    let block_bytes = rows.first().map_or(0, |row| row.block_size_bytes);
    let blocks = rows.first().map_or(0, |row| row.capacity_blocks);
    let repetitions = rows.iter().map(|row| row.repetition + 1).max();
    plot::draw([Plot::new(
        "overhead",
        "Time to shrink and to grow back",
        Scale::bytes("Blocks taken and given back"),
        Scale::times("Time"),
    )
    .subtitle(format!(
        "A vSSD of {} in blocks of {}; medians of up to {} repetitions, from the command to the confirmed list.",
        quantity::bytes(f64::from(blocks) * f64::from(block_bytes)),
        quantity::bytes(block_bytes.into()),
        repetitions.unwrap_or(0)
    ))
    .caption(
        "Both axes are logarithmic and the same in both panels. `compact` is this project's encoding, `list-4096` \
         the exchange of 2017 with 4096 sector numbers each. `scattered` blocks are not adjacent; `highest` ones are.",
    )
    .panel("Shrink", lines(|point| point.shrink_ns))
    .panel("Grow back", lines(|point| point.grow_ns))])
}
