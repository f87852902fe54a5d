//! Write policies: write latency, how far the origin disk is behind, and what a crash costs.

use anyhow::Result;
use plotters::style::RGBColor;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREEN, GREY, Mark, PURPLE, VERMILLION};
use results::quantity;
use results::verdict::distinct;
use vssd_host::emulation::MediaKind;

use super::claims::{BLOCK, is_through};
use super::rows::{WritePolicyCrashRow as Crash, WritePolicyRow, WritePolicySampleRow};

/// Places that are read after a crash: colour, legend, and shift within the line of a policy.
const PLACES: [(&str, RGBColor, &str, f64); 3] = [
    (Crash::ORIGIN, VERMILLION, "origin disk as left", -0.22),
    (
        Crash::RECOVERED,
        PURPLE,
        "journal applied, without the vSSD",
        0.0,
    ),
    (
        Crash::WARM,
        BLUE,
        "both disks, by a new guest's cache",
        0.22,
    ),
];

/// The figures for which there are rows.
pub(crate) fn draw(
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[Crash],
) -> Result<Vec<Drawing>> {
    plot::draw([latency(rows), staleness(samples), losses(crashes)])
}

fn latency(rows: &[WritePolicyRow]) -> Plot {
    let of = |through: bool| {
        let rows = (0..)
            .zip(rows)
            .filter(move |(_, row)| is_through(&row.policy) == through);
        rows.map(|(at, row)| (f64::from(at), row.write_p50_ns, row.write_p99_ns))
    };
    let disk_ns = MediaKind::Hdd.times().write_ns as f64;
    let disk = Series::new("one access of the disk model", (GREY, Mark::Full)).vertical(disk_ns);
    let notes = rows
        .iter()
        .map(|row| format!("{} accesses/s", quantity::count(row.rate())));
    Plot::new(
        "writepolicy_latency",
        "Write latency by write policy",
        Scale::times("Write latency"),
        Scale::names("", rows.iter().map(|row| row.policy.as_str())).notes(notes),
    )
    .subtitle(format!(
        "By the guest's clock, {} accesses in flight: the dot is the median, the ring the 99th percentile.",
        rows.first().map_or(0, |row| row.depth)
    ))
    .caption(
        "The axis is logarithmic. The disk serves one access at a time, so a write that waits for the disk also waits \
         for those queued before it.",
    )
    .panel(
        "",
        Series::quantiles("written to the origin disk at once", VERMILLION, of(true))
            .into_iter()
            .chain(Series::quantiles("written back later", BLUE, of(false)))
            .chain([disk]),
    )
}

fn staleness(samples: &[WritePolicySampleRow]) -> Plot {
    let is_behind = |name: &&str| {
        let mut of = samples.iter().filter(|row| row.policy == *name);
        of.any(|row| row.dirty_blocks > 0)
    };
    let names = distinct(samples.iter().map(|row| row.policy.as_str()));
    let (behind, never): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_behind);
    let lines = |value: fn(&WritePolicySampleRow) -> f64| {
        let colors = [VERMILLION, BLUE, GREEN, PURPLE].into_iter().cycle();
        behind.iter().zip(colors).map(move |(policy, color)| {
            let of = samples.iter().filter(|row| row.policy == **policy);
            let points = of.map(|row| (row.at_ns as f64 / 1e9, value(row)));
            Series::line(*policy, color, [(0.0, 0.0)].into_iter().chain(points))
        })
    };
    let never = if never.is_empty() {
        String::new()
    } else {
        format!(" Never behind: {}.", never.join(", "))
    };
    Plot::new(
        "writepolicy_staleness",
        "How far the origin disk is behind",
        Scale::linear("Time of the load (s)"),
        Scale::linear(""),
    )
    .subtitle(format!("Acknowledged writes that are not on it, during a load.{never}"))
    .caption(
        "Samples of the guest at equal numbers of accesses. A line ends when the policy has served all accesses: the \
         faster the policy, the shorter its line. The remaining blocks are written back afterwards.",
    )
    .panel_over(
        Scale::linear("Missing on the origin disk (KiB)"),
        lines(|row| f64::from(row.dirty_blocks) * BLOCK / 1024.0),
    )
    .panel_over(
        Scale::linear("Age of the oldest such write (s)"),
        lines(|row| row.stale_ns as f64 / 1e9),
    )
}

fn losses(crashes: &[Crash]) -> Plot {
    let policies = distinct(crashes.iter().map(|row| row.policy.as_str()));
    let runs = crashes.iter().map(|row| row.crash + 1).max().unwrap_or(0);
    let percent = |row: &Crash| 100.0 * row.missing as f64 / row.acknowledged.max(1) as f64;
    let most = crashes.iter().map(percent).fold(1.0, f64::max);
    let dots = PLACES.map(|(place, color, name, shift)| {
        let of = crashes.iter().filter(|row| row.place == place);
        let at = of.filter_map(|row| {
            let line = policies.iter().position(|policy| *policy == row.policy)?;
            Some((percent(row), line as f64 + shift))
        });
        let points: Vec<_> = at.collect();
        (!points.is_empty()).then(|| Series::dots(name, (color, Mark::Full), points))
    });
    let notes = policies.iter().map(|policy| prefix_note(policy, crashes));
    Plot::new(
        "writepolicy_crash",
        "Acknowledged writes missing after a guest was killed",
        // Dots at 0 stand clear of the names.
        Scale::linear("Missing of the acknowledged writes (%)")
            .range(-0.015 * most, 1.06 * most),
        Scale::names("", policies.iter().copied()).notes(notes),
    )
    .subtitle(format!("By write policy, killed during a load of writes; {runs} crashes each."))
    .caption(
        "One dot for each crash and each place that was read. The note to the right says whether the origin disk \
         alone (after its journal was applied, if there is one) was a prefix of the writes: all up to one of them, \
         and nothing later.",
    )
    .panel("", dots.into_iter().flatten())
}

/// Whether the origin disk alone was a prefix.
fn prefix_note(policy: &str, crashes: &[Crash]) -> String {
    let of = |place: &str| -> Vec<bool> {
        let rows = crashes.iter().filter(|row| row.policy == policy);
        let rows = rows.filter(|row| row.place == place);
        rows.map(|row| row.is_prefix).collect()
    };
    let mut alone = of(Crash::RECOVERED);
    if alone.is_empty() {
        alone = of(Crash::ORIGIN);
    }
    match alone.iter().filter(|is| **is).count() {
        n if n == alone.len() => "a prefix".to_owned(),
        0 => "no prefix".to_owned(),
        n => format!("{n} of {} a prefix", alone.len()),
    }
}
