//! Claims of the sharing experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::verdict::{Source, Table, Verdict, median, millis};

use super::faults::describe;
use super::rows::{SharingCheckRow, SharingFaultRow, SharingRow};

/// Judges the rows.
pub(crate) fn judge(
    rows: &[SharingRow],
    checks: &[SharingCheckRow],
    faults: &[SharingFaultRow],
) -> Verdict {
    let mut verdict = Verdict {
        title: "Several guests on one pool".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(rows)],
    };
    contents_claim(&mut verdict, checks);
    lists_claim(&mut verdict, checks);
    limit_claim(&mut verdict, checks);
    requests_claim(&mut verdict, checks, faults);
    resizes_claim(&mut verdict, rows);
    deaths_claim(&mut verdict, checks);
    let refused = rows.iter().filter(|row| row.ended == "refused").count();
    let cancelled = rows.iter().filter(|row| row.cancelled).count();
    let early = rows.iter().filter(|row| row.ended == "cancelled").count();
    verdict.findings.push(format!(
        "{refused} grows were refused because another VM took first what seemed to be free; {early} \
         of {cancelled} resizes that were cancelled ended before all blocks had moved."
    ));
    verdict
}

fn contents_claim(verdict: &mut Verdict, checks: &[SharingCheckRow]) {
    let sum = |value: fn(&SharingCheckRow) -> u32| checks.iter().map(|c| u64::from(value(c))).sum();
    let (own, zeros, foreign): (u64, u64, u64) = (
        sum(|c| c.own_blocks),
        sum(|c| c.zero_blocks),
        sum(|c| c.foreign_blocks),
    );
    verdict.claim(
        Source::Requirement,
        "A guest reads what it wrote itself or zeros, never what another wrote.",
        own > 0 && foreign == 0,
        format!(
            "{} blocks read back: {own} as written, {zeros} zeros, {foreign} of neither.",
            own + zeros + foreign
        ),
    );
}

fn lists_claim(verdict: &mut Verdict, checks: &[SharingCheckRow]) {
    let equal = checks
        .iter()
        .filter(|check| check.lists_equal && check.unexpected_blocks == 0)
        .count();
    verdict.claim(
        Source::Requirement,
        "When nothing moves, every guest's list is the backend's, and what it can read is what is on it.",
        !checks.is_empty() && equal == checks.len(),
        format!("In {equal} of {} comparisons.", checks.len()),
    );
}

fn limit_claim(verdict: &mut Verdict, checks: &[SharingCheckRow]) {
    let fullest = checks.iter().map(|c| c.held_by_all_blocks).max();
    let within = checks
        .iter()
        .all(|check| check.held_by_all_blocks <= check.limit_blocks);
    let limit = checks.first().map_or(0, |check| check.limit_blocks);
    verdict.claim(
        Source::Requirement,
        "All VMs together never hold more blocks than the pool has.",
        fullest.is_some() && within,
        format!(
            "At most {} of {limit} blocks were held.",
            fullest.unwrap_or(0)
        ),
    );
}

fn requests_claim(verdict: &mut Verdict, checks: &[SharingCheckRow], faults: &[SharingFaultRow]) {
    let requests: u64 = checks.iter().map(|c| c.inflight_requests).sum();
    let errors: u64 = checks.iter().map(|c| c.inflight_errors).sum();
    let mut measured = format!("{errors} of {requests} requests.");
    if let Some(fault) = faults.first() {
        measured.push_str(&format!(" The first: {}.", describe(fault)));
    }
    verdict.claim(
        Source::Requirement,
        "No request that is under way meanwhile fails or reads other data than were written.",
        requests > 0 && errors == 0,
        measured,
    );
}

/// Whether a resize ended as it may: a cancelled one before its end, and a grow
/// for want of room.
fn is_sound(row: &SharingRow) -> bool {
    let may_end = match row.ended.as_str() {
        "complete" => row.held_blocks == row.target_blocks,
        "cancelled" => row.cancelled,
        "refused" | "storage" => row.kind == "grow",
        _ => false,
    };
    may_end && row.agreed
}

fn resizes_claim(verdict: &mut Verdict, rows: &[SharingRow]) {
    let sound = rows.iter().filter(|row| is_sound(row)).count();
    verdict.claim(
        Source::Requirement,
        "Every resize moves all blocks, is cancelled, or finds no room to grow, and the driver confirms the list that results.",
        !rows.is_empty() && sound == rows.len(),
        format!("{sound} of {} resizes.", rows.len()),
    );
}

fn deaths_claim(verdict: &mut Verdict, checks: &[SharingCheckRow]) {
    let rounds_after = |after: &str| {
        let of = checks.iter().filter(|check| check.after == after);
        of.map(|check| check.round).collect::<BTreeSet<_>>().len()
    };
    let (guests, backends) = (rounds_after("killed"), rounds_after("backend-restarted"));
    verdict.claim(
        Source::Requirement,
        "All of that holds over the death of a guest and of the backend.",
        guests > 0 && backends > 0 && verdict.holds(),
        format!("A guest was killed under load {guests} times, the backend {backends} times."),
    );
}

fn table(rows: &[SharingRow]) -> Table {
    let mut kinds: BTreeMap<(&str, &str), Vec<&SharingRow>> = BTreeMap::new();
    for row in rows {
        let key = (row.kind.as_str(), row.ended.as_str());
        kinds.entry(key).or_default().push(row);
    }
    Table {
        title: "Resizes".to_owned(),
        head: [
            "kind",
            "ended",
            "resizes",
            "blocks moved",
            "median (ms)",
            "longest (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: kinds
            .iter()
            .map(|((kind, ended), rows)| {
                let moved =
                    |row: &&SharingRow| u64::from(row.held_blocks.abs_diff(row.from_blocks));
                let times = || rows.iter().map(|row| row.elapsed_ns);
                vec![
                    (*kind).to_owned(),
                    (*ended).to_owned(),
                    rows.len().to_string(),
                    rows.iter().map(moved).sum::<u64>().to_string(),
                    millis(median(times()).unwrap_or(0.0) as u64),
                    millis(times().max().unwrap_or(0)),
                ]
            })
            .collect(),
    }
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
