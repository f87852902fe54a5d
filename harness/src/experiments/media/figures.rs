//! Time of a request by medium: the model's, the client's and the guest's.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREEN, INK, Mark, VERMILLION};

use super::claims::{NONE, Rows};
use super::rows::MediaRow;

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[MediaRow]) -> Result<Vec<Drawing>> {
    let rows = Rows(rows);
    let sides = [
        ("model", "model alone", INK, -0.2),
        ("client", "client without a guest", BLUE, 0.0),
        ("guest", "guest", VERMILLION, 0.2),
    ];
    let panel = |op: &str| {
        let path = rows.find(NONE, "guest", op, false).map(|row| {
            Series::new("guest, no emulation", (GREEN, Mark::Full))
                .vertical(row.p50_ns.max(1) as f64)
        });
        let dots = sides.map(|(side, name, color, shift)| {
            let media = (0..).zip(rows.media());
            let at = media.filter_map(|(at, medium)| {
                let row = rows.find(medium, side, op, false)?;
                Some((row.p50_ns.max(1) as f64, f64::from(at) + shift))
            });
            Series::dots(name, (color, Mark::Full), at)
        });
        path.into_iter().chain(dots).collect::<Vec<_>>()
    };
    plot::draw([Plot::new(
        "media",
        "Time of a request by medium",
        Scale::times("Time of a request"),
        Scale::names("", rows.media()),
    )
    .subtitle("4 KiB at random, one request at a time, medians.")
    .caption(
        "The axis is logarithmic. A medium slower than the path to it shows its own time; for the others, client and \
         guest measure the path.",
    )
    .panel("read", panel("read"))
    .panel("write", panel("write"))])
}
