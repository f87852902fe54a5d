//! Claims of the knowledge experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::quantity::{micros, millis};
use results::stats::Mean;
use results::table::{Table, or_dash, yes};
use results::verdict::{Measured, Verdict};

use super::rows::{Condition, KnowledgeRow, KnowledgeTimingRow, KnowledgeTrackerRow, Side, Stage};
use super::worth::{
    Both, ENOUGH_SEEDS, Measure, OfCondition, Worth, best, crossover, most, values, worths,
};
use crate::experiments::common::observers;

/// Judges the rows.
pub(crate) fn judge(
    rows: &[KnowledgeRow],
    timing: &[KnowledgeTimingRow],
    tracking: &[KnowledgeTrackerRow],
) -> Verdict {
    let worths = worths(rows);
    let tables: Vec<_> = worths
        .iter()
        .map(table)
        .chain([
            ways(rows),
            costs(timing),
            observers::table(tracking.iter().map(|row| &row.0)),
        ])
        .collect();
    Verdict::new("What the guest's knowledge is worth")
        .require(
            "Under every value of a condition, all ways to pick had the same tuning seeds, and the best of each side, \
             by misses and by traffic, the same other seeds.",
            pairing(rows),
        )
        .require(
            "Every access was served from memory, from the vSSD or from the origin disk, with the right contents, or \
             discarded a block.",
            Measured::every(rows, "shrinks", |row| {
                let counted = row.memory_hits + row.hits + row.misses + row.discards;
                row.failed == 0 && counted == row.accesses
            }),
        )
        .require(
            "Every shrink left the same number of blocks.",
            rows.first().and_then(|first| {
                Measured::every(rows, "shrinks", |row| row.held_blocks == first.held_blocks)
            }),
        )
        .require_if_measured(
            "Under QEMU the counts are those of the twins, except for the blocks that a write-back cache writes to the \
             origin disk.",
            transports(rows),
        )
        .findings(worths.iter().map(sentence))
        .tables(tables)
}

/// What identifies a trial, but for its seed.
type Way<'a> = (Stage, Condition, &'a str, Side, &'a str);

fn way(row: &KnowledgeRow) -> Way<'_> {
    (row.stage, row.condition, &row.value, row.side, &row.pick)
}

fn pairing(rows: &[KnowledgeRow]) -> Option<Measured> {
    let mut seeds: BTreeMap<Way<'_>, BTreeSet<u64>> = BTreeMap::new();
    let mut shrinks = 0;
    for row in rows.iter().filter(|row| row.stage != Stage::Repetition) {
        seeds.entry(way(row)).or_default().insert(row.seed);
        shrinks += 1;
    }
    let of = |stage: Stage| seeds.iter().filter(move |((of, ..), _)| *of == stage);
    let (_, tuning) = of(Stage::Tuning).next()?;
    let (_, others) = of(Stage::Comparison).next()?;
    let is_equal = of(Stage::Tuning).all(|(_, seeds)| seeds == tuning)
        && of(Stage::Comparison).all(|(_, seeds)| seeds == others)
        && tuning.is_disjoint(others);
    let is_once = seeds.values().map(BTreeSet::len).sum::<usize>() == shrinks;
    let values = values(rows);
    let are_best = values.iter().all(|(condition, value)| {
        let of_value = |row: &&KnowledgeRow| row.condition == *condition && row.value == *value;
        let of_value: Vec<_> = rows.iter().filter(of_value).collect();
        [Side::Guest, Side::Host].into_iter().all(|side| {
            Measure::ALL.into_iter().all(|measure| {
                best(&of_value, side, measure).is_some_and(|best| {
                    seeds.contains_key(&(Stage::Comparison, *condition, *value, side, &*best))
                })
            })
        })
    });
    Some(Measured::new(
        is_equal && is_once && are_best,
        format!(
            "{shrinks} shrinks: {} ways with {} tuning seeds, and the best {} under {} values with {} others.",
            of(Stage::Tuning).count(),
            tuning.len(),
            of(Stage::Comparison).count(),
            values.len(),
            others.len()
        ),
    ))
}

