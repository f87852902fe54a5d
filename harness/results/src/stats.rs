//! How sure a mean is, and how large a difference.
//!
//! Samples here are few (seeds, 3 to 30) and of no known distribution, so
//! nothing assumes one: intervals are bootstrapped and the effect size goes by
//! order alone.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Resamples behind an interval.
const RESAMPLES: usize = 10_000;

/// The part of the resampled means that an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// The generator starts here for every interval, so that a report that is made
/// again says the same.
const SEED: u64 = 0x5eed;

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Lower and upper bound; `None` of a single value, which says nothing
    /// about others.
    pub bounds: Option<(f64, f64)>,
    /// Number of values.
    pub count: usize,
}

impl Mean {
    /// The mean of `values` and its percentile bootstrap interval (Efron and
    /// Tibshirani, "An introduction to the bootstrap", 1993, chapter 13).
    /// `None` of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = |sum: f64| sum / count as f64;
        let value = mean(values.iter().sum());
        if count == 1 {
            return Some(Self {
                value,
                bounds: None,
                count,
            });
        }
        let mut rng = SmallRng::seed_from_u64(SEED);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| mean((0..count).map(|_| values[rng.random_range(0..count)]).sum()))
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
        Some(Self {
            value,
            bounds: Some((at(TAIL), at(1.0 - TAIL))),
            count,
        })
    }

    /// True when the interval lies below 0.
    pub fn is_below_zero(&self) -> bool {
        self.bounds.is_some_and(|(_, high)| high < 0.0)
    }

    /// True when the interval lies above 0.
    pub fn is_above_zero(&self) -> bool {
        self.bounds.is_some_and(|(low, _)| low > 0.0)
    }

    /// `12.34 [12.01, 12.66]`.
    pub fn text(&self, decimals: usize) -> String {
        match self.bounds {
            Some((low, high)) => format!(
                "{:.decimals$} [{low:.decimals$}, {high:.decimals$}]",
                self.value
            ),
            None => format!("{:.decimals$}", self.value),
        }
    }
}

/// Cliff's delta (1993): how much more often a value of `a` is above one of `b` than
/// below it, -1 to 1. `None` when either is empty.
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Option<f64> {
    let pairs = a.len() * b.len();
    if pairs == 0 {
        return None;
    }
    let order = |x: &f64, y: &f64| match x.partial_cmp(y) {
        Some(std::cmp::Ordering::Greater) => 1,
        Some(std::cmp::Ordering::Less) => -1,
        _ => 0,
    };
    let sum: i64 = a
        .iter()
        .flat_map(|x| b.iter().map(move |y| order(x, y)))
        .sum();
    Some(sum as f64 / pairs as f64)
}

/// The usual word for a delta of that size (Romano et al., 2006).
pub fn magnitude(delta: f64) -> &'static str {
    match delta.abs() {
        d if d < 0.147 => "negligible",
        d if d < 0.33 => "small",
        d if d < 0.474 => "medium",
        _ => "large",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_few_values_are_honest() {
        assert_eq!(Mean::of(&[]), None);
        let single = Mean::of(&[3.0]).unwrap();
        assert_eq!((single.value, single.bounds, single.count), (3.0, None, 1));
        assert!(!single.is_above_zero(), "one value shows nothing");
        let equal = Mean::of(&[2.0; 5]).unwrap();
        assert_eq!(equal.bounds, Some((2.0, 2.0)));
        assert_eq!(equal.text(1), "2.0 [2.0, 2.0]");
        assert_eq!(Mean::of(&[1.0, 5.0]), Mean::of(&[1.0, 5.0]));
    }

    /// Of many samples of a known distribution, the interval contains the true
    /// mean about as often as it says when values are many, and less often when
    /// they are few, as `docs/src/experiments/method.md` warns.
    #[test]
    fn intervals_contain_the_truth_about_as_often_as_they_say() {
        let mut rng = SmallRng::seed_from_u64(7);
        let runs = 300;
        for (values, expected) in [(5, 230..=265), (20, 265..=295)] {
            let covered = (0..runs)
                .filter(|_| {
                    let values: Vec<f64> =
                        (0..values).map(|_| rng.random_range(0.0..10.0)).collect();
                    let (low, high) = Mean::of(&values).unwrap().bounds.unwrap();
                    (low..=high).contains(&5.0)
                })
                .count();
            assert!(
                expected.contains(&covered),
                "{values} values: {covered} of {runs}"
            );
        }
    }

    #[test]
    fn deltas_go_by_order() {
        assert_eq!(cliffs_delta(&[], &[1.0]), None);
        assert_eq!(cliffs_delta(&[1.0, 2.0], &[3.0, 4.0]), Some(-1.0));
        assert_eq!(cliffs_delta(&[3.0, 4.0], &[1.0, 2.0]), Some(1.0));
        assert_eq!(cliffs_delta(&[1.0, 2.0], &[1.0, 2.0]), Some(0.0));
        assert_eq!(cliffs_delta(&[1.0, 5.0, 6.0, 7.0], &[4.0]), Some(0.5));
        assert_eq!(magnitude(-1.0), "large");
        assert_eq!(magnitude(0.4), "medium");
        assert_eq!(magnitude(-0.2), "small");
        assert_eq!(magnitude(0.0), "negligible");
    }
}
