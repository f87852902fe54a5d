//! Curves as guests report them: in steps, and anew each period.

use super::curve::{BadCurve, Curve, Point};

/// Points of a blended curve, at most: with more, each period would add some.
const MOST_POINTS: usize = 512;

/// What earlier curves count for beside that of the last period, once there are enough of them. With
/// less, loads in bursts make sizes follow noise.
pub const CURVE_MEMORY: f64 = 0.95;

/// How far the curve of a period is from those before it when what they say is forgotten: a mean
/// [difference](Curve::difference) of miss ratios. What a VM does has changed then, such as after its boot.
pub const CURVE_CHANGED: f64 = 0.4;

/// The curves of a VM's reports, blended: that of one period is noisy.
#[derive(Clone, Debug)]
pub struct Reports {
    /// What earlier curves count for, 0 to 1.
    memory: f64,
    changed: f64,
    /// Reports that are blended.
    count: u32,
    curve: Option<Curve>,
    reads: Option<Curve>,
}

impl Default for Reports {
    fn default() -> Self {
        Self::new(CURVE_MEMORY, CURVE_CHANGED)
    }
}

impl Reports {
    /// Nothing reported so far. Curves before the last will count for `memory`, 0 to 1, and are forgotten
    /// when one differs from them by more than `changed`.
    pub fn new(memory: f64, changed: f64) -> Self {
        Self {
            memory,
            changed,
            count: 0,
            curve: None,
            reads: None,
        }
    }

    /// Adds what was reported of a period with accesses: the misses of all requests, and of reads. What
    /// was not reported stays.
    pub fn add(&mut self, curve: Option<Curve>, reads: Option<Curve>) {
        let difference = match (&self.curve, &curve) {
            (Some(old), Some(new)) => old.difference(new),
            _ => 0.0,
        };
        if difference > self.changed {
            *self = Self::new(self.memory, self.changed);
        }
        self.count = self.count.saturating_add(1);
        // A mean at first, so that the first curves, of cold caches, do not count for long.
        let weight = self.memory.min(1.0 - 1.0 / f64::from(self.count));
        let blend = |old: Option<Curve>, new: Option<Curve>| {
            let Some(new) = new else {
                return old;
            };
            let old = old.and_then(|old| old.rescaled(new.accesses()));
            Some(match old {
                Some(old) => old.blend(&new, weight),
                None => new,
            })
        };
        self.curve = blend(self.curve.take(), curve);
        self.reads = blend(self.reads.take(), reads);
    }

    /// The misses of all requests.
    pub fn curve(&self) -> Option<&Curve> {
        self.curve.as_ref()
    }

    /// The misses of reads.
    pub fn reads(&self) -> Option<&Curve> {
        self.reads.as_ref()
    }
}

impl Curve {
    /// The curve of `accesses` accesses per period whose miss ratio changes in steps: each ratio holds
    /// from its number of blocks up to the next, and before the first everything misses.
    ///
    /// # Errors
    /// When it is no curve: see [`BadCurve`].
    pub fn of_steps(
        accesses: f64,
        steps: impl IntoIterator<Item = (u32, f64)>,
    ) -> Result<Self, BadCurve> {
        let mut points: Vec<Point> = Vec::new();
        let mut before = accesses;
        for (blocks, ratio) in steps {
            let misses = ratio * accesses;
            let has_room = points.last().is_none_or(|last| last.blocks + 1 < blocks);
            if blocks > 0 && has_room {
                points.push(Point {
                    blocks: blocks - 1,
                    misses: before,
                });
            }
            points.push(Point { blocks, misses });
            before = misses;
        }
        Self::new(accesses, points)
    }

    /// How far two curves are apart, 0 to 1: the mean difference of their miss ratios over all sizes up to
    /// the last point of either.
    pub fn difference(&self, other: &Self) -> f64 {
        let ratio =
            |curve: &Self, size: u32| curve.misses(size) / curve.accesses().max(f64::MIN_POSITIVE);
        let points = |curve: &Self| curve.points().iter().map(|point| point.blocks).collect();
        let mut sizes: Vec<u32> = points(self);
        sizes.extend(points(other));
        sizes.sort_unstable();
        sizes.dedup();
        let area = sizes.windows(2).map(|pair| {
            let [from, to] =
                [pair[0], pair[1]].map(|size| (ratio(self, size) - ratio(other, size)).abs());
            f64::from(pair[1] - pair[0]) * (from + to) / 2.0
        });
        let last = sizes.last().copied().unwrap_or(0);
        area.sum::<f64>() / f64::from(last.max(1))
    }

