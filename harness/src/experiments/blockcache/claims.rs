//! Claims of the blockcache experiment.

use std::collections::BTreeSet;

use results::quantity;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};
use simulate::replay::Contender;
use vssd_host::emulation::MediaKind;

use super::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow, BlockCacheTraceRow};
use crate::experiments::common::lab::TIMES_ARE_VIRTUAL;

/// The origin disk that imitates no medium.
pub(crate) const NO_MEDIUM: &str = "none";

/// The part of the disk's time by which a miss must be longer than a hit: the way to
/// the vSSD, which only a hit pays in full, is not free either.
const PART: f64 = 0.9;

/// Judges the rows. Twins have no times: then only counts are judged.
pub(crate) fn judge(
    rows: &[BlockCacheRow],
    sims: &[BlockCacheSimRow],
    timings: &[BlockCacheTimingRow],
    is_timed: bool,
) -> Verdict {
    let slow = || timings.iter().filter(|row| row.medium != NO_MEDIUM);
    let accesses = rows
        .iter()
        .map(BlockCacheRow::accesses)
        .chain(slow().map(|row| row.accesses));
    let failed = rows
        .iter()
        .map(|row| row.failed)
        .chain(slow().map(|row| row.failed));
    let verdict = Verdict::new("A block cache on a vSSD")
        .require(
            "The guest's cache misses exactly as often as its code alone, without guest or device, for the same \
             accesses and the same number of slots, reads and writes each.",
            equality(rows, sims),
        )
        .require(
            "No access fails, is refused or returns stale data.",
            Measured::none(failed.sum(), accesses.sum(), "accesses"),
        )
        .require(
            "No policy misses less than one that knows all future accesses (Belady 1966).",
            bound(rows, sims),
        );
    let verdict = if is_timed {
        verdict.require(
            "In front of a disk of 5 ms, the median miss takes longer than the median hit by at least 90 % of that.",
            latency(timings),
        )
    } else {
        verdict.findings([TIMES_ARE_VIRTUAL.to_owned()])
    };
    let ratios = workloads(rows)
        .into_iter()
        .map(|workload| ratios(workload, rows));
    verdict
        .findings(order(rows))
        .tables(ratios.chain([latencies(timings), memory(rows)]))
}

/// How the recorded trace was read, if there was one.
pub(crate) fn of_trace(rows: &[BlockCacheTraceRow]) -> Vec<String> {
    let rows = rows.iter();
    rows.flat_map(|row| {
        let read = format!(
            "The trace {} ({}): {} requests, {} accesses to {} different blocks.",
            row.trace, row.format, row.requests, row.accesses, row.distinct_blocks
        );
        let assumed = (!row.assumed.is_empty()).then(|| format!("Assumed: {}", row.assumed));
        let notes = (!row.notes.is_empty()).then(|| row.notes.clone());
        [Some(read), assumed, notes].into_iter().flatten()
    })
    .collect()
}

/// The workloads, in the order in which they were run.
pub(crate) fn workloads(rows: &[BlockCacheRow]) -> Vec<&str> {
    distinct(rows.iter().map(|row| row.workload.as_str()))
}

fn sim_of<'a>(
    sims: &'a [BlockCacheSimRow],
    row: &BlockCacheRow,
    policy: &str,
) -> Option<&'a BlockCacheSimRow> {
    sims.iter()
        .find(|sim| sim.policy == policy && sim.workload == row.workload && sim.slots == row.slots)
}

fn equality(rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) -> Option<Measured> {
    let counts =
        |sim: &BlockCacheSimRow| [sim.reads, sim.read_misses, sim.writes, sim.write_misses];
    let is_equal = |row: &&BlockCacheRow| {
        let here = [row.reads, row.read_misses, row.writes, row.write_misses];
        sim_of(sims, row, &row.policy).map(counts) == Some(here)
    };
    let (equal, unequal): (Vec<_>, Vec<_>) = rows.iter().partition(is_equal);
    let accesses: u64 = rows.iter().map(BlockCacheRow::accesses).sum();
    let first = unequal.first().map_or(String::new(), |row| {
        let alone = sim_of(sims, row, &row.policy).map(|sim| sim.read_misses + sim.write_misses);
        format!(
            " {} with {} slots and {} missed {} times, its code alone {}.",
            row.policy,
            row.slots,
            row.workload,
            row.misses(),
            alone.map_or("an unknown number of times".to_owned(), |misses| misses
                .to_string())
        )
    });
    (accesses > 0).then(|| {
        let cells = format!(
            "{} of {} cells, with {accesses} accesses in total",
            equal.len(),
            rows.len()
        );
        Measured::new(
            unequal.is_empty(),
            format!("The counts are equal in {cells}.{first}"),
        )
    })
}

