//! Curves as guests report them: in steps, and anew each period.

use super::curve::{BadCurve, Curve, Point};

/// Points of a blended curve, at most: with more, each period would add some.
const MOST_POINTS: usize = 512;

/// What earlier curves count for beside that of the last period, once there are enough of them. With
/// less, loads in bursts make sizes follow noise.
pub const CURVE_MEMORY: f64 = 0.95;

/// The weight of the earlier curves when report number `reports` comes, the first being 1, under a
/// `memory` of 0 to 1: a mean at first, so that the first curves, of cold caches, do not count for long.
pub fn earlier_weight(memory: f64, reports: u32) -> f64 {
    memory.min(1.0 - 1.0 / f64::from(reports.max(1)))
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
    fn curves_are_a_mean_at_first() {
        let weights = [1, 2, 4, 1000].map(|reports| earlier_weight(0.9, reports));
        assert_eq!(weights, [0.0, 0.5, 0.75, 0.9]);
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
