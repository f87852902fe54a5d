//! Hits and misses per block, for either side that picks: the thesis'
//! histograms, the access pattern, and the totals.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;

use super::{Area, FONT, blocks_label, ceiling, colour, drawing, figure};
use crate::record::{EvictionBlockRow, EvictionRow};

/// Bins of a histogram: about one for ten pixels.
const BINS: u32 = 90;

/// Hits and misses of the blocks of a bin.
type Bin = (f64, f64);

/// Adds counts up by bins of equal width from block 0 to the last block read.
fn bins(
    rows: &[EvictionBlockRow],
    width: u32,
    counts: impl Fn(&EvictionBlockRow) -> (u32, u32),
) -> Vec<Bin> {
    let mut bins = vec![(0.0, 0.0); BINS as usize];
    for row in rows {
        let (hits, misses) = counts(row);
        let bin = &mut bins[(row.block / width).min(BINS - 1) as usize];
        bin.0 += f64::from(hits);
        bin.1 += f64::from(misses);
    }
    bins
}

/// One stacked histogram: hits at the bottom, misses on top of them.
fn histogram(
    area: &Area<'_>,
    title: &str,
    bins: &[Bin],
    width: u32,
    labels: (&str, Option<&str>),
) -> Result<()> {
    let top = ceiling(bins.iter().map(|(hits, misses)| hits + misses));
    let end = f64::from(width) * bins.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 24))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("block number")
        .y_desc(format!("reads per {width} blocks"))
        .x_label_formatter(&blocks_label)
        .y_label_formatter(&blocks_label)
        .axis_desc_style((FONT, 18))
        .label_style((FONT, 15))
        .draw()
        .map_err(drawing)?;
    let bars = |from: fn(&Bin) -> f64, to: fn(&Bin) -> f64, style: ShapeStyle| {
        bins.iter().enumerate().map(move |(i, bin)| {
            let x = i as f64 * f64::from(width);
            Rectangle::new([(x, from(bin)), (x + f64::from(width), to(bin))], style)
        })
    };
    chart
        .draw_series(bars(|_| 0.0, |bin| bin.0, colour::BLUE.filled()))
        .map_err(drawing)?
        .label(labels.0)
        .legend(|(x, y)| Rectangle::new([(x, y - 6), (x + 22, y + 6)], colour::BLUE.filled()));
    if let Some(label) = labels.1 {
        chart
            .draw_series(bars(
                |bin| bin.0,
                |bin| bin.0 + bin.1,
                colour::ORANGE.filled(),
            ))
            .map_err(drawing)?
            .label(label)
            .legend(|(x, y)| {
                Rectangle::new([(x, y - 6), (x + 22, y + 6)], colour::ORANGE.filled())
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(colour::BLACK.mix(0.3))
        .label_font((FONT, 16))
        .draw()
        .map_err(drawing)
}

fn totals(area: &Area<'_>, rows: &[EvictionRow]) -> Result<()> {
    let top = ceiling(rows.iter().map(|row| 100.0 * row.misses as f64 / row.reads as f64));
    let mut chart = ChartBuilder::on(area)
        .caption("Reads that missed, by who picked the blocks to give up", (FONT, 24))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(72)
        .build_cartesian_2d(-0.6..rows.len() as f64 - 0.4, 0.0..top)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc("misses (% of reads)")
        .axis_desc_style((FONT, 18))
        .label_style((FONT, 15))
        .draw()
        .map_err(drawing)?;
    for (i, row) in rows.iter().enumerate() {
        let percent = 100.0 * row.misses as f64 / row.reads as f64;
        let fill = match row.managed_by.as_str() {
            "guest" => colour::BLUE,
            _ => colour::ORANGE,
        };
        let x = i as f64;
        let style = (FONT, 18).into_font().color(&colour::BLACK).pos(
            plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Center,
                plotters::style::text_anchor::VPos::Bottom,
            ),
        );
        let label = format!(
            "the {} picked: {} of {} reads, {percent:.2} %",
            row.managed_by, row.misses, row.reads
        );
        chart
            .draw_series([Rectangle::new(
                [(x - 0.3, 0.0), (x + 0.3, percent)],
                fill.filled(),
            )])
            .map_err(drawing)?;
        chart
            .draw_series([Text::new(label, (x, percent + top * 0.01), style)])
            .map_err(drawing)?;
    }
    Ok(())
}

/// Draws the figures.
pub(super) fn draw(
    rows: &[EvictionRow],
    blocks: &[EvictionBlockRow],
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if let Some(last) = blocks.iter().map(|row| row.block).max() {
        let width = (last / BINS + 1).next_multiple_of(10);
        let accesses = bins(blocks, width, |row| {
            (row.hypervisor_hits + row.hypervisor_misses, 0)
        });
        files.extend(figure(folder, "eviction_pattern", |area| {
            let title = "Access pattern: which blocks are read how often";
            histogram(area, title, &accesses, width, ("reads", None))
        })?);
        let guest = bins(blocks, width, |row| (row.guest_hits, row.guest_misses));
        files.extend(figure(folder, "eviction_guest", |area| {
            let title = "The guest picks what to give up";
            histogram(area, title, &guest, width, ("hits", Some("misses")))
        })?);
        let hypervisor = bins(blocks, width, |row| {
            (row.hypervisor_hits, row.hypervisor_misses)
        });
        files.extend(figure(folder, "eviction_hypervisor", |area| {
            let title = "The hypervisor picks what to take";
            histogram(area, title, &hypervisor, width, ("hits", Some("misses")))
        })?);
    }
    if !rows.is_empty() {
        files.extend(figure(folder, "eviction_misses", |area| totals(area, rows))?);
    }
    Ok(files)
}
