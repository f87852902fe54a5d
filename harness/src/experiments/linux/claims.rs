//! Claims of the linux experiment.

use std::collections::BTreeMap;

use results::quantity::{count, millis};
use results::stats::{Ratio, median};
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict};

use super::rows::{Disk, LinuxCheckRow, LinuxOverheadRow, LinuxResizeRow, LinuxTimesRow, Way};

/// Bar for requests: those of `qemu-storage-daemon` at least, but for 5 % (SymFlex, 2021).
const OVERHEAD_LEAST: f64 = 0.95;

/// Bar for the agent's resident memory, bytes.
const AGENT_MOST: u64 = 5 << 20;

/// Judges what a file system went through.
pub(crate) fn survived(
    verdict: Verdict,
    resizes: &[LinuxResizeRow],
    checks: &[LinuxCheckRow],
) -> Verdict {
    let sum = |of: fn(&LinuxCheckRow) -> u64| checks.iter().map(of).sum::<u64>();
    verdict
        .require(
            "Every resize of a mounted file system ends with both lists equal, and takes nothing by force.",
            Measured::every(resizes, "resizes", |row| {
                row.agreed && row.revoked_blocks == 0
            }),
        )
        .require(
            "No round of fio finds a wrong checksum or a failed request.",
            Measured::none(
                sum(|row| row.fio_failures),
                sum(|row| row.fio_rounds),
                "rounds of fio failed",
            ),
        )
        .require(
            "Files that are created, renamed and deleted meanwhile read as written.",
            Measured::none(
                sum(|row| row.files_bad),
                sum(|row| row.files_checked),
                "files were wrong",
            ),
        )
        .require(
            "No file that was on disk before a resize or an event is lost.",
            Measured::none(
                sum(|row| row.kept_bad),
                sum(|row| row.kept_checked),
                "files were lost or wrong",
            ),
        )
        .require(
            "The guest's console tells of no failed request, file system or kernel.",
            Measured::every(checks, "consoles", |row| row.log_failures == 0),
        )
        .require(
            "The check of the unmounted file system finds nothing.",
            Measured::every(checks, "file systems", |row| row.fsck_code == 0),
        )
        .require(
            "At the end both lists are equal, and the balloon files have at least the blocks that the backend took.",
            Measured::every(checks, "file systems", |row| {
                row.agreed && row.balloon_blocks >= u64::from(row.taken_blocks)
            }),
        )
        .require("The agent takes less than 5 MiB of memory.", memory(checks))
        .findings(during_check(checks))
        .tables([checked(checks)])
}

/// Judges times and requests.
pub(crate) fn measured(
    mut verdict: Verdict,
    times: &[LinuxTimesRow],
    overhead: &[LinuxOverheadRow],
) -> Verdict {
    verdict = verdict.require_if_measured(
        "A timed shrink takes all that was asked for.",
        Measured::every(times, "shrinks", |row| {
            row.taken_blocks == row.change_blocks
        }),
    );
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
        .tables([resized(times), compared(&cells)])
}

/// What the kernel reported while file systems were checked.
fn during_check(checks: &[LinuxCheckRow]) -> Option<String> {
    let of: Vec<String> = checks
        .iter()
        .filter(|row| row.fsck_log_failures > 0)
        .map(|row| format!("{} of {}", row.fsck_log_failures, row.file_system))
        .collect();
    (!of.is_empty()).then(|| {
        format!(
            "Console lines of failed requests during the check of the file system: {}.",
            of.join(", ")
        )
    })
}

fn memory(checks: &[LinuxCheckRow]) -> Option<Measured> {
    let most = checks.iter().map(|row| row.agent_bytes).max()?;
    let evidence = format!("At most {:.1} MiB.", most as f64 / f64::from(1 << 20));
    Some(Measured::new(most < AGENT_MOST, evidence))
}

/// Rows by round and disk.
type Rounds<'a> = BTreeMap<(u32, Disk), &'a LinuxOverheadRow>;

fn by_load(rows: &[LinuxOverheadRow]) -> BTreeMap<(Way, u32), Rounds<'_>> {
    let mut cells: BTreeMap<_, Rounds<'_>> = BTreeMap::new();
    for row in rows {
        let rounds = cells.entry((row.way, row.depth)).or_default();
        rounds.insert((row.round, row.disk), row);
    }
    cells
}

