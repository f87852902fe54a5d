//! Claims of the latency experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::verdict::{Source, Table, Verdict, millis};
use vssd_host::latency::{Histogram, add, histogram};

use super::rows::{LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side};
use crate::experiments::common::encoding::{OLD, OURS};

/// How many times the p99 of requests without a resize its longest stall may be: one order
/// of magnitude.
const STALL_FACTOR: u64 = 10;

/// What one side measured in one phase, over all cycles.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Latencies of all requests of the phase.
    pub latencies: Histogram,
    /// The longest stall of any cycle.
    pub longest_stall_ns: u64,
    /// Length of the phase, over all cycles.
    pub phase_ns: u64,
    /// Requests by the rows of the cycles, which the histogram must have too.
    requests: u64,
}

impl Measured {
    fn empty() -> Self {
        Self {
            latencies: histogram(),
            longest_stall_ns: 0,
            phase_ns: 0,
            requests: 0,
        }
    }

    /// The latency that this share of the requests did not exceed.
    pub(crate) fn quantile_ns(&self, share: f64) -> u64 {
        self.latencies.value_at_quantile(share)
    }
}

/// What was measured, by encoding, side and phase.
pub(crate) type Points = BTreeMap<(String, Side, LatencyPhase), Measured>;

/// Brings the rows together.
pub(crate) fn points(rows: &[LatencyRow], buckets: &[LatencyBucketRow]) -> Points {
    let mut points = Points::new();
    for row in rows {
        let point = points
            .entry((row.encoding.clone(), row.side, row.phase))
            .or_insert_with(Measured::empty);
        point.longest_stall_ns = point.longest_stall_ns.max(row.longest_stall_ns);
        point.phase_ns = point.phase_ns.saturating_add(row.phase_ns);
        point.requests = point.requests.saturating_add(row.requests);
    }
    for row in buckets {
        for (phase, count) in LatencyPhase::ALL.into_iter().zip(row.counts()) {
            let point = points
                .entry((row.encoding.clone(), row.side, phase))
                .or_insert_with(Measured::empty);
            add(&mut point.latencies, &[(row.value_ns, count)]);
        }
    }
    points
}

/// Judges the rows.
pub(crate) fn judge(
    rows: &[LatencyRow],
    buckets: &[LatencyBucketRow],
    cycles: &[LatencyCycleRow],
) -> Verdict {
    let points = points(rows, buckets);
    let mut verdict = Verdict {
        title: "Latency while resizing".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(&points), resizes(cycles)],
    };
    coverage_claim(&mut verdict, &points);
    let requests: u64 = cycles.iter().map(|row| row.requests).sum();
    let failed: u64 = cycles.iter().map(|row| row.failed).sum();
    let agreed = cycles.iter().filter(|row| row.agreed).count();
    verdict.claim(
        Source::Requirement,
        "No request fails or returns wrong data, and the driver confirms the list after every resize.",
        requests > 0 && failed == 0 && agreed == cycles.len(),
        format!(
            "{failed} of {requests} requests failed; both lists were confirmed in {agreed} of {} cycles.",
            cycles.len()
        ),
    );
    recovery_claim(&mut verdict, &points);
    let filled = cycles.iter().any(|row| row.filled);
    stall_claim(&mut verdict, &points, rows, filled);
    verdict.findings = felt(&points, rows, cycles);
    verdict
}

fn find<'a>(
    points: &'a Points,
    encoding: &str,
    side: Side,
    phase: LatencyPhase,
) -> Option<&'a Measured> {
    points
        .get(&(encoding.to_owned(), side, phase))
        .filter(|point| !point.latencies.is_empty())
}

fn coverage_claim(verdict: &mut Verdict, points: &Points) {
    let mut fewest: Option<(u64, String)> = None;
    let mut holds = !points.is_empty();
    let encodings: BTreeSet<&String> = points.keys().map(|(encoding, _, _)| encoding).collect();
    for encoding in encodings {
        for side in Side::ALL {
            for phase in LatencyPhase::ALL {
                let point = find(points, encoding, side, phase);
                let requests = point.map_or(0, |point| point.latencies.len());
                holds &= point.is_some_and(|point| point.requests == requests);
                if fewest.as_ref().is_none_or(|(least, _)| requests < *least) {
                    let place = format!("{encoding}, {}, phase {}", side.label(), phase.label());
                    fewest = Some((requests, place));
                }
            }
        }
    }
    verdict.claim(
        Source::Requirement,
        "Guest and backend both measured requests in every phase, and the histograms hold as many as the cycles recorded.",
        holds,
        fewest.map_or_else(not_measured, |(requests, place)| {
            format!("The fewest are {requests} ({place}).")
        }),
    );
}

