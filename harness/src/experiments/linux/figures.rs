//! Figures of the linux experiment.

use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::{Look, Series};
use results::chart::sheet::{BLUE, GREEN, INK, Mark, ORANGE, VERMILLION};
use results::quantity;
use results::stats::{Mean, Ratio};

use super::claims::cache::{CACHES, windows};
use super::claims::requests::{by_load, own_ratios, ratio};
use super::claims::times::{cells, median_of};
use super::file_system::FileSystem;
use super::rows::{
    CacheKind, CachePhase, Disk, LinuxCacheRow, LinuxGuestRow, LinuxOverheadRow, LinuxTimesRow,
    State,
};

/// Draws what there are rows of.
pub(super) fn draw(
    times: &[LinuxTimesRow],
    overhead: &[LinuxOverheadRow],
    guests: &[LinuxGuestRow],
    cache: &[LinuxCacheRow],
) -> anyhow::Result<Vec<Drawing>> {
    plot::draw([
        of_times(times),
        of_overhead(overhead),
        of_guests(guests),
        of_cache(cache),
    ])
}

/// File systems differ by colour, states by mark.
fn look(file_system: FileSystem, state: State) -> Look {
    let color = match file_system {
        FileSystem::Ext4 => BLUE,
        FileSystem::Xfs => GREEN,
        FileSystem::F2fs => VERMILLION,
    };
    let mark = match state {
        State::Empty => Mark::Hollow,
        State::HalfFull | State::Fragmented => Mark::Full,
    };
    (color, mark)
}

/// Times over the size of the change, on the largest disk.
fn of_times(times: &[LinuxTimesRow]) -> Plot {
    let largest = times.iter().map(|row| row.size_bytes).max().unwrap_or(0);
    let on_largest = |rows: &Vec<&LinuxTimesRow>| {
        rows[0].size_bytes == largest && rows[0].state != State::Fragmented
    };
    let cells: Vec<_> = cells(times).into_iter().filter(on_largest).collect();
    let mut kinds: Vec<(FileSystem, State)> = Vec::new();
    for rows in &cells {
        let kind = (rows[0].file_system, rows[0].state);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let lines = |value: fn(&LinuxTimesRow) -> u64| {
        let line = |kind: &(FileSystem, State)| {
            let of = cells
                .iter()
                .filter(|rows| (rows[0].file_system, rows[0].state) == *kind);
            let points = of.map(|rows| {
                let time_ns = median_of(rows, value).max(1.0);
                (rows[0].change_bytes as f64, time_ns)
            });
            Series::marked(
                format!("{}, {}", kind.0, kind.1),
                look(kind.0, kind.1),
                points,
            )
        };
        kinds.iter().map(line).collect::<Vec<_>>()
    };
    let guest = |row: &LinuxTimesRow| row.shrink_ns - row.host_ns();
    Plot::new(
        "linux_times",
        "Time to shrink the disk of a mounted file system, and to grow it back",
        Scale::bytes("Taken and given back"),
        Scale::times("Time"),
    )
    .subtitle(format!(
        "A vSSD of {}; medians.",
        quantity::bytes(largest as f64)
    ))
    .caption(
        "All axes are logarithmic and the same. The first two panels add up to a shrink: fallocate, fsync and FIEMAP in \
         the guest, and all else, which is the backend, the channel and the rest of the agent.",
    )
    .panel("Shrink: file system", lines(guest))
    .panel("Shrink: all else", lines(LinuxTimesRow::host_ns))
    .panel("Grow back", lines(|row| row.grow_ns))
}

/// A ratio as a point with its interval.
fn point(ratio: &Ratio) -> Mean {
    let interval = ratio.interval();
    Mean {
        value: interval.value,
        bounds: interval.bounds,
        count: interval.count,
    }
}

fn of_overhead(overhead: &[LinuxOverheadRow]) -> Plot {
    let loads = by_load(overhead);
    let peers = [
        ("over qemu-storage-daemon", Disk::QemuStorageDaemon, BLUE),
        ("over QEMU's own virtio-blk", Disk::VirtioBlk, ORANGE),
    ];
    let series = peers
        .into_iter()
        .enumerate()
        .map(|(place, (name, peer, color))| {
            let means = loads.values().enumerate().filter_map(|(row, rounds)| {
                // The two do not cover each other.
                let at = row as f64 - 0.12 + 0.24 * place as f64;
                Some((at, point(&ratio(rounds, peer)?)))
            });
            Series::means_across(name, (color, Mark::Full), means)
        });
    let bar = Series::line("bar", INK, []).vertical(super::claims::requests::OVERHEAD_LEAST);
    let names = loads
        .keys()
        .map(|(way, depth)| format!("{way}, depth {depth}"));
    Plot::new(
        "linux_overhead",
        "4 KiB random requests of a Linux guest to a vSSD",
        Scale::linear("Requests per second, over those to the other disk"),
        Scale::names("", names),
    )
    .subtitle("Medians over rounds with their 95 % intervals.")
    .caption("The bar is for `qemu-storage-daemon`.")
    .panel("", series.chain([bar]))
}

fn of_guests(guests: &[LinuxGuestRow]) -> Plot {
    let ratios = own_ratios(guests);
    let means = ratios.values().enumerate();
    let means = means.map(|(row, ratio)| (row as f64, point(ratio)));
    let names = ratios.keys().map(|depth| format!("depth {depth}"));
    Plot::new(
        "linux_guests",
        "4 KiB random reads of this project's guest",
        Scale::linear("Reads per second, over those of the Linux guest"),
        Scale::names("", names),
    )
    .subtitle("Medians over rounds with their 95 % intervals.")
    .caption(
        "Both guests read from a vSSD of their own, with the same backend program and accelerator.",
    )
    .panel("", [Series::means_across("", (BLUE, Mark::Full), means)])
}

fn of_cache(rows: &[LinuxCacheRow]) -> Plot {
    let lines = CACHES.into_iter().map(|cache| {
        let (name, color) = match cache {
            CacheKind::Own => ("this project's cache, which chooses", BLUE),
            CacheKind::OwnTail => ("the same, whose tail goes", GREEN),
            CacheKind::DmCache => ("dm-cache, whose tail goes", VERMILLION),
        };
        let of = rows.iter().filter(|row| row.cache == cache);
        let points = of.map(|row| (f64::from(row.window) + 0.5, 100.0 * row.hit_ratio()));
        Series::new(name, (color, Mark::Hollow)).path(points)
    });
    let shrunk = windows(rows, CacheKind::DmCache, CachePhase::Shrunk);
    let ends = shrunk.first().zip(shrunk.last());
    let shade = ends.map(|(first, last)| {
        Series::shade("shrunk", first.window.into(), f64::from(last.window) + 1.0)
    });
    let accesses = rows.first().map_or(0, |row| row.accesses);
    let slots = |phase| {
        let of = windows(rows, CacheKind::DmCache, phase);
        quantity::count(of.last().map_or(0.0, |row| row.slots.into()))
    };
    Plot::new(
        "linux_cache",
        "Hit ratio of a cache on a vSSD through a shrink and the grow back",
        Scale::linear("Windows of accesses").without_grid(),
        Scale::linear("Hit ratio (%)"),
    )
    .subtitle(format!(
        "From {} to {} blocks and back; each point is {} accesses.",
        slots(CachePhase::Before),
        slots(CachePhase::Shrunk),
        quantity::count(accesses as f64)
    ))
    .caption("Both caches have the same accesses and as many blocks.")
    .panel("", lines.chain(shade))
}