    /// The mean of this curve and a newer one, in which this one counts for `weight`, 0 to 1. A curve
    /// of one period is noisy; what is blended again and again forgets by this weight a period.
    pub fn blend(&self, newer: &Self, weight: f64) -> Self {
        let weight = weight.clamp(0.0, 1.0);
        let mean = |old: f64, new: f64| weight * old + (1.0 - weight) * new;
        let points = |curve: &Self| curve.points().iter().map(|point| point.blocks).collect();
        let mut sizes: Vec<u32> = points(self);
        sizes.extend(points(newer));
        sizes.sort_unstable();
        sizes.dedup();
        let step = sizes.len().div_ceil(MOST_POINTS);
        let last = sizes.last().copied();
        let sizes = sizes.into_iter().step_by(step).chain(last);
        let mut blended: Vec<Point> = sizes
            .map(|blocks| Point {
                blocks,
                misses: mean(self.misses(blocks), newer.misses(blocks)),
            })
            .collect();
        blended.dedup_by_key(|point| point.blocks);
        let accesses = mean(self.accesses(), newer.accesses());
        Self::new(accesses, blended).unwrap_or_else(|_| newer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(accesses: f64, points: &[(u32, f64)]) -> Curve {
        let point = |(blocks, misses): &(u32, f64)| Point {
            blocks: *blocks,
            misses: *misses,
        };
        Curve::new(accesses, points.iter().map(point)).unwrap()
    }

    #[test]
    fn reports_are_a_mean_at_first_and_then_forget_slowly() {
        let mut reports = Reports::new(0.75, 1.0);
        let mut at_ten = |misses: f64| {
            reports.add(Some(curve(100.0, &[(10, misses)])), None);
            reports.curve().unwrap().misses(10).round()
        };
        assert_eq!([80.0, 40.0, 30.0].map(&mut at_ten), [80.0, 60.0, 50.0]);
        assert_eq!([50.0, 50.0].map(&mut at_ten), [50.0, 50.0]);
        assert_eq!(at_ten(90.0), 60.0, "a quarter of the last");
        reports.add(None, None);
        assert_eq!(reports.curve().unwrap().misses(10).round(), 60.0);
        assert_eq!(reports.reads(), None);
    }

    #[test]
    fn a_vm_that_does_something_else_is_judged_anew() {
        let scan = curve(1000.0, &[(99, 1000.0), (100, 10.0)]);
        let hot = curve(200.0, &[(10, 20.0), (100, 10.0)]);
        assert!(scan.difference(&hot) > 0.8, "{}", scan.difference(&hot));
        assert_eq!(hot.difference(&hot), 0.0);
        let mut reports = Reports::default();
        for _ in 0..20 {
            reports.add(Some(scan.clone()), None);
        }
        reports.add(Some(hot.clone()), None);
        assert_eq!(reports.curve(), Some(&hot));
        let near = curve(200.0, &[(12, 20.0), (100, 10.0)]);
        reports.add(Some(near.clone()), None);
        assert_eq!(reports.curve(), Some(&hot.blend(&near, 0.5)));
    }

    #[test]
    fn differences_are_those_of_miss_ratios_at_every_size() {
        let one = curve(100.0, &[(10, 60.0), (30, 20.0)]);
        let two = curve(200.0, &[(20, 50.0)]);
        let ratio = |curve: &Curve, size: f64| {
            let below = curve.misses(size as u32) / curve.accesses();
            let above = curve.misses(size as u32 + 1) / curve.accesses();
            below + (above - below) * size.fract()
        };
        let steps = 30_000;
        let sum: f64 = (0..steps)
            .map(|step| f64::from(step) * 30.0 / f64::from(steps))
            .map(|size| (ratio(&one, size) - ratio(&two, size)).abs())
            .sum();
        let mean = sum / f64::from(steps);
        // Where the curves cross within a piece, the trapezoid is above the area.
        let difference = one.difference(&two);
        assert!(
            (mean - 1e-3..mean + 0.05).contains(&difference),
            "{mean} {difference}"
        );
        assert_eq!(difference, two.difference(&one));
    }

    #[test]
    fn a_step_is_no_slope() {
        let curve = Curve::of_steps(100.0, [(1, 0.8), (50, 0.5), (51, 0.4), (90, 0.1)]).unwrap();
        let misses = [
            (0, 100.0),
            (1, 80.0),
            (49, 80.0),
            (50, 50.0),
            (51, 40.0),
            (89, 40.0),
        ];
        for (blocks, misses) in misses {
            assert!((curve.misses(blocks) - misses).abs() < 1e-9, "{blocks}");
        }
        assert!((curve.misses(1000) - 10.0).abs() < 1e-9);
        assert!(Curve::of_steps(100.0, [(5, 0.1), (4, 0.1)]).is_err());
        assert!(Curve::of_steps(100.0, [(4, 0.1), (5, 0.2)]).is_err());
    }

    #[test]
    fn a_blend_is_the_mean_at_every_size() {
        let old = curve(100.0, &[(10, 60.0), (30, 20.0)]);
        let new = curve(200.0, &[(20, 50.0)]);
        let blend = old.blend(&new, 0.25);
        assert_eq!(blend.accesses(), 175.0);
        for size in 0..40 {
            let mean = 0.25 * old.misses(size) + 0.75 * new.misses(size);
            assert!((blend.misses(size) - mean).abs() < 1e-9, "{size}");
        }
        assert_eq!(old.blend(&new, 1.0).misses(15), old.misses(15));
    }

    #[test]
    fn blends_of_blends_stay_small() {
        let mut blend = curve(100.0, &[(1, 50.0)]);
        for period in 0..50 {
            let points = (0..250).map(|i| (1 + i * 97 + period, 100.0 - f64::from(i) / 3.0));
            let points: Vec<(u32, f64)> = points.collect();
            blend = blend.blend(&curve(100.0, &points), 0.5);
            assert!(blend.points().len() <= MOST_POINTS + 2);
        }
        assert!((blend.misses(250 * 97) - 17.0).abs() < 1.0);
    }
}