fn transports(rows: &[KnowledgeRow]) -> Option<Measured> {
    // How many blocks are written back in all depends on when: one that is written again meanwhile
    // counts twice.
    let counted = |row: &KnowledgeRow| KnowledgeRow {
        transport: String::new(),
        stage: Stage::Tuning,
        origin_writes: match row.condition {
            Condition::Dirty => 0,
            _ => row.origin_writes,
        },
        ..row.clone()
    };
    let tuning = rows.iter().filter(|row| row.stage == Stage::Tuning);
    let on_twins: Vec<KnowledgeRow> = tuning.map(counted).collect();
    // A run that was interrupted may lack the twin of a repetition.
    let has_twin = |row: &&KnowledgeRow| {
        let mut of_tuning = rows.iter().filter(|of| of.stage == Stage::Tuning);
        of_tuning.any(|of| {
            let same = (of.condition, &of.value, of.side, &of.pick, of.seed);
            same == (row.condition, &row.value, row.side, &row.pick, row.seed)
        })
    };
    let repeated = rows
        .iter()
        .filter(|row| row.stage == Stage::Repetition)
        .filter(has_twin);
    Measured::every(repeated, "shrinks have the same counts", |row| {
        on_twins.contains(&counted(row))
    })
}

/// What a condition is worth, in a sentence or two.
fn sentence(of: &OfCondition) -> String {
    let what = match of.condition {
        Condition::Memory => "Memory above the vSSD",
        Condition::Policy => "The policy of the guest's cache",
        Condition::Files => "Temporary files without DISCARD",
        Condition::FilesTold => "Temporary files with DISCARD",
        Condition::Death => "Deletion at once without DISCARD",
        Condition::DeathTold => "Deletion at once with DISCARD",
        Condition::Scan => "An announced scan",
        Condition::Phase => "An announced end of an application",
        Condition::Pinned => "Announced blocks",
        Condition::Dirty => "Dirty blocks",
    };
    let unit = of
        .condition
        .unit()
        .map_or(String::new(), |unit| format!(" {unit}"));
    let paying = Measure::ALL.map(|measure| paying(of.by(measure), &unit));
    let is_judged = of.misses.iter().all(Worth::is_judged);
    let pays = match paying {
        _ if !is_judged => format!(
            "whether the guest's choice pays cannot be judged with fewer than {ENOUGH_SEEDS} seeds"
        ),
        [None, None] => "the guest's choice pays at no value".to_owned(),
        [misses, traffic] => {
            let or_never = |from: Option<String>| from.unwrap_or_else(|| "at no value".to_owned());
            format!(
                "by misses, the guest's choice pays {}; by origin traffic, {}",
                or_never(misses),
                or_never(traffic)
            )
        }
    };
    let most = Measure::ALL
        .into_iter()
        .filter_map(|measure| most(of.by(measure)));
    let saves = most.clone().any(|most| most.saved().value > 0.0);
    let most: Vec<String> = most.map(|most| saved(most, &unit)).collect();
    let best = if saves {
        "At best it saves"
    } else {
        "It saves nothing; at best it would be"
    };
    format!("{what}: {pays}. {best} {}.", most.join(", and "))
}

/// What is saved under a value by its measure, and by which ways to pick.
fn saved(of: &Worth, unit: &str) -> String {
    let amount = match of.measure {
        Measure::Misses => format!("{} points of the accesses", of.points.text(2)),
        Measure::Traffic => format!("{} % of the origin traffic", of.traffic.text(1)),
    };
    let Worth {
        value, guest, host, ..
    } = of;
    format!("{amount} with {value}{unit} (`{guest}` against `{host}`)")
}

