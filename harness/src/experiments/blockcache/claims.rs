//! Claims of the blockcache experiment.

use std::collections::BTreeSet;

use results::chart::scale;
use results::verdict::{Source, Table, Verdict, distinct};
use simulate::replay::Contender;
use vssd_host::emulation::MediaKind;

use super::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow, BlockCacheTraceRow};

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
    timed: bool,
) -> Verdict {
    let mut verdict = Verdict {
        title: "A block cache on a vSSD".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    equality_claim(&mut verdict, rows, sims);
    failures_claim(&mut verdict, rows, timings);
    bound_claim(&mut verdict, rows, sims);
    match timed {
        true => latency_claim(&mut verdict, timings),
        false => verdict.findings.push(
            "Times are not judged: guests were twins, whose clock is virtual. Run it with \
             `--transport qemu` for those."
                .to_owned(),
        ),
    }
    verdict.findings.extend(order(rows));
    for workload in workloads(rows) {
        verdict.tables.push(ratios(workload, rows));
    }
    verdict.tables.push(latencies(timings));
    verdict.tables.push(memory(rows));
    verdict
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

fn equality_claim(verdict: &mut Verdict, rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) {
    let counts =
        |sim: &BlockCacheSimRow| [sim.reads, sim.read_misses, sim.writes, sim.write_misses];
    let is_equal = |row: &&BlockCacheRow| {
        let here = [row.reads, row.read_misses, row.writes, row.write_misses];
        sim_of(sims, row, &row.policy).map(counts) == Some(here)
    };
    let (equal, unequal): (Vec<_>, Vec<_>) = rows.iter().partition(is_equal);
    let accesses: u64 = rows.iter().map(BlockCacheRow::accesses).sum();
    let first = unequal.first().map_or(String::new(), |row| {
        let alone = sim_of(sims, row, &row.policy).map_or("an unknown number".to_owned(), |s| {
            (s.read_misses + s.write_misses).to_string()
        });
        format!(
            " {} with {} slots and {} missed {} times, its code alone {alone}.",
            row.policy,
            row.slots,
            row.workload,
            row.misses()
        )
    });
    verdict.claim(
        Source::Requirement,
        "The guest's cache misses exactly as often as its code alone does, without guest or device, for the same accesses and as many slots, reads and writes each.",
        accesses > 0 && unequal.is_empty(),
        format!(
            "The counts are equal in {} of {} cells, with {accesses} accesses in all.{first}",
            equal.len(),
            rows.len()
        ),
    );
}

fn failures_claim(verdict: &mut Verdict, rows: &[BlockCacheRow], timings: &[BlockCacheTimingRow]) {
    let slow = || timings.iter().filter(|row| row.medium != NO_MEDIUM);
    let accesses: u64 = rows.iter().map(BlockCacheRow::accesses).sum();
    let accesses = accesses + slow().map(|row| row.accesses).sum::<u64>();
    let failed: u64 = rows.iter().map(|row| row.failed).sum();
    let failed = failed + slow().map(|row| row.failed).sum::<u64>();
    verdict.claim(
        Source::Requirement,
        "No access fails, is refused, or reads other data than were written last.",
        accesses > 0 && failed == 0,
        format!("{failed} of {accesses} accesses."),
    );
}

fn bound_claim(verdict: &mut Verdict, rows: &[BlockCacheRow], sims: &[BlockCacheSimRow]) {
    let times = |row: &BlockCacheRow| {
        let bound = sim_of(sims, row, Contender::Belady.name())?;
        Some(row.miss_ratio() / bound.miss_ratio().max(f64::MIN_POSITIVE))
    };
    let pairs: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, times(row)?)))
        .collect();
    let closest = pairs.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    verdict.claim(
        Source::Requirement,
        "No policy misses less than one that knows what comes (Belady 1966).",
        pairs.len() == rows.len() && closest.is_some_and(|(_, times)| *times >= 1.0),
        closest.map_or_else(not_measured, |(row, times)| {
            format!(
                "{} with {} slots and {} comes closest of {} cells, with {times:.3} times its misses.",
                row.policy,
                row.slots,
                row.workload,
                pairs.len()
            )
        }),
    );
}

