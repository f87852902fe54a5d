//! What it shows: the measurements held against the bars.

use std::collections::BTreeSet;

use results::stats::Interval;
use results::verdict::{Outcome, Source, Table, Verdict, median};
use vssd_host::latency::histogram;

use super::BenchResize;
use super::rows::{
    BLOCKS, DisturbedBucketRow, DisturbedRow, MOVED, MemoryRow, ResizeRow, YardstickRow,
};
use crate::experiments::experiment::Experiment;

/// How many times the device work of a resize by one block 16 GiB in one piece may take: the
/// work is the same, but a median of few durable commits varies.
const PIECE: f64 = 3.0;
/// Visits of an entry for each block that the device work of scattered blocks may take.
const DEVICE_VISITS: f64 = 1.0;
/// The same of all that happens from the command to both lists agreed: the guest picks and
/// encodes, the device takes.
const AGREED_VISITS: f64 = 3.0;
/// Bytes of the backend's memory for each block, at most.
const BYTES_PER_BLOCK: f64 = 6.0;
/// Growth of a process over all resizes that is none: what an allocator moves about.
const GROWTH: f64 = 1.02;
/// How many times the p99 of requests may be during a resize.
const P99: f64 = 1.5;
/// Requests during all resizes at least: ten of them are above the p99 then.
const P99_OF: u64 = 1000;

/// What others reach, GiB/s: taking, giving back, and who says so.
const OTHERS: [(&str, f64, f64); 3] = [
    ("virtio-balloon", 0.95, 2.3),
    ("virtio-mem", 34.5, 102.0),
    ("HyperAlloc", 345.0, 8522.0),
];

/// Medians of the resizes with one pick.
struct Medians {
    shrink_ns: f64,
    shrink_device_ns: f64,
    grow_ns: f64,
    grow_device_ns: f64,
}

fn medians(rows: &[ResizeRow], pick: &str) -> Medians {
    let of = |value: fn(&ResizeRow) -> u64| {
        let rows = rows.iter().filter(|row| row.pick == pick);
        median(rows.map(value)).unwrap_or(f64::NAN)
    };
    Medians {
        shrink_ns: of(|row| row.shrink_ns),
        shrink_device_ns: of(|row| row.shrink_device_ns),
        grow_ns: of(|row| row.grow_ns),
        grow_device_ns: of(|row| row.grow_device_ns),
    }
}

/// Medians of a run's yardsticks; `None` if it did not record any.
struct Yardsticks {
    block: Medians,
    visit_ns: f64,
}

impl Yardsticks {
    fn of(rows: &[YardstickRow]) -> Option<Self> {
        let of = |value: fn(&YardstickRow) -> u64| median(rows.iter().map(value));
        Some(Self {
            block: Medians {
                shrink_ns: of(|row| row.block_shrink_ns)?,
                shrink_device_ns: of(|row| row.block_shrink_device_ns)?,
                grow_ns: of(|row| row.block_grow_ns)?,
                grow_device_ns: of(|row| row.block_grow_device_ns)?,
            },
            visit_ns: of(|row| row.visit_ns)?,
        })
    }
}

fn claim(verdict: &mut Verdict, text: &str, outcome: impl Into<Outcome>, measured: String) {
    verdict.claim(Source::Requirement, text, outcome, measured);
}

