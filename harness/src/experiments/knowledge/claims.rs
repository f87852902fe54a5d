//! Claims of the knowledge experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::quantity::{micros, millis};
use results::stats::Mean;
use results::table::{Table, yes};
use results::verdict::{Measured, Verdict};

use super::rows::{Condition, KnowledgeRow, KnowledgeTimingRow, Side};
use super::worth::{POINTS, TRAFFIC_PERCENT, Worth, crossover, worths};

/// Judges the rows.
pub(crate) fn judge(
    rows: &[KnowledgeRow],
    timing: &[KnowledgeTimingRow],
    tuning_seeds: usize,
) -> Verdict {
    let worths = worths(rows, tuning_seeds);
    let tables = worths
        .iter()
        .map(|(condition, worths)| table(*condition, worths));
    let tables: Vec<_> = tables.chain([picks(rows), tiers(timing)]).collect();
    Verdict::new("What the guest's knowledge is worth")
        .require(
            "Under every value of a condition, all ways to pick had the same seeds, each once.",
            pairing(rows),
        )
        .require(
            "Every access was served from memory, from the vSSD or from the origin disk, with the right contents, or \
             discarded a block.",
            Measured::every(rows, "shrinks", |row| {
                {
                let counted = row.memory_hits + row.hits + row.misses + row.discards;
                row.failed == 0 && counted == row.accesses
            }
            }),
        )
        .require(
            "Every shrink left the same number of blocks.",
            rows.first().and_then(|first| {
                Measured::every(rows, "shrinks", |row| row.held_blocks == first.held_blocks)
            }),
        )
        .require_if_measured("Under QEMU the counts are those of the twins.", transports(rows))
        .findings(worths.iter().map(|(condition, worths)| sentence(*condition, worths)))
        .tables(tables)
}

/// What identifies a trial, but for its seed.
fn way(row: &KnowledgeRow) -> (Condition, &str, Side, &str) {
    (row.condition, &row.value, row.side, &row.pick)
}

fn pairing(rows: &[KnowledgeRow]) -> Option<Measured> {
    let mut seeds: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    let mut trials = 0;
    for row in rows.iter().filter(|row| row.transport == "twin") {
        seeds.entry(way(row)).or_default().insert(row.seed);
        trials += 1;
    }
    let (_, first) = seeds.first_key_value()?;
    let is_equal = seeds.values().all(|of| of == first);
    let is_once = seeds.values().map(BTreeSet::len).sum::<usize>() == trials;
    Some(Measured::new(
        is_equal && is_once,
        format!(
            "{trials} shrinks: {} ways with {} seeds.",
            seeds.len(),
            first.len()
        ),
    ))
}

fn transports(rows: &[KnowledgeRow]) -> Option<Measured> {
    let twin = |of: &KnowledgeRow| {
        let is_same = |row: &&KnowledgeRow| {
            row.transport == "twin" && way(row) == way(of) && row.seed == of.seed
        };
        rows.iter().find(is_same).cloned()
    };
    let of_qemu = rows.iter().filter(|row| row.transport == "qemu");
    Measured::every(of_qemu, "shrinks have the same counts", |row| {
        let as_twin = KnowledgeRow {
            transport: "twin".to_owned(),
            ..(*row).clone()
        };
        twin(row) == Some(as_twin)
    })
}

/// What a condition is worth, in a sentence.
fn sentence(condition: Condition, worths: &[Worth]) -> String {
    let (what, unit) = match condition {
        Condition::Memory => ("memory above the vSSD", " % of the working set"),
        Condition::Policy => ("the cache's policy", ""),
        Condition::Death => ("death that the host does not learn of", " % temporary"),
        Condition::DeathTold => ("death of which DISCARD tells the host", " % temporary"),
    };
    let paying: Vec<&Worth> = worths.iter().filter(|worth| worth.pays()).collect();
    let most = worths
        .iter()
        .max_by(|a, b| a.points.value.total_cmp(&b.points.value));
    let most = most.map_or(String::new(), |of| {
        format!(
            " Most at {}{unit}: {} points, {} % of the traffic (`{}` against `{}`).",
            of.value,
            of.points.text(2),
            of.traffic.text(1),
            of.guest.pick,
            of.host.pick
        )
    });
    let verdict = match (paying.is_empty(), crossover(worths)) {
        (true, _) => format!(
            "no value is known at which the guest's choice saves {POINTS} point of the accesses or {TRAFFIC_PERCENT} \
             % of the origin traffic"
        ),
        (false, Some(interval)) => {
            let end = |value: f64| {
                if value.is_finite() {
                    format!("{value}{unit}")
                } else {
                    "nowhere".to_owned()
                }
            };
            let bounds = interval.bounds.map_or(String::new(), |(low, high)| {
                format!(" (95 % interval {} to {})", end(low), end(high))
            });
            format!(
                "the guest's choice pays at {} of {} values; it saves {POINTS} point from {} on{bounds}",
                paying.len(),
                worths.len(),
                end(interval.value)
            )
        }
        (false, None) => {
            let values: Vec<_> = paying.iter().map(|worth| worth.value.as_str()).collect();
            format!("the guest's choice pays with {}", values.join(", "))
        }
    };
    format!("By {what}: {verdict}.{most}")
}

