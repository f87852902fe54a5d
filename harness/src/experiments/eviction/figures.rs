//! The access pattern, hits and misses over block numbers, and their totals.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, Header, INK, Swatch, VERMILLION, dress, sheet, text,
};
use results::chart::{Drawing, Figure, scale};

use super::rows::{EvictionBlockRow, EvictionRow};

/// About how many bars a histogram has.
const BARS: u32 = 128;

/// Reads of the blocks of one bar.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    hits: u64,
    misses: u64,
}

/// A histogram over block numbers.
struct Histogram {
    /// Blocks in a bar.
    width: u32,
    /// Bars, the first from block 0.
    bins: Vec<Bin>,
}

impl Histogram {
    fn new(blocks: &[EvictionBlockRow], reads: impl Fn(&EvictionBlockRow) -> (u32, u32)) -> Self {
        let end = blocks.iter().map(|row| row.block + 1).max().unwrap_or(1);
        let width = end.div_ceil(BARS).next_power_of_two();
        let mut bins = vec![Bin::default(); end.div_ceil(width) as usize];
        for row in blocks {
            let (hits, misses) = reads(row);
            let bin = &mut bins[(row.block / width) as usize];
            bin.hits += u64::from(hits);
            bin.misses += u64::from(misses);
        }
        Self { width, bins }
    }

    fn tallest(&self) -> u64 {
        let tall = self.bins.iter().map(|bin| bin.hits + bin.misses).max();
        tall.unwrap_or(0).max(1)
    }

