//! Write policies: how long a write takes, by how much the origin disk is behind, and
//! what a crash costs.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, GREY, Header, INK, Mark, Swatch, VERMILLION, dress, marker, sheet, text,
    text_width,
};
use results::chart::spans::{self, Span};
use results::chart::{Drawing, Figure, scale};
use results::verdict::distinct;
use vssd_host::emulation::MediaKind;

use super::claims::{BLOCK, is_through};
use super::rows::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};
use crate::experiments::common::looks::PURPLE;

/// Colours of the policies by which the origin disk may be behind, in turn.
const COLORS: [RGBColor; 4] = [VERMILLION, BLUE, GREEN, PURPLE];

/// Where it was looked after a crash: colour, and words for it.
const PLACES: [(&str, RGBColor, &str); 3] = [
    (
        WritePolicyCrashRow::ORIGIN,
        VERMILLION,
        "origin disk as it was left",
    ),
    (
        WritePolicyCrashRow::RECOVERED,
        PURPLE,
        "its journal applied, without the vSSD",
    ),
    (
        WritePolicyCrashRow::WARM,
        BLUE,
        "both disks, by a new guest's cache",
    ),
];

/// The figures; none of what there are no rows of.
pub(crate) fn draw(
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[WritePolicyCrashRow],
) -> Result<Vec<Drawing>> {
    let mut drawings = Vec::new();
    drawings.extend(latency(rows)?);
    drawings.extend(staleness(samples)?);
    drawings.extend(losses(crashes)?);
    Ok(drawings)
}

fn latency(rows: &[WritePolicyRow]) -> Result<Option<Drawing>> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let color = |row: &WritePolicyRow| match is_through(&row.policy) {
        true => VERMILLION,
        false => BLUE,
    };
    let lines: Vec<spans::Line> = rows
        .iter()
        .map(|row| spans::Line {
            name: row.policy.clone(),
            spans: vec![Span {
                color: color(row),
                p50_ns: row.write_p50_ns,
                p99_ns: row.write_p99_ns,
            }],
            note: format!("{} accesses/s", scale::count(row.rate())),
        })
        .collect();
    let title = "Time of a write, by write policy";
    let header = Header {
        title,
        subtitle: &format!(
            "By the guest's clock, {} accesses under way: half took no longer than the dot, 99 % than the ring.",
            first.depth
        ),
        legend: vec![
            (
                Swatch::MarkedLine(VERMILLION, Mark::Full),
                "written to the origin disk at once".to_owned(),
            ),
            (
                Swatch::MarkedLine(BLUE, Mark::Full),
                "written back later".to_owned(),
            ),
            (
                Swatch::Line(GREY),
                "an access of the disk's model".to_owned(),
            ),
        ],
    };
    let disk_ns = MediaKind::Hdd.times().write_ns;
    let svg = sheet(&header, |area| {
        spans::chart(area, &lines, disk_ns, "Time of a write")
    })?;
    let figure = Figure {
        stem: "writepolicy_latency",
        title: title.to_owned(),
        caption: "The axis is logarithmic. The disk does one thing at a time, so a write that waits for it waits \
                  for those before it as well."
            .to_owned(),
    };
    Ok(Some((figure, svg)))
}

/// A policy over time, seconds.
struct Behind<'a> {
    policy: &'a str,
    color: RGBColor,
    bytes: Vec<(f64, f64)>,
    seconds: Vec<(f64, f64)>,
}

fn staleness(samples: &[WritePolicySampleRow]) -> Result<Option<Drawing>> {
    let names = distinct(samples.iter().map(|row| row.policy.as_str()));
    let is_behind = |name: &&str| {
        let mut of = samples.iter().filter(|row| row.policy == *name);
        of.any(|row| row.dirty_blocks > 0)
    };
    let (behind, never): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_behind);
    let lines: Vec<Behind<'_>> = behind
        .iter()
        .zip(COLORS.iter().cycle())
        .map(|(policy, color)| {
            let of = || samples.iter().filter(|row| row.policy == **policy);
            let at = |row: &WritePolicySampleRow| row.at_ns as f64 / 1e9;
            Behind {
                policy,
                color: *color,
                bytes: of()
                    .map(|row| (at(row), f64::from(row.dirty_blocks) * BLOCK / 1024.0))
                    .collect(),
                seconds: of()
                    .map(|row| (at(row), row.stale_ns as f64 / 1e9))
                    .collect(),
            }
        })
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let title = "How far the origin disk is behind";
    let never = match never.is_empty() {
        true => String::new(),
        false => format!(" By {} it never is.", never.join(", ")),
    };
    let header = Header {
        title,
        subtitle: &format!("Acknowledged writes that are not on it, while a load goes on.{never}"),
        legend: lines
            .iter()
            .map(|line| (Swatch::Line(line.color), line.policy.to_owned()))
            .collect(),
    };
    let svg = sheet(&header, |area| {
        let parts = area.split_evenly((1, 2));
        let [left, right] = parts.as_slice() else {
            return Ok(());
        };
        panel(left, "KiB that it lacks", &lines, |line| &line.bytes)?;
        panel(right, "Age of the oldest such write (s)", &lines, |line| {
            &line.seconds
        })
    })?;
    let figure = Figure {
        stem: "writepolicy_staleness",
        title: title.to_owned(),
        caption: "As the guest reported it after every so many accesses. A line ends where the policy had served all \
                  of them: the faster the policy, the shorter its line. What is behind then is written back \
                  afterwards."
            .to_owned(),
    };
    Ok(Some((figure, svg)))
}

/// A number on an axis of few of them.
fn short(value: f64) -> String {
    match value {
        value if value == value.round() => scale::count(value),
        value => format!("{value:.1}"),
    }
}

