//! Claims of the latency experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::quantity::{micros, millis};
use results::stats::median;
use results::table::Table;
use results::verdict::{Measured, Outcome, Verdict};
use vssd_host::latency::{Histogram, add, histogram};

use super::rows::{
    LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, LatencyYardstickRow, Side,
};
use crate::experiments::common::encoding::{OLD, OURS};

/// Bar of the longest stall during a resize, as a multiple of the p99 of requests without one:
/// one order of magnitude.
const STALL_FACTOR: u64 = 10;

/// The same bar on a slow medium or a busy machine, as a multiple of the stall of a resize by one
/// block, which has the same durable commit.
const BLOCK_FACTOR: u64 = 3;

/// What one side measured in one phase, over all cycles.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Latencies of all requests of the phase.
    pub latencies: Histogram,
    /// The longest stall of any cycle.
    pub longest_stall_ns: u64,
    /// Length of the phase, over all cycles.
    pub phase_ns: u64,
    /// Requests in the rows of the cycles, which must equal those in the histogram.
    requests: u64,
}

impl Point {
    fn empty() -> Self {
        Self {
            latencies: histogram(),
            longest_stall_ns: 0,
            phase_ns: 0,
            requests: 0,
        }
    }

    /// The latency that this share of the requests did not exceed.
    fn quantile_ns(&self, share: f64) -> u64 {
        self.latencies.value_at_quantile(share)
    }
}

/// Points by encoding, side and phase.
pub(crate) type Points = BTreeMap<(String, Side, LatencyPhase), Point>;

/// Sums the rows up.
pub(crate) fn points(rows: &[LatencyRow], buckets: &[LatencyBucketRow]) -> Points {
    let mut points = Points::new();
    for row in rows {
        let point = points
            .entry((row.encoding.clone(), row.side, row.phase))
            .or_insert_with(Point::empty);
        point.longest_stall_ns = point.longest_stall_ns.max(row.longest_stall_ns);
        point.phase_ns = point.phase_ns.saturating_add(row.phase_ns);
        point.requests = point.requests.saturating_add(row.requests);
    }
    for row in buckets {
        for (phase, count) in LatencyPhase::ALL.into_iter().zip(row.counts()) {
            let point = points
                .entry((row.encoding.clone(), row.side, phase))
                .or_insert_with(Point::empty);
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
    yardsticks: &[LatencyYardstickRow],
) -> Verdict {
    let points = points(rows, buckets);
    let device = device(cycles.iter().any(|row| row.filled));
    Verdict::new("Latency while resizing")
        .require(
            "Guest and backend both measured requests in every phase, and the histograms have as many as the cycles \
             recorded.",
            coverage(&points),
        )
        .require(
            "No request fails or returns wrong data, and the driver confirms the list after every resize.",
            failures(cycles, yardsticks),
        )
        .require(
            "With compact, the guest's median latency between and after resizes is at most twice the median before.",
            recovery(&points),
        )
        .require(
            format!(
                "With compact on a {device} device, the longest stall of the guest during a resize is at most \
                 {STALL_FACTOR}x the p99 of its requests before, or {BLOCK_FACTOR}x the stall of a resize by one block, in \
                 nine of ten cycles."
            ),
            stall(&points, rows, yardsticks),
        )
        .findings(cost(&points, rows, cycles))
        .tables([latencies(&points), resizes(cycles)])
}

/// Whether the blocks of the device had all been written before the resize.
pub(crate) fn device(is_filled: bool) -> &'static str {
    if is_filled { "fully written" } else { "sparse" }
}

fn find<'a>(
    points: &'a Points,
    encoding: &str,
    side: Side,
    phase: LatencyPhase,
) -> Option<&'a Point> {
    points
        .get(&(encoding.to_owned(), side, phase))
        .filter(|point| !point.latencies.is_empty())
}

fn coverage(points: &Points) -> Option<Measured> {
    let encodings: BTreeSet<&String> = points.keys().map(|(encoding, ..)| encoding).collect();
    let places = encodings.into_iter().flat_map(|encoding| {
        let phases = move |side| LatencyPhase::ALL.map(|phase| (encoding, side, phase));
        Side::ALL.into_iter().flat_map(phases)
    });
    let counts = places.map(|(encoding, side, phase)| {
        let point = find(points, encoding, side, phase);
        let requests = point.map_or(0, |point| point.latencies.len());
        let is_whole = point.is_some_and(|point| point.requests == requests);
        let place = format!("{encoding}, {side}, phase {phase}");
        (requests, is_whole, place)
    });
    let counts: Vec<_> = counts.collect();
    let (requests, _, place) = counts.iter().min_by_key(|(requests, ..)| requests)?;
    Some(Measured::new(
        counts.iter().all(|(_, is_whole, _)| *is_whole),
        format!("At least {requests} requests in each ({place})."),
    ))
}

