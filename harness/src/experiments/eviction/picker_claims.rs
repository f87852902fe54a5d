//! Every picker over the same seeds: miss ratios with intervals, and effect sizes.

use std::collections::{BTreeMap, BTreeSet};

use results::stats::{Mean, cliffs_delta, magnitude};
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict};

use super::picker::Picker;
use super::rows::PickerRow;
use crate::experiments::common::observers::{self, ObserverRow};

/// The miss ratios of one picker.
#[derive(Clone, Debug)]
pub(crate) struct Score {
    /// The picker.
    pub picker: Picker,
    /// Miss ratio by seed, percent, in the order of seeds.
    pub percents: BTreeMap<u64, f64>,
    /// Its mean.
    pub mean: Mean,
    /// Difference from the baseline, paired by seed, percentage points; `None` for the baseline
    /// itself, and without a baseline.
    pub difference: Option<Mean>,
    /// Cliff's delta relative to the baseline.
    pub delta: Option<f64>,
}

/// The scores of all pickers in the rows, in the order of pickers.
pub(crate) fn scores(rows: &[PickerRow]) -> Vec<Score> {
    let mut percents: BTreeMap<Picker, BTreeMap<u64, f64>> = BTreeMap::new();
    for row in rows {
        let percent = 100.0 * row.misses as f64 / row.reads.max(1) as f64;
        percents
            .entry(row.picker)
            .or_default()
            .insert(row.seed, percent);
    }
    let baseline = percents.get(&Picker::BASELINE).cloned().unwrap_or_default();
    let score = |(picker, percents): (Picker, BTreeMap<u64, f64>)| {
        let values: Vec<f64> = percents.values().copied().collect();
        let paired: Vec<f64> = percents
            .iter()
            .filter_map(|(seed, percent)| Some(percent - baseline.get(seed)?))
            .collect();
        let others: Vec<f64> = baseline.values().copied().collect();
        let compared = picker != Picker::BASELINE;
        Some(Score {
            picker,
            mean: Mean::of(&values)?,
            difference: Mean::of(&paired).filter(|_| compared),
            delta: cliffs_delta(&values, &others).filter(|_| compared),
            percents,
        })
    };
    percents.into_iter().filter_map(score).collect()
}

impl Score {
    /// The result in a sentence.
    fn sentence(&self) -> String {
        let (picker, seeds) = (self.picker, self.mean.count);
        let baseline = Picker::BASELINE;
        let missed = format!("`{picker}` misses {} % of the reads", self.mean.text(2));
        let (Some(difference), Some(delta)) = (self.difference, self.delta) else {
            return format!("{missed}, over {seeds} seeds: the baseline.");
        };
        let Some((low, high)) = difference.bounds else {
            return format!(
                "{missed}, {:+.2} percentage points from `{baseline}`; one seed gives no interval.",
                difference.value
            );
        };
        // An amount is positive, with the smaller bound first.
        let (word, amount) = if difference.is_below_zero() {
            let amount = Mean {
                value: -difference.value,
                bounds: Some((-high, -low)),
                ..difference
            };
            ("fewer", amount)
        } else if difference.is_above_zero() {
            ("more", difference)
        } else {
            return format!(
                "{missed}; no significant difference from `{baseline}` over {seeds} seeds ({} percentage points).",
                difference.text(2)
            );
        };
        format!(
            "{missed}, {} percentage points {word} than `{baseline}`: the effect is {} (Cliff's delta {delta:+.2}) \
             over {seeds} seeds.",
            amount.text(2),
            magnitude(delta)
        )
    }
}

/// Adds the comparison of pickers to the verdict.
pub(crate) fn judge(verdict: Verdict, rows: &[PickerRow], costs: &[ObserverRow]) -> Verdict {
    let scores = scores(rows);
    let tracking = observers::table(costs);
    verdict
        .require(
            "All pickers ran with the same seeds, each once, and every read was a hit or a miss.",
            completeness(rows),
        )
        .require_if_measured(
            "No picker has fewer misses than `guest-oracle`, which knows the future reads.",
            bound(rows),
        )
        .findings(scores.iter().map(Score::sentence))
        .tables([comparison(&scores), tracking])
}

fn completeness(rows: &[PickerRow]) -> Option<Measured> {
    rows.first()?;
    let seeds: BTreeSet<u64> = rows.iter().map(|row| row.seed).collect();
    let pickers: BTreeSet<Picker> = rows.iter().map(|row| row.picker).collect();
    let failed = |evidence: String| Some(Measured::new(false, evidence));
    let mut pairs = BTreeSet::new();
    for row in rows {
        let pair = format!("{} with seed {}", row.picker, row.seed);
        if row.hits.checked_add(row.misses) != Some(row.reads) {
            return failed(format!(
                "Hits and misses of {pair} do not add up to its reads."
            ));
        }
        if !pairs.insert((row.picker, row.seed)) {
            return failed(format!("There are two rows of {pair}."));
        }
    }
    let mut all = pickers
        .iter()
        .flat_map(|picker| seeds.iter().map(move |seed| (*picker, *seed)));
    if let Some((picker, seed)) = all.find(|pair| !pairs.contains(pair)) {
        return failed(format!("There is no row of {picker} with seed {seed}."));
    }
    Some(Measured::new(
        true,
        format!("{} pickers with {} seeds each.", pickers.len(), seeds.len()),
    ))
}

