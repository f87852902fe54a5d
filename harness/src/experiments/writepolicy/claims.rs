//! Claims of the writepolicy experiment.

use results::chart::scale;
use results::verdict::{Source, Table, Verdict, millis};
use vssd_host::media::MediaKind;

use super::rows::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};

/// Bytes of a block.
pub const BLOCK: f64 = 4096.0;

/// Policies by which a write is acknowledged once the origin disk has it.
const THROUGH: [&str; 3] = ["write-through", "write-around", "read-only"];

/// Those by which the vSSD is enough.
const BACK: [&str; 3] = ["write-back", ORDERED, JOURNALED];

const ORDERED: &str = "ordered";
const JOURNALED: &str = "journaled";

/// Whether an acknowledged write is on the origin disk, by this policy.
pub fn is_through(policy: &str) -> bool {
    THROUGH.contains(&policy)
}

/// Judges the rows.
pub fn judge(
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
             promised to nobody, {later_missing}."
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
mod tests {
    use super::*;
    use WritePolicyCrashRow as Crash;

    /// Spoils good rows.
    type Fault = fn(&mut Rows);

    #[derive(Clone)]
    struct Rows {
        loads: Vec<WritePolicyRow>,
        samples: Vec<WritePolicySampleRow>,
        crashes: Vec<Crash>,
    }

    impl Rows {
        fn judge(&self) -> Verdict {
            judge(&self.loads, &self.samples, &self.crashes)
        }

        fn load(&mut self, policy: &str) -> &mut WritePolicyRow {
            let mut loads = self.loads.iter_mut();
            loads.find(|row| row.policy == policy).unwrap()
        }

        fn crash(&mut self, policy: &str, place: &str) -> &mut Crash {
            let mut crashes = self.crashes.iter_mut();
            let is = |row: &Crash| row.policy == policy && row.place == place;
            crashes.find(|row| is(row)).unwrap()
        }
    }

    /// Two crashes by each policy. Write-back alone leaves an origin disk that is no
    /// prefix of the writes.
    fn good() -> Rows {
        let mut rows = Rows {
            loads: Vec::new(),
            samples: Vec::new(),
            crashes: Vec::new(),
        };
        for policy in THROUGH.into_iter().chain(BACK) {
            let back = !is_through(policy);
            let (p50, behind) = if back { (300_000, 900) } else { (5_100_000, 0) };
            rows.loads.push(WritePolicyRow {
                policy: policy.to_owned(),
                medium: "hdd".to_owned(),
                depth: 4,
                slots: 2000,
                reads: 100,
                read_hits: 50,
                writes: 900,
                failed: 0,
                elapsed_ns: 1000 * p50,
                hit_p50_ns: 200_000,
                miss_p50_ns: 5_100_000,
                write_p50_ns: p50,
                write_p99_ns: 2 * p50,
                stale_ns_max: 1_000_000 * u64::from(behind),
                dirty_max_blocks: behind,
                written_back_blocks: u64::from(behind),
                write_back_ns: 1_000_000 * u64::from(behind),
            });
            rows.samples.push(WritePolicySampleRow {
                policy: policy.to_owned(),
                accesses: 1000,
                at_ns: 1000 * p50,
                dirty_blocks: behind,
                stale_ns: 1_000_000 * u64::from(behind),
            });
            let places = match policy {
                JOURNALED => &[Crash::ORIGIN, Crash::WARM, Crash::RECOVERED][..],
                _ => &[Crash::ORIGIN, Crash::WARM],
            };
            for crash in 0..2 {
                for place in places {
                    let alone = back && *place != Crash::WARM;
                    rows.crashes.push(Crash {
                        policy: policy.to_owned(),
                        crash,
                        place: (*place).to_owned(),
                        depth: 1,
                        acknowledged: 500,
                        flushed: 480,
                        blocks: 1000,
                        bad_blocks: 0,
                        lost_blocks: 0,
                        newest: if alone { 300 } else { 501 },
                        missing: if alone { 200 } else { 0 },
                        missing_flushed: if alone { 180 } else { 0 },
                        stale_blocks: if alone { 90 } else { 0 },
                        is_prefix: policy != "write-back" || *place == Crash::WARM,
                        restored: 100,
                        restored_dirty: 90,
                    });
                }
            }
        }
        rows
    }

    #[test]
    fn a_good_run_holds() {
        let verdict = good().judge();
        assert!(verdict.holds(), "{:?}", verdict.missed());
        assert_eq!(verdict.tables[0].rows.len(), 6);
        assert_eq!(verdict.tables[1].rows.len(), 26);
        let [rates, back, ordered, _] = verdict.findings.as_slice() else {
            panic!("{:?}", verdict.findings);
        };
        // 5.1 ms and 0.3 ms for an access.
        assert!(
            rates.contains("serves 196") && rates.contains("ordered 17.0 times"),
            "{rates}"
        );
        assert!(
            back.contains("up to 200 of 500") && back.contains("after 0 of 2"),
            "{back}"
        );
        assert!(
            ordered.contains("360 KiB") && ordered.contains("after 2 of 2"),
            "{ordered}"
        );
    }

    #[test]
    fn nothing_measured_holds_nothing() {
        let verdict = judge(&[], &[], &[]);
        assert!(verdict.claims.iter().all(|claim| !claim.holds()));
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let faults: [(&str, Fault); 14] = [
            ("a failure", |rows| rows.load(ORDERED).failed = 1),
            ("a write that did not wait", |rows| {
                rows.load("read-only").write_p50_ns = 4_900_000;
            }),
            ("a write that waited", |rows| {
                rows.load(JOURNALED).write_p50_ns = 5_100_000;
            }),
            ("a load that was not run", |rows| drop(rows.loads.remove(1))),
            ("an origin behind", |rows| {
                rows.load("write-around").dirty_max_blocks = 1;
            }),
            ("a torn block", |rows| {
                rows.crash("read-only", Crash::ORIGIN).bad_blocks = 1;
            }),
            ("a lost block", |rows| {
                rows.crash("write-back", Crash::WARM).lost_blocks = 1;
            }),
            ("a write-through write gone", |rows| {
                rows.crash("write-through", Crash::ORIGIN).missing = 1;
            }),
            ("a stale cached block", |rows| {
                rows.crash("write-around", Crash::WARM).missing = 1;
            }),
            ("a flushed write gone", |rows| {
                let row = rows.crash("write-back", Crash::WARM);
                (row.missing, row.missing_flushed) = (1, 1);
            }),
            ("writes out of order", |rows| {
                rows.crash(ORDERED, Crash::ORIGIN).is_prefix = false;
            }),
            ("half of an epoch", |rows| {
                rows.crash(JOURNALED, Crash::RECOVERED).is_prefix = false;
            }),
            ("nothing was written back", |rows| {
                for row in &mut rows.crashes {
                    row.newest = 0;
                }
            }),
            ("a guest that was not killed", |rows| {
                rows.crashes.retain(|row| row.policy != "read-only");
            }),
        ];
        for (name, fault) in faults {
            let mut rows = good();
            fault(&mut rows);
            assert!(!rows.judge().holds(), "{name} went unseen");
        }
    }

    #[test]
    fn what_nobody_was_promised_may_be_missing() {
        let mut rows = good();
        rows.crash("write-back", Crash::WARM).missing = 20;
        // The journal's blocks may be half in place before it is applied.
        rows.crash(JOURNALED, Crash::ORIGIN).is_prefix = false;
        let verdict = rows.judge();
        assert!(verdict.holds(), "{:?}", verdict.missed());
        let claim = verdict
            .claims
            .iter()
            .find(|of| of.text.contains("flush covered"));
        // 20 acknowledged since the flush, after each of six crashes.
        let measured = &claim.unwrap().measured;
        assert!(
            measured.contains("of 120") && measured.contains("nobody, 20"),
            "{measured}"
        );
    }
}
