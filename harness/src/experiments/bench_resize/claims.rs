//! Claims of the bench-resize experiment.

use std::collections::BTreeSet;

use results::stats::{Interval, median};
use results::table::Table;
use results::verdict::{Measured, Outcome, Verdict};
use vssd_host::latency::histogram;

use super::BenchResize;
use super::rows::{
    BLOCKS, DisturbedBucketRow, DisturbedRow, MOVED, MemoryRow, ResizeRow, YardstickRow,
};
use crate::experiments::experiment::Experiment;

/// Bar for the device work of 16 GiB in one piece over that of one block: the work is the same,
/// but a median of few durable commits varies.
const PIECE: f64 = 3.0;
/// Memory accesses for each block within which the device work of scattered blocks must stay.
const DEVICE_ACCESSES: f64 = 1.0;
/// The same from the command until both lists agree: the guest picks and encodes, the device
/// takes.
const AGREED_ACCESSES: f64 = 3.0;
/// Bar for the backend's memory for each block, bytes.
const BYTES_PER_BLOCK: f64 = 6.0;
/// Bar for the growth of a process over all resizes: allocator noise.
const GROWTH: f64 = 1.02;
/// Bar for the p99 of requests during a resize over that without.
const P99: f64 = 1.5;
/// Fewest requests during resizes: ten of them are above the p99.
const P99_OF: u64 = 1000;

/// Cited rates of others, GiB/s: reclaim and return.
const OTHERS: [(&str, f64, f64); 3] = [
    ("virtio-balloon", 0.95, 2.3),
    ("virtio-mem", 34.5, 102.0),
    ("HyperAlloc", 345.0, 8522.0),
];

/// Medians of a shrink and of the grow after it, nanoseconds.
struct Medians {
    /// From the command until both lists agree.
    agreed: [f64; 2],
    /// Of that, work of the device.
    device: [f64; 2],
}

impl Medians {
    /// The medians of the resizes with one pick.
    fn of(rows: &[ResizeRow], pick: &str) -> Option<Self> {
        let of = |value: fn(&ResizeRow) -> u64| {
            let rows = rows.iter().filter(|row| row.pick == pick);
            median(rows.map(|row| value(row) as f64))
        };
        Some(Self {
            agreed: [of(|row| row.shrink_ns)?, of(|row| row.grow_ns)?],
            device: [
                of(|row| row.shrink_device_ns)?,
                of(|row| row.grow_device_ns)?,
            ],
        })
    }
}

/// Medians of a run's yardsticks, if it recorded any.
struct Yardsticks {
    block: Medians,
    access_ns: f64,
}

impl Yardsticks {
    fn of(rows: &[YardstickRow]) -> Option<Self> {
        let of = |value: fn(&YardstickRow) -> u64| median(rows.iter().map(|row| value(row) as f64));
        let agreed = [of(|row| row.block_shrink_ns)?, of(|row| row.block_grow_ns)?];
        let device = [
            of(|row| row.block_shrink_device_ns)?,
            of(|row| row.block_grow_device_ns)?,
        ];
        Some(Self {
            block: Medians { agreed, device },
            access_ns: of(|row| row.visit_ns)?,
        })
    }
}

/// Judges the rows.
pub(crate) fn judge(rows: &<BenchResize as Experiment>::Rows) -> Verdict {
    let (resizes, memory, disturbed, yardsticks, buckets) = rows;
    let scattered = Medians::of(resizes, "scattered");
    let piece = Medians::of(resizes, "highest");
    let (scattered, piece) = (scattered.as_ref(), piece.as_ref());
    let yardsticks = Yardsticks::of(yardsticks);
    let yardsticks = yardsticks.as_ref();
    Verdict::new("Resizes by 16 GiB")
        .require(
            "The device work of 16 GiB of scattered blocks, each way, takes no longer than that of one block plus one \
             memory access in random order for each block.",
            scattered.map(|of| {
                let bars = yardsticks.map(|of| of.block.device.map(|ns| ns + DEVICE_ACCESSES * of.access_ns));
                within(of.device, bars, pair(of.device))
            }),
        )
        .require(
            "The device work of 16 GiB in one piece, each way, takes at most 3x that of one block.",
            piece.map(|of| {
                let bars = yardsticks.map(|of| of.block.device.map(|ns| PIECE * ns));
                within(of.device, bars, pair(of.device))
            }),
        )
        .require(
            "From the command until both lists agree, 16 GiB take no longer than one block plus three memory accesses \
             for each block, scattered or in one piece.",
            scattered.zip(piece).map(|(scattered, piece)| {
                let slower = [0, 1].map(|way| f64::max(scattered.agreed[way], piece.agreed[way]));
                let bars = yardsticks.map(|of| of.block.agreed.map(|ns| ns + AGREED_ACCESSES * of.access_ns));
                let (scattered, piece) = (pair(scattered.agreed), pair(piece.agreed));
                within(slower, bars, format!("Scattered {scattered}, in one piece {piece}"))
            }),
        )
        .require_if_measured(
            "The backend takes at most 6 bytes of memory for each 4 KiB block.",
            memory.first().map(memory_per_block),
        )
        .require_if_measured(
            "Memory does not grow over many resizes.",
            memory.first().map(memory_growth),
        )
        .require_if_measured(
            "While the hypervisor takes 16 GiB, the p99 of requests to the remaining blocks is at most 1.5x that \
             without a resize.",
            disturbance(disturbed, buckets),
        )
        .tables([rates(scattered, piece)])
}

