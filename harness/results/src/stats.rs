//! How sure a mean is, and how large a difference.
//!
//! Samples here are few (seeds, 3 to 30) and of no known distribution, so
//! nothing assumes one: intervals are bootstrapped and the effect size goes by
//! order alone.

use std::fmt;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::verdict::{Measured, Outcome};

/// Resamples behind an interval.
const RESAMPLES: usize = 10_000;

/// The part of the resampled means that an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// The generator starts here for every interval, so that a report that is made
/// again says the same.
const SEED: u64 = 0x5eed;

/// Samples below which an interval decides nothing: of fewer than 6, even the least and the
/// greatest enclose the true median in less than 95 of 100 cases (1 - 2^(1 - n)).
const FEWEST: usize = 6;

/// `statistic` of resamples of `count` samples, which it gets by index, in ascending order.
fn resampled(count: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut drawn = vec![0; count];
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| rng.random_range(0..count));
            statistic(&drawn)
        })
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The 95 % interval of resampled values in ascending order.
fn bounds(values: &[f64]) -> (f64, f64) {
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    (at(TAIL), at(1.0 - TAIL))
}

/// A statistic with its 95 % percentile bootstrap interval, for a comparison with a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The statistic of all samples.
    pub value: f64,
    /// Lower and upper bound; `None` of too few samples.
    pub bounds: Option<(f64, f64)>,
    /// Number of samples.
    pub count: usize,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bounds {
            Some((low, high)) => write!(f, "95 % interval {low:.2} to {high:.2}"),
            None => f.write_str("no interval of so few samples"),
        }
    }
}

impl Interval {
    /// The interval of `statistic`, which gets samples by index. `None` of no samples.
    pub fn of(count: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Option<Self> {
        if count == 0 {
            return None;
        }
        let all: Vec<usize> = (0..count).collect();
        Some(Self {
            value: statistic(&all),
            bounds: (count >= FEWEST).then(|| bounds(&resampled(count, statistic))),
            count,
        })
    }

    /// Whether the statistic is at most `bar`.
    pub fn at_most(&self, bar: f64) -> Outcome {
        self.decide(bar, |bound| bound <= bar)
    }

    /// Whether the statistic is at least `bar`.
    pub fn at_least(&self, bar: f64) -> Outcome {
        self.decide(bar, |bound| bound >= bar)
    }

    /// Whether the statistic is below `bar`.
    pub fn below(&self, bar: f64) -> Outcome {
        self.decide(bar, |bound| bound < bar)
    }

    /// Holds, or not, if both bounds say the same.
    fn decide(&self, bar: f64, holds: impl Fn(f64) -> bool) -> Outcome {
        match self.bounds {
            None => Outcome::undecided(format!(
                "Samples: {}; an interval needs at least {FEWEST}.",
                self.count
            )),
            Some((low, high)) if holds(low) == holds(high) => holds(low).into(),
            Some((low, high)) => Outcome::undecided(format!(
                "The 95 % interval, {low:.2} to {high:.2}, contains the bar of {bar}."
            )),
        }
    }
}

/// Ratios of what was measured in pairs, one after the other.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// The median of the pairs.
    pub median: f64,
    ratios: Vec<f64>,
}

impl Ratio {
    /// `None` of no pairs.
    pub fn of_pairs(ratios: impl IntoIterator<Item = f64>) -> Option<Self> {
        let ratios: Vec<f64> = ratios.into_iter().collect();
        Some(Self {
            median: median(ratios.iter().copied())?,
            ratios,
        })
    }

    /// The median with its 95 % interval.
    pub fn interval(&self) -> Interval {
        let count = self.ratios.len();
        let of = |drawn: &[usize]| median(drawn.iter().map(|i| self.ratios[*i]));
        // There is at least one ratio, and so a median.
        Interval::of(count, |drawn| of(drawn).unwrap_or(f64::NAN)).unwrap_or(Interval {
            value: self.median,
            bounds: None,
            count,
        })
    }

    /// What the pairs say of a bar that `decide` holds the interval against.
    pub fn judged(&self, decide: impl FnOnce(&Interval) -> Outcome) -> Measured {
        let interval = self.interval();
        Measured::new(decide(&interval), format!("{self}; {interval}."))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.median;
        let least = self.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.ratios.iter().copied().fold(0.0, f64::max);
        write!(f, "{median:.2}x; {least:.2}x to {most:.2}x in single pairs")
    }
}

/// The median; of an even number, the mean of the middle two. `None` of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let low = values.get(values.len().checked_sub(1)? / 2)?;
    Some((low + values.get(values.len() / 2)?) / 2.0)
}

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
        let means = resampled(count, |drawn| mean(drawn.iter().map(|i| values[*i]).sum()));
        Some(Self {
            value,
            bounds: Some(bounds(&means)),
            count,
        })
    }

    /// The mean of the negated values.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self {
            value: 0.0 - self.value,
            bounds: self.bounds.map(|(low, high)| (0.0 - high, 0.0 - low)),
            ..*self
        }
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

    /// The interval of the median of `values`.
    fn of_median(values: &[f64]) -> Interval {
        let median = |drawn: &[usize]| {
            let mut drawn: Vec<f64> = drawn.iter().map(|i| values[*i]).collect();
            drawn.sort_unstable_by(f64::total_cmp);
            drawn[drawn.len() / 2]
        };
        Interval::of(values.len(), median).unwrap()
    }

    #[test]
    fn an_interval_decides_only_what_lies_outside_of_it() {
        let of = of_median(&[0.90, 0.94, 0.97, 1.0, 1.03, 1.06, 1.10]);
        let (low, high) = of.bounds.unwrap();
        assert!(low < of.value && of.value < high, "{of:?}");
        assert_eq!(of.at_most(high), Outcome::Holds);
        assert_eq!(of.at_most(low - 0.01), Outcome::DoesNotHold);
        assert_eq!(of.at_least(low), Outcome::Holds);
        assert_eq!(of.below(low), Outcome::DoesNotHold);
        assert_eq!(of.below(high + 0.01), Outcome::Holds);
        assert_eq!(of.at_least(high + 0.01), Outcome::DoesNotHold);
        for within in [of.at_most(high - 0.01), of.at_least(low + 0.01)] {
            let Outcome::CannotBeJudged { why } = within else {
                panic!("{within:?}");
            };
            assert!(why.contains("contains the bar"), "{why}");
        }
    }

    #[test]
    fn few_samples_decide_nothing() {
        let five = of_median(&[1.0; 5]);
        assert_eq!((five.value, five.bounds), (1.0, None));
        let Outcome::CannotBeJudged { why } = five.at_most(9.0) else {
            panic!("5 samples decide");
        };
        assert_eq!(why, "Samples: 5; an interval needs at least 6.");
        assert_eq!(of_median(&[1.0; 6]).at_most(9.0), Outcome::Holds);
        assert_eq!(Interval::of(0, |_| 0.0), None);
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

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([5.0]), Some(5.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