/// Holds what was measured against the bars.
pub(crate) fn judge(rows: &<BenchResize as Experiment>::Rows) -> Verdict {
    let (resizes, memory, disturbed, yardsticks, buckets) = rows;
    let mut verdict = Verdict {
        title: "Moving 16 GiB of blocks".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    resize_claims(&mut verdict, resizes, Yardsticks::of(yardsticks).as_ref());
    memory
        .iter()
        .for_each(|memory| memory_claims(&mut verdict, memory));
    disturbance_claim(&mut verdict, disturbed, buckets);
    verdict
}

/// Requests by latency, in each repetition without a resize and during one.
struct Latencies {
    /// Ascending.
    values_ns: Vec<u64>,
    /// For each repetition and value.
    quiet: Vec<Vec<u64>>,
    during: Vec<Vec<u64>>,
}

impl Latencies {
    fn of(buckets: &[DisturbedBucketRow]) -> Self {
        let distinct = |of: fn(&DisturbedBucketRow) -> u64| {
            let values: BTreeSet<u64> = buckets.iter().map(of).collect();
            values.into_iter().collect::<Vec<u64>>()
        };
        let values = distinct(|row| row.value_ns);
        let repetitions = distinct(|row| row.repetition.into());
        let empty = vec![vec![0; values.len()]; repetitions.len()];
        let (mut quiet, mut during) = (empty.clone(), empty);
        for row in buckets {
            let at = |all: &[u64], value| all.partition_point(|of| *of < value);
            let repetition = at(&repetitions, row.repetition.into());
            let value = at(&values, row.value_ns);
            quiet[repetition][value] += row.quiet;
            during[repetition][value] += row.during;
        }
        // As everywhere, a value is shown as the highest of its bucket.
        let highest = |value: &u64| histogram().highest_equivalent(*value);
        Self {
            values_ns: values.iter().map(highest).collect(),
            quiet,
            during,
        }
    }

    /// The p99 of the pooled requests of these repetitions; `NaN` of none.
    fn p99_ns(&self, of: &[Vec<u64>], drawn: &[usize]) -> f64 {
        let pooled = |value: usize| drawn.iter().map(|at| of[*at][value]).sum::<u64>();
        let counts: Vec<u64> = (0..self.values_ns.len()).map(pooled).collect();
        let rank = (counts.iter().sum::<u64>() * 99).div_ceil(100);
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += count;
            below >= rank && rank > 0
        });
        found.map_or(f64::NAN, |at| self.values_ns[at] as f64)
    }

    /// The p99 during a resize, as so many times that without.
    fn ratio(&self, drawn: &[usize]) -> f64 {
        self.p99_ns(&self.during, drawn) / self.p99_ns(&self.quiet, drawn)
    }
}

fn disturbance_claim(
    verdict: &mut Verdict,
    disturbed: &[DisturbedRow],
    buckets: &[DisturbedBucketRow],
) {
    if disturbed.is_empty() {
        return;
    }
    let of = |value: fn(&DisturbedRow) -> u64| median(disturbed.iter().map(value));
    let micros = |ns: Option<f64>| ns.map_or(f64::NAN, |ns| ns / 1e3);
    let latencies = Latencies::of(buckets);
    let all: Vec<usize> = (0..latencies.quiet.len()).collect();
    let count = |of: &[Vec<u64>]| of.iter().flatten().sum::<u64>();
    let (quiet, during) = (count(&latencies.quiet), count(&latencies.during));
    let recorded = disturbed
        .iter()
        .map(|row| row.quiet_requests + row.during_requests);
    let recorded: u64 = recorded.sum();
    let interval = Interval::of(all.len(), |drawn| latencies.ratio(drawn));
    let (outcome, measured) = match interval {
        None => (
            Outcome::undecided("The run recorded no histograms to pool."),
            format!(
                "Medians over {} resizes: p99 of {:.0} µs during one, {:.0} µs without.",
                disturbed.len(),
                micros(of(|row| row.during_p99_ns)),
                micros(of(|row| row.quiet_p99_ns)),
            ),
        ),
        Some(interval) => (
            if quiet + during != recorded {
                Outcome::DoesNotHold
            } else if during < P99_OF {
                Outcome::undecided(format!(
                    "There are fewer than {P99_OF} requests during a resize."
                ))
            } else {
                interval.at_most(P99)
            },
            format!(
                "{:.2} times ({interval}): p99 of {:.0} µs of {} requests during a resize of {:.1} ms (median), \
                 {:.0} µs of {} without, of {recorded} recorded, over {} repetitions.",
                interval.value,
                latencies.p99_ns(&latencies.during, &all) / 1e3,
                during,
                micros(of(|row| row.resize_ns)) / 1e3,
                latencies.p99_ns(&latencies.quiet, &all) / 1e3,
                quiet,
                disturbed.len(),
            ),
        ),
    };
    claim(
        verdict,
        "While the hypervisor takes 16 GiB, the p99 of requests to the rest is at most 1.5 times \
         that without.",
        outcome,
        measured,
    );
}

/// Holds a shrink and a grow against bars in nanoseconds, if there are any.
fn within(measured: [f64; 2], bars: Option<[f64; 2]>) -> Outcome {
    match bars {
        None => Outcome::undecided("The run did not record its yardsticks."),
        Some(bars) => measured.iter().zip(bars).all(|(ns, bar)| *ns <= bar).into(),
    }
}

