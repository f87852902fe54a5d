//! Ratios of what was measured one after the other.

use std::fmt;

/// Ratios of pairs that were measured one after the other.
pub(crate) struct Ratio {
    pub median: f64,
    least: f64,
    most: f64,
}

impl Ratio {
    /// `None` of none.
    pub(crate) fn of_pairs(ratios: Vec<f64>) -> Option<Self> {
        Some(Self {
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
            median: middle(ratios)?,
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            least,
            most,
        } = self;
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
