//! What the guest's choice is worth: misses that it saves over the best that the hypervisor can do.
//!
//! The best way to pick of each side is chosen by its misses with the tuning seeds, and the two are
//! compared with the others, in pairs by seed.

use std::collections::BTreeMap;

use results::stats::{Interval, Mean};

use super::rows::{Condition, KnowledgeRow, Side};

/// Savings from which on the guest's choice pays: points of all accesses, or percent of the
/// traffic to the origin disk.
pub(super) const POINTS: f64 = 1.0;
pub(super) const TRAFFIC_PERCENT: f64 = 5.0;

/// The best pick of one side, and its misses by seed, in percent of the accesses.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) pick: String,
    misses: BTreeMap<u64, f64>,
}

/// Both sides under one value of a condition.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    pub(super) value: String,
    pub(super) guest: Best,
    pub(super) host: Best,
    /// Misses of the guest and of the host, percent of the accesses.
    pub(super) misses: [Mean; 2],
    /// What the guest saves, points of the accesses, by seed.
    saved: Vec<f64>,
    /// Its mean.
    pub(super) points: Mean,
    /// What it saves of the traffic to the origin disk, percent.
    pub(super) traffic: Mean,
}

impl Worth {
    /// Whether the guest's choice pays, by the lower bounds of what it saves.
    pub(super) fn pays(&self) -> bool {
        let from = |mean: &Mean, bar: f64| mean.bounds.is_some_and(|(low, _)| low >= bar);
        from(&self.points, POINTS) || from(&self.traffic, TRAFFIC_PERCENT)
    }
}

/// What each condition is worth, by value, in the order of the rows.
pub(super) fn worths(rows: &[KnowledgeRow], tuning_seeds: usize) -> Vec<(Condition, Vec<Worth>)> {
    let mut conditions: Vec<(Condition, Vec<Worth>)> = Vec::new();
    let mut values: Vec<(Condition, &str)> = Vec::new();
    for row in twins(rows) {
        let value = (row.condition, row.value.as_str());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    for (condition, value) in values {
        let of_value = |row: &&KnowledgeRow| row.condition == condition && row.value == value;
        let of_value: Vec<_> = twins(rows).filter(of_value).collect();
        let Some(worth) = worth(value, &of_value, tuning_seeds) else {
            continue;
        };
        match conditions.iter_mut().find(|(of, _)| *of == condition) {
            Some((_, worths)) => worths.push(worth),
            None => conditions.push((condition, vec![worth])),
        }
    }
    conditions
}

/// The rows that are compared.
fn twins(rows: &[KnowledgeRow]) -> impl Iterator<Item = &KnowledgeRow> {
    rows.iter().filter(|row| row.transport == "twin")
}

fn worth(value: &str, rows: &[&KnowledgeRow], tuning_seeds: usize) -> Option<Worth> {
    let guest = best(rows, Side::Guest, tuning_seeds)?;
    let host = best(rows, Side::Host, tuning_seeds)?;
    let pairs: Vec<(f64, f64)> = guest
        .misses
        .iter()
        .filter_map(|(seed, guest)| Some((*guest, *host.misses.get(seed)?)))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| Mean::of(&pairs.iter().map(of).collect::<Vec<_>>());
    Some(Worth {
        value: value.to_owned(),
        misses: [mean(|pair| pair.0)?, mean(|pair| pair.1)?],
        saved: pairs.iter().map(|(guest, host)| host - guest).collect(),
        points: mean(|(guest, host)| host - guest)?,
        traffic: mean(|(guest, host)| 100.0 * (host - guest) / host.max(f64::MIN_POSITIVE))?,
        guest,
        host,
    })
}

/// The pick of a side with the fewest misses with the tuning seeds, and its misses with the others.
fn best(rows: &[&KnowledgeRow], side: Side, tuning_seeds: usize) -> Option<Best> {
    let mut picks: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.side == side) {
        let percent = 100.0 * row.misses as f64 / row.accesses.max(1) as f64;
        let misses = picks.entry(&row.pick).or_default();
        misses.insert(row.seed, percent);
    }
    let tuning = |misses: &BTreeMap<u64, f64>| misses.values().take(tuning_seeds).sum::<f64>();
    let (pick, misses) = picks
        .into_iter()
        .min_by(|(_, a), (_, b)| tuning(a).total_cmp(&tuning(b)))?;
    Some(Best {
        pick: pick.to_owned(),
        misses: misses.into_iter().skip(tuning_seeds).collect(),
    })
}

