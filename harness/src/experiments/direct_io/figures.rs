//! Bytes of the backing file in the page cache over time.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, VERMILLION};
use results::quantity;

use super::rows::DirectIoRow;

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[DirectIoRow]) -> Result<Vec<Drawing>> {
    let vssd_bytes = rows.first().map_or(0, |row| row.vssd_bytes) as f64;
    let lines = [("direct", BLUE), ("buffered", VERMILLION)].map(|(mode, color)| {
        let of = rows.iter().filter(|row| row.mode == mode);
        let mib = |row: &DirectIoRow| row.resident_bytes as f64 / f64::from(1 << 20);
        Series::line(
            mode,
            color,
            of.map(|row| (row.at_ns as f64 / 1e6, mib(row))),
        )
    });
    plot::draw([Plot::new(
        "direct_io",
        "The pool in the page cache of the host",
        Scale::linear("Time (ms)"),
        Scale::linear("Resident (MiB)"),
    )
    .subtitle(format!(
        "A client writes a vSSD of {} sequentially, then reads it at random.",
        quantity::bytes(vssd_bytes)
    ))
    .caption(
        "Each line is one backend with its own file, from before the first request until after the last. `direct` \
         is the backend's default. `buffered` is the control: its data pass through the page cache.",
    )
    .panel("", lines)])
}
