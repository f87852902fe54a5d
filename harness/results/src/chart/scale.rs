//! Scales: what a figure is drawn over, before its range is known.

use std::fmt;
use std::rc::Rc;

use super::axis::Axis;
use crate::quantity;

/// About how many ticks a linear scale has.
const TICKS: usize = 8;

/// What a figure is drawn over: a label, a kind, and how values are written. Its range follows
/// from the points unless it is given.
#[derive(Clone)]
pub struct Scale {
    pub(super) label: String,
    kind: Kind,
    format: Option<Rc<dyn Fn(f64) -> String>>,
    range: (Option<f64>, Option<f64>),
    ticks: Option<Vec<f64>>,
    pub(super) notes: Vec<String>,
    has_grid: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Linear,
    /// Ticks at powers of this.
    Logarithmic(f64),
    /// Names beside each other: the first at 0, the second at 1.
    Names(Vec<String>),
}

impl Scale {
    fn new(label: impl Into<String>, kind: Kind) -> Self {
        Self {
            label: label.into(),
            kind,
            format: None,
            range: (None, None),
            ticks: None,
            notes: Vec::new(),
            has_grid: true,
        }
    }

    /// A linear scale from 0, or from below the least point if that is negative.
    pub fn linear(label: impl Into<String>) -> Self {
        Self::new(label, Kind::Linear)
    }

    /// A linear scale from 0 to 100.
    pub fn percent(label: impl Into<String>) -> Self {
        Self::linear(label).range(0.0, 102.0)
    }

    /// A logarithmic scale with ticks at powers of `base`.
    pub fn logarithmic(label: impl Into<String>, base: f64) -> Self {
        Self::new(label, Kind::Logarithmic(base))
    }

    /// A logarithmic scale of times, nanoseconds.
    pub fn times(label: impl Into<String>) -> Self {
        Self::logarithmic(label, 10.0).format(quantity::time)
    }

    /// A logarithmic scale of sizes, bytes.
    pub fn bytes(label: impl Into<String>) -> Self {
        Self::logarithmic(label, 4.0).format(quantity::bytes)
    }

    /// Names beside each other, or from top to bottom: 0 is the place of the first.
    pub fn names<N: Into<String>>(
        label: impl Into<String>,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self::new(label, Kind::Names(names)).without_grid()
    }

    /// What stands at the far side of each name of a vertical scale.
    pub fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes = notes.into_iter().collect();
        self
    }

    /// How values are written beside the ticks.
    pub fn format(mut self, format: impl Fn(f64) -> String + 'static) -> Self {
        self.format = Some(Rc::new(format));
        self
    }

    /// The range, whatever the points are.
    pub fn range(mut self, from: f64, to: f64) -> Self {
        self.range = (Some(from), Some(to));
        self
    }

    /// Where ticks stand.
    pub fn ticks(mut self, ticks: Vec<f64>) -> Self {
        self.ticks = Some(ticks);
        self
    }

    /// No lines through the ticks.
    pub fn without_grid(mut self) -> Self {
        self.has_grid = false;
        self
    }

    pub(super) fn is_names(&self) -> bool {
        matches!(self.kind, Kind::Names(_))
    }

    pub(super) fn has_grid(&self) -> bool {
        self.has_grid
    }

    /// The axis on which all of these places have room.
    pub(super) fn axis(&self, places: impl Iterator<Item = f64>) -> Axis {
        let is_logarithmic = matches!(self.kind, Kind::Logarithmic(_));
        let is_shown = |place: &f64| place.is_finite() && (!is_logarithmic || *place > 0.0);
        let (least, most) = places.filter(is_shown).fold(
            (f64::INFINITY, f64::NEG_INFINITY),
            |(least, most), place| (least.min(place), most.max(place)),
        );
        let (from, to) = match &self.kind {
            Kind::Linear => {
                // Room above the highest point; a range of nothing has no scale.
                let from = if least < 0.0 { 1.1 * least } else { 0.0 };
                (from, 1.06 * most.max(1e-9))
            }
            Kind::Logarithmic(base) => {
                // What has no logarithm is drawn at the edge.
                let room = base.powf(0.25);
                (least.max(1e-9) / room, most.max(2e-9) * room)
            }
            Kind::Names(names) => (-0.5, names.len() as f64 - 0.5),
        };
        let (from, to) = (self.range.0.unwrap_or(from), self.range.1.unwrap_or(to));
        let ticks = self.ticks.clone().unwrap_or_else(|| match &self.kind {
            Kind::Linear => linear_ticks(from, to, TICKS),
            Kind::Logarithmic(base) => powers(*base, from, to),
            Kind::Names(names) => (0..names.len()).map(|at| at as f64).collect(),
        });
        let format: Rc<dyn Fn(f64) -> String> = match (&self.format, &self.kind) {
            (Some(format), _) => format.clone(),
            (None, Kind::Names(names)) => {
                let names = names.clone();
                Rc::new(move |at| names.get(at as usize).cloned().unwrap_or_default())
            }
            (None, _) => Rc::new(number),
        };
        Axis::new(from..to, ticks, format, is_logarithmic)
    }
}

