//! Miss ratio over cache size: by policy, and of LRU by exact and sampled curves.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{LOOKS, Series};
use results::chart::sheet::{BLUE, GREEN, INK, Mark, ORANGE, PURPLE, SKY, VERMILLION};
use results::verdict::distinct;
use simulate::replay::Contender;

use super::claims::NO_SAMPLE;
use super::rows::{SimRow as Row, StepRow};

/// The figures for which there are rows; `what` is the input.
pub(crate) fn draw(what: &str, rows: &[Row], steps: &[StepRow]) -> Result<Vec<Drawing>> {
    let over_size = |stem, title| {
        let size = Scale::logarithmic("Cache size (blocks)", 10.0);
        Plot::new(stem, title, size, Scale::percent("Miss ratio (%)")).subtitle(what)
    };
    plot::draw([
        over_size("sim", "Miss ratio by policy and cache size")
            .caption(
                "Each point is one cache that processed all accesses. `belady` knows all future accesses: no policy \
                 that admits every missed block can be below it. The size axis is logarithmic.",
            )
            .panel("", policies(rows)),
        over_size("mrc", "Miss-ratio curve of LRU")
            .caption(
                "From one pass over the accesses: `exact` from the stack distance of each (Mattson et al., 1970), the \
                 others from those of sampled blocks (SHARDS, FAST'15).",
            )
            .panel("", curves(steps)),
    ])
}

fn policies(rows: &[Row]) -> Vec<Series> {
    let names = distinct(rows.iter().map(|row| row.policy.as_str()));
    let series = names
        .into_iter()
        .zip(LOOKS.into_iter().cycle())
        .map(|(name, look)| {
            let look = if name == Contender::Belady.name() {
                (INK, Mark::Hollow)
            } else {
                look
            };
            let of = rows
                .iter()
                .filter(|row| row.policy == name && row.cache_blocks > 0);
            let at = |row: &Row| (f64::from(row.cache_blocks), 100.0 * row.miss_ratio());
            Series::marked(name, look, of.map(at))
        });
    series.collect()
}

fn curves(steps: &[StepRow]) -> Vec<Series> {
    let colors = [INK, VERMILLION, BLUE, GREEN, SKY, ORANGE, PURPLE];
    let names = distinct(steps.iter().map(|step| step.method.as_str()));
    let series = names
        .into_iter()
        .zip(colors.into_iter().cycle())
        .map(|(name, color)| {
            let of = steps.iter().filter(|step| step.method == name);
            let points = of.filter_map(|step| {
                let blocks = step.cache_blocks?.max(1) as f64;
                Some((blocks, 100.0 * step.miss_ratio?))
            });
            let points: Vec<_> = points.collect();
            let name = if points.is_empty() {
                format!("{name} ({NO_SAMPLE})")
            } else {
                name.to_owned()
            };
            Series::new(name, (color, Mark::Hollow)).steps(points)
        });
    series.collect()
}
