//! Requests of the Linux guest beside other disks, and beside this project's guest.

use std::collections::BTreeMap;

use results::stats::{Ratio, median};
use results::table::{Table, or_dash};
use results::verdict::Verdict;

use crate::experiments::linux::rows::{Disk, GuestKind, LinuxGuestRow, LinuxOverheadRow, Way};

/// Bar for requests: those of `qemu-storage-daemon` at least, but for 5 % (SymFlex, 2021).
pub(crate) const OVERHEAD_LEAST: f64 = 0.95;

/// Bars for reads of this project's guest over those of the Linux guest, by depth.
const OWN_LEAST: [(u32, f64); 2] = [(1, 3.0), (32, 8.0)];

/// Judges the vSSD beside other disks of the same guest.
pub(super) fn judge(mut verdict: Verdict, overhead: &[LinuxOverheadRow]) -> Verdict {
    let cells = by_load(overhead);
    for ((way, depth), rounds) in &cells {
        let bar = format!(
            "4 KiB random {way}, depth {depth}: at least {OVERHEAD_LEAST}x the requests of qemu-storage-daemon."
        );
        let ratio = ratio(rounds, Disk::QemuStorageDaemon);
        let judged = ratio.map(|of| of.judged(|it| it.at_least(OVERHEAD_LEAST)));
        verdict = verdict.require(bar, judged);
    }
    let beside: Vec<String> = cells
        .iter()
        .filter_map(|((way, depth), rounds)| {
            let ratio = ratio(rounds, Disk::VirtioBlk)?;
            Some(format!("{way}, depth {depth}: {:.2}x", ratio.median))
        })
        .collect();
    let beside = (!beside.is_empty()).then(|| {
        format!(
            "Requests beside QEMU's own virtio-blk: {}.",
            beside.join("; ")
        )
    });
    verdict
        .findings(beside)
        .tables((!overhead.is_empty()).then(|| compared(&cells)))
}

/// Rows by round and disk.
pub(crate) type Rounds<'a> = BTreeMap<(u32, Disk), &'a LinuxOverheadRow>;

pub(crate) fn by_load(rows: &[LinuxOverheadRow]) -> BTreeMap<(Way, u32), Rounds<'_>> {
    let mut cells: BTreeMap<_, Rounds<'_>> = BTreeMap::new();
    for row in rows {
        let rounds = cells.entry((row.way, row.depth)).or_default();
        rounds.insert((row.round, row.disk), row);
    }
    cells
}

/// Requests of the vSSD over those of a disk in the same round.
pub(crate) fn ratio(rounds: &Rounds<'_>, peer: Disk) -> Option<Ratio> {
    let pairs = rounds.iter().filter_map(|((round, disk), ours)| {
        let theirs = rounds.get(&(*round, peer))?;
        (*disk == Disk::VssdHost).then(|| ours.iops() / theirs.iops().max(f64::MIN_POSITIVE))
    });
    Ratio::of_pairs(pairs)
}

fn compared(cells: &BTreeMap<(Way, u32), Rounds<'_>>) -> Table {
    let lines = cells.iter().flat_map(|(load, rounds)| {
        [Disk::VssdHost, Disk::QemuStorageDaemon, Disk::VirtioBlk].map(|disk| {
            let of: Vec<&LinuxOverheadRow> = rounds
                .values()
                .filter(|row| row.disk == disk)
                .copied()
                .collect();
            (load, disk, of)
        })
    });
    let of = |rows: &[&LinuxOverheadRow], value: fn(&LinuxOverheadRow) -> f64, decimals| {
        or_dash(median(rows.iter().map(|row| value(row))), |value| {
            format!("{value:.decimals$}")
        })
    };
    Table::of(
        "4 KiB random requests of the guest",
        lines,
        &[
            ("load", &|((way, depth), _, _)| {
                format!("{way}, depth {depth}")
            }),
            ("disk", &|(_, disk, _)| disk.to_string()),
            ("requests/s", &|(_, _, rows)| {
                of(rows, LinuxOverheadRow::iops, 0)
            }),
            ("p50 (µs)", &|(_, _, rows)| {
                of(rows, |row| row.p50_guest_ns as f64 / 1e3, 0)
            }),
            ("p99 (µs)", &|(_, _, rows)| {
                of(rows, |row| row.p99_guest_ns as f64 / 1e3, 0)
            }),
        ],
    )
}

