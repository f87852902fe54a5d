//! Claims of the knowledge experiment.

use std::collections::{BTreeMap, BTreeSet};

use results::quantity::{micros, millis};
use results::stats::Mean;
use results::table::{Table, or_dash, yes};
use results::verdict::{Measured, Verdict};

use super::rows::{Condition, KnowledgeRow, KnowledgeTimingRow, KnowledgeTrackerRow, Side, Stage};
use super::worth::{Both, Worth, crossover, most, worths};
use crate::experiments::common::observers;

/// Judges the rows.
pub(crate) fn judge(
    rows: &[KnowledgeRow],
    timing: &[KnowledgeTimingRow],
    tracking: &[KnowledgeTrackerRow],
) -> Verdict {
    let worths = worths(rows);
    let tables = worths
        .iter()
        .map(|(condition, worths)| table(*condition, worths));
    let tables: Vec<_> = tables
        .chain([
            ways(rows),
            costs(timing),
            observers::table(tracking.iter().map(|row| &row.0)),
        ])
        .collect();
    Verdict::new("What the guest's knowledge is worth")
        .require(
            "Under every value of a condition, all ways to pick had the same tuning seeds, and the best of each side \
             the same other seeds.",
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
        .findings(worths.iter().map(|(condition, worths)| sentence(*condition, worths)))
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
    let mut sides: BTreeMap<(Condition, &str), Vec<Side>> = BTreeMap::new();
    for ((_, condition, value, side, _), _) in of(Stage::Comparison) {
        sides.entry((*condition, value)).or_default().push(*side);
    }
    let are_two = sides
        .values()
        .all(|sides| *sides == [Side::Guest, Side::Host]);
    Some(Measured::new(
        is_equal && is_once && are_two,
        format!(
            "{shrinks} shrinks: {} ways with {} tuning seeds, and the best two under each of {} values with {} others.",
            of(Stage::Tuning).count(),
            tuning.len(),
            sides.len(),
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
    let repeated = rows.iter().filter(|row| row.stage == Stage::Repetition);
    Measured::every(repeated, "shrinks have the same counts", |row| {
        on_twins.contains(&counted(row))
    })
}

/// What a condition is worth, in a sentence.
fn sentence(condition: Condition, worths: &[Worth]) -> String {
    let what = match condition {
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
    let unit = condition
        .unit()
        .map_or(String::new(), |unit| format!(" {unit}"));
    let saved = |of: &Worth| {
        format!(
            "{}{unit}: {} points of the accesses and {} % of the origin traffic (`{}` against `{}`)",
            of.value,
            of.points.text(2),
            of.traffic.text(1),
            of.guest,
            of.host
        )
    };
    let most = most(worths).map_or(String::new(), |most| {
        let what = if most.saved().value > 0.0 {
            "It saves most at"
        } else {
            "It saves nothing; least is lost at"
        };
        format!(" {what} {}.", saved(most))
    });
    let paying: Vec<&Worth> = worths.iter().filter(|worth| worth.pays()).collect();
    if paying.is_empty() {
        return format!("{what}: the guest's choice pays at no value.{most}");
    }
    let from = match crossover(worths) {
        Some(interval) if interval.value.is_finite() => {
            let end = |value: f64| {
                if value.is_finite() {
                    value.to_string()
                } else {
                    "nowhere".to_owned()
                }
            };
            let bounds = interval.bounds.map_or(String::new(), |(low, high)| {
                format!(", 95 % interval {} to {}", end(low), end(high))
            });
            format!("from {}{unit} on{bounds}", interval.value)
        }
        _ => {
            let values: Vec<_> = paying.iter().map(|worth| worth.value.as_str()).collect();
            format!("with {}{unit}", values.join(", "))
        }
    };
    format!("{what}: the guest's choice pays {from}.{most}")
}

fn table(condition: Condition, worths: &[Worth]) -> Table {
    let pair = |both: &Both| format!("{:.2} / {:.2}", both.guest.value, both.host.value);
    Table::of(
        format!("Worth of the guest's choice: {condition}"),
        worths,
        &[
            ("value", &|of| of.value.clone()),
            ("best guest", &|of| of.guest.clone()),
            ("best host", &|of| of.host.clone()),
            ("misses, guest / host (%)", &|of| pair(&of.misses)),
            ("saved (points)", &|of| of.points.text(2)),
            ("saved of the origin traffic (%)", &|of| of.traffic.text(1)),
            ("written to the origin (% of the accesses)", &|of| {
                pair(&of.written)
            }),
            ("recovery (% of the accesses)", &|of| pair(&of.recovery)),
            ("pays", &|of| yes(of.pays())),
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
            "pays from 10 % of the working set in memory on",
            "It saves most at 10 % of the working set in memory: 10.00 [10.00, 10.00] points",
            "25.0 [25.0, 25.0] % of the origin traffic",
            "(`reads` against `lru`)",
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
    fn every_kind_of_fault_is_seen() {
        type Fault = fn(&mut Vec<KnowledgeRow>);
        let faults: [(&str, Fault); 8] = [
            ("a missing tuning seed", |rows| drop(rows.remove(1))),
            ("a missing seed", |rows| drop(rows.remove(9))),
            ("a seed twice", |rows| rows.push(rows[9].clone())),
            ("another way that is compared", |rows| {
                let of_host = rows.iter_mut().filter(|row| row.side == Side::Host);
                for row in of_host.filter(|row| row.seed == 5) {
                    row.pick = "clock".to_owned();
                }
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
