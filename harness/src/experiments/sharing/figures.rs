//! Blocks held by each VM over time, stacked.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::style::RGBColor;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{Series, steps};
use results::chart::sheet::{
    BLUE, GREEN, GREY, INK, Mark, ORANGE, PURPLE, SKY, VERMILLION, YELLOW,
};
use results::quantity::count;

use super::rows::{SharingCheckRow, SharingRow};

/// Colours of VMs in turn.
const COLORS: [RGBColor; 8] = [BLUE, VERMILLION, GREEN, SKY, ORANGE, PURPLE, YELLOW, GREY];

/// Blocks held by each VM from a moment on, seconds.
type Moments = Vec<(f64, Vec<f64>)>;

/// The names of the VMs, and the blocks that they held over time.
fn moments<'a>(rows: &'a [SharingRow], checks: &'a [SharingCheckRow]) -> (Vec<&'a str>, Moments) {
    // The first check of each VM.
    let first: BTreeMap<&str, u32> = checks
        .iter()
        .rev()
        .map(|check| (check.vssd.as_str(), check.held_blocks))
        .collect();
    let (names, mut held): (Vec<&str>, Vec<f64>) = first
        .into_iter()
        .map(|(name, blocks)| (name, f64::from(blocks)))
        .unzip();
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mut moments = vec![(0.0, held.clone())];
    let mut changes: Vec<&SharingRow> = rows.iter().collect();
    changes.sort_by_key(|row| row.at_ns);
    for row in changes {
        if let Some(vm) = names.iter().position(|name| *name == row.vssd) {
            held[vm] = f64::from(row.held_blocks);
            moments.push((seconds(row.at_ns), held.clone()));
        }
    }
    let end_ns = checks.iter().map(|check| check.at_ns).max().unwrap_or(0);
    moments.push((seconds(end_ns), held));
    (names, moments)
}

/// The outline of a band between the VMs up to `vm` and those before it.
fn band(moments: &Moments, vm: usize) -> Vec<(f64, f64)> {
    let edge = |vms: usize| {
        let sums = moments.iter();
        steps(sums.map(|(at, held)| (*at, held[..vms].iter().sum())))
    };
    let mut outline = edge(vm + 1);
    outline.extend(edge(vm).into_iter().rev());
    outline
}

/// The figure; none without rows.
pub(crate) fn draw(rows: &[SharingRow], checks: &[SharingCheckRow]) -> Result<Vec<Drawing>> {
    let (names, moments) = moments(rows, checks);
    let (limit, capacity) = checks.first().map_or((0.0, 0.0), |check| {
        (check.limit_blocks.into(), check.capacity_blocks.into())
    });
    let end = moments.last().map_or(0.0, |(at, _)| *at).max(0.001);
    let bands = (0..).zip(&names).zip(COLORS).map(|((vm, name), color)| {
        Series::new(*name, (color, Mark::Full)).band(band(&moments, vm))
    });
    let pool = Series::new("pool", (INK, Mark::Full)).horizontal(limit);
    plot::draw([Plot::new(
        "sharing",
        "Blocks move between VMs that share a pool",
        Scale::linear("Time (s)").range(0.0, end).without_grid(),
        Scale::linear("Blocks held"),
    )
    .subtitle(format!(
        "{} resizes of {} VMs with {} blocks at full size; the pool has {}.",
        rows.len(),
        names.len(),
        count(capacity * names.len() as f64),
        count(limit)
    ))
    .caption(
        "The blocks held by the VMs are stacked; a height changes when the harness receives the end of a resize. \
         Where the stack touches the line, the pool has no free blocks. The stack exceeds the line briefly when a \
         grow is reported before the shrink that freed its blocks. In flat parts every block of every guest is \
         read, or a killed guest or backend restarts.",
    )
    .panel("", bands.chain([pool]))])
}