fn pair([shrink, grow]: [f64; 2]) -> String {
    format!("{:.2} and {:.2} ms", shrink / 1e6, grow / 1e6)
}

/// A shrink and a grow against their bars, nanoseconds.
fn within(times: [f64; 2], bars: Option<[f64; 2]>, evidence: String) -> Measured {
    let Some(bars) = bars else {
        let why = "The run did not record its yardsticks.";
        return Measured::new(Outcome::undecided(why), format!("{evidence}."));
    };
    let holds = times.iter().zip(bars).all(|(ns, bar)| *ns <= bar);
    Measured::new(holds, format!("{evidence}; the bars are {}.", pair(bars)))
}

fn memory_per_block(memory: &MemoryRow) -> Measured {
    let per_block = |bytes: u64| (bytes as f64 - memory.small as f64) / f64::from(BLOCKS);
    let (fresh, written) = (per_block(memory.large), per_block(memory.written));
    Measured::new(
        fresh <= BYTES_PER_BLOCK && written <= BYTES_PER_BLOCK,
        format!(
            "{fresh:.2} bytes for each block of a vSSD of 32 GiB, {written:.2} after {} scattered writes.",
            memory.written_blocks
        ),
    )
}

fn memory_growth(memory: &MemoryRow) -> Measured {
    let has_grown = |few: u64, many: u64| many as f64 > GROWTH * few as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Measured::new(
        !has_grown(memory.few_resizes, memory.many_resizes)
            && !has_grown(memory.few_journaled, memory.many_journaled)
            && memory.commits > 0,
        format!(
            "A process with guest and device: {:.1} MiB after a tenth of the resizes, {:.1} MiB after all. A backend \
             on a file: {:.1} and {:.1} MiB, after {} commits and {} rewrites of its journal.",
            mib(memory.few_resizes),
            mib(memory.many_resizes),
            mib(memory.few_journaled),
            mib(memory.many_journaled),
            memory.commits,
            memory.compactions,
        ),
    )
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

    /// The p99 during a resize over that without.
    fn ratio(&self, drawn: &[usize]) -> f64 {
        self.p99_ns(&self.during, drawn) / self.p99_ns(&self.quiet, drawn)
    }
}

fn disturbance(disturbed: &[DisturbedRow], buckets: &[DisturbedBucketRow]) -> Option<Measured> {
    let of =
        |value: fn(&DisturbedRow) -> u64| median(disturbed.iter().map(|row| value(row) as f64));
    let resize_ns = of(|row| row.resize_ns)?;
    let latencies = Latencies::of(buckets);
    let all: Vec<usize> = (0..latencies.quiet.len()).collect();
    let Some(interval) = Interval::of(all.len(), |drawn| latencies.ratio(drawn)) else {
        return Some(Measured::new(
            Outcome::undecided("The run recorded no histograms to pool."),
            format!(
                "Medians over {} resizes: p99 of {:.0} µs during a resize, {:.0} µs without.",
                disturbed.len(),
                of(|row| row.during_p99_ns)? / 1e3,
                of(|row| row.quiet_p99_ns)? / 1e3,
            ),
        ));
    };
    let count = |of: &[Vec<u64>]| of.iter().flatten().sum::<u64>();
    let (quiet, during) = (count(&latencies.quiet), count(&latencies.during));
    let recorded = disturbed
        .iter()
        .map(|row| row.quiet_requests + row.during_requests);
    let recorded: u64 = recorded.sum();
    let outcome = if quiet + during != recorded {
        Outcome::DoesNotHold
    } else if during < P99_OF {
        Outcome::undecided(format!(
            "There are fewer than {P99_OF} requests during a resize."
        ))
    } else {
        interval.at_most(P99)
    };
    Some(Measured::new(
        outcome,
        format!(
            "{:.2}x ({interval}): p99 of {:.0} µs over {during} requests during resizes of {:.1} ms (median), {:.0} µs \
             over {quiet} requests without; {recorded} recorded in {} repetitions.",
            interval.value,
            latencies.p99_ns(&latencies.during, &all) / 1e3,
            resize_ns / 1e6,
            latencies.p99_ns(&latencies.quiet, &all) / 1e3,
            disturbed.len(),
        ),
    ))
}

fn rates(scattered: Option<&Medians>, piece: Option<&Medians>) -> Table {
    let gib = f64::from(MOVED) * 4096.0 / f64::from(1 << 30);
    let ours = [
        ("vSSD, scattered blocks", scattered),
        ("vSSD, in one piece", piece),
    ];
    let ours = ours.into_iter().filter_map(|(name, of)| {
        let [shrink, grow] = of?.agreed.map(|ns| format!("{:.0}", gib / (ns / 1e9)));
        Some((name, shrink, grow, "measured here, until both lists agree"))
    });
    let cited = "cited: memory instead of storage, on other hardware (HyperAlloc, EuroSys 2025)";
    let others =
        OTHERS.map(|(name, taken, given)| (name, taken.to_string(), given.to_string(), cited));
    Table::of(
        "Against memory reclaim between VMs",
        ours.chain(others),
        &[
            ("", &|(name, ..)| (*name).to_owned()),
            ("taken (GiB/s)", &|(_, taken, ..)| taken.clone()),
            ("given back (GiB/s)", &|(_, _, given, _)| given.clone()),
            ("source", &|(.., source)| (*source).to_owned()),
        ],
    )
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

    /// A run without memory rows: a block takes 0.5 ms of device work and 5 ms in total, the
    /// memory accesses 25 ms; and eight repetitions with `during` as the latencies of 200
    /// requests each.
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
