//! Timed resizes, and what else could give a part of a disk back.

use results::quantity::{bytes, count, millis};
use results::stats::median;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};

use crate::experiments::linux::file_system::FileSystem;
use crate::experiments::linux::rows::{LinuxPeerRow, LinuxTimesRow, State, WayBack};

const GIB: u64 = 1 << 30;

/// Bar for the host's time of a shrink by 8 GiB of a half-full ext4 of 32 GiB, nanoseconds.
const HOST_MOST_NS: u64 = 1_000_000_000;

/// The part of what the agent gave back that must stay so.
const KEPT: f64 = 0.95;

/// Judges resizes.
pub(super) fn judge(verdict: Verdict, times: &[LinuxTimesRow]) -> Verdict {
    let barred = times.iter().filter(|row| {
        let is_half = (row.file_system, row.state) == (FileSystem::Ext4, State::HalfFull);
        is_half && (row.size_bytes, row.change_bytes) == (32 * GIB, 8 * GIB)
    });
    let most = barred.map(LinuxTimesRow::host_ns).max().map(|most_ns| {
        let evidence = format!("At most {} ms.", millis(most_ns));
        Measured::new(most_ns < HOST_MOST_NS, evidence)
    });
    verdict
        .require_if_measured(
            "A timed shrink takes all that was asked for.",
            Measured::every(times, "shrinks", |row| {
                row.taken_blocks == row.change_blocks
            }),
        )
        .require_if_measured(
            "A shrink of a mounted, half-full ext4 of 32 GiB by 8 GiB takes less than 1 s, without fallocate, fsync and FIEMAP in the guest.",
            most,
        )
        .tables((!times.is_empty()).then(|| resized(times)))
}

/// A file system, what is on it, sizes of disk and change.
type Cell = (String, String, u64, u64);

fn cell(row: &LinuxTimesRow) -> Cell {
    let (file_system, state) = (row.file_system.to_string(), row.state.to_string());
    (file_system, state, row.size_bytes, row.change_bytes)
}

/// Rows that differ in their repetition alone, in the order of the first ones.
pub(crate) fn cells(times: &[LinuxTimesRow]) -> Vec<Vec<&LinuxTimesRow>> {
    let mut cells: Vec<(Cell, Vec<&LinuxTimesRow>)> = Vec::new();
    for row in times {
        let of = cell(row);
        match cells.iter_mut().find(|(known, _)| *known == of) {
            Some((_, rows)) => rows.push(row),
            None => cells.push((of, vec![row])),
        }
    }
    cells.into_iter().map(|(_, rows)| rows).collect()
}

/// Median over repetitions.
pub(crate) fn median_of(rows: &[&LinuxTimesRow], value: impl Fn(&LinuxTimesRow) -> u64) -> f64 {
    median(rows.iter().map(|row| value(row) as f64)).unwrap_or(0.0)
}

fn resized(times: &[LinuxTimesRow]) -> Table {
    type Rows<'a> = Vec<&'a LinuxTimesRow>;
    let ms =
        |rows: &Rows<'_>, value: fn(&LinuxTimesRow) -> u64| millis(median_of(rows, value) as u64);
    Table::of(
        "Time to shrink and to grow back, medians",
        cells(times),
        &[
            ("file system", &|rows: &Rows<'_>| {
                rows[0].file_system.to_string()
            }),
            ("state", &|rows| rows[0].state.to_string()),
            ("size", &|rows| bytes(rows[0].size_bytes as f64)),
            ("change", &|rows| bytes(rows[0].change_bytes as f64)),
            ("taken (%)", &|rows| {
                let taken = median_of(rows, |row| row.taken_blocks.into());
                format!("{:.0}", 100.0 * taken / f64::from(rows[0].change_blocks))
            }),
            ("extents", &|rows| count(median_of(rows, |row| row.extents))),
            ("shrink (ms)", &|rows| ms(rows, |row| row.shrink_ns)),
            ("fallocate (ms)", &|rows| {
                ms(rows, |row| row.allocate_guest_ns)
            }),
            ("fsync (ms)", &|rows| ms(rows, |row| row.sync_guest_ns)),
            ("FIEMAP (ms)", &|rows| ms(rows, |row| row.map_guest_ns)),
            ("rest (ms)", &|rows| ms(rows, LinuxTimesRow::host_ns)),
            ("of that, backend (ms)", &|rows| {
                ms(rows, |row| row.shrink_device_ns)
            }),
            ("grow (ms)", &|rows| ms(rows, |row| row.grow_ns)),
            ("of that, backend (ms)", &|rows| {
                ms(rows, |row| row.grow_device_ns)
            }),
        ],
    )
}

