//! Claims of the writepolicy experiment.

use results::chart::scale;
use results::verdict::{Source, Table, Verdict, millis};
use vssd_host::emulation::MediaKind;

use super::rows::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};

/// Bytes of a block.
pub(crate) const BLOCK: f64 = 4096.0;

/// Policies by which a write is acknowledged once the origin disk has it.
const THROUGH: [&str; 3] = ["write-through", "write-around", "read-only"];

/// Those by which the vSSD is enough.
const BACK: [&str; 3] = ["write-back", ORDERED, JOURNALED];

const ORDERED: &str = "ordered";
const JOURNALED: &str = "journaled";

/// Whether an acknowledged write is on the origin disk, by this policy.
pub(crate) fn is_through(policy: &str) -> bool {
    THROUGH.contains(&policy)
}

/// Judges the rows.
pub(crate) fn judge(
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[WritePolicyCrashRow],
) -> Verdict {
    let mut verdict = Verdict {
        title: "Write policies of a block cache".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![loads(rows), losses(crashes)],
    };
    coverage_claim(&mut verdict, rows, samples, crashes);
    failures_claim(&mut verdict, rows);
    latency_claim(&mut verdict, rows);
    staleness_claim(&mut verdict, rows);
    sound_claim(&mut verdict, crashes);
    through_claim(&mut verdict, crashes);
    back_claim(&mut verdict, crashes);
    prefix_claims(&mut verdict, crashes);
    verdict.findings.extend(throughput(rows));
    verdict.findings.extend(lost_by_policy(crashes));
    verdict
}

fn coverage_claim(
    verdict: &mut Verdict,
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[WritePolicyCrashRow],
) {
    let is_covered = |policy: &&&str| {
        let looks = |place: &str| {
            let of = crashes.iter().filter(|row| row.policy == **policy);
            of.filter(|row| row.place == place).count()
        };
        let alone = looks(WritePolicyCrashRow::ORIGIN);
        rows.iter()
            .any(|row| row.policy == **policy && row.writes > 0)
            && samples.iter().any(|row| row.policy == **policy)
            && alone > 0
            && looks(WritePolicyCrashRow::WARM) == alone
            && (**policy != JOURNALED || looks(WritePolicyCrashRow::RECOVERED) == alone)
    };
    let all = || THROUGH.iter().chain(&BACK);
    let covered = all().filter(is_covered).count();
    let busy = crashes.iter().all(|row| row.acknowledged > 0);
    let fewest = crashes.iter().map(|row| row.acknowledged).min();
    verdict.claim(
        Source::Requirement,
        "Each of the six policies carried a load, and lost its guest in the middle of another; both disks were read afterwards.",
        covered == all().count() && busy,
        format!(
            "{covered} policies; {} acknowledged writes or more when a guest was killed.",
            fewest.unwrap_or(0)
        ),
    );
}

fn failures_claim(verdict: &mut Verdict, rows: &[WritePolicyRow]) {
    let accesses: u64 = rows.iter().map(|row| row.reads + row.writes).sum();
    let failed: u64 = rows.iter().map(|row| row.failed).sum();
    verdict.claim(
        Source::Requirement,
        "No access of the load fails, is refused, or reads other data than were written last.",
        accesses > 0 && failed == 0,
        format!("{failed} of {accesses} accesses."),
    );
}

fn latency_claim(verdict: &mut Verdict, rows: &[WritePolicyRow]) {
    let disk_ns = MediaKind::Hdd.times().write_ns;
    let hdd = MediaKind::Hdd.to_string();
    let medians = |of: &[&str]| -> Vec<u64> {
        let rows = rows.iter().filter(|row| of.contains(&row.policy.as_str()));
        let timed = rows.filter(|row| row.writes > 0 && row.medium == hdd);
        timed.map(|row| row.write_p50_ns).collect()
    };
    let (through, back) = (medians(&THROUGH), medians(&BACK));
    let (soonest, latest) = (through.iter().min(), back.iter().max());
    verdict.claim(
        Source::Requirement,
        "In front of a disk of 5 ms, half of the writes wait for it by the policies that write to it at once, and half of them do not by the others.",
        through.len() == THROUGH.len()
            && back.len() == BACK.len()
            && soonest.is_some_and(|ns| *ns >= disk_ns)
            && latest.is_some_and(|ns| *ns < disk_ns),
        soonest.zip(latest).map_or_else(not_measured, |(soonest, latest)| {
            format!(
                "Medians of {} ms or more, and of {} ms or less.",
                millis(*soonest),
                millis(*latest)
            )
        }),
    );
}