impl fmt::Debug for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Scale");
        text.field("label", &self.label).field("kind", &self.kind);
        text.finish_non_exhaustive()
    }
}

/// A number beside a tick: whole, or with one decimal.
fn number(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    if value == value.round() {
        format!("{sign}{}", quantity::count(value))
    } else {
        format!("{value:.1}")
    }
}

/// Multiples of 1, 2 or 5 times a power of ten between two values, about `wanted` of them and
/// none finer than a tenth.
pub fn linear_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let length = (to - from).max(0.0);
    // In tenths, so that ticks are exact.
    let least = if length >= wanted as f64 { 10.0 } else { 1.0 };
    let rough = (10.0 * length / wanted.max(1) as f64).max(least);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    ((10.0 * from / step).ceil() as i32..=(10.0 * to / step).floor() as i32)
        .map(|i| f64::from(i) * step / 10.0)
        .collect()
}

/// The powers of `base` that are not below `from` and not above `to`.
fn powers(base: f64, from: f64, to: f64) -> Vec<f64> {
    // Logarithms of exact powers may come out a hair off.
    const HAIR: f64 = 1e-9;
    let exponents = ((from.ln() / base.ln()) - HAIR).ceil() as i32
        ..=((to.ln() / base.ln()) + HAIR).floor() as i32;
    exponents.map(|exponent| base.powi(exponent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let whole = |numbers: std::ops::RangeInclusive<i32>| numbers.map(f64::from);
        assert_eq!(
            linear_ticks(0.0, 11.0, 11),
            whole(0..=11).collect::<Vec<_>>()
        );
        assert_eq!(
            linear_ticks(0.0, 240.0, 12),
            whole(0..=12).map(|i| i * 20.0).collect::<Vec<_>>()
        );
        assert_eq!(linear_ticks(0.0, 0.0, 5), [0.0]);
        assert_eq!(linear_ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        // A little room below 0 has no tick of its own.
        assert_eq!(
            linear_ticks(-0.3, 26.0, 8),
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
        );
        assert_eq!(linear_ticks(-10.0, 10.0, 4), [-10.0, -5.0, 0.0, 5.0, 10.0]);
        assert_eq!(powers(10.0, 1e5, 2e7), [1e5, 1e6, 1e7]);
        assert_eq!(powers(4.0, 64.0, 1024.0), [64.0, 256.0, 1024.0]);
    }

    fn axis(scale: &Scale, places: &[f64]) -> Axis {
        scale.axis(places.iter().copied())
    }

    #[test]
    fn a_range_has_room_for_all_points() {
        use plotters::coord::ranged1d::Ranged as _;
        let range = |scale: &Scale, places: &[f64]| axis(scale, places).range();
        let linear = Scale::linear("Blocks");
        assert_eq!(range(&linear, &[10.0, 100.0]), 0.0..106.0);
        assert!(range(&linear, &[-10.0, 10.0]).start < -10.0);
        let times = range(&Scale::times("Time"), &[1e3, 1e6]);
        assert!(times.start < 1e3 && times.start > 0.0 && times.end > 1e6);
        assert_eq!(range(&Scale::percent("Misses (%)"), &[7.0]), 0.0..102.0);
        let names = Scale::names("", ["a", "b"]);
        assert_eq!(range(&names, &[]), -0.5..1.5);
        assert_eq!(axis(&names, &[]).labels(), ["a", "b"]);
        // Without points there is nothing to draw, but nothing to fail either.
        assert!(range(&linear, &[]).end > 0.0);
    }
}
