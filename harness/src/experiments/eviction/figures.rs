//! The access pattern, hits and misses over block numbers, and their totals.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{At, Look, Series};
use results::chart::sheet::{BLUE, GREEN, Mark, VERMILLION};
use results::quantity::{count, percent};

use super::rows::{EvictionBlockRow, EvictionRow};

/// Approximate number of bars in a histogram.
const BARS: u32 = 128;

const READS: Look = (GREEN, Mark::Full);
const HITS: Look = (BLUE, Mark::Full);
const MISSES: Look = (VERMILLION, Mark::Full);

/// Hits and misses over block numbers.
struct Histogram {
    /// Blocks in a bar.
    width: u32,
    /// Hits and misses of each bar, the first from block 0.
    bars: Vec<(u64, u64)>,
}

impl Histogram {
    fn new(blocks: &[EvictionBlockRow], reads: impl Fn(&EvictionBlockRow) -> (u32, u32)) -> Self {
        let end = blocks.iter().map(|row| row.block + 1).max().unwrap_or(1);
        let width = end.div_ceil(BARS).next_power_of_two();
        let mut bars = vec![(0, 0); end.div_ceil(width) as usize];
        for row in blocks {
            let (hits, misses) = reads(row);
            let bar = &mut bars[(row.block / width) as usize];
            bar.0 += u64::from(hits);
            bar.1 += u64::from(misses);
        }
        Self { width, bars }
    }

    fn hits(&self) -> u64 {
        self.bars.iter().map(|(hits, _)| hits).sum()
    }

    fn misses(&self) -> u64 {
        self.bars.iter().map(|(_, misses)| misses).sum()
    }

    fn tallest(&self) -> u64 {
        let reads = self.bars.iter().map(|(hits, misses)| hits + misses);
        reads.max().unwrap_or(0)
    }

    /// A plot with bars of this height at most; misses are on top of hits.
    fn plot(
        &self,
        stem: &'static str,
        title: &str,
        tallest: u64,
        [hits, misses]: [(&str, Look); 2],
    ) -> Plot {
        let width = f64::from(self.width);
        let bars = |part: fn(f64, f64) -> (f64, f64)| {
            let bars = (0..).zip(&self.bars).map(move |(at, (hits, misses))| {
                let (from, to) = part(*hits as f64, *misses as f64);
                let left = f64::from(at) * width;
                [(left, from), (left + 0.86 * width, to)]
            });
            bars.filter(|[(_, from), (_, to)]| to > from)
        };
        let hits = Series::new(hits.0, hits.1).boxes(bars(|hits, _| (0.0, hits)));
        let misses = Series::new(misses.0, misses.1);
        let misses = misses.boxes(bars(|hits, misses| (hits, hits + misses)));
        Plot::new(
            stem,
            title,
            Scale::linear("Block number")
                .range(0.0, self.bars.len() as f64 * width)
                .without_grid(),
            Scale::linear(format!("Reads of {} blocks", count(width)))
                .range(0.0, 1.06 * tallest.max(1) as f64),
        )
        .panel("", [hits, misses])
    }
}

/// The figures; none without rows.
pub(crate) fn draw(rows: &[EvictionRow], blocks: &[EvictionBlockRow]) -> Result<Vec<Drawing>> {
    let guest = Histogram::new(blocks, |row| (row.guest_hits, row.guest_misses));
    let hypervisor = Histogram::new(blocks, |row| (row.hypervisor_hits, row.hypervisor_misses));
    // Both have the same axis, so that they can be compared.
    let tallest = guest.tallest().max(hypervisor.tallest());
    plot::draw([
        pattern(blocks),
        by_block(
            "eviction_guest",
            "Hits and misses when the guest picks",
            "The guest gives up blocks that are not in a sample of its use",
            &guest,
            tallest,
        ),
        by_block(
            "eviction_hypervisor",
            "Hits and misses when the hypervisor picks",
            "The hypervisor takes blocks uniformly at random",
            &hypervisor,
            tallest,
        ),
        totals(rows),
    ])
}

fn pattern(blocks: &[EvictionBlockRow]) -> Plot {
    let reads = Histogram::new(blocks, |row| (row.guest_hits + row.guest_misses, 0));
    let series = [("reads", READS), ("", READS)];
    reads
        .plot("eviction_pattern", "Access pattern", reads.tallest(), series)
        .subtitle(format!(
            "{} reads of {} different blocks.",
            count(reads.hits() as f64),
            count(blocks.len() as f64)
        ))
        .caption(
            "Number of reads by block number. Both halves of the experiment make the same reads in the same order.",
        )
}

fn by_block(
    stem: &'static str,
    title: &str,
    pick: &str,
    histogram: &Histogram,
    tallest: u64,
) -> Plot {
    let misses = histogram.misses();
    let reads = misses + histogram.hits();
    let series = [("hits", HITS), ("misses", MISSES)];
    histogram
        .plot(stem, title, tallest, series)
        .subtitle(format!(
            "{pick}: {} of {} reads miss, {}.",
            count(misses as f64),
            count(reads as f64),
            percent(misses, reads)
        ))
        .caption(format!(
            "Reads by block number, misses on top of hits. {pick}; a miss is a read of a block that the guest does \
             not hold."
        ))
}

/// A bar for each row, the first at the top.
fn totals(rows: &[EvictionRow]) -> Plot {
    let share = |part: u64, row: &EvictionRow| 100.0 * part as f64 / row.reads.max(1) as f64;
    let bar = |at: usize, from: f64, to: f64| -> [At; 2] {
        [(from, at as f64 - 0.28), (to, at as f64 + 0.28)]
    };
    let rows_at = || rows.iter().enumerate();
    let hits = rows_at().map(|(at, row)| bar(at, 0.0, share(row.hits, row)));
    let misses = rows_at().map(|(at, row)| {
        let to = share(row.hits + row.misses, row);
        bar(at, share(row.hits, row), to)
    });
    let note = |row: &EvictionRow| {
        let missed = percent(row.misses, row.reads);
        format!("{} misses, {missed}", count(row.misses as f64))
    };
    let names = rows.iter().map(|row| format!("{} picks", row.managed_by));
    Plot::new(
        "eviction_misses",
        "Hits and misses in total",
        Scale::linear("Share of reads (%)").range(0.0, 100.0),
        Scale::names("", names).notes(rows.iter().map(note)),
    )
    .subtitle("The same reads, after a shrink by the same number of blocks.")
    .caption("Shares of all reads that hit and that missed, by the side that picked the blocks to give up.")
    .panel(
        "",
        [
            Series::new("hits", HITS).boxes(hits),
            Series::new("misses", MISSES).boxes(misses),
        ],
    )
}