/// Requests of the vSSD over those of a disk in the same round.
fn ratio(rounds: &Rounds<'_>, peer: Disk) -> Option<Ratio> {
    let pairs = rounds.iter().filter_map(|((round, disk), ours)| {
        let theirs = rounds.get(&(*round, peer))?;
        (*disk == Disk::VssdHost).then(|| ours.iops() / theirs.iops().max(f64::MIN_POSITIVE))
    });
    Ratio::of_pairs(pairs)
}

fn resized(times: &[LinuxTimesRow]) -> Table {
    Table::of(
        "Time to shrink and to grow back",
        times,
        &[
            ("file system", &|row| row.file_system.to_string()),
            ("state", &|row| row.state.to_string()),
            ("asked for (blocks)", &|row| count(row.change_blocks.into())),
            ("taken (blocks)", &|row| count(row.taken_blocks.into())),
            ("extents", &|row| count(row.extents as f64)),
            ("shrink (ms)", &|row| millis(row.shrink_ns)),
            ("of that, backend (ms)", &|row| millis(row.shrink_device_ns)),
            ("grow (ms)", &|row| millis(row.grow_ns)),
            ("of that, backend (ms)", &|row| millis(row.grow_device_ns)),
        ],
    )
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

fn checked(checks: &[LinuxCheckRow]) -> Table {
    Table::of(
        "Under load",
        checks,
        &[
            ("file system", &|row| row.file_system.to_string()),
            ("reboots", &|row| row.reboots.to_string()),
            ("kills of the backend", &|row| row.kills.to_string()),
            ("power cuts", &|row| row.power_cuts.to_string()),
            ("rounds of fio", &|row| row.fio_rounds.to_string()),
            ("files compared", &|row| count(row.files_checked as f64)),
            ("taken (blocks)", &|row| count(row.taken_blocks.into())),
            ("in balloon files (blocks)", &|row| {
                count(row.balloon_blocks as f64)
            }),
            ("first boot (ms)", &|row| millis(row.boot_ns)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::linux::file_system::FileSystem;

    fn check() -> LinuxCheckRow {
        LinuxCheckRow {
            file_system: FileSystem::Ext4,
            reboots: 1,
            kills: 1,
            power_cuts: 0,
            fio_rounds: 9,
            fio_failures: 0,
            files_checked: 100,
            files_bad: 0,
            kept_checked: 20,
            kept_bad: 0,
            log_failures: 0,
            fsck_log_failures: 0,
            fsck_code: 0,
            taken_blocks: 7,
            balloon_blocks: 7,
            agreed: true,
            agent_bytes: 2 << 20,
            boot_ns: 1,
        }
    }

    fn resize() -> LinuxResizeRow {
        LinuxResizeRow {
            file_system: FileSystem::Ext4,
            number: 0,
            from_blocks: 10,
            target_blocks: 5,
            held_blocks: 5,
            revoked_blocks: 0,
            end: "complete".to_owned(),
            agreed: true,
            elapsed_ns: 1,
        }
    }

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

    fn missed(resizes: &[LinuxResizeRow], checks: &[LinuxCheckRow]) -> usize {
        survived(Verdict::new("linux"), resizes, checks)
            .missed()
            .len()
    }

    #[test]
    fn each_failure_misses_one_claim() {
        assert_eq!(missed(&[resize()], &[check()]), 0);
        for damage in [
            |row: &mut LinuxCheckRow| row.fio_failures = 1,
            |row: &mut LinuxCheckRow| row.files_bad = 1,
            |row: &mut LinuxCheckRow| row.kept_bad = 1,
            |row: &mut LinuxCheckRow| row.log_failures = 1,
            |row: &mut LinuxCheckRow| row.fsck_code = 4,
            |row: &mut LinuxCheckRow| row.balloon_blocks = 6,
            |row: &mut LinuxCheckRow| row.agreed = false,
            |row: &mut LinuxCheckRow| row.agent_bytes = 5 << 20,
        ] {
            let mut row = check();
            damage(&mut row);
            assert_eq!(missed(&[resize()], &[check(), row]), 1);
        }
        let mut forced = resize();
        forced.revoked_blocks = 1;
        assert_eq!(missed(&[forced], &[check()]), 1);
        assert_eq!(missed(&[], &[]), 8);
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
            let verdict = measured(Verdict::new("linux"), &[], rows);
            verdict.claims.into_iter().next_back().unwrap()
        };
        assert!(last(&rounds(96)).holds());
        assert!(last(&rounds(94)).is_missed());
        let few = last(&rounds(96)[..4]);
        assert!(!few.holds() && !few.is_missed());
    }
}
