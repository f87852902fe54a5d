//! Policies beside each other, and sizes over time.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::style::RGBColor;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{LOOKS, Series, steps};
use results::chart::sheet::{BLUE, GREEN, GREY, Mark, ORANGE, PURPLE, SKY, VERMILLION};
use results::stats::Mean;
use results::verdict::distinct;

use super::claims::{STATIC, pairs};
use super::grid;
use super::rows::{GUEST, MultiplexRow, MultiplexSizeRow};

/// Policies whose sizes are drawn, and the most VMs of a drawing.
const DRAWN: [&str; 4] = ["shares", "mrc", "slo", "harvest"];
const MOST_DRAWN: u32 = 8;

/// Schedules and policies whose hit ratios are drawn.
const HITS_UNDER: [&str; 4] = ["day-night", "boot-storm", "arrivals", "traces"];
const HITS_BY: [(&str, RGBColor); 4] = [
    (STATIC, GREY),
    ("global-lru", PURPLE),
    ("harvest", ORANGE),
    ("mrc", VERMILLION),
];

/// Colours of VMs, in turn.
const COLORS: [RGBColor; 6] = [BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE];

/// All figures; none without rows.
pub(super) fn draw(rows: &[MultiplexRow], sizes: &[MultiplexSizeRow]) -> Result<Vec<Drawing>> {
    let schedules = distinct(sizes.iter().map(|row| row.schedule.as_str()));
    let over_time = schedules.iter().filter_map(|schedule| {
        let (stem, title) = match *schedule {
            "mixed" => ("multiplex_mixed", "mixed working sets"),
            "weights" => ("multiplex_weights", "changing weights"),
            "day-night" => ("multiplex_day_night", "day and night"),
            "bully" => ("multiplex_bully", "one VM that scans"),
            "arrivals" => ("multiplex_arrivals", "arrivals and departures"),
            "traces" => ("multiplex_traces", "recorded traces"),
            "goals" => ("multiplex_goals", "promised hit ratios"),
            _ => return None,
        };
        Some(stacked(stem, title, schedule, sizes))
    });
    plot::draw(
        std::iter::once(policies(rows))
            .chain(grid::figure(rows))
            .chain(std::iter::once(hits(sizes)))
            .chain(over_time),
    )
}

/// Origin traffic that every policy saves of that of a static partition, by schedule.
fn policies(rows: &[MultiplexRow]) -> Plot {
    let schedules = distinct(rows.iter().map(|row| row.schedule.as_str()));
    let policies = distinct(rows.iter().map(|row| row.policy.as_str()));
    let policies = policies.into_iter().filter(|policy| *policy != STATIC);
    let policies: Vec<&str> = policies.collect();
    let series = policies.iter().enumerate().map(|(number, policy)| {
        let mut series = Series::new(*policy, LOOKS[number % LOOKS.len()]);
        let mut marks = Vec::new();
        for (row, schedule) in schedules.iter().enumerate() {
            let Some(mean) = Mean::of(&pairs(rows, schedule, policy, STATIC)) else {
                continue;
            };
            // The marks of a row are one below the other.
            let place = (number as f64 + 0.5) / policies.len() as f64 - 0.5;
            let row = row as f64 + 0.8 * place;
            if let Some((low, high)) = mean.bounds {
                series = series.interval((low, row), (high, row));
            }
            marks.push((mean.value, row));
        }
        series.marks(marks)
    });
    let names = schedules.iter().map(|schedule| (*schedule).to_owned());
    let zero = Series::new("", (GREY, Mark::Hollow)).vertical(0.0);
    let series: Vec<Series> = std::iter::once(zero).chain(series).collect();
    Plot::new(
        "multiplex_policies",
        "Origin traffic saved, by policy",
        Scale::linear("Saved of the origin traffic of `static` (%)"),
        Scale::names("", names).without_grid(),
    )
    .caption(
        "Means over the seeds with 95 % intervals, in pairs by seed, of all VMs together; more is better. Guests pick \
         the blocks of shrinks.",
    )
    .panel("", series)
}

/// The hit ratio of all VMs together over the periods, under some policies.
fn hits(sizes: &[MultiplexSizeRow]) -> Plot {
    let plot = Plot::new(
        "multiplex_hits",
        "Hit ratio over time",
        Scale::linear("Period"),
        Scale::linear("Hits (% of accesses)"),
    )
    .caption("Accesses of all VMs that hit in each period, of the first seed. Guests pick the blocks of shrinks.");
    HITS_UNDER.iter().fold(plot, |plot, schedule| {
        let series = HITS_BY.iter().filter_map(|(policy, color)| {
            let mut periods: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            let of_policy = sizes.iter().filter(|row| {
                row.schedule == *schedule && row.policy == *policy && row.pick == GUEST
            });
            for row in of_policy {
                let sums = periods.entry(row.period).or_default();
                *sums = (sums.0 + row.hits, sums.1 + row.accesses);
            }
            let points = periods.iter().map(|(period, (hits, accesses))| {
                (
                    f64::from(*period),
                    100.0 * *hits as f64 / (*accesses).max(1) as f64,
                )
            });
            let look = (*color, Mark::Full);
            (!periods.is_empty()).then(|| Series::new(*policy, look).path(points))
        });
        let series: Vec<Series> = series.collect();
        if series.is_empty() {
            return plot;
        }
        plot.panel(schedule, series)
    })
}

/// Sizes of all VMs over the periods, one above the other, under some policies.
fn stacked(stem: &'static str, title: &str, schedule: &str, sizes: &[MultiplexSizeRow]) -> Plot {
    let mut plot = Plot::new(
        stem,
        format!("Sizes over time: {title}"),
        Scale::linear("Period"),
        Scale::linear("Blocks held"),
    )
    .caption(
        "Blocks that the VMs held in each period, one above the other, of the first seed. Guests pick the blocks of \
         shrinks.",
    );
    for policy in DRAWN {
        let of = || {
            sizes.iter().filter(move |row| {
                row.schedule == schedule && row.policy == policy && row.pick == GUEST
            })
        };
        let Some(last) = of().map(|row| row.vm).max() else {
            continue;
        };
        let periods = of().map(|row| row.period).max().unwrap_or(0) + 1;
        let mut below = vec![0.0; periods as usize];
        let mut series = Vec::new();
        for vm in 0..=last {
            let mut above = below.clone();
            for row in of().filter(|row| row.vm == vm) {
                above[row.period as usize] += f64::from(row.held_blocks);
            }
            let edge = |heights: &[f64]| {
                let points = heights.iter().enumerate().map(|(at, y)| (at as f64, *y));
                let last = heights.last().map(|y| (f64::from(periods), *y));
                steps(points.chain(last))
            };
            let mut outline = edge(&below);
            outline.extend(edge(&above).into_iter().rev());
            let name = match vm {
                vm if vm < MOST_DRAWN => format!("VM {vm}"),
                _ => String::new(),
            };
            let look = (COLORS[vm as usize % COLORS.len()], Mark::Full);
            series.push(Series::new(name, look).band(outline));
            below = above;
        }
        plot = plot.panel(policy, series);
    }
    plot
}