fn bound(rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) -> Option<Measured> {
    let factor = |row: &BlockCacheRow| {
        let bound = sim_of(sims, row, Contender::Belady.name())?;
        Some(row.miss_ratio() / bound.miss_ratio().max(f64::MIN_POSITIVE))
    };
    let pairs: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, factor(row)?)))
        .collect();
    let (row, least) = pairs.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Measured::new(
        pairs.len() == rows.len() && *least >= 1.0,
        format!(
            "The closest of {} cells is {} with {} slots and {}, at {least:.3}x its misses.",
            pairs.len(),
            row.policy,
            row.slots,
            row.workload
        ),
    ))
}

fn latency(timings: &[BlockCacheTimingRow]) -> Option<Measured> {
    let disk_ns = MediaKind::Hdd.times().read_ns;
    let hdd = MediaKind::Hdd.to_string();
    let has_both = |row: &&BlockCacheTimingRow| {
        row.medium == hdd && row.depth == 1 && row.hits > 0 && row.misses > 0
    };
    let longer = |row: &BlockCacheTimingRow| row.miss_p50_ns as f64 - row.hit_p50_ns as f64;
    let longer: Vec<f64> = timings.iter().filter(has_both).map(longer).collect();
    let least = longer.iter().copied().min_by(f64::total_cmp)?;
    Some(Measured::new(
        least >= PART * disk_ns as f64,
        format!(
            "By at least {}, in {} cells.",
            quantity::time(least.max(0.0)),
            longer.len()
        ),
    ))
}

/// The policies by misses, at the size at which they differ most: a sentence for
/// each workload.
fn order(rows: &[BlockCacheRow]) -> Vec<String> {
    let sentence = |workload| {
        let of = rows.iter().filter(|row| row.workload == workload);
        let sizes: BTreeSet<u32> = of.clone().map(|row| row.slots).collect();
        let sorted = |slots: u32| {
            let mut at: Vec<_> = of.clone().filter(|row| row.slots == slots).collect();
            at.sort_by_key(|row| row.misses());
            at
        };
        let spread = |rows: &[&BlockCacheRow]| {
            Some(rows.last()?.misses().saturating_sub(rows.first()?.misses()))
        };
        let most = sizes
            .into_iter()
            .map(sorted)
            .max_by_key(|rows| spread(rows))?;
        let first = most.first()?;
        let names: Vec<String> = most
            .iter()
            .map(|row| format!("{} {:.2} %", row.policy, 100.0 * row.miss_ratio()))
            .collect();
        (most.len() > 1).then(|| {
            format!(
                "With {workload} policies differ most at {} slots: {}.",
                first.slots,
                names.join(", ")
            )
        })
    };
    workloads(rows).into_iter().filter_map(sentence).collect()
}

fn ratios(workload: &str, rows: &[BlockCacheRow]) -> Table {
    let of = || rows.iter().filter(|row| row.workload == workload);
    let sizes: BTreeSet<u32> = of().map(|row| row.slots).collect();
    Table::crossed(
        format!("Miss ratio (%), {workload}"),
        "policy",
        &distinct(of().map(|row| row.policy.as_str())),
        &sizes.into_iter().collect::<Vec<_>>(),
        |slots| format!("{slots} slots"),
        |policy, slots| {
            let row = of().find(|row| row.policy == *policy && row.slots == *slots);
            row.map_or(String::new(), |row| {
                format!("{:.3}", 100.0 * row.miss_ratio())
            })
        },
    )
}

fn latencies(timings: &[BlockCacheTimingRow]) -> Table {
    let time = |count: u64, ns: u64| or_dash((count > 0).then_some(ns as f64), quantity::time);
    // Those without a medium show the guest's processor alone: one per policy is enough.
    let is_largest = |row: &BlockCacheTimingRow| {
        let key = |row: &BlockCacheTimingRow| {
            (row.medium.clone(), row.workload.clone(), row.policy.clone())
        };
        let alike = timings.iter().filter(|other| key(other) == key(row));
        alike.map(|other| other.slots).max() == Some(row.slots)
    };
    Table::of(
        "Reads from the vSSD and from the origin disk",
        timings
            .iter()
            .filter(|row| row.medium != NO_MEDIUM || is_largest(row)),
        &[
            ("disk", &|row| row.medium.clone()),
            ("workload", &|row| row.workload.clone()),
            ("policy", &|row| row.policy.clone()),
            ("slots", &|row| row.slots.to_string()),
            ("depth", &|row| row.depth.to_string()),
            ("accesses/s", &|row| {
                quantity::count(row.accesses as f64 * 1e9 / row.elapsed_ns.max(1) as f64)
            }),
            ("hits", &|row| row.hits.to_string()),
            ("p50", &|row| time(row.hits, row.hit_p50_ns)),
            ("p99", &|row| time(row.hits, row.hit_p99_ns)),
            ("misses", &|row| row.misses.to_string()),
            ("p50", &|row| time(row.misses, row.miss_p50_ns)),
            ("p99", &|row| time(row.misses, row.miss_p99_ns)),
        ],
    )
}

