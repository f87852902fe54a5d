//! What the guest's choice is worth: misses and traffic that it saves over the best that the
//! hypervisor can do.
//!
//! The best way to pick of each side is chosen with the tuning seeds, and the two are compared with
//! the others, in pairs by seed: once by misses and once by traffic. Both choose and judge by the
//! same measure.

use std::collections::BTreeMap;

use results::stats::{Interval, Mean};

use super::rows::{Condition, KnowledgeRow, Side, Stage};

/// Seeds from which on an interval decides anything, as in [`results::stats`].
pub(super) const ENOUGH_SEEDS: usize = 6;

/// By what the ways to pick are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Percentage points of the accesses.
    Misses,
    /// Percent of the traffic to the origin disk.
    Traffic,
}

impl Measure {
    pub(super) const ALL: [Self; 2] = [Self::Misses, Self::Traffic];

    fn cost(self, cost: &Cost) -> f64 {
        match self {
            Self::Misses => cost.misses,
            Self::Traffic => cost.traffic,
        }
    }

    fn saved(self, pair: &Pair) -> f64 {
        match self {
            Self::Misses => pair.points(),
            Self::Traffic => pair.traffic(),
        }
    }

    /// What must be saved for the guest's choice to pay.
    pub(super) fn bar(self) -> f64 {
        match self {
            Self::Misses => 1.0,
            Self::Traffic => 5.0,
        }
    }
}

/// The counts of a shrink that are compared.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Misses, percent of the accesses.
    misses: f64,
    /// Blocks read from the origin disk and written to it, for each 100 accesses.
    traffic: f64,
    /// Blocks written to it, for each 100 accesses.
    written: f64,
    /// Accesses until the cache has recovered, percent of all.
    recovery: f64,
}

impl Cost {
    fn of(row: &KnowledgeRow) -> Self {
        let percent = |count: u64| 100.0 * count as f64 / row.accesses.max(1) as f64;
        Self {
            misses: percent(row.misses),
            traffic: percent(row.origin_reads + row.origin_writes),
            written: percent(row.origin_writes),
            recovery: percent(row.recovery_accesses),
        }
    }
}

/// What both sides cost under one value of a condition, with one seed.
#[derive(Clone, Copy, Debug)]
struct Pair {
    guest: Cost,
    host: Cost,
}

impl Pair {
    /// What the guest saves, points of the accesses.
    fn points(&self) -> f64 {
        self.host.misses - self.guest.misses
    }

    /// What it saves of the traffic to the origin disk, percent.
    fn traffic(&self) -> f64 {
        let (guest, host) = (self.guest.traffic, self.host.traffic);
        if host > 0.0 {
            100.0 * (host - guest) / host
        } else {
            0.0
        }
    }
}

/// Means over the seeds of a number of the guest's and of the host's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both {
    pub(super) guest: Mean,
    pub(super) host: Mean,
}

/// The best of both sides by one measure, under one value of a condition.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    pub(super) measure: Measure,
    pub(super) value: String,
    /// The best ways to pick.
    pub(super) guest: String,
    pub(super) host: String,
    pairs: Vec<Pair>,
    /// Misses, percent of the accesses.
    pub(super) misses: Both,
    /// Blocks written to the origin disk, for each 100 accesses.
    pub(super) written: Both,
    /// Accesses until the cache has recovered, percent of all.
    pub(super) recovery: Both,
    /// What the guest saves, points of the accesses.
    pub(super) points: Mean,
    /// What it saves of the traffic to the origin disk, percent.
    pub(super) traffic: Mean,
}

impl Worth {
    /// What the guest saves, by the measure.
    pub(super) fn saved(&self) -> &Mean {
        match self.measure {
            Measure::Misses => &self.points,
            Measure::Traffic => &self.traffic,
        }
    }

    /// Whether there are enough seeds for an interval that decides anything.
    pub(super) fn is_judged(&self) -> bool {
        self.pairs.len() >= ENOUGH_SEEDS
    }

    /// Whether the guest's choice pays, by the lower bound of what it saves.
    pub(super) fn pays(&self) -> bool {
        let bar = self.measure.bar();
        self.is_judged() && self.saved().bounds.is_some_and(|(low, _)| low >= bar)
    }
}

/// What the guest's choice is worth under a condition, by its values in the order of the rows.
#[derive(Clone, Debug)]
pub(super) struct OfCondition {
    pub(super) condition: Condition,
    pub(super) misses: Vec<Worth>,
    pub(super) traffic: Vec<Worth>,
}

impl OfCondition {
    pub(super) fn by(&self, measure: Measure) -> &[Worth] {
        match measure {
            Measure::Misses => &self.misses,
            Measure::Traffic => &self.traffic,
        }
    }
}

/// The value at which the guest saves most.
pub(super) fn most(worths: &[Worth]) -> Option<&Worth> {
    worths
        .iter()
        .max_by(|a, b| a.saved().value.total_cmp(&b.saved().value))
}

