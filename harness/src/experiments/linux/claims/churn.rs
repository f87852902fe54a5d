//! What a file system went through under load.

use results::quantity::{count, millis};
use results::table::Table;
use results::verdict::{Measured, Verdict};

use crate::experiments::linux::rows::{LinuxCheckRow, LinuxResizeRow};

/// Bar for the agent's resident memory, bytes.
const AGENT_MOST: u64 = 5 << 20;

/// Judges it.
pub(super) fn judge(
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

    fn missed(resizes: &[LinuxResizeRow], checks: &[LinuxCheckRow]) -> usize {
        judge(Verdict::new("linux"), resizes, checks).missed().len()
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
}