/// Ticks from 0 to `max`, which may be less than 1.
fn ticks(max: f64, wanted: usize) -> Vec<f64> {
    match max >= wanted as f64 {
        true => scale::linear_ticks(max, wanted),
        false => scale::linear_ticks(max * 10.0, wanted)
            .into_iter()
            .map(|tick| tick / 10.0)
            .collect(),
    }
}

fn panel<'a>(
    area: &Area<'_>,
    what: &str,
    lines: &'a [Behind<'a>],
    of: fn(&'a Behind<'a>) -> &'a [(f64, f64)],
) -> Result<()> {
    let points = || lines.iter().flat_map(of);
    let end = points().map(|at| at.0).fold(0.001, f64::max) * 1.02;
    let top = points().map(|at| at.1).fold(0.001, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Axis::linear(0.0..end, ticks(end, 6), short),
            Axis::linear(0.0..top, ticks(top, 6), short),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_x_mesh()
        .x_desc("Time of the load (s)")
        .y_desc(what)
        .draw()?;
    for line in lines {
        let path = [(0.0, 0.0)].into_iter().chain(of(line).iter().copied());
        let path: Vec<(f64, f64)> = path.collect();
        chart.draw_series([PathElement::new(path, line.color.stroke_width(2))])?;
    }
    Ok(())
}

fn losses(crashes: &[WritePolicyCrashRow]) -> Result<Option<Drawing>> {
    let names = distinct(crashes.iter().map(|row| row.policy.as_str()));
    if names.is_empty() {
        return Ok(None);
    }
    let counted = |policy: &str| {
        let of = crashes.iter().filter(|row| row.policy == policy);
        of.filter(|row| row.place == WritePolicyCrashRow::ORIGIN)
            .count()
    };
    let most = names.iter().map(|name| counted(name)).max().unwrap_or(0);
    let title = "Acknowledged writes that a killed guest leaves missing";
    let looked = |place: &str| crashes.iter().any(|row| row.place == place);
    let header = Header {
        title,
        subtitle: &format!(
            "By write policy, in the middle of a load of writes; {most} crashes each."
        ),
        legend: PLACES
            .iter()
            .filter(|(place, ..)| looked(place))
            .map(|(_, color, name)| (Swatch::Marker(*color, Mark::Full), (*name).to_owned()))
            .collect(),
    };
    let svg = sheet(&header, |area| loss_chart(area, &names, crashes))?;
    let figure = Figure {
        stem: "writepolicy_crash",
        title: title.to_owned(),
        caption: "A dot for each crash and each place in which it was looked. Whether a prefix of the writes was found \
                  on the origin disk alone stands to the right: all writes up to one of them, and nothing of a later \
                  one; after its journal has been applied where there is one."
            .to_owned(),
    };
    Ok(Some((figure, svg)))
}

/// Whether the origin disk alone was a prefix, in words.
fn prefix_note(policy: &str, crashes: &[WritePolicyCrashRow]) -> String {
    let of = |place: &str| -> Vec<bool> {
        let rows = crashes.iter().filter(|row| row.policy == policy);
        let rows = rows.filter(|row| row.place == place);
        rows.map(|row| row.is_prefix).collect()
    };
    let recovered = of(WritePolicyCrashRow::RECOVERED);
    let alone = match recovered.is_empty() {
        true => of(WritePolicyCrashRow::ORIGIN),
        false => recovered,
    };
    let prefixes = alone.iter().filter(|is| **is).count();
    match prefixes {
        n if n == alone.len() => "a prefix".to_owned(),
        0 => "no prefix".to_owned(),
        n => format!("{n} of {} a prefix", alone.len()),
    }
}

fn loss_chart(area: &Area<'_>, names: &[&str], crashes: &[WritePolicyCrashRow]) -> Result<()> {
    const TEXT: u32 = 15;
    let count = names.len() as f64;
    let percent =
        |row: &WritePolicyCrashRow| 100.0 * row.missing as f64 / row.acknowledged.max(1) as f64;
    let most = crashes.iter().map(percent).fold(1.0, f64::max) * 1.06;
    let left = -0.015 * most;
    let names_width = names.iter().map(|name| text_width(name, TEXT)).max();
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(160)
        .x_label_area_size(52)
        .y_label_area_size(names_width.unwrap_or(0) + 24)
        .build_cartesian_2d(
            Axis::linear(left..most, scale::linear_ticks(most, 8), scale::count),
            Axis::linear(0.0..count, Vec::new(), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_y_mesh()
        .disable_y_axis()
        .x_desc("Of the acknowledged writes, missing (%)")
        .draw()?;
    for (i, name) in names.iter().enumerate() {
        let middle = count - 0.5 - i as f64;
        for ((place, color, _), shift) in PLACES.iter().zip([0.22, 0.0, -0.22]) {
            let of = crashes
                .iter()
                .filter(|row| row.policy == *name && row.place == *place);
            let points =
                of.map(|row| marker((percent(row), middle + shift), 5, *color, Mark::Full));
            chart.draw_series(points)?;
        }
    }
    let plot = chart.plotting_area();
    let (_, rows) = area.get_pixel_range();
    for (i, name) in names.iter().enumerate() {
        let y = count - 0.5 - i as f64;
        let (from, down) = plot.map_coordinate(&(left, y));
        let (to, _) = plot.map_coordinate(&(most, y));
        let down = down - rows.start;
        let style = text(TEXT, INK, HPos::Right, VPos::Center);
        area.draw(&Text::new((*name).to_owned(), (from - 12, down), style))?;
        let style = text(TEXT, GREY, HPos::Left, VPos::Center);
        area.draw(&Text::new(
            prefix_note(name, crashes),
            (to + 12, down),
            style,
        ))?;
    }
    Ok(())
}
