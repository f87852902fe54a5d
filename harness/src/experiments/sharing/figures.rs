//! Blocks held by each VM over time, one on top of the other.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::prelude::*;
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, GREY, Header, INK, SKY, Swatch, VERMILLION, dress, sheet,
};
use results::chart::{Drawing, Figure, scale};

use super::rows::{SharingCheckRow, SharingRow};

/// Colours of VMs in turn.
const COLORS: [RGBColor; 8] = [
    BLUE,
    VERMILLION,
    GREEN,
    SKY,
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xf0, 0xe4, 0x42),
    GREY,
];

/// How much each VM held from a moment on, seconds.
type Moments = Vec<(f64, Vec<f64>)>;

/// The names of the VMs, and what they held when.
fn moments(rows: &[SharingRow], checks: &[SharingCheckRow]) -> (Vec<String>, Moments) {
    let names: BTreeMap<&str, u32> = checks
        .iter()
        .rev()
        .map(|check| (check.vssd.as_str(), check.held_blocks))
        .collect();
    let mut changes: Vec<(u64, &str, u32)> = rows
        .iter()
        .map(|row| (row.at_ns, row.vssd.as_str(), row.held_blocks))
        .collect();
    changes.sort_by_key(|(at_ns, ..)| *at_ns);
    let mut held: Vec<f64> = names.values().map(|blocks| f64::from(*blocks)).collect();
    let mut moments = vec![(0.0, held.clone())];
    for (at_ns, name, blocks) in changes {
        if let Some(vm) = names.keys().position(|of| *of == name) {
            held[vm] = f64::from(blocks);
            moments.push((at_ns as f64 / 1e9, held.clone()));
        }
    }
    let end_ns = checks.iter().map(|check| check.at_ns).max().unwrap_or(0);
    moments.push((end_ns as f64 / 1e9, held));
    (
        names.keys().map(|name| (*name).to_owned()).collect(),
        moments,
    )
}

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[SharingRow], checks: &[SharingCheckRow]) -> Result<Vec<Drawing>> {
    let Some(first) = checks.first() else {
        return Ok(Vec::new());
    };
    let (names, moments) = moments(rows, checks);
    let limit = f64::from(first.limit_blocks);
    let title = "Blocks move between VMs that share a pool";
    let full = f64::from(first.capacity_blocks) * names.len() as f64;
    let header = Header {
        title,
        subtitle: &format!(
            "{} resizes of {} VMs, which at full size would hold {} blocks; the pool has {}.",
            rows.len(),
            names.len(),
            scale::count(full),
            scale::count(limit)
        ),
        legend: names
            .iter()
            .zip(COLORS)
            .map(|(name, color)| (Swatch::Fill(color), name.clone()))
            .chain([(Swatch::Line(INK), "pool".to_owned())])
            .collect(),
    };
    let svg = sheet(&header, |area| chart(area, &moments, limit))?;
    let figure = Figure {
        stem: "sharing",
        title: title.to_owned(),
        caption: "What each VM holds is stacked on what the VMs before it hold, and changes where \
                  the harness heard that a resize had ended. Where the stack touches the line the pool has \
                  nothing left to promise; it stands above it for moments, where one VM already held what \
                  another's resize had given up before that one was reported as ended. In flat stretches every block of every guest is read, or what was killed comes \
                  back."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

/// The outline of a band between the VMs up to `vm` and those before it.
fn band(moments: &Moments, vm: usize) -> Vec<(f64, f64)> {
    let edge = |vms: usize| {
        let sums = moments
            .iter()
            .map(move |(at, held)| (*at, held[..vms].iter().sum::<f64>()));
        let sums: Vec<(f64, f64)> = sums.collect();
        // A stair: each height lasts until the next moment.
        let mut stair = Vec::new();
        for (i, (at, height)) in sums.iter().enumerate() {
            stair.push((*at, *height));
            if let Some((next, _)) = sums.get(i + 1) {
                stair.push((*next, *height));
            }
        }
        stair
    };
    let mut outline = edge(vm + 1);
    outline.extend(edge(vm).into_iter().rev());
    outline
}

fn chart(area: &Area<'_>, moments: &Moments, limit: f64) -> Result<()> {
    let end = moments.last().map_or(1.0, |(at, _)| *at).max(0.001);
    let highest = moments.iter().map(|(_, held)| held.iter().sum::<f64>());
    let top = highest.fold(limit, f64::max) * 1.08;
    let seconds = scale::linear_ticks(end, 10);
    let blocks = scale::linear_ticks(top, 6);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(52)
        .y_label_area_size(100)
        .build_cartesian_2d(
            Axis::linear(0.0..end, seconds, scale::count),
            Axis::linear(0.0..top, blocks, scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_x_mesh()
        .x_desc("Time (s)")
        .y_desc("Blocks held")
        .draw()?;
    let vms = moments.first().map_or(0, |(_, held)| held.len());
    for (vm, color) in (0..vms).zip(COLORS) {
        chart.draw_series([Polygon::new(band(moments, vm), color.filled())])?;
    }
    let line = vec![(0.0, limit), (end, limit)];
    chart.draw_series([PathElement::new(line, INK.stroke_width(3))])?;
    Ok(())
}
