//! The misses of a cache by its size.
//!
//! ```text
//!  misses a period
//!   accesses *
//!            |\            * a point     . the convex hull
//!            | *------*
//!            |  .      \
//!            |    .     *------------*   the floor: misses that no size avoids
//!            +--------------------------- blocks
//! ```
//!
//! A curve is a polyline through its points. Before the first point it comes from (0, all accesses);
//! behind the last it is flat: nothing is known of larger sizes. A step is two points one block
//! apart. Curves of LRU fall monotonically, as a larger cache has every block of a smaller one
//! (Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 1970).

/// The most points of a curve. It bounds what one VM can cost the arbiter; curves for partitioning
/// have about a hundred.
pub const MAX_POINTS: usize = 1024;

/// The most accesses of a curve: integers up to here are exact in an `f64`.
pub const MAX_ACCESSES: f64 = (1_u64 << 53) as f64;

/// The share of the accesses by which the misses of a [working set](Curve::working_set) may be
/// above the floor.
const WORKING_SET_SLACK: f64 = 0.01;

/// The misses at one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Size of the cache, blocks.
    pub blocks: u32,
    /// Expected misses, per period.
    pub misses: f64,
}

/// Why points are no curve.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BadCurve {
    /// There is no point.
    #[error("a curve without points: expected 1 to {MAX_POINTS}")]
    Empty,
    /// There are too many points.
    #[error("a curve of {0} points: expected 1 to {MAX_POINTS}")]
    TooManyPoints(usize),
    /// The accesses are no number of accesses.
    #[error("a curve of {0} accesses: expected 0 to {MAX_ACCESSES}")]
    Accesses(f64),
    /// The misses of a point are no number of misses.
    #[error("{} misses at {} blocks: expected 0 or more", .0.misses, .0.blocks)]
    Misses(Point),
    /// A point has more misses than the curve has accesses.
    #[error("{} misses at {} blocks: more than all {accesses} accesses", .point.misses, .point.blocks)]
    AboveAccesses {
        /// The point.
        point: Point,
        /// The accesses of the curve.
        accesses: f64,
    },
    /// Sizes do not ascend.
    #[error("a point at {after} blocks behind one at {before}: sizes must ascend")]
    Unsorted {
        /// Blocks of a point.
        before: u32,
        /// Blocks of the next point.
        after: u32,
    },
    /// Misses rise with the size.
    #[error(
        "misses rise from {} at {} blocks to {} at {}: a larger cache never misses more",
        .before.misses, .before.blocks, .after.misses, .after.blocks
    )]
    Rising {
        /// A point.
        before: Point,
        /// The next point.
        after: Point,
    },
}

/// Expected misses per period of a cache by its size. See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    accesses: f64,
    /// Sizes ascend from 0, misses do not rise.
    points: Vec<Point>,
}

impl Curve {
    /// The curve of `accesses` accesses per period through `points`, at ascending sizes.
    ///
    /// # Errors
    /// When it is no curve: see [`BadCurve`].
    pub fn new(accesses: f64, points: impl IntoIterator<Item = Point>) -> Result<Self, BadCurve> {
        if !(0.0..=MAX_ACCESSES).contains(&accesses) {
            return Err(BadCurve::Accesses(accesses));
        }
        let mut checked: Vec<Point> = Vec::new();
        // One more than allowed is enough to refuse an endless iterator.
        for (index, point) in points.into_iter().enumerate() {
            if index == MAX_POINTS {
                return Err(BadCurve::TooManyPoints(index + 1));
            }
            // Also false for NaN.
            if !(0.0..).contains(&point.misses) {
                return Err(BadCurve::Misses(point));
            }
            if point.misses > accesses {
                return Err(BadCurve::AboveAccesses { point, accesses });
            }
            match checked.last().copied() {
                None if point.blocks > 0 => checked.push(Point {
                    blocks: 0,
                    misses: accesses,
                }),
                Some(before) if index > 0 && before.blocks >= point.blocks => {
                    return Err(BadCurve::Unsorted {
                        before: before.blocks,
                        after: point.blocks,
                    });
                }
                Some(before) if before.misses < point.misses => {
                    return Err(BadCurve::Rising {
                        before,
                        after: point,
                    });
                }
                _ => {}
            }
            checked.push(point);
        }
        if checked.is_empty() {
            return Err(BadCurve::Empty);
        }
        Ok(Self {
            accesses,
            points: checked,
        })
    }

    /// What a host can tell of a cache without a curve: it had `hits` of `accesses` with `held`
    /// blocks.
    ///
    /// A line from (0, all accesses) to (`held`, the misses), and on at half its slope until no
    /// miss is left: curves flatten, but a flat line would say that the VM gains nothing from any
    /// more blocks, so that it could only shrink. When the guess is wrong, hits do not rise with
    /// the size, and the slope of the next period is smaller. With nothing held, `base` blocks
    /// are expected to have no misses.
    pub fn estimated(accesses: u64, hits: u64, held: u32, base: u32) -> Self {
        let all = (accesses as f64).min(MAX_ACCESSES);
        let hits = (hits as f64).min(all);
        let misses = all - hits;
        let point = |blocks, misses| Point { blocks, misses };
        let mut points = vec![point(0, all)];
        if all > 0.0 && held == 0 {
            points.push(point(base.max(1), 0.0));
        } else if all > 0.0 {
            points.push(point(held, misses));
            let slope = hits / f64::from(held) / 2.0;
            let more = u32::MAX - held;
            if slope > 0.0 && misses > 0.0 && more > 0 {
                // Saturates: a cast of a float does.
                let blocks = ((misses / slope).ceil() as u32).clamp(1, more);
                let left = (misses - slope * f64::from(blocks)).max(0.0);
                points.push(point(held + blocks, left));
            }
        }
        Self {
            accesses: all,
            points,
        }
    }