/// Memory at the largest size, where the fixed part weighs least.
fn memory(rows: &[BlockCacheRow]) -> Table {
    let largest = rows.iter().map(|row| row.capacity_blocks).max();
    let of = |policy: &str| {
        let is_it =
            |row: &&BlockCacheRow| row.policy == policy && Some(row.capacity_blocks) == largest;
        rows.iter().find(is_it)
    };
    let policies = distinct(rows.iter().map(|row| row.policy.as_str()));
    Table::of(
        "Memory of the cache",
        policies.into_iter().filter_map(of),
        &[
            ("policy", &|row| row.policy.clone()),
            ("blocks at most", &|row| row.capacity_blocks.to_string()),
            ("bytes per block", &|row| {
                format!("{:.2}", f64::from(row.memory_bytes_per_1000) / 1000.0)
            }),
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
        counts: Vec<BlockCacheRow>,
        sims: Vec<BlockCacheSimRow>,
        timings: Vec<BlockCacheTimingRow>,
    }

    impl Rows {
        fn judge(&self) -> Verdict {
            judge(&self.counts, &self.sims, &self.timings, true)
        }
    }

    /// Two policies at two sizes, as their code has it and above the bound.
    fn good() -> Rows {
        let mut rows = Rows {
            counts: Vec::new(),
            sims: Vec::new(),
            timings: Vec::new(),
        };
        for slots in [1000, 4000] {
            for (policy, read_misses) in [("lru", 500), ("arc", 400), ("belady", 300)] {
                let read_misses = read_misses * 1000 / u64::from(slots);
                rows.sims.push(BlockCacheSimRow {
                    workload: "zipf:1".to_owned(),
                    policy: policy.to_owned(),
                    slots,
                    reads: 900,
                    read_misses,
                    writes: 100,
                    write_misses: 10,
                });
                if policy == "belady" {
                    continue;
                }
                rows.counts.push(BlockCacheRow {
                    workload: "zipf:1".to_owned(),
                    policy: policy.to_owned(),
                    capacity_blocks: slots + 10,
                    metadata_blocks: 10,
                    slots,
                    origin_blocks: 1 << 20,
                    reads: 900,
                    read_misses,
                    writes: 100,
                    write_misses: 10,
                    beyond: 0,
                    failed: 0,
                    memory_bytes_per_1000: 14_000,
                });
            }
        }
        rows.timings.push(BlockCacheTimingRow {
            medium: "hdd".to_owned(),
            workload: "zipf:1".to_owned(),
            policy: "lru".to_owned(),
            slots: 1000,
            depth: 1,
            accesses: 1000,
            failed: 0,
            elapsed_ns: 1_000_000_000,
            hits: 800,
            hit_p50_ns: 200_000,
            hit_p99_ns: 300_000,
            misses: 200,
            miss_p50_ns: 5_100_000,
            miss_p99_ns: 6_000_000,
        });
        rows
    }

    #[test]
    fn a_good_run_holds() {
        let verdict = good().judge();
        assert!(verdict.holds(), "{:?}", verdict.missed());
        assert!(verdict.claims[0].measured.contains("4 of 4 cells"));
        let [order] = verdict.findings.as_slice() else {
            panic!("{:?}", verdict.findings);
        };
        // 410 of 1000 accesses, then 510; that is more apart than at 4000 slots.
        assert!(
            order.contains("1000 slots: arc 41.00 %, lru 51.00 %"),
            "{order}"
        );
        assert_eq!(verdict.tables[0].rows[0], ["lru", "51.000", "13.500"]);
    }

    #[test]
    fn twins_are_judged_by_their_counts_alone() {
        let rows = good();
        let verdict = judge(&rows.counts, &rows.sims, &[], false);
        assert!(verdict.holds(), "{:?}", verdict.missed());
        assert!(verdict.findings[0].contains("twins"));
        assert!(!judge(&rows.counts, &rows.sims, &[], true).holds());
    }

    #[test]
    fn nothing_measured_holds_nothing() {
        let verdict = judge(&[], &[], &[], true);
        assert!(verdict.claims.iter().all(|claim| !claim.holds()));
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let faults: [(&str, Fault); 8] = [
            ("a miss too many", |rows| rows.counts[1].read_misses += 1),
            ("a miss too few", |rows| rows.counts[3].write_misses -= 1),
            ("a hit that is none", |rows| rows.sims[0].read_misses += 1),
            ("an access not made", |rows| rows.counts[0].reads -= 1),
            ("a failure", |rows| rows.counts[0].failed = 1),
            ("a failure with a disk", |rows| rows.timings[0].failed = 1),
            ("a bound above", |rows| rows.sims[2].read_misses = 600),
            ("misses that cost too little", |rows| {
                rows.timings[0].miss_p50_ns = 4_600_000;
            }),
        ];
        for (name, fault) in faults {
            let mut rows = good();
            fault(&mut rows);
            assert!(!rows.judge().holds(), "{name} went unseen");
        }
        let mut rows = good();
        rows.sims.remove(0);
        assert!(!rows.judge().holds(), "a cell without its simulation");
        rows.counts.remove(0);
        assert!(rows.judge().holds());
    }
}
