//! What the guest's choice is worth: misses and traffic that it saves over the best that the
//! hypervisor can do.
//!
//! The best way to pick of each side is chosen with the tuning seeds, and the two are compared with
//! the others, in pairs by seed. Both choose and judge by the same measure: misses, or, where blocks
//! are dirty, traffic.

use std::collections::BTreeMap;

use results::stats::{Interval, Mean};

use super::rows::{Condition, KnowledgeRow, Side, Stage};

/// Savings from which on the guest's choice pays: percentage points of the accesses, or percent of the
/// traffic to the origin disk.
pub(super) const POINTS: f64 = 1.0;
pub(super) const TRAFFIC_PERCENT: f64 = 5.0;

/// By what the ways to pick are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Misses,
    Traffic,
}

impl Measure {
    fn of(condition: Condition) -> Self {
        match condition {
            Condition::Dirty => Self::Traffic,
            _ => Self::Misses,
        }
    }

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
    fn bar(self) -> f64 {
        match self {
            Self::Misses => POINTS,
            Self::Traffic => TRAFFIC_PERCENT,
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

/// Both sides under one value of a condition.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    measure: Measure,
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
    /// What the guest saves, by the measure of the condition.
    pub(super) fn saved(&self) -> &Mean {
        match self.measure {
            Measure::Misses => &self.points,
            Measure::Traffic => &self.traffic,
        }
    }

    /// Whether the guest's choice pays, by the lower bound of what it saves.
    pub(super) fn pays(&self) -> bool {
        let bar = self.measure.bar();
        self.saved().bounds.is_some_and(|(low, _)| low >= bar)
    }
}

/// The value at which the guest saves most.
pub(super) fn most(worths: &[Worth]) -> Option<&Worth> {
    worths
        .iter()
        .max_by(|a, b| a.saved().value.total_cmp(&b.saved().value))
}

/// What each condition is worth, by value, in the order of the rows.
pub(super) fn worths(rows: &[KnowledgeRow]) -> Vec<(Condition, Vec<Worth>)> {
    let compared = || rows.iter().filter(|row| row.stage == Stage::Comparison);
    let mut conditions: Vec<(Condition, Vec<Worth>)> = Vec::new();
    let mut values: Vec<(Condition, &str)> = Vec::new();
    for row in compared() {
        let value = (row.condition, row.value.as_str());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    for (condition, value) in values {
        let of_value = |row: &&KnowledgeRow| row.condition == condition && row.value == value;
        let of_value: Vec<_> = compared().filter(of_value).collect();
        let Some(worth) = worth(condition, value, &of_value) else {
            continue;
        };
        match conditions.iter_mut().find(|(of, _)| *of == condition) {
            Some((_, worths)) => worths.push(worth),
            None => conditions.push((condition, vec![worth])),
        }
    }
    conditions
}

fn worth(condition: Condition, value: &str, rows: &[&KnowledgeRow]) -> Option<Worth> {
    let of_side = |side: Side| -> (Option<String>, BTreeMap<u64, Cost>) {
        let of_side = || rows.iter().filter(|row| row.side == side);
        let pick = of_side().next().map(|row| row.pick.clone());
        let costs = of_side().map(|row| (row.seed, Cost::of(row)));
        (pick, costs.collect())
    };
    let (guest, of_guest) = of_side(Side::Guest);
    let (host, of_host) = of_side(Side::Host);
    let pairs: Vec<Pair> = of_guest
        .iter()
        .filter_map(|(seed, guest)| {
            let (guest, host) = (*guest, *of_host.get(seed)?);
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
        measure: Measure::of(condition),
        value: value.to_owned(),
        guest: guest?,
        host: host?,
        misses: both(|cost| cost.misses)?,
        written: both(|cost| cost.written)?,
        recovery: both(|cost| cost.recovery)?,
        points: mean(Pair::points)?,
        traffic: mean(Pair::traffic)?,
        pairs,
    })
}

/// The pick of a side that costs least with the tuning seeds. `rows` are of one setting.
pub(super) fn best(rows: &[&KnowledgeRow], side: Side) -> Option<String> {
    let mut picks: BTreeMap<&str, f64> = BTreeMap::new();
    let is_tuning = |row: &&&KnowledgeRow| row.stage == Stage::Tuning && row.side == side;
    for row in rows.iter().filter(is_tuning) {
        let cost = Measure::of(row.condition).cost(&Cost::of(row));
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
            for seed in 0..8 {
                rows.push(row(value, Side::Guest, "reads", seed, 400 - saved + seed));
                rows.push(row(value, Side::Host, "lru", seed, 400 + seed));
            }
        }
        rows
    }

    #[test]
    fn what_is_saved_is_counted_in_pairs_by_seed() {
        let worths = worths(&rows([0, 5, 50]));
        let [(Condition::Memory, worths)] = worths.as_slice() else {
            panic!("{worths:?}");
        };
        for (worth, points) in worths.iter().zip([0.0, 0.5, 5.0]) {
            assert_eq!((&*worth.guest, &*worth.host), ("reads", "lru"));
            assert_eq!(worth.pairs.len(), 8);
            assert!((worth.points.value - points).abs() < 1e-9, "{worth:?}");
        }
        let pays: Vec<bool> = worths.iter().map(Worth::pays).collect();
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
        assert_eq!(best(&rows, Side::Host).as_deref(), Some("lru"));
        assert_eq!(best(&rows, Side::Guest).as_deref(), Some("reads"));
        assert_eq!(best(&[], Side::Guest), None);
    }

    #[test]
    fn dirty_blocks_are_judged_by_traffic() {
        let of = |pick: &str, misses: u64, origin_writes: u64| KnowledgeRow {
            condition: Condition::Dirty,
            stage: Stage::Tuning,
            origin_writes,
            ..row(30, Side::Guest, pick, 0, misses)
        };
        let rows = [of("policy", 300, 500), of("clean-first", 310, 400)];
        let rows: Vec<&KnowledgeRow> = rows.iter().collect();
        assert_eq!(best(&rows, Side::Guest).as_deref(), Some("clean-first"));
    }

    #[test]
    fn the_crossover_is_where_it_begins_to_pay_for_good() {
        let at = |saved| {
            let worths = worths(&rows(saved));
            crossover(&worths[0].1).unwrap().value
        };
        assert_eq!(at([0, 5, 50]), 20.0);
        assert_eq!(at([0, 20, 50]), 10.0);
        assert_eq!(at([50, 0, 50]), 20.0);
        assert_eq!(at([50, 50, 0]), f64::INFINITY);
    }

    #[test]
    fn five_percent_of_the_traffic_pay_where_blocks_are_dirty() {
        let mut rows = rows([0, 5, 5]);
        for row in &mut rows {
            if row.value == "20" {
                row.origin_writes = if row.side == Side::Guest { 100 } else { 200 };
            }
        }
        assert!(!worths(&rows)[0].1[2].pays(), "misses are the measure");
        for row in &mut rows {
            row.condition = Condition::Dirty;
        }
        let worths = worths(&rows);
        let worths = &worths[0].1;
        assert!(worths[2].pays());
        assert_eq!(crossover(worths).unwrap().value, 20.0);
        assert_eq!(most(worths).unwrap().value, "20");
    }

    #[test]
    fn only_rows_of_the_comparison_are_compared() {
        let mut rows = rows([0, 0, 0]);
        for stage in [Stage::Tuning, Stage::Repetition] {
            let other = row(0, Side::Guest, "reads", 2, 0);
            rows.push(KnowledgeRow { stage, ..other });
        }
        let worths = worths(&rows);
        assert!(worths[0].1[0].points.value.abs() < 1e-9);
    }
}