fn resize_claims(verdict: &mut Verdict, rows: &[ResizeRow], yardsticks: Option<&Yardsticks>) {
    let (scattered, highest) = (medians(rows, "scattered"), medians(rows, "highest"));
    let pair = |[shrink, grow]: [f64; 2]| format!("{:.2} and {:.2} ms", shrink / 1e6, grow / 1e6);
    let sentence = |measured: String, bars: Option<[f64; 2]>| match bars {
        None => format!("{measured}."),
        Some(bars) => format!("{measured}; the bars are {}.", pair(bars)),
    };
    let device = |of: &Medians| [of.shrink_device_ns, of.grow_device_ns];
    let agreed = |of: &Medians| [of.shrink_ns, of.grow_ns];
    let visits = |of: [f64; 2], visits: f64, visit_ns: f64| of.map(|ns| ns + visits * visit_ns);
    let bars = yardsticks.map(|of| visits(device(&of.block), DEVICE_VISITS, of.visit_ns));
    claim(
        verdict,
        "The device work of 16 GiB of scattered blocks, taken and given back, takes no longer than that of one \
         block and a visit of memory for each block, in random order.",
        within(device(&scattered), bars),
        sentence(pair(device(&scattered)), bars),
    );
    let bars = yardsticks.map(|of| device(&of.block).map(|ns| PIECE * ns));
    claim(
        verdict,
        "The device work of 16 GiB in one piece, taken and given back, takes at most 3 times as long as that of \
         one block.",
        within(device(&highest), bars),
        sentence(pair(device(&highest)), bars),
    );
    let bars = yardsticks.map(|of| visits(agreed(&of.block), AGREED_VISITS, of.visit_ns));
    let slower = [0, 1].map(|way| f64::max(agreed(&scattered)[way], agreed(&highest)[way]));
    claim(
        verdict,
        "From the command to both lists agreed, 16 GiB take no longer than one block and three visits of memory \
         for each block, scattered or not.",
        within(slower, bars),
        sentence(
            format!(
                "Scattered {}, in one piece {}",
                pair(agreed(&scattered)),
                pair(agreed(&highest))
            ),
            bars,
        ),
    );
    let speed = |ns: f64| {
        format!(
            "{:.0}",
            f64::from(MOVED) * 4096.0 / f64::from(1 << 30) / (ns / 1e9)
        )
    };
    let mut table = vec![
        vec![
            "vSSD, scattered blocks".to_owned(),
            speed(scattered.shrink_ns),
            speed(scattered.grow_ns),
            "measured here, to both lists agreed".to_owned(),
        ],
        vec![
            "vSSD, in one piece".to_owned(),
            speed(highest.shrink_ns),
            speed(highest.grow_ns),
            "measured here, to both lists agreed".to_owned(),
        ],
    ];
    table.extend(OTHERS.map(|(who, taken, given)| {
        vec![
            who.to_owned(),
            taken.to_string(),
            given.to_string(),
            "cited: memory instead of storage, on other hardware (HyperAlloc, EuroSys 2025)"
                .to_owned(),
        ]
    }));
    let head = ["", "taken (GiB/s)", "given back (GiB/s)", "source"];
    verdict.tables.push(Table {
        title: "Beside what moves memory between VMs".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: table,
    });
}