fn latency_claim(verdict: &mut Verdict, timings: &[BlockCacheTimingRow]) {
    let disk_ns = MediaKind::Hdd.times().read_ns;
    let hdd = MediaKind::Hdd.to_string();
    let both = |row: &&BlockCacheTimingRow| {
        row.medium == hdd && row.depth == 1 && row.hits > 0 && row.misses > 0
    };
    let cells: Vec<_> = timings.iter().filter(both).collect();
    let longer = cells
        .iter()
        .map(|row| row.miss_p50_ns as f64 - row.hit_p50_ns as f64);
    let least = longer.fold(f64::INFINITY, f64::min);
    verdict.claim(
        Source::Requirement,
        "In front of a disk of 5 ms, a miss takes longer than a hit by at least nine tenths of that, in the median.",
        !cells.is_empty() && least >= PART * disk_ns as f64,
        match cells.is_empty() {
            true => not_measured(),
            false => format!(
                "By {} at least, in {} cells.",
                scale::time(least.max(0.0)),
                cells.len()
            ),
        },
    );
}

fn not_measured() -> String {
    "It was not measured.".to_owned()
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

fn strings<const N: usize>(head: [&str; N]) -> Vec<String> {
    head.map(str::to_owned).to_vec()
}

fn ratios(workload: &str, rows: &[BlockCacheRow]) -> Table {
    let of = || rows.iter().filter(|row| row.workload == workload);
    let sizes: BTreeSet<u32> = of().map(|row| row.slots).collect();
    let head = sizes.iter().map(|slots| format!("{slots} slots"));
    let cells = |policy: &str| {
        let cell = |slots: &u32| {
            let mut rows = of();
            let row = rows.find(|row| row.policy == policy && row.slots == *slots);
            row.map_or(String::new(), |row| {
                format!("{:.3}", 100.0 * row.miss_ratio())
            })
        };
        let cells = sizes.iter().map(cell);
        [policy.to_owned()].into_iter().chain(cells).collect()
    };
    Table {
        title: format!("Accesses that miss (%), {workload}"),
        head: ["policy".to_owned()].into_iter().chain(head).collect(),
        rows: distinct(of().map(|row| row.policy.as_str()))
            .into_iter()
            .map(cells)
            .collect(),
    }
}

fn latencies(timings: &[BlockCacheTimingRow]) -> Table {
    let time = |count: u64, ns: u64| match count {
        0 => "-".to_owned(),
        _ => scale::time(ns as f64),
    };
    // Those without a medium tell of the guest's processor alone: one a policy is enough.
    let largest = |row: &BlockCacheTimingRow| {
        let alike = timings.iter().filter(|other| {
            (&other.medium, &other.workload, &other.policy)
                == (&row.medium, &row.workload, &row.policy)
        });
        alike.map(|other| other.slots).max() == Some(row.slots)
    };
    let shown = timings
        .iter()
        .filter(|row| row.medium != NO_MEDIUM || largest(row));
    Table {
        title: "Reads from the vSSD and from the origin disk".to_owned(),
        head: strings([
            "disk",
            "workload",
            "policy",
            "slots",
            "depth",
            "accesses a second",
            "hits",
            "p50",
            "p99",
            "misses",
            "p50",
            "p99",
        ]),
        rows: shown
            .map(|row| {
                let rate = row.accesses as f64 * 1e9 / row.elapsed_ns.max(1) as f64;
                vec![
                    row.medium.clone(),
                    row.workload.clone(),
                    row.policy.clone(),
                    row.slots.to_string(),
                    row.depth.to_string(),
                    scale::count(rate),
                    row.hits.to_string(),
                    time(row.hits, row.hit_p50_ns),
                    time(row.hits, row.hit_p99_ns),
                    row.misses.to_string(),
                    time(row.misses, row.miss_p50_ns),
                    time(row.misses, row.miss_p99_ns),
                ]
            })
            .collect(),
    }
}

/// Memory at the largest size, where what is fixed weighs least.
fn memory(rows: &[BlockCacheRow]) -> Table {
    let largest = rows.iter().map(|row| row.capacity_blocks).max();
    let of = |policy: &&str| {
        let mut rows = rows.iter();
        rows.find(|row| row.policy == *policy && Some(row.capacity_blocks) == largest)
    };
    let policies = distinct(rows.iter().map(|row| row.policy.as_str()));
    Table {
        title: "Memory of the cache".to_owned(),
        head: strings(["policy", "blocks that it may have", "bytes for each"]),
        rows: policies
            .iter()
            .filter_map(of)
            .map(|row| {
                vec![
                    row.policy.clone(),
                    row.capacity_blocks.to_string(),
                    format!("{:.2}", f64::from(row.memory_bytes_per_1000) / 1000.0),
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