fn recovery_claim(verdict: &mut Verdict, points: &Points) {
    let median = |phase| find(points, OURS, Side::Guest, phase).map(|p| p.quantile_ns(0.5));
    use LatencyPhase::{After, Before, Between};
    let medians = median(Before).zip(median(Between)).zip(median(After));
    verdict.claim(
        Source::Requirement,
        "What a resize with compact costs ends with it: half of the guest's requests take at most twice as long between and after resizes as before.",
        medians.is_some_and(|((before, between), after)| between.max(after) <= 2 * before),
        medians.map_or_else(not_measured, |((before, between), after)| {
            format!(
                "Medians of {} µs before, {} µs between and {} µs after.",
                micros(before),
                micros(between),
                micros(after)
            )
        }),
    );
}

/// The guest's longest stall in the resizes of each cycle, in ascending order.
fn stalls_ns(rows: &[LatencyRow], encoding: &str) -> Vec<u64> {
    let mut cycles: BTreeMap<u32, u64> = BTreeMap::new();
    for row in rows {
        let resizes = matches!(row.phase, LatencyPhase::Shrink | LatencyPhase::Grow);
        if resizes && row.side == Side::Guest && row.encoding == encoding {
            let longest = cycles.entry(row.cycle).or_default();
            *longest = row.longest_stall_ns.max(*longest);
        }
    }
    let mut stalls: Vec<u64> = cycles.into_values().collect();
    stalls.sort_unstable();
    stalls
}

fn stall_claim(verdict: &mut Verdict, points: &Points, rows: &[LatencyRow], filled: bool) {
    let ours = stalls_ns(rows, OURS);
    let (of_most, worst) = (
        ours.get((9 * ours.len()).div_ceil(10).max(1) - 1),
        ours.last(),
    );
    let before = find(points, OURS, Side::Guest, LatencyPhase::Before);
    let usual = before.map(|point| point.quantile_ns(0.99));
    let device = match filled {
        true => "written in full",
        false => "sparse",
    };
    verdict.claim(
        Source::Requirement,
        &format!(
            "No resize with compact of a device that was {device} keeps the guest without an answer for longer than {STALL_FACTOR} times the p99 of its requests before, in nine of ten cycles."
        ),
        of_most
            .zip(usual)
            .is_some_and(|(stall, usual)| *stall <= STALL_FACTOR * usual),
        of_most.zip(worst).zip(usual).map_or_else(not_measured, |((of_most, worst), usual)| {
            let old = stalls_ns(rows, OLD).last().map_or(String::new(), |old| {
                format!("; with list-4096 the longest was {} ms", millis(*old))
            });
            format!(
                "In nine of ten cycles the longest stall was {} ms or less, {:.1} times the p99 of {} ms before; \
                 in the worst {} ms{old}.",
                millis(*of_most),
                *of_most as f64 / usual as f64,
                millis(usual),
                millis(*worst)
            )
        }),
    );
}

/// What a shrink and its grow cost the guest, in the mean of all cycles: a
/// sentence for each encoding. How the two compare is for the reader: one is a
/// single stall, the other many small ones.
fn felt(points: &Points, rows: &[LatencyRow], cycles: &[LatencyCycleRow]) -> Vec<String> {
    let encodings: BTreeSet<&String> = cycles.iter().map(|row| &row.encoding).collect();
    let sentence = |encoding: &String| {
        let of = |phase| find(points, encoding, Side::Guest, phase);
        let usual_ns = of(LatencyPhase::Before)?.quantile_ns(0.99);
        let count = cycles
            .iter()
            .filter(|row| row.encoding == *encoding)
            .count();
        let (mut requests, mut slower, mut lasted_ns) = (0, 0, 0);
        for phase in [LatencyPhase::Shrink, LatencyPhase::Grow] {
            let point = of(phase)?;
            requests += point.latencies.len();
            let usual = point.latencies.count_between(0, usual_ns);
            slower += point.latencies.len().saturating_sub(usual);
            lasted_ns += point.phase_ns;
        }
        let stall_ns = stalls_ns(rows, encoding).last().copied()?;
        let count = count as u64;
        Some(format!(
            "With {encoding} a shrink and its grow last {} ms together, in the mean of {count} \
             cycles; {} requests belong to them, of which {} take longer than 99 of a hundred did \
             before, and the longest stall of all cycles is {} ms.",
            millis(lasted_ns / count),
            requests / count,
            slower / count,
            millis(stall_ns)
        ))
    };
    encodings.into_iter().filter_map(sentence).collect()
}