/// The smallest value from which on the guest saves at least [`POINTS`] at this and all larger
/// ones, with the 95 % interval over seeds; infinite if it does at none. For values that are
/// numbers.
pub(super) fn crossover(worths: &[Worth]) -> Option<Interval> {
    let values: Vec<f64> = worths
        .iter()
        .map(|worth| worth.value.parse().ok())
        .collect::<Option<_>>()?;
    let seeds = worths.iter().map(|worth| worth.saved.len()).min()?;
    Interval::of(seeds, |drawn| {
        let pays = |worth: &Worth| {
            let sum: f64 = drawn.iter().map(|seed| worth.saved[*seed]).sum();
            sum / drawn.len() as f64 >= POINTS
        };
        let paying = worths.iter().rev().take_while(|worth| pays(worth)).count();
        let first = values.len() - paying;
        values.get(first).copied().unwrap_or(f64::INFINITY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: u32, side: Side, pick: &str, seed: u64, misses: u64) -> KnowledgeRow {
        KnowledgeRow {
            transport: "twin".to_owned(),
            condition: Condition::Memory,
            value: value.to_string(),
            side,
            pick: pick.to_owned(),
            seed,
            from_blocks: 100,
            held_blocks: 50,
            accesses: 1000,
            memory_hits: 0,
            hits: 1000 - misses,
            misses,
            discards: 0,
            failed: 0,
            recovery_accesses: 0,
        }
    }

    /// Two tuning seeds and eight others. The host's `lucky` is best with the latter only.
    fn rows(saved: [u64; 3]) -> Vec<KnowledgeRow> {
        let mut rows = Vec::new();
        for (value, saved) in [0, 10, 20].into_iter().zip(saved) {
            for seed in 0..10 {
                let lucky = if seed < 2 { 600 } else { 100 };
                rows.push(row(value, Side::Guest, "reads", seed, 400 - saved + seed));
                rows.push(row(value, Side::Guest, "nothing", seed, 500));
                rows.push(row(value, Side::Host, "lru", seed, 400 + seed));
                rows.push(row(value, Side::Host, "lucky", seed, lucky));
            }
        }
        rows
    }

    #[test]
    fn the_best_of_each_side_is_chosen_by_other_seeds() {
        let worths = worths(&rows([0, 5, 50]), 2);
        let [(Condition::Memory, worths)] = worths.as_slice() else {
            panic!("{worths:?}");
        };
        for (worth, points) in worths.iter().zip([0.0, 0.5, 5.0]) {
            assert_eq!((&*worth.guest.pick, &*worth.host.pick), ("reads", "lru"));
            assert_eq!(worth.saved.len(), 8);
            assert!((worth.points.value - points).abs() < 1e-9, "{worth:?}");
        }
        let pays: Vec<bool> = worths.iter().map(Worth::pays).collect();
        assert_eq!(pays, [false, false, true]);
    }

    #[test]
    fn the_crossover_is_where_it_begins_to_pay_for_good() {
        let at = |saved| {
            let worths = worths(&rows(saved), 2);
            crossover(&worths[0].1).unwrap().value
        };
        assert_eq!(at([0, 5, 50]), 20.0);
        assert_eq!(at([0, 20, 50]), 10.0);
        assert_eq!(at([50, 0, 50]), 20.0);
        assert_eq!(at([50, 50, 0]), f64::INFINITY);
    }

    #[test]
    fn rows_of_qemu_are_not_compared() {
        let mut rows = rows([0, 0, 0]);
        let mut qemu = row(0, Side::Guest, "reads", 2, 0);
        qemu.transport = "qemu".to_owned();
        rows.push(qemu);
        let worths = worths(&rows, 2);
        assert!(worths[0].1[0].points.value.abs() < 1e-9);
    }
}