fn failures(cycles: &[LatencyCycleRow], yardsticks: &[LatencyYardstickRow]) -> Option<Measured> {
    let resized = cycles.iter().map(|row| (row.requests, row.failed));
    let of_one = yardsticks.iter().map(|row| (row.requests, row.failed));
    let (requests, failed) = resized
        .chain(of_one)
        .fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    let agreed = cycles.iter().map(|row| row.agreed);
    let agreed: Vec<bool> = agreed
        .chain(yardsticks.iter().map(|row| row.agreed))
        .collect();
    let (agreed, all) = (
        agreed.iter().filter(|agreed| **agreed).count(),
        agreed.len(),
    );
    (requests > 0).then(|| {
        Measured::new(
            failed == 0 && agreed == all,
            format!(
                "{failed} of {requests} requests failed; both lists were confirmed in {agreed} of {all} cycles."
            ),
        )
    })
}

fn recovery(points: &Points) -> Option<Measured> {
    use LatencyPhase::{After, Before, Between};
    let median = |phase| Some(find(points, OURS, Side::Guest, phase)?.quantile_ns(0.5));
    let (before, between, after) = (median(Before)?, median(Between)?, median(After)?);
    Some(Measured::new(
        between.max(after) <= 2 * before,
        format!(
            "Medians: {} µs before, {} µs between, {} µs after.",
            micros(before),
            micros(between),
            micros(after)
        ),
    ))
}

/// The guest's longest stall in the resizes of each cycle, in ascending order.
fn stalls_ns(rows: &[LatencyRow], encoding: &str) -> Vec<u64> {
    let mut cycles: BTreeMap<u32, u64> = BTreeMap::new();
    for row in rows {
        let is_resize = matches!(row.phase, LatencyPhase::Shrink | LatencyPhase::Grow);
        if is_resize && row.side == Side::Guest && row.encoding == encoding {
            let longest = cycles.entry(row.cycle).or_default();
            *longest = row.longest_stall_ns.max(*longest);
        }
    }
    let mut stalls: Vec<u64> = cycles.into_values().collect();
    stalls.sort_unstable();
    stalls
}

fn stall(
    points: &Points,
    rows: &[LatencyRow],
    yardsticks: &[LatencyYardstickRow],
) -> Option<Measured> {
    let ours = stalls_ns(rows, OURS);
    let worst = ours.last()?;
    let of_most = ours[(9 * ours.len()).div_ceil(10) - 1];
    let p99 = find(points, OURS, Side::Guest, LatencyPhase::Before)?.quantile_ns(0.99);
    let old = stalls_ns(rows, OLD).last().map_or(String::new(), |old| {
        format!("; worst cycle with list-4096: {} ms", millis(*old))
    });
    let one = median(yardsticks.iter().map(|row| row.longest_stall_ns as f64));
    let bar = (STALL_FACTOR * p99) as f64;
    let bar = bar.max(BLOCK_FACTOR as f64 * one.unwrap_or(0.0));
    let holds = of_most as f64 <= bar;
    let outcome = match one {
        None if !holds => Outcome::undecided("The run did not record the stall of one block."),
        _ => holds.into(),
    };
    let one = one.map_or(String::new(), |one| {
        let times = of_most as f64 / one;
        let one = millis(one as u64);
        format!(" and {times:.1}x the stall of one block, {one} ms")
    });
    Some(Measured::new(
        outcome,
        format!(
            "In nine of ten cycles at most {} ms, {:.1}x the p99 of {} ms{one}; worst cycle: {} ms{old}.",
            millis(of_most),
            of_most as f64 / p99 as f64,
            millis(p99),
            millis(*worst)
        ),
    ))
}

/// What a shrink and its grow cost the guest, as the mean of all cycles: a sentence for each
/// encoding. They are not compared: one has a single stall, the other many small ones.
fn cost(points: &Points, rows: &[LatencyRow], cycles: &[LatencyCycleRow]) -> Vec<String> {
    let encodings: BTreeSet<&String> = cycles.iter().map(|row| &row.encoding).collect();
    let sentence = |encoding: &String| {
        let of = |phase| find(points, encoding, Side::Guest, phase);
        let p99_ns = of(LatencyPhase::Before)?.quantile_ns(0.99);
        let cycles = cycles.iter().filter(|row| row.encoding == *encoding);
        let cycles = cycles.count() as u64;
        let (mut requests, mut slower) = (0, 0);
        let resizes = [of(LatencyPhase::Shrink)?, of(LatencyPhase::Grow)?];
        for point in resizes {
            requests += point.latencies.len();
            let within = point.latencies.count_between(0, p99_ns);
            slower += point.latencies.len().saturating_sub(within);
        }
        let [shrink, grow] = resizes.map(|point| millis(point.phase_ns / cycles));
        let stall_ns = stalls_ns(rows, encoding).last().copied()?;
        Some(format!(
            "With {encoding}, a shrink takes {shrink} ms and its grow {grow} ms (means of {cycles} cycles). Together \
             they overlap with {} requests, {} of them slower than the p99 before. Longest stall of all cycles: {} ms.",
            requests / cycles,
            slower / cycles,
            millis(stall_ns)
        ))
    };
    encodings.into_iter().filter_map(sentence).collect()
}