fn table(condition: Condition, worths: &[Worth]) -> Table {
    let text = |mean: &Mean| mean.text(2);
    Table::of(
        format!("Worth of the guest's choice: {condition}"),
        worths,
        &[
            ("value", &|of| of.value.clone()),
            ("best guest", &|of| of.guest.pick.clone()),
            ("misses (%)", &|of| text(&of.misses[0])),
            ("best host", &|of| of.host.pick.clone()),
            ("misses (%)", &|of| text(&of.misses[1])),
            ("saved (points)", &|of| text(&of.points)),
            ("saved of the origin traffic (%)", &|of| of.traffic.text(1)),
            ("pays", &|of| yes(of.pays())),
        ],
    )
}

/// All ways to pick, with the means over all seeds.
fn picks(rows: &[KnowledgeRow]) -> Table {
    let mut ways: Vec<_> = Vec::new();
    for row in rows.iter().filter(|row| row.transport == "twin") {
        if !ways.contains(&way(row)) {
            ways.push(way(row));
        }
    }
    let percent = |of: &(Condition, &str, Side, &str), count: fn(&KnowledgeRow) -> u64| {
        let of_way = rows
            .iter()
            .filter(|row| row.transport == "twin" && way(row) == *of);
        let shares: Vec<f64> = of_way
            .map(|row| 100.0 * count(row) as f64 / row.accesses.max(1) as f64)
            .collect();
        Mean::of(&shares).map_or(String::new(), |mean| mean.text(2))
    };
    Table::of(
        "All ways to pick",
        &ways,
        &[
            ("condition", &|of| of.0.to_string()),
            ("value", &|of| of.1.to_owned()),
            ("side", &|of| of.2.to_string()),
            ("pick", &|of| of.3.to_owned()),
            ("memory (%)", &|of| percent(of, |row| row.memory_hits)),
            ("vSSD (%)", &|of| percent(of, |row| row.hits)),
            ("origin (%)", &|of| percent(of, |row| row.misses)),
            ("recovery (% of the accesses)", &|of| {
                percent(of, |row| row.recovery_accesses)
            }),
        ],
    )
}

/// How long each tier takes under QEMU.
fn tiers(timing: &[KnowledgeTimingRow]) -> Table {
    Table::of(
        "Time of each tier",
        timing,
        &[
            ("condition", &|row| row.condition.to_string()),
            ("value", &|row| row.value.clone()),
            ("side", &|row| row.side.to_string()),
            ("pick", &|row| row.pick.clone()),
            ("memory (µs)", &|row| micros(row.memory_p50_ns)),
            ("vSSD (µs)", &|row| micros(row.vssd_p50_ns)),
            ("origin (µs)", &|row| micros(row.origin_p50_ns)),
            ("shrink (ms)", &|row| millis(row.shrink_ns)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(side: Side, pick: &str, seed: u64, misses: u64) -> KnowledgeRow {
        KnowledgeRow {
            transport: "twin".to_owned(),
            condition: Condition::Memory,
            value: "10".to_owned(),
            side,
            pick: pick.to_owned(),
            seed,
            from_blocks: 100,
            held_blocks: 50,
            accesses: 1000,
            memory_hits: 100,
            hits: 900 - misses,
            misses,
            discards: 0,
            failed: 0,
            recovery_accesses: 0,
        }
    }

    fn rows() -> Vec<KnowledgeRow> {
        let mut rows: Vec<_> = (0..8)
            .flat_map(|seed| {
                [
                    row(Side::Guest, "reads", seed, 300),
                    row(Side::Host, "lru", seed, 400),
                ]
            })
            .collect();
        rows.push(KnowledgeRow {
            transport: "qemu".to_owned(),
            ..rows[0].clone()
        });
        rows
    }

    #[test]
    fn a_good_run_holds_and_says_what_is_saved() {
        let verdict = judge(&rows(), &[], 2);
        assert!(verdict.holds(), "{:?}", verdict.missed());
        let [finding] = verdict.findings.as_slice() else {
            panic!("{:?}", verdict.findings);
        };
        assert!(
            finding.contains("from 10 % of the working set on"),
            "{finding}"
        );
        assert!(finding.contains("10.00 [10.00, 10.00] points"), "{finding}");
        assert!(finding.contains("(`reads` against `lru`)"), "{finding}");
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        type Fault = fn(&mut Vec<KnowledgeRow>);
        let faults: [(&str, Fault); 6] = [
            ("a missing seed", |rows| drop(rows.remove(3))),
            ("a seed twice", |rows| rows.push(rows[3].clone())),
            ("a failed access", |rows| rows[2].failed = 1),
            ("an access that is not counted", |rows| rows[2].hits -= 1),
            ("another number of blocks", |rows| rows[2].held_blocks = 51),
            ("other counts under QEMU", |rows| {
                let last = rows.last_mut().unwrap();
                (last.hits, last.misses) = (last.hits - 1, last.misses + 1);
            }),
        ];
        for (name, fault) in faults {
            let mut rows = rows();
            fault(&mut rows);
            assert!(!judge(&rows, &[], 2).holds(), "{name} went unseen");
        }
        assert!(judge(&[], &[], 2).claims.iter().all(|claim| !claim.holds()));
    }
}