    fn draw(&self, area: &Area<'_>, tallest: u64, colors: (RGBColor, RGBColor)) -> Result<()> {
        let end = (self.bins.len() as u32 * self.width) as f64;
        let top = tallest as f64 * 1.06;
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(40)
            .x_label_area_size(52)
            .y_label_area_size(84)
            .build_cartesian_2d(
                Axis::linear(0.0..end, scale::linear_ticks(end, 10), scale::count),
                Axis::linear(0.0..top, scale::linear_ticks(top, 6), scale::count),
            )?;
        let mut mesh = chart.configure_mesh();
        dress(&mut mesh);
        mesh.disable_x_mesh()
            .x_desc("Block number")
            .y_desc(format!(
                "Reads of {} blocks",
                scale::count(f64::from(self.width))
            ))
            .draw()?;
        for (i, bin) in self.bins.iter().enumerate() {
            let left = i as f64 * f64::from(self.width);
            let right = left + 0.86 * f64::from(self.width);
            let (hits, all) = (bin.hits as f64, (bin.hits + bin.misses) as f64);
            for (from, to, color) in [(0.0, hits, colors.0), (hits, all, colors.1)] {
                if to > from {
                    let corners = [(left, from), (right, to)];
                    chart.draw_series([Rectangle::new(corners, color.filled())])?;
                }
            }
        }
        Ok(())
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// The figures; none for what has no rows.
pub(crate) fn draw(rows: &[EvictionRow], blocks: &[EvictionBlockRow]) -> Result<Vec<Drawing>> {
    let mut drawings = Vec::new();
    if !blocks.is_empty() {
        drawings.push(access(blocks)?);
        let guest = Histogram::new(blocks, |row| (row.guest_hits, row.guest_misses));
        let hypervisor = Histogram::new(blocks, |row| (row.hypervisor_hits, row.hypervisor_misses));
        // The same axis for both, so that they can be held against each other.
        let tallest = guest.tallest().max(hypervisor.tallest());
        drawings.push(by_block(
            "eviction_guest",
            "Hits and misses when the guest picks",
            "The guest gave up blocks that a sample of its own use did not contain",
            &guest,
            tallest,
        )?);
        drawings.push(by_block(
            "eviction_hypervisor",
            "Hits and misses when the hypervisor picks",
            "The hypervisor took blocks uniformly at random",
            &hypervisor,
            tallest,
        )?);
    }
    if !rows.is_empty() {
        drawings.push(totals(rows)?);
    }
    Ok(drawings)
}

fn access(blocks: &[EvictionBlockRow]) -> Result<Drawing> {
    let histogram = Histogram::new(blocks, |row| (row.guest_hits + row.guest_misses, 0));
    let reads: u64 = histogram.bins.iter().map(|bin| bin.hits).sum();
    let title = "Access pattern";
    let header = Header {
        title,
        subtitle: &format!(
            "{} reads of {} different blocks.",
            scale::count(reads as f64),
            scale::count(blocks.len() as f64)
        ),
        legend: vec![(Swatch::Fill(GREEN), "reads".to_owned())],
    };
    let svg = sheet(&header, |area| {
        histogram.draw(area, histogram.tallest(), (GREEN, GREEN))
    })?;
    let figure = Figure {
        stem: "eviction_pattern",
        title: title.to_owned(),
        caption: "How often the blocks were read. Both halves of the experiment make the same \
                  reads in the same order."
            .to_owned(),
    };
    Ok((figure, svg))
}

fn by_block(
    stem: &'static str,
    title: &str,
    who: &str,
    histogram: &Histogram,
    tallest: u64,
) -> Result<Drawing> {
    let misses: u64 = histogram.bins.iter().map(|bin| bin.misses).sum();
    let reads: u64 = misses + histogram.bins.iter().map(|bin| bin.hits).sum::<u64>();
    let header = Header {
        title,
        subtitle: &format!(
            "{who}: {} of {} reads missed, {}.",
            scale::count(misses as f64),
            scale::count(reads as f64),
            percent(misses, reads)
        ),
        legend: vec![
            (Swatch::Fill(BLUE), "hits".to_owned()),
            (Swatch::Fill(VERMILLION), "misses".to_owned()),
        ],
    };
    let svg = sheet(&header, |area| {
        histogram.draw(area, tallest, (BLUE, VERMILLION))
    })?;
    let figure = Figure {
        stem,
        title: title.to_owned(),
        caption: format!(
            "Reads by block number, misses on top of hits. {who}; a miss is a read of a block \
             that the guest does not hold."
        ),
    };
    Ok((figure, svg))
}

fn totals(rows: &[EvictionRow]) -> Result<Drawing> {
    let title = "Hits and misses in all";
    let header = Header {
        title,
        subtitle: "The same reads, after a shrink by the same number of blocks.",
        legend: vec![
            (Swatch::Fill(BLUE), "hits".to_owned()),
            (Swatch::Fill(VERMILLION), "misses".to_owned()),
        ],
    };
    let svg = sheet(&header, |area| bars(area, rows))?;
    let figure = Figure {
        stem: "eviction_misses",
        title: title.to_owned(),
        caption: "The share of all reads that hit and that missed, by who picked the blocks to \
                  give up."
            .to_owned(),
    };
    Ok((figure, svg))
}

/// A bar for each row, the first at the top.
fn bars(area: &Area<'_>, rows: &[EvictionRow]) -> Result<()> {
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(260)
        .x_label_area_size(52)
        .y_label_area_size(140)
        .build_cartesian_2d(
            Axis::linear(0.0..100.0, scale::linear_ticks(100.0, 5), scale::count),
            Axis::linear(0.0..count, Vec::new(), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_y_mesh()
        .disable_y_axis()
        .x_desc("Share of reads (%)")
        .draw()?;
    let plot = chart.plotting_area();
    for (i, row) in rows.iter().enumerate() {
        let middle = count - 0.5 - i as f64;
        let hits = 100.0 * row.hits as f64 / row.reads.max(1) as f64;
        let end = hits + 100.0 * row.misses as f64 / row.reads.max(1) as f64;
        for (from, to, color) in [(0.0, hits, BLUE), (hits, end, VERMILLION)] {
            let corners = [(from, middle - 0.28), (to, middle + 0.28)];
            plot.draw(&Rectangle::new(corners, color.filled()))?;
        }
        // Beside the chart, where small shares have room for their numbers too.
        let (left, y) = plot.map_coordinate(&(0.0, middle));
        let (right, _) = plot.map_coordinate(&(100.0, middle));
        let (_, top) = area.get_pixel_range();
        let y = y - top.start;
        let right_of_axis = |color| text(16, color, HPos::Left, VPos::Center);
        area.draw(&Text::new(
            format!("{} picks", row.managed_by),
            (left - 12, y),
            text(16, INK, HPos::Right, VPos::Center),
        ))?;
        for (line, name, value, color) in [
            (-12, "hits", row.hits, BLUE),
            (12, "misses", row.misses, VERMILLION),
        ] {
            let label = format!(
                "{} {name}, {}",
                scale::count(value as f64),
                percent(value, row.reads)
            );
            area.draw(&Text::new(
                label,
                (right + 14, y + line),
                right_of_axis(color),
            ))?;
        }
    }
    Ok(())
}
