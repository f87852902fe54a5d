//! Ratios of what was measured one after the other.

use std::fmt;

use results::stats::Interval;

/// Ratios of pairs that were measured one after the other.
pub(crate) struct Ratio {
    pub median: f64,
    ratios: Vec<f64>,
}

impl Ratio {
    /// `None` of none.
    pub(crate) fn of_pairs(ratios: Vec<f64>) -> Option<Self> {
        Some(Self {
            median: middle(ratios.clone())?,
            ratios,
        })
    }

    /// The median with its 95 % interval.
    pub(crate) fn interval(&self) -> Interval {
        let of = |drawn: &[usize]| middle(drawn.iter().map(|i| self.ratios[*i]).collect());
        let count = self.ratios.len();
        // There is at least one ratio, and so a median.
        Interval::of(count, |drawn| of(drawn).unwrap_or(f64::NAN)).unwrap_or(Interval {
            value: self.median,
            bounds: None,
            count,
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.median;
        let least = self.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.ratios.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "{median:.2} times; {least:.2} to {most:.2} in single pairs"
        )
    }
}

/// The median; of an even number, the mean of the middle two.
pub(crate) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (
        values.get(values.len().checked_sub(1)? / 2)?,
        values.get(values.len() / 2)?,
    );
    Some((low + high) / 2.0)
}
