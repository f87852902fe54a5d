//! Who picks best, and how sure that is: every picker over the same seeds.

use std::collections::{BTreeMap, BTreeSet};

use results::stats::{Mean, cliffs_delta, magnitude};
use results::verdict::{Source, Table, Verdict, median};

use super::picker::Picker;
use super::rows::{ObserverRow, PickerRow};

/// How one picker did.
#[derive(Clone, Debug)]
pub(crate) struct Score {
    /// Who.
    pub picker: Picker,
    /// Miss ratio by seed, percent, in the order of seeds.
    pub percents: BTreeMap<u64, f64>,
    /// Its mean.
    pub mean: Mean,
    /// Difference to the baseline, paired by seed, percentage points; `None`
    /// for the baseline itself, and where there is none.
    pub difference: Option<Mean>,
    /// Cliff's delta against the baseline.
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
    /// What the numbers say, in a sentence.
    fn sentence(&self) -> String {
        let (picker, seeds) = (self.picker, self.mean.count);
        let missed = format!("`{picker}` misses {} % of the reads", self.mean.text(2));
        let (Some(difference), Some(delta)) = (self.difference, self.delta) else {
            return format!("{missed}, over {seeds} seeds: the baseline.");
        };
        let baseline = Picker::BASELINE;
        if difference.bounds.is_none() {
            return format!(
                "{missed}, {:+.2} percentage points from `{baseline}`; one seed does not say how \
                 sure that is.",
                difference.value
            );
        }
        let word = match () {
            () if difference.is_below_zero() => "fewer",
            () if difference.is_above_zero() => "more",
            () => {
                return format!(
                    "{missed}; from `{baseline}` it cannot be told apart over {seeds} seeds \
                     ({} percentage points).",
                    difference.text(2)
                );
            }
        };
        // Told as an amount, so the smaller bound comes first.
        let amount = match difference.bounds {
            Some((low, high)) if difference.value < 0.0 => Mean {
                value: -difference.value,
                bounds: Some((-high, -low)),
                ..difference
            },
            _ => difference,
        };
        format!(
            "{missed}, {} percentage points {word} than `{baseline}`: the effect is {} (Cliff's \
             delta {delta:+.2}) over {seeds} seeds.",
            amount.text(2),
            magnitude(delta)
        )
    }
}

/// Adds what the comparison of pickers shows to the verdict.
pub(crate) fn judge(verdict: &mut Verdict, rows: &[PickerRow], observers: &[ObserverRow]) {
    let scores = scores(rows);
    let (complete, measured) = completeness(rows);
    verdict.claim(
        Source::Requirement,
        "All pickers met the same seeds, each once, and every read was a hit or a miss.",
        complete,
        measured,
    );
    bound_claim(verdict, rows);
    verdict.findings.extend(scores.iter().map(Score::sentence));
    verdict.tables.push(table(&scores));
    verdict.tables.push(observer_table(observers));
}

fn completeness(rows: &[PickerRow]) -> (bool, String) {
    let seeds: BTreeSet<u64> = rows.iter().map(|row| row.seed).collect();
    let pickers: BTreeSet<Picker> = rows.iter().map(|row| row.picker).collect();
    let mut pairs = BTreeSet::new();
    for row in rows {
        let pair = format!("{} with seed {}", row.picker, row.seed);
        if row.hits.checked_add(row.misses) != Some(row.reads) {
            return (
                false,
                format!("Hits and misses of {pair} are not its reads."),
            );
        }
        if !pairs.insert((row.picker, row.seed)) {
            return (false, format!("There are two rows of {pair}."));
        }
    }
    for picker in &pickers {
        for seed in &seeds {
            if !pairs.contains(&(*picker, *seed)) {
                return (
                    false,
                    format!("There is no row of {picker} with seed {seed}."),
                );
            }
        }
    }
    let measured = format!("{} pickers with {} seeds each.", pickers.len(), seeds.len());
    (!rows.is_empty(), measured)
}

