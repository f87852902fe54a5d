//! Claims of the sharing experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::quantity::millis;
use results::stats::median;
use results::table::Table;
use results::verdict::{Measured, Verdict};

use super::faults::describe;
use super::rows::{SharingCheckRow, SharingFaultRow, SharingRow};

/// Judges the rows.
pub(crate) fn judge(
    rows: &[SharingRow],
    checks: &[SharingCheckRow],
    faults: &[SharingFaultRow],
) -> Verdict {
    let verdict = Verdict::new("Several guests on one pool")
        .require(
            "A guest reads what it wrote or zeros, never the data of another guest.",
            contents(checks),
        )
        .require(
            "While no resize is in progress, every guest's list equals the backend's, and exactly the blocks on it are readable.",
            Measured::every(checks, "comparisons", |check| {
                check.lists_equal && check.unexpected_blocks == 0
            }),
        )
        .require(
            "All VMs together never hold more blocks than the pool has.",
            limit(checks),
        )
        .require(
            "No request during the rounds fails or returns data other than the last write.",
            requests(checks, faults),
        )
        .require(
            "Every resize moves all blocks, is cancelled, or finds no room to grow, and the driver confirms the \
             resulting list.",
            Measured::every(rows, "resizes", |row| is_sound(row)),
        );
    let held = verdict.holds();
    verdict
        .require(
            "All of the above holds across kills of a guest and of the backend.",
            kills(checks, held),
        )
        .findings([early_ends(rows)])
        .tables([resizes(rows)])
}

fn contents(checks: &[SharingCheckRow]) -> Option<Measured> {
    let sum = |blocks: fn(&SharingCheckRow) -> u32| -> u64 {
        checks.iter().map(|check| u64::from(blocks(check))).sum()
    };
    let own = sum(|check| check.own_blocks);
    let zeros = sum(|check| check.zero_blocks);
    let foreign = sum(|check| check.foreign_blocks);
    let all = own + zeros + foreign;
    (all > 0).then(|| {
        Measured::new(
            own > 0 && foreign == 0,
            format!("{all} blocks read back: {own} as written, {zeros} zeros, {foreign} foreign."),
        )
    })
}

fn requests(checks: &[SharingCheckRow], faults: &[SharingFaultRow]) -> Option<Measured> {
    let requests = checks.iter().map(|check| check.inflight_requests).sum();
    let errors = checks.iter().map(|check| check.inflight_errors).sum();
    let mut measured = Measured::none(errors, requests, "requests")?;
    if let Some(fault) = faults.first() {
        let first = format!(" The first: {}.", describe(fault));
        measured.evidence.push_str(&first);
    }
    Some(measured)
}

fn limit(checks: &[SharingCheckRow]) -> Option<Measured> {
    let most = checks.iter().map(|check| check.held_by_all_blocks).max()?;
    let is_within = |check: &SharingCheckRow| check.held_by_all_blocks <= check.limit_blocks;
    Some(Measured::new(
        checks.iter().all(is_within),
        format!(
            "At most {most} of {} blocks were held.",
            checks[0].limit_blocks
        ),
    ))
}

/// Whether a resize ended as it may: early only if it was cancelled, or if it was a grow and the
/// pool had no room.
fn is_sound(row: &SharingRow) -> bool {
    let may_end = match row.ended.as_str() {
        "complete" => row.held_blocks == row.target_blocks,
        "cancelled" => row.cancelled,
        "refused" | "storage" => row.kind == "grow",
        _ => false,
    };
    may_end && row.agreed
}

fn kills(checks: &[SharingCheckRow], all_else_holds: bool) -> Option<Measured> {
    let rounds = |after: &str| {
        let of = checks.iter().filter(|check| check.after == after);
        of.map(|check| check.round).collect::<BTreeSet<_>>().len()
    };
    let (guests, backends) = (rounds("killed"), rounds("backend-restarted"));
    Some(Measured::new(
        guests > 0 && backends > 0 && all_else_holds,
        format!("Kills under load: guest {guests}, backend {backends}."),
    ))
}

fn early_ends(rows: &[SharingRow]) -> String {
    let count = |is: fn(&&SharingRow) -> bool| rows.iter().filter(is).count();
    format!(
        "{} grows were refused because another VM had taken the free blocks first; {} of {} cancelled resizes ended \
         before all blocks had moved.",
        count(|row| row.ended == "refused"),
        count(|row| row.ended == "cancelled"),
        count(|row| row.cancelled)
    )
}

