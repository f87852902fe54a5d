//! Misses over the size of a cache: of each policy, and of LRU by exact and sampled curves.

use anyhow::Result;
use plotters::prelude::*;
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, Header, INK, Mark, SKY, Swatch, VERMILLION, dress, marker, sheet,
};
use results::chart::{Drawing, Figure, scale};
use simulate::replay::Contender;

use super::claims::NO_SAMPLE;
use super::rows::{SimRow as Row, StepRow};
use crate::experiments::common::looks::{LOOKS, ORANGE, PURPLE};

/// The figures; none of what there are no rows of.
pub(crate) fn draw(what: &str, rows: &[Row], steps: &[StepRow]) -> Result<Vec<Drawing>> {
    let mut drawings = Vec::new();
    drawings.extend(policies(what, rows)?);
    drawings.extend(mrc(what, steps)?);
    Ok(drawings)
}

/// A line over sizes: its look and points.
struct Line {
    color: RGBColor,
    mark: Option<Mark>,
    points: Vec<(f64, f64)>,
}

fn policies(what: &str, rows: &[Row]) -> Result<Option<Drawing>> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    names.dedup();
    let lines: Vec<Line> = names
        .iter()
        .zip(LOOKS.iter().cycle())
        .map(|(name, (color, mark))| {
            let (color, mark) = match *name == Contender::Belady.name() {
                true => (INK, Mark::Hollow),
                false => (*color, *mark),
            };
            let of = rows
                .iter()
                .filter(|row| row.policy == *name && row.cache_blocks > 0);
            Line {
                color,
                mark: Some(mark),
                points: of
                    .map(|row| (f64::from(row.cache_blocks), 100.0 * row.miss_ratio()))
                    .collect(),
            }
        })
        .collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(None);
    }
    let title = "Accesses that miss, by policy and size of the cache";
    let legend = names.iter().zip(&lines).map(|(name, line)| {
        let mark = line.mark.unwrap_or(Mark::Full);
        (Swatch::MarkedLine(line.color, mark), (*name).to_owned())
    });
    let header = Header {
        title,
        subtitle: what,
        legend: legend.collect(),
    };
    let caption = "Each point is a cache that saw all accesses. `belady` knows what comes: no policy that lets \
                   every missed block in can be below it. The sizes are on a logarithmic axis.";
    drawing("sim", &header, &lines, caption).map(Some)
}

fn drawing(
    stem: &'static str,
    header: &Header<'_>,
    lines: &[Line],
    caption: &str,
) -> Result<Drawing> {
    let svg = sheet(header, |area| chart(area, lines))?;
    let figure = Figure {
        stem,
        title: header.title.to_owned(),
        caption: caption.to_owned(),
    };
    Ok((figure, svg))
}

fn mrc(what: &str, steps: &[StepRow]) -> Result<Option<Drawing>> {
    let mut names: Vec<&str> = steps.iter().map(|row| row.method.as_str()).collect();
    names.dedup();
    let looks = [INK, VERMILLION, BLUE, GREEN, SKY, ORANGE, PURPLE];
    let lines: Vec<Line> = names
        .iter()
        .zip(looks.iter().cycle())
        .map(|(name, color)| Line {
            color: *color,
            mark: None,
            points: stairs(steps.iter().filter(|row| row.method == *name)),
        })
        .collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(None);
    }
    let title = "Miss-ratio curve of LRU";
    let legend = names.iter().zip(&lines).map(|(name, line)| {
        let text = match line.points.is_empty() {
            true => format!("{name} ({NO_SAMPLE})"),
            false => (*name).to_owned(),
        };
        (Swatch::Line(line.color), text)
    });
    let header = Header {
        title,
        subtitle: what,
        legend: legend.collect(),
    };
    let caption = "From one pass over the accesses: `exact` by the stack distance of each (Mattson et al., \
                   1970), the others by those of a sample of the blocks (SHARDS, FAST'15).";
    drawing("mrc", &header, &lines, caption).map(Some)
}

/// A step function as a line.
fn stairs<'a>(steps: impl Iterator<Item = &'a StepRow>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (blocks, ratio) in steps.filter_map(|step| step.cache_blocks.zip(step.miss_ratio)) {
        let blocks = blocks.max(1) as f64;
        if let Some(&(_, before)) = points.last() {
            points.push((blocks, before));
        }
        points.push((blocks, 100.0 * ratio));
    }
    points
}

fn chart(area: &Area<'_>, lines: &[Line]) -> Result<()> {
    let sizes = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.0))
    };
    let least = sizes().fold(f64::INFINITY, f64::min);
    let most = sizes().fold(least, f64::max);
    let (from, to) = (least * 0.9, most * 1.1);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(52)
        .y_label_area_size(100)
        .build_cartesian_2d(
            Axis::logarithmic(from..to, scale::powers(10.0, from, to), scale::count),
            Axis::linear(0.0..102.0, scale::linear_ticks(100.0, 6), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Size of the cache (blocks)")
        .y_desc("Accesses that miss (%)")
        .draw()?;
    for line in lines {
        let width = line.mark.map_or(2, Mark::line_width);
        chart.draw_series([PathElement::new(
            line.points.clone(),
            line.color.stroke_width(width),
        )])?;
        if let Some(mark) = line.mark {
            chart.draw_series(
                line.points
                    .iter()
                    .map(|at| marker(*at, 4, WHITE, Mark::Full)),
            )?;
            chart.draw_series(
                line.points
                    .iter()
                    .map(|at| marker(*at, 4, line.color, mark)),
            )?;
        }
    }
    Ok(())
}