/// Nobody does better than who knows the future; unless somebody does, and then
/// something is wrong.
fn bound_claim(verdict: &mut Verdict, rows: &[PickerRow]) {
    let oracle: BTreeMap<u64, u64> = rows
        .iter()
        .filter(|row| row.picker == Picker::GuestOracle)
        .map(|row| (row.seed, row.misses))
        .collect();
    if oracle.is_empty() {
        return;
    }
    let better: Vec<String> = rows
        .iter()
        .filter(|row| {
            oracle
                .get(&row.seed)
                .is_some_and(|bound| row.misses < *bound)
        })
        .map(|row| format!("{} with seed {}", row.picker, row.seed))
        .collect();
    verdict.claim(
        Source::Requirement,
        "Nobody misses less than `guest-oracle`, which knows the reads to come.",
        better.is_empty(),
        match better.first() {
            None => format!("So it is with all {} seeds.", oracle.len()),
            Some(first) => format!("{} do, the first is {first}.", better.len()),
        },
    );
}

fn table(scores: &[Score]) -> Table {
    let head = [
        "picker",
        "goes by",
        "seeds",
        "misses (% of reads) [95 % CI]",
        "against host-uniform (percentage points) [95 % CI]",
        "relative (%)",
        "Cliff's delta",
        "effect",
    ];
    let baseline = scores
        .iter()
        .find(|score| score.picker == Picker::BASELINE)
        .map(|score| score.mean.value);
    let missing = || "-".to_owned();
    Table {
        title: "Pickers".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: scores
            .iter()
            .map(|score| {
                let relative = baseline
                    .filter(|value| *value > 0.0 && score.difference.is_some())
                    .map(|value| format!("{:+.1}", 100.0 * (score.mean.value / value - 1.0)));
                vec![
                    score.picker.to_string(),
                    score.picker.knows().to_owned(),
                    score.mean.count.to_string(),
                    score.mean.text(2),
                    score.difference.map_or_else(missing, |mean| mean.text(2)),
                    relative.unwrap_or_else(missing),
                    score
                        .delta
                        .map_or_else(missing, |delta| format!("{delta:+.2}")),
                    score
                        .delta
                        .map_or_else(missing, |delta| magnitude(delta).to_owned()),
                ]
            })
            .collect(),
    }
}

/// What observers cost: medians over their repetitions.
fn observer_table(rows: &[ObserverRow]) -> Table {
    let mut by_observer: BTreeMap<&str, Vec<&ObserverRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.requests > 0) {
        by_observer.entry(&row.observer).or_default().push(row);
    }
    Table {
        title: "What it costs the backend to watch requests".to_owned(),
        head: [
            "observer",
            "memory (KiB)",
            "memory for each block (bytes)",
            "time for each request (ns)",
            "repetitions",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: by_observer
            .into_iter()
            .map(|(observer, rows)| {
                // Thousandths of a nanosecond, to take the median of whole numbers.
                let times = rows.iter().map(|row| row.elapsed_ns * 1000 / row.requests);
                let ns = median(times).unwrap_or(f64::NAN) / 1000.0;
                let bytes = rows[0].memory_bytes as f64;
                vec![
                    observer.to_owned(),
                    format!("{:.0}", bytes / 1024.0),
                    format!("{:.3}", bytes / f64::from(rows[0].capacity_blocks.max(1))),
                    format!("{ns:.2}"),
                    rows.len().to_string(),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use workloads::{GuestPick, HostPick};

    use super::*;

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
        let mut verdict = Verdict {
            title: String::new(),
            claims: Vec::new(),
            findings: Vec::new(),
            tables: Vec::new(),
        };
        judge(&mut verdict, rows, &[]);
        verdict
    }

    #[test]
    fn what_is_sure_is_said_and_what_is_not_too() {
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
        assert!(of(Picker::Host(HostPick::Clock)).contains("cannot be told apart"));
        assert!(of(Picker::Host(HostPick::Uniform)).contains("the baseline"));
        let single: Vec<PickerRow> = good().into_iter().take(5).collect();
        let verdict = judged(&single);
        assert!(
            verdict.findings[0].contains("does not say how sure"),
            "{:?}",
            verdict.findings
        );
    }

    #[test]
    fn gaps_doubles_and_wonders_are_named() {
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
            "guest-sample with seed 0 are not its reads",
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

    #[test]
    fn costs_are_medians() {
        let rows = [30, 10, 20].map(|ns| ObserverRow {
            observer: "lru".to_owned(),
            capacity_blocks: 1024,
            memory_bytes: 4096,
            repetition: 0,
            requests: 10,
            elapsed_ns: ns,
        });
        let table = observer_table(&rows);
        assert_eq!(table.rows[0], ["lru", "4", "4.000", "2.00", "3"]);
    }
}