/// Reads per second of this project's guest over those of the Linux guest, by depth.
pub(crate) fn own_ratios(guests: &[LinuxGuestRow]) -> BTreeMap<u32, Ratio> {
    let of = |depth, guest| {
        let rows = guests
            .iter()
            .filter(move |row| (row.depth, row.guest) == (depth, guest));
        rows.map(|row| (row.round, row.iops()))
            .collect::<BTreeMap<_, _>>()
    };
    let depths: std::collections::BTreeSet<u32> = guests.iter().map(|row| row.depth).collect();
    let ratio = |depth| {
        let linux = of(depth, GuestKind::Linux);
        let pairs = of(depth, GuestKind::Own)
            .into_iter()
            .filter_map(|(round, own)| Some(own / linux.get(&round)?.max(f64::MIN_POSITIVE)));
        Some((depth, Ratio::of_pairs(pairs)?))
    };
    depths.into_iter().filter_map(ratio).collect()
}

/// Judges this project's guest beside the Linux guest.
pub(super) fn own_guest(mut verdict: Verdict, guests: &[LinuxGuestRow]) -> Verdict {
    let ratios = own_ratios(guests);
    for (depth, least) in OWN_LEAST {
        let judged = ratios.get(&depth);
        verdict = verdict.require_if_measured(
            format!(
                "This project's guest reads 4 KiB at depth {depth} at least {least} times as often as the Linux guest."
            ),
            judged.map(|of| of.judged(|it| it.at_least(least))),
        );
    }
    verdict.tables((!guests.is_empty()).then(|| guests_table(guests, &ratios)))
}

fn guests_table(guests: &[LinuxGuestRow], ratios: &BTreeMap<u32, Ratio>) -> Table {
    let iops = |depth, guest| {
        let rows = guests
            .iter()
            .filter(|row| (row.depth, row.guest) == (depth, guest));
        or_dash(median(rows.map(LinuxGuestRow::iops)), |value| {
            format!("{value:.0}")
        })
    };
    Table::of(
        "4 KiB random reads of two guests, medians",
        ratios,
        &[
            ("depth", &|(depth, _)| depth.to_string()),
            ("this project's guest (reads/s)", &|(depth, _)| {
                iops(**depth, GuestKind::Own)
            }),
            ("Linux guest (reads/s)", &|(depth, _)| {
                iops(**depth, GuestKind::Linux)
            }),
            ("ratio", &|(_, ratio)| format!("{:.2}", ratio.median)),
            ("interval", &|(_, ratio)| ratio.interval().to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(round: u32, disk: Disk, requests: u64) -> LinuxOverheadRow {
        LinuxOverheadRow {
            round,
            disk,
            way: Way::Read,
            depth: 1,
            requests,
            elapsed_guest_ns: 1_000_000_000,
            p50_guest_ns: 1,
            p99_guest_ns: 1,
        }
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let rounds = |ours: u64| -> Vec<LinuxOverheadRow> {
            let of = |round| {
                [
                    slice(round, Disk::VssdHost, ours),
                    slice(round, Disk::QemuStorageDaemon, 100),
                ]
            };
            (0..7).flat_map(of).collect()
        };
        let last = |rows: &[LinuxOverheadRow]| {
            let verdict = judge(Verdict::new("linux"), rows);
            verdict.claims.into_iter().next_back().unwrap()
        };
        assert!(last(&rounds(96)).holds());
        assert!(last(&rounds(94)).is_missed());
        let few = last(&rounds(96)[..4]);
        assert!(!few.holds() && !few.is_missed());
    }

    #[test]
    fn guests_are_judged_by_rounds_and_depth() {
        let rows = |rounds: u32, times: u64| -> Vec<LinuxGuestRow> {
            let row = |round, guest, requests| LinuxGuestRow {
                round,
                guest,
                depth: 32,
                requests,
                elapsed_guest_ns: 1_000_000_000,
            };
            let of = |round| {
                [
                    row(round, GuestKind::Own, 100 * times),
                    row(round, GuestKind::Linux, 100),
                ]
            };
            (0..rounds).flat_map(of).collect()
        };
        let judged = |rows: &[LinuxGuestRow]| {
            let verdict = own_guest(Verdict::new("linux"), rows);
            assert_eq!(verdict.claims.len(), 1, "there are rows of one depth");
            verdict.claims.into_iter().next().unwrap()
        };
        assert!(judged(&rows(7, 9)).holds());
        assert!(judged(&rows(7, 7)).is_missed());
        let few = judged(&rows(2, 9));
        assert!(!few.holds() && !few.is_missed());
        assert!(own_guest(Verdict::new("linux"), &[]).claims.is_empty());
    }
}