/// Fewer misses than with known reads are an error of the measurement. `None` without the oracle.
fn bound(rows: &[PickerRow]) -> Option<Measured> {
    let oracle: BTreeMap<u64, u64> = rows
        .iter()
        .filter(|row| row.picker == Picker::GuestOracle)
        .map(|row| (row.seed, row.misses))
        .collect();
    oracle.first_key_value()?;
    let is_below = |row: &&PickerRow| {
        let bound = oracle.get(&row.seed);
        bound.is_some_and(|bound| row.misses < *bound)
    };
    let below: Vec<&PickerRow> = rows.iter().filter(is_below).collect();
    let evidence = match below.first() {
        None => format!("None with any of {} seeds.", oracle.len()),
        Some(first) => format!(
            "{} have; the first is {} with seed {}.",
            below.len(),
            first.picker,
            first.seed
        ),
    };
    Some(Measured::new(below.is_empty(), evidence))
}

fn comparison(scores: &[Score]) -> Table {
    let baseline = scores.iter().find(|score| score.picker == Picker::BASELINE);
    let baseline = baseline.map(|score| score.mean.value);
    let relative = |score: &Score| {
        score.difference?;
        let baseline = baseline.filter(|value| *value > 0.0)?;
        Some(100.0 * (score.mean.value / baseline - 1.0))
    };
    Table::of(
        "Pickers",
        scores,
        &[
            ("picker", &|score| score.picker.to_string()),
            ("knows", &|score| score.picker.knows().to_owned()),
            ("seeds", &|score| score.mean.count.to_string()),
            ("misses (% of reads) [95 % CI]", &|score| score.mean.text(2)),
            (
                "difference from host-uniform (percentage points) [95 % CI]",
                &|score| or_dash(score.difference, |mean| mean.text(2)),
            ),
            ("relative (%)", &|score| {
                or_dash(relative(score), |value| format!("{value:+.1}"))
            }),
            ("Cliff's delta", &|score| {
                or_dash(score.delta, |delta| format!("{delta:+.2}"))
            }),
            ("effect", &|score| {
                or_dash(score.delta, |delta| magnitude(delta).to_owned())
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use workloads::{GuestPick, HostPick};

    fn row(picker: Picker, seed: u64, misses: u64) -> PickerRow {
        PickerRow {
            seed,
            picker,
            capacity_blocks: 1000,
            held_blocks: 750,
            reads: 10_000,
            hits: 10_000 - misses,
            misses,
        }
    }

    fn good() -> Vec<PickerRow> {
        (0..5)
            .flat_map(|seed| {
                [
                    row(Picker::Guest(GuestPick::Sample), seed, 100 + seed),
                    row(Picker::GuestOracle, seed, 0),
                    row(Picker::Host(HostPick::Uniform), seed, 2_500 + 10 * seed),
                    row(Picker::Host(HostPick::Clock), seed, 2_520 + 3 * (seed % 2)),
                    row(Picker::HostDropAll, seed, 4_000),
                ]
            })
            .collect()
    }

    fn judged(rows: &[PickerRow]) -> Verdict {
        judge(Verdict::new(""), rows, &[])
    }

    #[test]
    fn findings_name_differences_and_the_lack_of_one() {
        let verdict = judged(&good());
        assert!(verdict.holds(), "{:?}", verdict.missed());
        let of = |picker: Picker| {
            let name = format!("`{picker}` misses");
            let found = verdict.findings.iter().find(|text| text.starts_with(&name));
            found.unwrap().as_str()
        };
        let sample = of(Picker::Guest(GuestPick::Sample));
        assert!(
            sample.contains("misses 1.02 [1.01, 1.03] % of the reads"),
            "{sample}"
        );
        assert!(
            sample.contains("percentage points fewer than `host-uniform`"),
            "{sample}"
        );
        assert!(sample.contains("the effect is large (Cliff's delta -1.00) over 5 seeds"));
        assert!(of(Picker::HostDropAll).contains("percentage points more"));
        assert!(of(Picker::Host(HostPick::Clock)).contains("no significant difference"));
        assert!(of(Picker::Host(HostPick::Uniform)).contains("the baseline"));
        let single: Vec<PickerRow> = good().into_iter().take(5).collect();
        let verdict = judged(&single);
        assert!(
            verdict.findings[0].contains("one seed gives no interval"),
            "{:?}",
            verdict.findings
        );
    }

    #[test]
    fn missing_duplicate_and_impossible_rows_are_named() {
        let missing = |change: fn(&mut Vec<PickerRow>), word: &str| {
            let mut rows = good();
            change(&mut rows);
            let verdict = judged(&rows);
            let missed = verdict.missed().join(" ");
            assert!(missed.contains(word), "{word}: {missed}");
        };
        missing(
            |rows| {
                rows.remove(0);
            },
            "no row of guest-sample with seed 0",
        );
        missing(
            |rows| rows.push(rows[3].clone()),
            "two rows of host-clock with seed 0",
        );
        missing(
            |rows| rows[0].hits -= 1,
            "guest-sample with seed 0 do not add up to its reads",
        );
        missing(
            |rows| {
                rows[1].misses = 200;
                rows[1].hits = 9_800;
            },
            "guest-sample with seed 0",
        );
        assert!(!judged(&[]).holds());
    }
}
