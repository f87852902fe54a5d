//! Misses of the guest's cache over its size, and how long hits and misses take.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{LOOKS, Series};
use results::chart::sheet::{BLUE, GREY, INK, Mark, VERMILLION};
use results::quantity;
use results::verdict::distinct;
use simulate::replay::Contender;
use vssd_host::emulation::MediaKind;

use super::claims::{NO_MEDIUM, workloads};
use super::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow};

/// Cells with a disk that are drawn; the table has all.
const CELLS: usize = 14;

/// The figures; none of what there are no rows of.
pub(crate) fn draw(
    rows: &[BlockCacheRow],
    sims: &[BlockCacheSimRow],
    timings: &[BlockCacheTimingRow],
) -> Result<Vec<Drawing>> {
    plot::draw([misses(rows, sims), latency(timings)])
}

fn misses(rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) -> Plot {
    let at = |slots: u32, miss_ratio: f64| (f64::from(slots.max(1)), 100.0 * miss_ratio);
    let policies = distinct(rows.iter().map(|row| row.policy.as_str()));
    let accesses = rows.first().map_or(0, BlockCacheRow::accesses);
    let plot = Plot::new(
        "blockcache",
        "Miss ratio of the block cache on a vSSD",
        Scale::logarithmic("Cache size (slots)", 2.0),
        Scale::percent("Miss ratio (%)"),
    )
    .subtitle(format!(
        "{} accesses through a guest's cache, by policy and size.",
        quantity::count(accesses as f64)
    ))
    .caption(
        "Each point is one run of all accesses from an empty cache. `belady` is computed, not run: it knows all \
         future accesses, and no policy that admits every missed block can be below it.",
    );
    workloads(rows).into_iter().fold(plot, |plot, workload| {
        let bound = sims
            .iter()
            .filter(|sim| sim.workload == workload && sim.policy == Contender::Belady.name());
        let of = |policy: &str| {
            let policy = policy.to_owned();
            rows.iter()
                .filter(move |row| row.workload == workload && row.policy == policy)
        };
        let lines = policies.iter().zip(LOOKS).map(|(policy, look)| {
            Series::marked(
                *policy,
                look,
                of(policy).map(|row| at(row.slots, row.miss_ratio())),
            )
        });
        let bound = bound.map(|sim| at(sim.slots, sim.miss_ratio()));
        let belady = Series::marked(Contender::Belady.name(), (INK, Mark::Hollow), bound);
        plot.panel(workload, lines.chain([belady]))
    })
}

fn latency(timings: &[BlockCacheTimingRow]) -> Plot {
    let slow = || {
        timings
            .iter()
            .filter(|row| row.medium != NO_MEDIUM)
            .take(CELLS)
    };
    let name = |row: &BlockCacheTimingRow| {
        format!(
            "{}, {} slots",
            row.policy,
            quantity::count(row.slots.into())
        )
    };
    let note = |row: &BlockCacheTimingRow| {
        let reads = (row.hits + row.misses).max(1) as f64;
        format!("{:.0} % hit", 100.0 * row.hits as f64 / reads)
    };
    // Hits above the middle of the line, misses below it.
    let hits = (0..).zip(slow()).filter(|(_, row)| row.hits > 0);
    let hits = hits.map(|(at, row)| (f64::from(at) - 0.11, row.hit_p50_ns, row.hit_p99_ns));
    let misses = (0..).zip(slow()).filter(|(_, row)| row.misses > 0);
    let misses = misses.map(|(at, row)| (f64::from(at) + 0.11, row.miss_p50_ns, row.miss_p99_ns));
    let disk_ns = MediaKind::Hdd.times().read_ns as f64;
    let disk = Series::new("one access of the disk model", (GREY, Mark::Full)).vertical(disk_ns);
    Plot::new(
        "blockcache_latency",
        "Read latency of hits and misses in front of a disk",
        Scale::times("Read latency"),
        Scale::names("", slow().map(name)).notes(slow().map(note)),
    )
    .subtitle(
        "Reads of 4 KiB by the guest's clock: the dot is the median, the ring the 99th percentile.",
    )
    .caption(
        "One line for each cell with an emulated disk as its origin. The scale is logarithmic.",
    )
    .panel(
        "",
        Series::quantiles("hit", BLUE, hits)
            .into_iter()
            .chain(Series::quantiles("miss", VERMILLION, misses))
            .chain([disk]),
    )
}