fn not_measured() -> String {
    "It was not measured.".to_owned()
}

fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

fn table(points: &Points) -> Table {
    Table {
        title: "Latencies".to_owned(),
        head: [
            "encoding",
            "side",
            "phase",
            "requests",
            "p50 (µs)",
            "p99 (µs)",
            "p99.9 (µs)",
            "max (µs)",
            "longest stall (µs)",
            "phase (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: points
            .iter()
            .map(|((encoding, side, phase), point)| {
                vec![
                    encoding.clone(),
                    side.label().to_owned(),
                    phase.label().to_owned(),
                    point.latencies.len().to_string(),
                    micros(point.quantile_ns(0.5)),
                    micros(point.quantile_ns(0.99)),
                    micros(point.quantile_ns(0.999)),
                    micros(point.latencies.max()),
                    micros(point.longest_stall_ns),
                    millis(point.phase_ns),
                ]
            })
            .collect(),
    }
}

fn resizes(cycles: &[LatencyCycleRow]) -> Table {
    Table {
        title: "Resizes under load".to_owned(),
        head: [
            "encoding",
            "cycle",
            "requests",
            "failed",
            "shrink (ms)",
            "exchanges",
            "grow (ms)",
            "exchanges",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: cycles
            .iter()
            .map(|row| {
                vec![
                    row.encoding.clone(),
                    row.cycle.to_string(),
                    row.requests.to_string(),
                    row.failed.to_string(),
                    millis(row.shrink_ns),
                    row.shrink_exchanges.to_string(),
                    millis(row.grow_ns),
                    row.grow_exchanges.to_string(),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spoils good rows.
    type Fault = fn(&mut Rows);

    #[derive(Clone)]
    struct Rows {
        phases: Vec<LatencyRow>,
        buckets: Vec<LatencyBucketRow>,
        cycles: Vec<LatencyCycleRow>,
    }

    impl Rows {
        fn judge(&self) -> Verdict {
            judge(&self.phases, &self.buckets, &self.cycles)
        }

        fn phase(&mut self, encoding: &str, side: Side, phase: LatencyPhase) -> &mut LatencyRow {
            self.phases
                .iter_mut()
                .find(|row| row.encoding == encoding && row.side == side && row.phase == phase)
                .unwrap()
        }
    }

    /// Two cycles with each encoding: quick requests in every phase, and slow
    /// ones in resizes, few with ours and many with the other.
    fn good() -> Rows {
        let mut rows = Rows {
            phases: Vec::new(),
            buckets: Vec::new(),
            cycles: Vec::new(),
        };
        for (encoding, slow) in [(OURS, 30), (OLD, 2_000)] {
            for side in Side::ALL {
                let bucket = |value_ns, quiet, resize| LatencyBucketRow {
                    encoding: encoding.to_owned(),
                    side,
                    value_ns,
                    before: quiet,
                    shrink: resize,
                    between: quiet,
                    grow: resize,
                    after: quiet,
                };
                rows.buckets.push(bucket(200_704, 10_000, 100));
                rows.buckets.push(bucket(5_013_504, 10, slow));
                for phase in LatencyPhase::ALL {
                    let (requests, phase_ns) = match phase {
                        LatencyPhase::Shrink | LatencyPhase::Grow => (100 + slow, 100_000),
                        _ => (10_010, 100_000_000),
                    };
                    for cycle in 0..2 {
                        rows.phases.push(LatencyRow {
                            encoding: encoding.to_owned(),
                            cycle,
                            side,
                            phase,
                            requests: requests / 2,
                            p50_ns: 0,
                            p99_ns: 0,
                            p999_ns: 0,
                            max_ns: 0,
                            longest_stall_ns: 1_000_000,
                            phase_ns,
                        });
                    }
                }
            }
            rows.cycles.extend((0..2).map(|cycle| LatencyCycleRow {
                encoding: encoding.to_owned(),
                cycle,
                pick: "scattered".to_owned(),
                filled: false,
                block_size_bytes: 4096,
                blocks: 1000,
                depth: 32,
                requests: 20_000,
                failed: 0,
                shrink_ns: 1,
                shrink_exchanges: 1,
                grow_ns: 1,
                grow_exchanges: 1,
                agreed: true,
            }));
        }
        rows
    }

    #[test]
    fn a_good_run_holds() {
        let verdict = good().judge();
        assert!(verdict.holds(), "{:?}", verdict.missed());
        let table = &verdict.tables[0];
        assert_eq!(table.rows.len(), 20);
        // p50, p99.9 and the longest stall of our shrink in the guest.
        let shrink = &table.rows[1];
        assert_eq!(shrink[..4], ["compact", "guest", "shrink", "130"]);
        assert_eq!((&*shrink[4], &*shrink[6]), ("201.7", "5046.3"));
        assert_eq!(shrink[8], "1000.0");
        let [ours, old] = verdict.findings.as_slice() else {
            panic!("{:?}", verdict.findings);
        };
        // 30 slow ones of 130 in each of two phases, over two cycles.
        assert!(ours.starts_with("With compact") && ours.contains("130 requests"));
        assert!(ours.contains("of which 30 take longer"), "{ours}");
        assert!(old.contains("of which 2000 take longer"), "{old}");
        assert!(old.contains("the longest stall of all cycles is 1.00 ms"));
    }

    #[test]
    fn nothing_measured_holds_nothing() {
        let verdict = judge(&[], &[], &[]);
        assert!(verdict.claims.iter().all(|claim| !claim.holds()));
    }

    #[test]
    fn one_bad_moment_in_ten_cycles_is_the_machine() {
        for (cycles, holds) in [(10, true), (9, false)] {
            let mut rows = good();
            let row = rows.phase(OURS, Side::Guest, LatencyPhase::Shrink).clone();
            rows.phases = (0..cycles)
                .map(|cycle| LatencyRow {
                    cycle,
                    longest_stall_ns: if cycle == 3 { 200_000_000 } else { 10 },
                    ..row.clone()
                })
                .collect();
            let verdict = rows.judge();
            let claim = verdict.claims.iter().find(|of| of.text.contains("the p99"));
            assert_eq!(claim.unwrap().holds(), holds, "{cycles} cycles");
        }
    }

    #[test]
    fn the_bar_of_a_stall_follows_the_requests_without_a_resize() {
        // The p99 before is the upper end of the first bucket.
        let bar = 10 * 201_727;
        for (stall, holds) in [(bar, true), (bar + 1, false)] {
            let mut rows = good();
            let row = rows.phase(OURS, Side::Guest, LatencyPhase::Grow);
            row.longest_stall_ns = stall;
            assert_eq!(rows.judge().holds(), holds, "{stall} ns");
            // Twice as slow a machine may stall twice as long.
            rows.buckets[0].value_ns *= 2;
            assert!(rows.judge().holds(), "{stall} ns on a slower machine");
        }
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let faults: [(&str, Fault); 7] = [
            ("a failed request", |rows| rows.cycles[0].failed = 1),
            ("an unconfirmed list", |rows| rows.cycles[3].agreed = false),
            ("a phase without requests", |rows| {
                for bucket in &mut rows.buckets[..2] {
                    bucket.grow = 0;
                }
            }),
            ("a bucket gone", |rows| drop(rows.buckets.pop())),
            ("a cycle too few", |rows| drop(rows.phases.pop())),
            ("a long stall", |rows| {
                let row = rows.phase(OURS, Side::Guest, LatencyPhase::Grow);
                row.longest_stall_ns = 101_000_000;
            }),
            ("slow for good", |rows| {
                rows.buckets[0].after = 4_000;
                rows.buckets[1].after = 6_010;
            }),
        ];
        for (name, fault) in faults {
            let mut rows = good();
            fault(&mut rows);
            assert!(!rows.judge().holds(), "{name} went unseen");
        }
    }
}
