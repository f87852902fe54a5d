//! An axis with ticks at chosen values, written in a chosen way.

use std::ops::Range;
use std::rc::Rc;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis, linear or logarithmic.
#[derive(Clone)]
pub struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    format: Rc<dyn Fn(f64) -> String>,
    is_logarithmic: bool,
}

impl Axis {
    /// An axis; ticks outside its range are left out. The range of a logarithmic one is above 0.
    pub fn new(
        range: Range<f64>,
        ticks: Vec<f64>,
        format: Rc<dyn Fn(f64) -> String>,
        is_logarithmic: bool,
    ) -> Self {
        Self {
            range,
            ticks,
            format,
            is_logarithmic,
        }
    }

    fn is_inside(&self, tick: f64) -> bool {
        let Range { start, end } = self.range;
        (start.min(end)..=start.max(end)).contains(&tick)
    }

    /// What stands beside the ticks.
    pub fn labels(&self) -> Vec<String> {
        let inside = self.ticks.iter().filter(|tick| self.is_inside(**tick));
        inside.map(|tick| (self.format)(*tick)).collect()
    }

    /// The axis with its start where its end was.
    pub fn reversed(mut self) -> Self {
        self.range = self.range.end..self.range.start;
        self
    }

    /// Where between start (0) and end (1) a value is.
    fn share(&self, value: f64) -> f64 {
        let place = |value: f64| {
            if self.is_logarithmic {
                // 0 has no logarithm.
                value.max(self.range.start.min(self.range.end)).ln()
            } else {
                value
            }
        };
        let (start, end) = (place(self.range.start), place(self.range.end));
        if end == start {
            0.5
        } else {
            (place(value) - start) / (end - start)
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
        match hint.max_num_points() {
            0 => Vec::new(),
            _ => {
                let inside = self.ticks.iter().filter(|tick| self.is_inside(**tick));
                inside.copied().collect()
            }
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

    fn axis(range: Range<f64>, ticks: Vec<f64>, is_logarithmic: bool) -> Axis {
        Axis::new(range, ticks, Rc::new(|x| x.to_string()), is_logarithmic)
    }

    #[test]
    fn values_are_placed() {
        let linear = axis(0.0..100.0, vec![], false);
        assert_eq!(linear.map(&25.0, (0, 400)), 100);
        // The vertical axis of a picture runs down.
        assert_eq!(linear.map(&25.0, (400, 0)), 300);
        assert_eq!(linear.reversed().map(&25.0, (400, 0)), 100);
        let log = axis(1.0..100.0, vec![], true);
        assert_eq!(log.map(&10.0, (0, 400)), 200);
        let point = axis(5.0..5.0, vec![], false);
        assert_eq!(point.map(&5.0, (0, 400)), 200);
    }

    #[test]
    fn ticks_outside_are_left_out() {
        let axis = axis(0.0..10.0, vec![-1.0, 5.0, 11.0], false);
        assert_eq!(axis.key_points(10), [5.0]);
        assert_eq!(axis.labels(), ["5"]);
        assert_eq!(axis.reversed().key_points(10), [5.0]);
    }
}
