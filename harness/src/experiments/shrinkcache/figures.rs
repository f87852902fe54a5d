//! Hit ratio of a cache over its accesses, through a shrink and the grow back.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{Look, Series};
use results::chart::sheet::{BLUE, GREEN, GREY, INK, Mark, PURPLE, VERMILLION};
use results::quantity;

use super::claims::Windows;
use super::rows::{
    ALWAYS_SMALL, DROP_ALL, HOST_LRU, NEVER_SHRUNK, SURRENDER, ShrinkCacheRow, UNIFORM,
};

/// What is drawn, what lies above last: way, look, and words for it. Caches that keep their
/// size are thin lines.
const LINES: [(&str, Look, &str); 6] = [
    (NEVER_SHRUNK, (GREY, Mark::Hollow), "never shrunk"),
    (ALWAYS_SMALL, (INK, Mark::Hollow), "always small"),
    (DROP_ALL, (PURPLE, Mark::Hollow), "host drops all"),
    (UNIFORM, (VERMILLION, Mark::Hollow), "host picks at random"),
    (HOST_LRU, (GREEN, Mark::Hollow), "host picks by LRU"),
    (SURRENDER, (BLUE, Mark::Hollow), "guest's cache picks"),
];

/// The figure; none without rows.
pub(crate) fn draw(rows: &[ShrinkCacheRow]) -> Result<Vec<Drawing>> {
    let windows = Windows(rows);
    let last = |phase: &str| {
        windows
            .of(SURRENDER)
            .filter(|row| row.phase == phase)
            .last()
    };
    let (Some(full), Some(small)) = (last("before"), last("shrunk")) else {
        return Ok(Vec::new());
    };
    // Each point stands in the middle of its window.
    let middle = |row: &ShrinkCacheRow| row.accesses as f64 - row.window as f64 / 2.0;
    let lines = LINES.into_iter().map(|(way, look, name)| {
        let points = windows
            .of(way)
            .map(|row| (middle(row), 100.0 * row.hit_ratio()));
        let line = Series::new(name, look).path(points);
        if [NEVER_SHRUNK, ALWAYS_SMALL].contains(&way) {
            line.fine()
        } else {
            line
        }
    });
    let shrunk = Series::shade("shrunk", full.accesses as f64, small.accesses as f64);
    plot::draw([Plot::new(
        "shrinkcache",
        "Hit ratio of a cache through a shrink and the grow back",
        Scale::linear("Accesses").without_grid(),
        Scale::linear("Hit ratio (%)"),
    )
    .subtitle(format!(
        "From {} to {} slots and back; each point is {} accesses.",
        quantity::count(full.slots.into()),
        quantity::count(small.slots.into()),
        quantity::count(small.window as f64)
    ))
    .caption(
        "All lines have the same accesses, so a move of all lines at once comes from the workload. The thin lines are \
         the cache's code alone, without a guest: `never shrunk` keeps its size, `always small` has the size after the \
         shrink from the start.",
    )
    .panel("", lines.chain([shrunk]))])
}