/// What each condition is worth, in the order of the rows.
pub(super) fn worths(rows: &[KnowledgeRow]) -> Vec<OfCondition> {
    let mut conditions: Vec<OfCondition> = Vec::new();
    for (condition, value) in values(rows) {
        let of_value = |row: &&KnowledgeRow| row.condition == condition && row.value == value;
        let of_value: Vec<_> = rows.iter().filter(of_value).collect();
        let [Some(misses), Some(traffic)] =
            Measure::ALL.map(|measure| worth(measure, value, &of_value))
        else {
            continue;
        };
        match conditions.iter_mut().find(|of| of.condition == condition) {
            Some(of) => {
                of.misses.push(misses);
                of.traffic.push(traffic);
            }
            None => conditions.push(OfCondition {
                condition,
                misses: vec![misses],
                traffic: vec![traffic],
            }),
        }
    }
    conditions
}

/// Conditions and values that are compared, in the order of the rows.
pub(super) fn values(rows: &[KnowledgeRow]) -> Vec<(Condition, &str)> {
    let mut values = Vec::new();
    for row in rows.iter().filter(|row| row.stage == Stage::Comparison) {
        let value = (row.condition, row.value.as_str());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// `rows` are of one value.
fn worth(measure: Measure, value: &str, rows: &[&KnowledgeRow]) -> Option<Worth> {
    let costs = |side: Side, pick: &str| -> BTreeMap<u64, Cost> {
        let of_pick = rows
            .iter()
            .filter(|row| row.stage == Stage::Comparison && row.side == side && row.pick == pick);
        of_pick.map(|row| (row.seed, Cost::of(row))).collect()
    };
    let guest = best(rows, Side::Guest, measure)?;
    let host = best(rows, Side::Host, measure)?;
    let of_host = costs(Side::Host, &host);
    let pairs: Vec<Pair> = costs(Side::Guest, &guest)
        .into_iter()
        .filter_map(|(seed, guest)| {
            let host = *of_host.get(&seed)?;
            Some(Pair { guest, host })
        })
        .collect();
    let mean = |of: fn(&Pair) -> f64| Mean::of(&pairs.iter().map(of).collect::<Vec<_>>());
    let both = |of: fn(&Cost) -> f64| -> Option<Both> {
        let mean = |costs: Vec<f64>| Mean::of(&costs);
        Some(Both {
            guest: mean(pairs.iter().map(|pair| of(&pair.guest)).collect())?,
            host: mean(pairs.iter().map(|pair| of(&pair.host)).collect())?,
        })
    };
    Some(Worth {
        measure,
        value: value.to_owned(),
        guest,
        host,
        misses: both(|cost| cost.misses)?,
        written: both(|cost| cost.written)?,
        recovery: both(|cost| cost.recovery)?,
        points: mean(Pair::points)?,
        traffic: mean(Pair::traffic)?,
        pairs,
    })
}

/// The pick of a side that costs least with the tuning seeds. `rows` are of one setting.
pub(super) fn best(rows: &[&KnowledgeRow], side: Side, measure: Measure) -> Option<String> {
    let mut picks: BTreeMap<&str, f64> = BTreeMap::new();
    let is_tuning = |row: &&&KnowledgeRow| row.stage == Stage::Tuning && row.side == side;
    for row in rows.iter().filter(is_tuning) {
        let cost = measure.cost(&Cost::of(row));
        *picks.entry(&row.pick).or_default() += cost;
    }
    let best = picks.into_iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(pick, _)| pick.to_owned())
}

/// The smallest value from which on the guest's choice pays at this and all larger ones; infinite if
/// it pays at none. Its 95 % interval is that of the smallest value from which on the mean over
/// resampled seeds reaches the bar. For values that are numbers.
pub(super) fn crossover(worths: &[Worth]) -> Option<Interval> {
    let values: Vec<f64> = worths
        .iter()
        .map(|worth| worth.value.parse().ok())
        .collect::<Option<_>>()?;
    let from = |pays: &dyn Fn(&Worth) -> bool| {
        let paying = worths.iter().rev().take_while(|worth| pays(worth)).count();
        let first = values.len() - paying;
        values.get(first).copied().unwrap_or(f64::INFINITY)
    };
    let seeds = worths.iter().map(|worth| worth.pairs.len()).min()?;
    let of_means = Interval::of(seeds, |drawn| {
        from(&|worth: &Worth| {
            let saved = drawn
                .iter()
                .map(|seed| worth.measure.saved(&worth.pairs[*seed]));
            saved.sum::<f64>() / drawn.len() as f64 >= worth.measure.bar()
        })
    })?;
    Some(Interval {
        value: from(&Worth::pays),
        ..of_means
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: u32, side: Side, pick: &str, seed: u64, misses: u64) -> KnowledgeRow {
        KnowledgeRow {
            condition: Condition::Memory,
            value: value.to_string(),
            stage: if seed == 0 {
                Stage::Tuning
            } else {
                Stage::Comparison
            },
            side,
            pick: pick.to_owned(),
            seed,
            accesses: 1000,
            hits: 1000 - misses,
            misses,
            origin_reads: misses,
            // So many that a saving of misses is none of the traffic.
            origin_writes: 100_000,
            ..KnowledgeRow::default()
        }
    }

    fn rows(saved: [u64; 3]) -> Vec<KnowledgeRow> {
        let mut rows = Vec::new();
        for (value, saved) in [0, 10, 20].into_iter().zip(saved) {
            for seed in 0..9 {
                rows.push(row(value, Side::Guest, "reads", seed, 400 - saved + seed));
                rows.push(row(value, Side::Host, "lru", seed, 400 + seed));
            }
        }
        rows
    }

    fn of_memory(rows: &[KnowledgeRow]) -> OfCondition {
        let mut worths = worths(rows);
        assert_eq!(worths.len(), 1);
        worths.remove(0)
    }

    #[test]
    fn what_is_saved_is_counted_in_pairs_by_seed() {
        let OfCondition { misses, .. } = of_memory(&rows([0, 5, 50]));
        for (worth, points) in misses.iter().zip([0.0, 0.5, 5.0]) {
            assert_eq!((&*worth.guest, &*worth.host), ("reads", "lru"));
            assert_eq!(worth.pairs.len(), 8);
            assert!((worth.points.value - points).abs() < 1e-9, "{worth:?}");
        }
        let pays: Vec<bool> = misses.iter().map(Worth::pays).collect();
        assert_eq!(pays, [false, false, true]);
    }

    #[test]
    fn the_best_of_a_side_is_chosen_by_the_tuning_seeds() {
        let mut rows: Vec<_> = (0..4)
            .flat_map(|seed| {
                let lucky = if seed < 2 { 600 } else { 100 };
                [
                    row(0, Side::Host, "lru", seed, 400),
                    row(0, Side::Host, "lucky", seed, lucky),
                    row(0, Side::Guest, "reads", seed, 50),
                ]
            })
            .collect();
        for row in rows.iter_mut().filter(|row| row.seed < 2) {
            row.stage = Stage::Tuning;
        }
        let rows: Vec<&KnowledgeRow> = rows.iter().collect();
        let of = |side| best(&rows, side, Measure::Misses);
        assert_eq!(of(Side::Host).as_deref(), Some("lru"));
        assert_eq!(of(Side::Guest).as_deref(), Some("reads"));
        assert_eq!(best(&[], Side::Guest, Measure::Misses), None);
    }

    #[test]
    fn each_measure_has_its_own_best() {
        let of = |pick: &str, seed: u64, misses: u64, origin_writes: u64| KnowledgeRow {
            origin_writes,
            ..row(30, Side::Guest, pick, seed, misses)
        };
        let of_seed = |seed: u64| {
            let host = row(30, Side::Host, "lru", seed, 320);
            [
                of("policy", seed, 300, 500),
                of("clean-first", seed, 310, 400),
                KnowledgeRow {
                    origin_writes: 480,
                    ..host
                },
            ]
        };
        let rows: Vec<KnowledgeRow> = (0..9).flat_map(of_seed).collect();
        let worths = of_memory(&rows);
        let [misses] = worths.misses.as_slice() else {
            panic!("{worths:?}");
        };
        let [traffic] = worths.traffic.as_slice() else {
            panic!("{worths:?}");
        };
        assert_eq!((&*misses.guest, misses.pays()), ("policy", true));
        assert!((misses.points.value - 2.0).abs() < 1e-9);
        assert!((misses.traffic.value).abs() < 1e-9);
        assert_eq!((&*traffic.guest, traffic.pays()), ("clean-first", true));
        assert!((traffic.traffic.value - 11.25).abs() < 1e-9);
    }

    #[test]
    fn the_crossover_is_where_it_begins_to_pay_for_good() {
        let at = |saved| crossover(&of_memory(&rows(saved)).misses).unwrap().value;
        assert_eq!(at([0, 5, 50]), 20.0);
        assert_eq!(at([0, 20, 50]), 10.0);
        assert_eq!(at([50, 0, 50]), 20.0);
        assert_eq!(at([50, 50, 0]), f64::INFINITY);
    }

    #[test]
    fn five_percent_of_the_traffic_pay() {
        let mut rows = rows([0, 5, 5]);
        for row in rows.iter_mut().filter(|row| row.value == "20") {
            row.origin_writes = if row.side == Side::Guest { 100 } else { 200 };
        }
        let worths = of_memory(&rows);
        assert!(!worths.misses[2].pays());
        assert!(worths.traffic[2].pays());
        assert_eq!(crossover(&worths.misses).unwrap().value, f64::INFINITY);
        assert_eq!(crossover(&worths.traffic).unwrap().value, 20.0);
        assert_eq!(most(&worths.traffic).unwrap().value, "20");
    }

    #[test]
    fn only_rows_of_the_comparison_are_compared() {
        let mut rows = rows([0, 0, 0]);
        let other = row(0, Side::Guest, "reads", 2, 0);
        rows.push(KnowledgeRow {
            stage: Stage::Repetition,
            ..other
        });
        assert!(of_memory(&rows).misses[0].points.value.abs() < 1e-9);
    }
}