/// Judges the ways to give a part of a disk back.
pub(super) fn peers(verdict: Verdict, peers: &[LinuxPeerRow]) -> Verdict {
    let by_agent = peers.iter().filter(|row| row.way == WayBack::Agent);
    verdict
        .require_if_measured(
            "What the agent gave back stays given back when the guest fills its file system.",
            Measured::every(by_agent, "shrinks", |row| is_kept(row)),
        )
        .tables((!peers.is_empty()).then(|| compared(peers)))
}

fn is_kept(row: &LinuxPeerRow) -> bool {
    row.kept_bytes as f64 >= KEPT * row.given_bytes as f64
}

fn compared(peers: &[LinuxPeerRow]) -> Table {
    let names: Vec<String> = peers.iter().map(|row| row.way.to_string()).collect();
    let ways = distinct(names.iter().map(String::as_str))
        .into_iter()
        .map(|name| {
            let rows = peers.iter().filter(|row| row.way.to_string() == name);
            (name.to_owned(), rows.collect::<Vec<_>>())
        });
    type Way<'a> = (String, Vec<&'a LinuxPeerRow>);
    let of = |rows: &[&LinuxPeerRow], value: fn(&LinuxPeerRow) -> u64, text: fn(f64) -> String| {
        or_dash(median(rows.iter().map(|row| value(row) as f64)), text)
    };
    let seconds = |ns: f64| format!("{:.2}", ns / 1e9);
    let title = peers.first().map_or(String::new(), |row| {
        format!(
            "Ways to give back {} of a half-full ext4 of {}, medians",
            bytes(row.change_bytes as f64),
            bytes(row.size_bytes as f64)
        )
    });
    Table::of(
        title,
        ways,
        &[
            ("way", &|(way, _): &Way<'_>| way.clone()),
            ("in all (s)", &|(_, rows)| {
                of(rows, |row| row.elapsed_ns, seconds)
            }),
            ("without writes (s)", &|(_, rows)| {
                of(rows, |row| row.unwritable_ns, seconds)
            }),
            ("given back", &|(_, rows)| {
                of(rows, |row| row.given_bytes, bytes)
            }),
            ("left when the guest is full", &|(_, rows)| {
                of(rows, |row| row.kept_bytes, bytes)
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host_ns: u64) -> LinuxTimesRow {
        LinuxTimesRow {
            file_system: FileSystem::Ext4,
            state: State::HalfFull,
            size_bytes: 32 * GIB,
            change_bytes: 8 * GIB,
            change_blocks: 2 << 20,
            repetition: 0,
            taken_blocks: 2 << 20,
            shrink_ns: 3_000_000_000 + host_ns,
            shrink_device_ns: 7,
            allocate_guest_ns: 2_000_000_000,
            sync_guest_ns: 500_000_000,
            map_guest_ns: 500_000_000,
            extents: 8,
            grow_ns: 1,
            grow_device_ns: 1,
        }
    }

    fn missed(times: &[LinuxTimesRow]) -> usize {
        judge(Verdict::new("linux"), times).missed().len()
    }

    #[test]
    fn the_bar_is_for_what_is_left_of_a_shrink_of_that_size() {
        assert_eq!(missed(&[row(999_999_999)]), 0);
        assert_eq!(missed(&[row(1), row(1_000_000_000)]), 1);
        let smaller = LinuxTimesRow {
            size_bytes: 16 * GIB,
            ..row(1_000_000_000)
        };
        assert_eq!(missed(&[smaller]), 0);
        let partial = LinuxTimesRow {
            taken_blocks: 7,
            ..row(1)
        };
        assert_eq!(missed(&[partial]), 1);
        assert!(judge(Verdict::new("linux"), &[]).claims.is_empty());
    }

    #[test]
    fn what_the_agent_gave_back_stays_so() {
        let way = |way, kept_bytes| LinuxPeerRow {
            way,
            repetition: 0,
            size_bytes: GIB,
            change_bytes: GIB / 4,
            elapsed_ns: 1,
            unwritable_ns: 0,
            given_bytes: GIB / 4,
            kept_bytes,
        };
        let judged = |rows: &[LinuxPeerRow]| peers(Verdict::new("linux"), rows).missed().len();
        assert_eq!(
            judged(&[way(WayBack::Agent, GIB / 4), way(WayBack::Fstrim, 0)]),
            0
        );
        assert_eq!(judged(&[way(WayBack::Agent, GIB / 5)]), 1);
    }
}