/// From which value on it pays, or with which; none where it never does.
fn paying(worths: &[Worth], unit: &str) -> Option<String> {
    let paying: Vec<_> = worths.iter().filter(|worth| worth.pays()).collect();
    if paying.is_empty() {
        return None;
    }
    let end = |value: f64| {
        if value.is_finite() {
            value.to_string()
        } else {
            "nowhere".to_owned()
        }
    };
    match crossover(worths) {
        Some(interval) if interval.value.is_finite() => {
            let bounds = interval.bounds.map_or(String::new(), |(low, high)| {
                format!(", 95 % interval {} to {}", end(low), end(high))
            });
            Some(format!("from {}{unit} on{bounds}", interval.value))
        }
        _ => {
            let values: Vec<_> = paying.iter().map(|worth| worth.value.as_str()).collect();
            Some(format!("with {}{unit}", values.join(", ")))
        }
    }
}

/// A row for each value, and two where the best by traffic are others than the best by misses.
fn table(of: &OfCondition) -> Table {
    let pair = |both: &Both| format!("{:.2} / {:.2}", both.guest.value, both.host.value);
    let mut rows: Vec<(&str, &Worth, bool)> = Vec::new();
    for (misses, traffic) in of.misses.iter().zip(&of.traffic) {
        if (&misses.guest, &misses.host) == (&traffic.guest, &traffic.host) {
            rows.push(("both", misses, misses.pays() || traffic.pays()));
        } else {
            rows.push(("misses", misses, misses.pays()));
            rows.push(("traffic", traffic, traffic.pays()));
        }
    }
    Table::of(
        format!("Worth of the guest's choice: {}", of.condition),
        &rows,
        &[
            ("value", &|(_, of, _)| of.value.clone()),
            ("best by", &|(by, ..)| (*by).to_owned()),
            ("best guest", &|(_, of, _)| of.guest.clone()),
            ("best host", &|(_, of, _)| of.host.clone()),
            ("misses, guest / host (%)", &|(_, of, _)| pair(&of.misses)),
            ("saved (points)", &|(_, of, _)| of.points.text(2)),
            ("saved of the origin traffic (%)", &|(_, of, _)| {
                of.traffic.text(1)
            }),
            (
                "written to the origin (% of the accesses)",
                &|(_, of, _)| pair(&of.written),
            ),
            ("recovery (% of the accesses)", &|(_, of, _)| {
                pair(&of.recovery)
            }),
            ("pays", &|(.., pays)| yes(*pays)),
        ],
    )
}

/// All ways to pick under the last value of each condition, with the means over the tuning seeds.
fn ways(rows: &[KnowledgeRow]) -> Table {
    let tuning = || rows.iter().filter(|row| row.stage == Stage::Tuning);
    let last: BTreeMap<Condition, &str> = tuning()
        .map(|row| (row.condition, row.value.as_str()))
        .collect();
    let mut ways: Vec<_> = Vec::new();
    for row in tuning().filter(|row| last[&row.condition] == row.value) {
        if !ways.contains(&way(row)) {
            ways.push(way(row));
        }
    }
    let percent = |of: &Way<'_>, count: fn(&KnowledgeRow) -> u64| {
        let of_way = rows.iter().filter(|row| way(row) == *of);
        let shares: Vec<f64> = of_way
            .map(|row| 100.0 * count(row) as f64 / row.accesses.max(1) as f64)
            .collect();
        Mean::of(&shares).map_or(String::new(), |mean| format!("{:.2}", mean.value))
    };
    Table::of(
        "All ways to pick at the last value, with the tuning seeds",
        &ways,
        &[
            ("condition", &|of| of.1.to_string()),
            ("value", &|of| of.2.to_owned()),
            ("side", &|of| of.3.to_string()),
            ("pick", &|of| of.4.to_owned()),
            ("memory (%)", &|of| percent(of, |row| row.memory_hits)),
            ("vSSD (%)", &|of| percent(of, |row| row.hits)),
            ("origin (%)", &|of| percent(of, |row| row.misses)),
            ("written to the origin (%)", &|of| {
                percent(of, |row| row.origin_writes)
            }),
        ],
    )
}