fn resizes(rows: &[SharingRow]) -> Table {
    let mut kinds: BTreeMap<(&str, &str), Vec<&SharingRow>> = BTreeMap::new();
    for row in rows {
        kinds.entry((&row.kind, &row.ended)).or_default().push(row);
    }
    let moved = |row: &&SharingRow| u64::from(row.held_blocks.abs_diff(row.from_blocks));
    let median_ns = |rows: &[&SharingRow]| median(rows.iter().map(|row| row.elapsed_ns as f64));
    let longest_ns = |rows: &[&SharingRow]| rows.iter().map(|row| row.elapsed_ns).max();
    Table::of(
        "Resizes",
        kinds,
        &[
            ("kind", &|((kind, _), _)| (*kind).to_owned()),
            ("ended", &|((_, ended), _)| (*ended).to_owned()),
            ("resizes", &|(_, rows)| rows.len().to_string()),
            ("blocks moved", &|(_, rows)| {
                rows.iter().map(moved).sum::<u64>().to_string()
            }),
            ("median (ms)", &|(_, rows)| {
                millis(median_ns(rows).unwrap_or(0.0) as u64)
            }),
            ("longest (ms)", &|(_, rows)| {
                millis(longest_ns(rows).unwrap_or(0))
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> SharingRow {
        SharingRow {
            round: 0,
            vssd: "vm1".to_owned(),
            kind: "grow".to_owned(),
            cancelled: false,
            from_blocks: 10,
            target_blocks: 20,
            held_blocks: 20,
            revoked_blocks: 0,
            ended: "complete".to_owned(),
            agreed: true,
            at_ns: 1,
            elapsed_ns: 1,
        }
    }

    fn check(after: &str) -> SharingCheckRow {
        SharingCheckRow {
            round: 0,
            after: after.to_owned(),
            vssd: "vm1".to_owned(),
            at_ns: 1,
            capacity_blocks: 30,
            held_blocks: 20,
            held_by_all_blocks: 40,
            limit_blocks: 40,
            lists_equal: true,
            own_blocks: 15,
            zero_blocks: 5,
            foreign_blocks: 0,
            unexpected_blocks: 0,
            inflight_requests: 9,
            inflight_errors: 0,
        }
    }

    #[test]
    fn every_fault_misses_the_claim_that_names_it() {
        let deaths = || vec![check("killed"), check("backend-restarted")];
        assert!(judge(&[row()], &deaths(), &[]).holds());
        let faults: [fn(&mut SharingCheckRow); 5] = [
            |check| check.foreign_blocks = 1,
            |check| check.lists_equal = false,
            |check| check.unexpected_blocks = 1,
            |check| check.held_by_all_blocks = 41,
            |check| check.inflight_errors = 1,
        ];
        for (fault, claim) in faults
            .into_iter()
            .zip(["wrote", "list", "list", "pool", "request"])
        {
            let mut checks = deaths();
            fault(&mut checks[1]);
            let missed = judge(&[row()], &checks, &[]).missed();
            assert!(missed[0].contains(claim), "{missed:?}");
        }
        assert!(
            !judge(&[row()], &[check("calm")], &[]).holds(),
            "no guest died"
        );
        assert!(!judge(&[], &deaths(), &[]).holds(), "nothing moved");
    }

    #[test]
    fn the_first_fault_is_described() {
        let fault = SharingFaultRow {
            round: 5,
            after: "backend-restarted".to_owned(),
            vssd: "vm1".to_owned(),
            block: 7,
            wrong: "write-failed".to_owned(),
            expected: "unknown".to_owned(),
            first_word: String::new(),
            last_word: String::new(),
            after_requests: 100,
            no_space_requests: 1,
            io_error_requests: 0,
        };
        let mut checks = vec![check("killed"), check("backend-restarted")];
        checks[1].inflight_errors = 1;
        let missed = |fault: SharingFaultRow| {
            let verdict = judge(&[row()], &checks, &[fault]);
            format!("{:?}", verdict.claims)
        };
        let failed = missed(fault.clone());
        assert!(failed.contains("write-failed at block 7 of vm1 in round 5"));
        assert!(failed.contains("1 requests without space"), "{failed}");
        let other = missed(SharingFaultRow {
            wrong: "other-data".to_owned(),
            first_word: "version 2 of block 9 of vm2".to_owned(),
            ..fault
        });
        assert!(other.contains("found version 2 of block 9 of vm2"));
    }

    #[test]
    fn a_resize_may_end_early_for_its_own_reasons_only() {
        let ended = |kind: &str, cancelled, ended: &str| {
            let (kind, ended) = (kind.to_owned(), ended.to_owned());
            is_sound(&SharingRow {
                kind,
                cancelled,
                ended,
                held_blocks: 15,
                ..row()
            })
        };
        assert!(ended("grow", false, "refused") && ended("shrink", true, "cancelled"));
        assert!(!ended("grow", false, "complete"), "blocks are missing");
        assert!(!ended("shrink", false, "cancelled"), "it was not cancelled");
        assert!(!ended("shrink", false, "refused") && !ended("shrink", false, "deadline"));
        assert!(!is_sound(&SharingRow {
            agreed: false,
            ..row()
        }));
    }
}