    /// Accesses per period.
    pub fn accesses(&self) -> f64 {
        self.accesses
    }

    /// The points, the first of them at 0 blocks.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The misses that no known size avoids, per period.
    pub fn floor(&self) -> f64 {
        self.points.last().map_or(0.0, |last| last.misses)
    }

    /// The same shape for `accesses` accesses per period; `None` without any accesses of its own,
    /// as it has no shape then.
    pub fn rescaled(&self, accesses: f64) -> Option<Self> {
        // The ratio is at most 1, so the product cannot overflow.
        let scale = |point: &Point| Point {
            blocks: point.blocks,
            misses: point.misses / self.accesses * accesses,
        };
        (self.accesses > 0.0).then(|| Self {
            accesses,
            points: self.points.iter().map(scale).collect(),
        })
    }

    /// The curve without so many accesses per period that miss at any size.
    pub fn without_misses(&self, misses: f64) -> Self {
        let accesses = (self.accesses - misses).max(0.0);
        let less = |point: &Point| Point {
            blocks: point.blocks,
            // A sampled curve may have fewer misses than accesses that always miss.
            misses: (point.misses - misses).clamp(0.0, accesses),
        };
        Self {
            accesses,
            points: self.points.iter().map(less).collect(),
        }
    }

    /// Expected misses per period with `size` blocks.
    pub fn misses(&self, size: u32) -> f64 {
        let after = self.points.partition_point(|point| point.blocks <= size);
        let from = self.points[after.max(1) - 1];
        match self.points.get(after) {
            Some(to) if from.blocks != size => between(from, *to, size),
            _ => from.misses,
        }
    }

    /// The least size, in blocks, with at most `misses` misses per period; `None` when no known
    /// size has so few.
    pub fn size_for(&self, misses: f64) -> Option<u32> {
        let after = self.points.partition_point(|point| point.misses > misses);
        let to = *self.points.get(after)?;
        let Some(from) = after.checked_sub(1).map(|before| self.points[before]) else {
            return Some(to.blocks);
        };
        let (mut below, mut enough) = (from.blocks, to.blocks);
        while enough - below > 1 {
            let middle = below + (enough - below) / 2;
            if between(from, to, middle) <= misses {
                enough = middle;
            } else {
                below = middle;
            }
        }
        Some(enough)
    }

    /// The least size, in blocks, at which the misses are above the [floor](Self::floor) by at most
    /// 1 % of the accesses: more blocks would hardly matter.
    pub fn working_set(&self) -> u32 {
        let enough = self.floor() + WORKING_SET_SLACK * self.accesses;
        self.size_for(enough).unwrap_or(0)
    }

    /// The lower convex hull: what a cache can have that splits its blocks and its accesses in two
    /// (Beckmann and Sanchez, "Talus: A simple way to remove cliffs in cache performance",
    /// HPCA 2015).
    pub fn hull(&self) -> Self {
        Self {
            accesses: self.accesses,
            points: hull(self.points.iter().copied()),
        }
    }

    /// The points of the lower convex hull of the part from `from` to `to` blocks.
    pub fn hull_within(&self, from: u32, to: u32) -> Vec<Point> {
        let end = |blocks| Point {
            blocks,
            misses: self.misses(blocks),
        };
        let inner = self.points.iter().copied();
        let inner = inner
            .skip_while(|point| point.blocks <= from)
            .take_while(|point| point.blocks < to);
        let last = (to > from).then(|| end(to));
        hull([end(from)].into_iter().chain(inner).chain(last))
    }
}

/// Misses at `size`, strictly between two points. Does not rise with the size, and is within the
/// misses of the points, whatever the rounding.
fn between(from: Point, to: Point, size: u32) -> f64 {
    let part = f64::from(size - from.blocks) / f64::from(to.blocks - from.blocks);
    (from.misses + (to.misses - from.misses) * part).max(to.misses)
}

/// Misses that each block saves between two points.
pub(super) fn slope(from: Point, to: Point) -> f64 {
    (from.misses - to.misses) / f64::from(to.blocks - from.blocks)
}

/// The lower convex hull, by Andrew's monotone chain.
fn hull(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut hull: Vec<Point> = Vec::with_capacity(points.size_hint().1.unwrap_or(0));
    // The slope up to each point of the hull but the first.
    let mut slopes: Vec<f64> = Vec::with_capacity(hull.capacity());
    for point in points {
        while let Some(last) = hull.last().copied() {
            let next = slope(last, point);
            if slopes.last().is_none_or(|before| *before > next) {
                slopes.push(next);
                break;
            }
            slopes.pop();
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

#[cfg(test)]
mod tests;
