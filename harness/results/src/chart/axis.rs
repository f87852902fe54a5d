//! An axis with ticks at chosen values, written in a chosen way.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis, linear or logarithmic.
#[derive(Clone, Debug)]
pub struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    format: fn(f64) -> String,
    logarithmic: bool,
}

impl Axis {
    /// A linear axis; ticks outside of it are left out.
    pub fn linear(range: Range<f64>, ticks: Vec<f64>, format: fn(f64) -> String) -> Self {
        Self {
            range,
            ticks,
            format,
            logarithmic: false,
        }
    }

    /// A logarithmic axis; its range must be above 0.
    pub fn logarithmic(range: Range<f64>, ticks: Vec<f64>, format: fn(f64) -> String) -> Self {
        Self {
            logarithmic: true,
            ..Self::linear(range, ticks, format)
        }
    }

    /// Where between start (0) and end (1) a value is.
    fn share(&self, value: f64) -> f64 {
        let place = |value: f64| match self.logarithmic {
            true => value.max(f64::MIN_POSITIVE).ln(),
            false => value,
        };
        let (start, end) = (place(self.range.start), place(self.range.end));
        match end > start {
            true => (place(value) - start) / (end - start),
            false => 0.5,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        (f64::from(from) + self.share(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let inside = |tick: &f64| (self.range.start..=self.range.end).contains(tick);
        match hint.max_num_points() {
            0 => Vec::new(),
            _ => self.ticks.iter().copied().filter(inside).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        (self.format)(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_placed() {
        let linear = Axis::linear(0.0..100.0, vec![], |x| x.to_string());
        assert_eq!(linear.map(&25.0, (0, 400)), 100);
        // The vertical axis of a picture runs down.
        assert_eq!(linear.map(&25.0, (400, 0)), 300);
        let log = Axis::logarithmic(1.0..100.0, vec![], |x| x.to_string());
        assert_eq!(log.map(&10.0, (0, 400)), 200);
        let point = Axis::linear(5.0..5.0, vec![], |x| x.to_string());
        assert_eq!(point.map(&5.0, (0, 400)), 200);
    }

    #[test]
    fn ticks_outside_are_left_out() {
        let axis = Axis::linear(0.0..10.0, vec![-1.0, 5.0, 11.0], |x| x.to_string());
        assert_eq!(axis.key_points(10), [5.0]);
    }
}