fn latencies(points: &Points) -> Table {
    Table::of(
        "Latencies",
        points,
        &[
            ("encoding", &|((encoding, ..), _)| encoding.clone()),
            ("side", &|((_, side, _), _)| side.to_string()),
            ("phase", &|((.., phase), _)| phase.to_string()),
            ("requests", &|(_, point)| point.latencies.len().to_string()),
            ("p50 (µs)", &|(_, point)| micros(point.quantile_ns(0.5))),
            ("p99 (µs)", &|(_, point)| micros(point.quantile_ns(0.99))),
            ("p99.9 (µs)", &|(_, point)| {
                micros(point.quantile_ns(0.999))
            }),
            ("max (µs)", &|(_, point)| micros(point.latencies.max())),
            ("longest stall (µs)", &|(_, point)| {
                micros(point.longest_stall_ns)
            }),
            ("phase (ms)", &|(_, point)| millis(point.phase_ns)),
        ],
    )
}

fn resizes(cycles: &[LatencyCycleRow]) -> Table {
    Table::of(
        "Resizes under load",
        cycles,
        &[
            ("encoding", &|row| row.encoding.clone()),
            ("cycle", &|row| row.cycle.to_string()),
            ("requests", &|row| row.requests.to_string()),
            ("failed", &|row| row.failed.to_string()),
            ("shrink (ms)", &|row| millis(row.shrink_ns)),
            ("exchanges", &|row| row.shrink_exchanges.to_string()),
            ("grow (ms)", &|row| millis(row.grow_ns)),
            ("exchanges", &|row| row.grow_exchanges.to_string()),
        ],
    )
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
        yardsticks: Vec<LatencyYardstickRow>,
    }

    impl Rows {
        fn judge(&self) -> Verdict {
            judge(&self.phases, &self.buckets, &self.cycles, &self.yardsticks)
        }

        fn phase(&mut self, encoding: &str, side: Side, phase: LatencyPhase) -> &mut LatencyRow {
            self.phases
                .iter_mut()
                .find(|row| row.encoding == encoding && row.side == side && row.phase == phase)
                .unwrap()
        }
    }

    /// Two cycles with each encoding: fast requests in every phase, and slow ones during
    /// resizes, few with `compact` and many with `list-4096`.
    fn good() -> Rows {
        let mut rows = Rows {
            phases: Vec::new(),
            buckets: Vec::new(),
            cycles: Vec::new(),
            yardsticks: vec![LatencyYardstickRow {
                cycle: 0,
                requests: 20_000,
                failed: 0,
                shrink_ns: 1,
                grow_ns: 1,
                longest_stall_ns: 500_000,
                agreed: true,
            }],
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
        assert!(ours.contains("30 of them slower than the p99"), "{ours}");
        assert!(old.contains("2000 of them slower than the p99"), "{old}");
        assert!(old.ends_with("Longest stall of all cycles: 1.00 ms."));
    }

    #[test]
    fn nothing_measured_holds_nothing() {
        let verdict = judge(&[], &[], &[], &[]);
        assert!(verdict.claims.iter().all(|claim| !claim.holds()));
    }

    #[test]
    fn one_long_stall_in_ten_cycles_is_noise() {
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
            // On a machine of half the speed, a stall may be twice as long.
            rows.buckets[0].value_ns *= 2;
            assert!(rows.judge().holds(), "{stall} ns on a slower machine");
        }
    }

    #[test]
    fn a_slow_medium_has_a_bar_of_its_own() {
        let stall = 80_000_000;
        for (one, misses) in [(stall / 3 + 1, 0), (stall / 3 - 1, 1)] {
            let mut rows = good();
            rows.phase(OURS, Side::Guest, LatencyPhase::Shrink)
                .longest_stall_ns = stall;
            rows.yardsticks[0].longest_stall_ns = one;
            assert_eq!(rows.judge().missed().len(), misses, "{one} ns");
            // Folders of before have none.
            rows.yardsticks.clear();
            let verdict = rows.judge();
            let claim = verdict.claims.iter().find(|of| of.text.contains("the p99"));
            assert!(matches!(
                claim.unwrap().outcome,
                Outcome::CannotBeJudged { .. }
            ));
        }
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let faults: [(&str, Fault); 8] = [
            ("a failed request", |rows| rows.cycles[0].failed = 1),
            ("one with the yardstick", |rows| {
                rows.yardsticks[0].failed = 1
            }),
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