fn memory_claims(verdict: &mut Verdict, memory: &MemoryRow) {
    let per_block = |bytes: u64| (bytes as f64 - memory.small as f64) / f64::from(BLOCKS);
    let (fresh, written) = (per_block(memory.large), per_block(memory.written));
    claim(
        verdict,
        "The backend has at most 6 bytes of memory for each 4 KiB block.",
        fresh <= BYTES_PER_BLOCK && written <= BYTES_PER_BLOCK,
        format!(
            "{fresh:.2} bytes for each block of a vSSD of 32 GiB, {written:.2} after {} scattered \
             writes.",
            memory.written_blocks
        ),
    );
    let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let grown = |few: u64, many: u64| many as f64 > GROWTH * few as f64;
    claim(
        verdict,
        "Resizes leave nothing behind in memory.",
        !grown(memory.few_resizes, memory.many_resizes)
            && !grown(memory.few_journaled, memory.many_journaled)
            && memory.commits > 0,
        format!(
            "After the first tenth of them {:.1} MiB, after all {:.1} MiB, of a process with a guest \
             and its device; {:.1} and {:.1} MiB of a backend after {} commits to its file, whose \
             journal was written anew {} times.",
            mebi(memory.few_resizes),
            mebi(memory.many_resizes),
            mebi(memory.few_journaled),
            mebi(memory.many_journaled),
            memory.commits,
            memory.compactions,
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = <BenchResize as Experiment>::Rows;

    const BAR_NS: u64 = 25_500_000;

    fn resize(pick: &str, device_ns: u64) -> ResizeRow {
        ResizeRow {
            pick: pick.to_owned(),
            repetition: 0,
            blocks: MOVED,
            shrink_ns: 10_000_000,
            shrink_device_ns: device_ns,
            grow_ns: 10_000_000,
            grow_device_ns: device_ns,
        }
    }

    /// A run without memory: a block in 0.5 ms of device work and 5 ms in all, a visit in
    /// 25 ms; and eight repetitions with `during` as the latencies of 200 requests each.
    fn rows(during: [u64; 8]) -> Rows {
        let yardstick = YardstickRow {
            repetition: 0,
            block_shrink_ns: 5_000_000,
            block_shrink_device_ns: 500_000,
            block_grow_ns: 5_000_000,
            block_grow_device_ns: 500_000,
            visit_ns: 25_000_000,
        };
        let mut rows: Rows = Default::default();
        rows.0 = vec![resize("scattered", 2_000_000), resize("highest", 600_000)];
        rows.3 = vec![yardstick];
        for (repetition, value_ns) in (0..).zip(during) {
            rows.2.push(DisturbedRow {
                repetition,
                resize_ns: 4_000_000,
                quiet_requests: 5000,
                quiet_p99_ns: 0,
                during_requests: 200,
                during_p99_ns: 0,
            });
            for (value_ns, quiet, during) in [(100_000, 5000, 0), (value_ns, 0, 200)] {
                rows.4.push(DisturbedBucketRow {
                    repetition,
                    value_ns,
                    quiet,
                    during,
                });
            }
        }
        rows
    }

    fn outcome(rows: &Rows, text: &str) -> Outcome {
        let claims = judge(rows).claims;
        let found = claims.into_iter().find(|of| of.text.contains(text));
        found.expect("the claim is made").outcome
    }

    fn is_undecided(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::CannotBeJudged { .. })
    }

    #[test]
    fn resizes_are_held_against_the_yardsticks_of_the_run() {
        let good = rows([100_000; 8]);
        assert!(judge(&good).claims.iter().all(|claim| claim.holds()));
        for (ns, holds) in [(BAR_NS, true), (BAR_NS + 1, false)] {
            let mut rows = good.clone();
            rows.0[0].grow_device_ns = ns;
            assert_eq!(outcome(&rows, "scattered blocks"), holds.into(), "{ns}");
        }
        for (ns, holds) in [(1_500_000, true), (1_500_001, false)] {
            let mut rows = good.clone();
            rows.0[1].shrink_device_ns = ns;
            assert_eq!(outcome(&rows, "in one piece"), holds.into(), "{ns}");
        }
        for (ns, holds) in [(80_000_000, true), (80_000_001, false)] {
            let mut rows = good.clone();
            rows.0[1].grow_ns = ns;
            assert_eq!(outcome(&rows, "From the command"), holds.into(), "{ns}");
        }
    }

    #[test]
    fn without_yardsticks_nothing_is_missed_and_nothing_holds() {
        let mut rows = rows([100_000; 8]);
        rows.3.clear();
        rows.4.clear();
        let verdict = judge(&rows);
        assert!(verdict.claims.iter().all(|of| is_undecided(&of.outcome)));
        assert!(verdict.holds());
    }

    #[test]
    fn the_p99_is_judged_by_its_interval() {
        let p99 = |during| outcome(&rows(during), "p99");
        assert_eq!(p99([140_000; 8]), Outcome::Holds);
        assert_eq!(p99([160_000; 8]), Outcome::DoesNotHold);
        // One or two bad repetitions of eight are in some resamples and not in others.
        let mut noisy = [100_000; 8];
        noisy[5] = 500_000;
        assert!(is_undecided(&p99(noisy)));
    }

    #[test]
    fn few_requests_or_repetitions_decide_no_p99() {
        let mut few = rows([100_000; 8]);
        few.2.truncate(5);
        few.4.truncate(10);
        assert!(is_undecided(&outcome(&few, "p99")), "5 repetitions");
        let mut few = rows([100_000; 8]);
        for (row, bucket) in few.2.iter_mut().zip(few.4.chunks_mut(2)) {
            row.during_requests = 124;
            bucket[1].during = 124;
        }
        assert!(is_undecided(&outcome(&few, "p99")), "992 requests");
        let mut lost = rows([100_000; 8]);
        lost.4.pop();
        assert_eq!(
            outcome(&lost, "p99"),
            Outcome::DoesNotHold,
            "a bucket is lost"
        );
    }
}