fn staleness_claim(verdict: &mut Verdict, rows: &[WritePolicyRow]) {
    let of = |of: &[&str], value: fn(&WritePolicyRow) -> u64| {
        let rows = rows.iter().filter(|row| of.contains(&row.policy.as_str()));
        rows.map(value).max()
    };
    let dirty = |row: &WritePolicyRow| u64::from(row.dirty_max_blocks);
    let stale = |row: &WritePolicyRow| row.stale_ns_max;
    let through = of(&THROUGH, dirty).zip(of(&THROUGH, stale));
    verdict.claim(
        Source::Requirement,
        "By the policies that write to the origin disk at once it is never behind.",
        through == Some((0, 0)),
        through
            .zip(of(&BACK, dirty))
            .map_or_else(not_measured, |((blocks, ns), behind)| {
                format!(
                    "At most {blocks} blocks and {}; by the others up to {}.",
                    scale::time(ns as f64),
                    scale::bytes(behind as f64 * BLOCK)
                )
            }),
    );
}

fn sound_claim(verdict: &mut Verdict, crashes: &[WritePolicyCrashRow]) {
    let blocks: u64 = crashes.iter().map(|row| u64::from(row.blocks)).sum();
    let unsound = crashes.iter().map(|row| row.bad_blocks + row.lost_blocks);
    let unsound: u32 = unsound.sum();
    verdict.claim(
        Source::Requirement,
        "After a guest was killed every block holds what one write left there, or zeros, whole, on the origin disk as through the next guest's cache.",
        blocks > 0 && unsound == 0,
        format!("{unsound} of {blocks} blocks do not."),
    );
}

/// The looks at a place after crashes with some policies.
fn looks<'a>(
    crashes: &'a [WritePolicyCrashRow],
    policies: &'a [&str],
    place: &'a str,
) -> impl Iterator<Item = &'a WritePolicyCrashRow> + Clone {
    crashes
        .iter()
        .filter(move |row| row.place == place && policies.contains(&row.policy.as_str()))
}

fn through_claim(verdict: &mut Verdict, crashes: &[WritePolicyCrashRow]) {
    use WritePolicyCrashRow as Row;
    let both = [Row::ORIGIN, Row::WARM];
    let rows = || {
        both.iter()
            .flat_map(|place| looks(crashes, &THROUGH, place))
    };
    let missing: u64 = rows().map(|row| row.missing).sum();
    let acknowledged: u64 = rows().map(|row| row.acknowledged).sum();
    verdict.claim(
        Source::Requirement,
        "By the policies that write to the origin disk at once no acknowledged write is missing after the guest was killed: not on the origin disk alone, and not through the next guest's cache.",
        acknowledged > 0 && missing == 0,
        format!("{missing} of {acknowledged} writes looked for."),
    );
}

fn back_claim(verdict: &mut Verdict, crashes: &[WritePolicyCrashRow]) {
    let rows = || looks(crashes, &BACK, WritePolicyCrashRow::WARM);
    let missing: u64 = rows().map(|row| row.missing_flushed).sum();
    let flushed: u64 = rows().map(|row| row.flushed).sum();
    let later: u64 = rows().map(|row| row.acknowledged - row.flushed).sum();
    let later_missing: u64 = rows().map(|row| row.missing - row.missing_flushed).sum();
    verdict.claim(
        Source::Requirement,
        "By the others no write that a flush covered is missing through the next guest's cache, which finds them on the vSSD.",
        flushed > 0 && missing == 0,
        format!(
            "{missing} of {flushed} flushed writes; of {later} that were acknowledged since, and \
             not promised, {later_missing}."
        ),
    );
}

fn prefix_claims(verdict: &mut Verdict, crashes: &[WritePolicyCrashRow]) {
    use WritePolicyCrashRow as Row;
    let mut claim = |policy: &'static str, place: &'static str, text: &str| {
        let policies = [policy];
        let rows: Vec<&Row> = looks(crashes, &policies, place)
            .filter(|row| row.depth == 1)
            .collect();
        let prefixes = rows.iter().filter(|row| row.is_prefix).count();
        // An origin disk that no write has reached proves nothing.
        let any = rows.iter().any(|row| row.newest > 0);
        verdict.claim(
            Source::Requirement,
            text,
            any && prefixes == rows.len(),
            format!(
                "After {prefixes} of {} crashes; the newest write there is number {}.",
                rows.len(),
                numbers(rows.iter().map(|row| row.newest))
            ),
        );
    };
    claim(
        ORDERED,
        Row::ORIGIN,
        "By ordered write-back the origin disk alone is as it was after one of the writes, with nothing of any later one.",
    );
    claim(
        JOURNALED,
        Row::RECOVERED,
        "So it is by journaled write-back once its journal has been applied, without the vSSD.",
    );
}