/// What a shrink costs under QEMU, and how long each tier takes.
fn costs(timing: &[KnowledgeTimingRow]) -> Table {
    let served = |ns: u64| or_dash((ns > 0).then_some(ns), micros);
    Table::of(
        "Cost of one shrink, and time of each tier",
        timing,
        &[
            ("condition", &|row| row.condition.to_string()),
            ("value", &|row| row.value.clone()),
            ("side", &|row| row.side.to_string()),
            ("pick", &|row| row.pick.clone()),
            ("shrink (ms)", &|row| millis(row.shrink_ns)),
            ("of this, backend (ms)", &|row| millis(row.backend_ns)),
            ("messages (B)", &|row| row.message_bytes.to_string()),
            ("memory (µs)", &|row| served(row.memory_p50_ns)),
            ("vSSD (µs)", &|row| served(row.vssd_p50_ns)),
            ("origin (µs)", &|row| served(row.origin_p50_ns)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stage: Stage, side: Side, pick: &str, seed: u64, misses: u64) -> KnowledgeRow {
        KnowledgeRow {
            transport: "twin".to_owned(),
            stage,
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
            origin_reads: misses,
            ..KnowledgeRow::default()
        }
    }

    fn rows() -> Vec<KnowledgeRow> {
        let of_seed = |seed: u64| {
            let stage = if seed < 2 {
                Stage::Tuning
            } else {
                Stage::Comparison
            };
            [
                row(stage, Side::Guest, "reads", seed, 300),
                row(stage, Side::Host, "lru", seed, 400),
            ]
        };
        let mut rows: Vec<_> = (0..10).flat_map(of_seed).collect();
        rows.push(KnowledgeRow {
            transport: "qemu".to_owned(),
            stage: Stage::Repetition,
            ..rows[0].clone()
        });
        rows
    }

    #[test]
    fn a_good_run_holds_and_says_what_is_saved() {
        let verdict = judge(&rows(), &[], &[]);
        assert!(verdict.holds(), "{:?}", verdict.missed());
        let [finding] = verdict.findings.as_slice() else {
            panic!("{:?}", verdict.findings);
        };
        let parts = [
            "by misses, the guest's choice pays from 10 % of the working set in memory on",
            "by origin traffic, from 10 % of the working set in memory on",
            "At best it saves 10.00 [10.00, 10.00] points of the accesses with 10 % of the working set in memory \
             (`reads` against `lru`), and 25.0 [25.0, 25.0] % of the origin traffic with 10 %",
        ];
        for part in parts {
            assert!(finding.contains(part), "{finding}");
        }
    }

    #[test]
    fn what_does_not_pay_is_said() {
        let mut rows = rows();
        for row in &mut rows {
            (row.hits, row.misses, row.origin_reads) = (500, 400, 400);
        }
        let verdict = judge(&rows, &[], &[]);
        let finding = &verdict.findings[0];
        assert!(finding.contains("pays at no value"), "{finding}");
    }

    #[test]
    fn few_seeds_decide_nothing() {
        let mut rows = rows();
        rows.retain(|row| row.seed < 7);
        let verdict = judge(&rows, &[], &[]);
        let finding = &verdict.findings[0];
        assert!(
            finding.contains("cannot be judged with fewer than 6 seeds"),
            "{finding}"
        );
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        type Fault = fn(&mut Vec<KnowledgeRow>);
        let faults: [(&str, Fault); 9] = [
            ("a missing tuning seed", |rows| drop(rows.remove(1))),
            ("a missing seed", |rows| drop(rows.remove(9))),
            ("a seed twice", |rows| rows.push(rows[9].clone())),
            ("another way that is compared", |rows| {
                let of_host = rows.iter_mut().filter(|row| row.side == Side::Host);
                for row in of_host.filter(|row| row.seed == 5) {
                    row.pick = "clock".to_owned();
                }
            }),
            ("another way that is best", |rows| {
                let of_tuning = rows.iter().filter(|row| row.stage == Stage::Tuning);
                let others = of_tuning.map(|row| KnowledgeRow {
                    pick: format!("{}-better", row.pick),
                    origin_reads: 0,
                    ..row.clone()
                });
                let others: Vec<_> = others.collect();
                rows.extend(others);
            }),
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
            assert!(!judge(&rows, &[], &[]).holds(), "{name} went unseen");
        }
        assert!(
            judge(&[], &[], &[])
                .claims
                .iter()
                .all(|claim| !claim.holds())
        );
    }
}