/// Numbers in a row, the first few of them.
fn numbers(values: impl Iterator<Item = u64>) -> String {
    let mut texts: Vec<String> = values.map(|value| value.to_string()).collect();
    if texts.len() > 10 {
        texts.truncate(10);
        texts.push("…".to_owned());
    }
    match texts.is_empty() {
        true => "none".to_owned(),
        false => texts.join(", "),
    }
}

fn not_measured() -> String {
    "It was not measured.".to_owned()
}

fn throughput(rows: &[WritePolicyRow]) -> Option<String> {
    let rate = |policy: &str| {
        let row = rows.iter().find(|row| row.policy == policy)?;
        Some(row.rate())
    };
    let base = rate(THROUGH[0])?;
    let others = rows.iter().filter(|row| row.policy != THROUGH[0]);
    let texts: Vec<String> = others
        .map(|row| format!("{} {:.1} times", row.policy, row.rate() / base))
        .collect();
    Some(format!(
        "{} serves {} accesses a second; as many are served by {}.",
        THROUGH[0],
        scale::count(base),
        texts.join(", ")
    ))
}

/// What a crash without the vSSD costs, by policy: a sentence for each that loses.
fn lost_by_policy(crashes: &[WritePolicyCrashRow]) -> Vec<String> {
    use WritePolicyCrashRow as Row;
    let sentence = |policy: &&str| {
        let policies = [*policy];
        let rows: Vec<&Row> = looks(crashes, &policies, Row::ORIGIN).collect();
        let most = rows.iter().max_by_key(|row| row.missing)?;
        let prefixes = rows.iter().filter(|row| row.is_prefix).count();
        Some(format!(
            "Had the vSSD been lost too, {policy} would have lost up to {} of {} acknowledged \
             writes, in {} blocks ({}); the origin disk was a prefix of the writes after \
             {prefixes} of {} crashes.",
            most.missing,
            most.acknowledged,
            most.stale_blocks,
            scale::bytes(f64::from(most.stale_blocks) * BLOCK),
            rows.len()
        ))
    };
    BACK.iter().filter_map(sentence).collect()
}

fn strings<const N: usize>(head: [&str; N]) -> Vec<String> {
    head.map(str::to_owned).to_vec()
}

fn loads(rows: &[WritePolicyRow]) -> Table {
    let time = |count: u64, ns: u64| match count {
        0 => "-".to_owned(),
        _ => scale::time(ns as f64),
    };
    Table {
        title: "The load by policy".to_owned(),
        head: strings([
            "policy",
            "accesses a second",
            "writes",
            "write p50",
            "write p99",
            "read hit p50",
            "read miss p50",
            "origin behind at most",
            "for at most",
            "written back at the end",
            "in",
        ]),
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    row.policy.clone(),
                    scale::count(row.rate()),
                    row.writes.to_string(),
                    time(row.writes, row.write_p50_ns),
                    time(row.writes, row.write_p99_ns),
                    time(row.read_hits, row.hit_p50_ns),
                    time(row.reads - row.read_hits.min(row.reads), row.miss_p50_ns),
                    scale::bytes(f64::from(row.dirty_max_blocks) * BLOCK),
                    scale::time(row.stale_ns_max as f64),
                    format!("{} blocks", row.written_back_blocks),
                    time(row.written_back_blocks, row.write_back_ns),
                ]
            })
            .collect(),
    }
}

fn losses(crashes: &[WritePolicyCrashRow]) -> Table {
    Table {
        title: "What was found after a guest was killed".to_owned(),
        head: strings([
            "policy",
            "crash",
            "looked at",
            "acknowledged",
            "flushed",
            "newest found",
            "missing",
            "of them flushed",
            "stale blocks",
            "prefix",
            "restored",
            "of them dirty",
        ]),
        rows: crashes
            .iter()
            .map(|row| {
                let warm = row.place == WritePolicyCrashRow::WARM;
                let found = |count: u32| match warm {
                    true => count.to_string(),
                    false => "-".to_owned(),
                };
                vec![
                    row.policy.clone(),
                    row.crash.to_string(),
                    row.place.clone(),
                    row.acknowledged.to_string(),
                    row.flushed.to_string(),
                    row.newest.to_string(),
                    row.missing.to_string(),
                    row.missing_flushed.to_string(),
                    row.stale_blocks.to_string(),
                    if row.is_prefix { "yes" } else { "no" }.to_owned(),
                    found(row.restored),
                    found(row.restored_dirty),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
