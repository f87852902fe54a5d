//! Blocks to where each saves the most misses, on convex hulls.
//!
//! On convex curves this greedy division has the fewest misses (Fox, "Discrete optimization via
//! marginal analysis", Management Science 1966). Hulls make every curve convex, at a price: a VM at
//! most stops within a segment of its hull, where its curve has more misses than the hull says.

use super::curve::{Curve, slope};
use super::span::Span;

/// A greedy division.
#[derive(Debug)]
pub struct Descent {
    /// Blocks of each VM.
    pub targets: Vec<u32>,
    /// Misses that one more block would have saved, per period; 0 when none would.
    pub slope: f64,
}

/// A part of a hull on which every block saves the same.
#[derive(Clone, Copy)]
struct Segment {
    /// Misses that each block saves, above 0.
    slope: f64,
    blocks: u32,
    /// Size at its end.
    end: u32,
}

/// Divides `blocks` among VMs by their `curves`: each gets the floor of its span, which must fit,
/// and more while it saves misses. Blocks that save none stay.
pub fn descend<'a>(
    blocks: u32,
    curves: impl IntoIterator<Item = &'a Curve>,
    spans: &[Span],
) -> Descent {
    // Slopes fall strictly within a VM. Its segments end where `ends` says.
    let mut segments: Vec<Segment> = Vec::new();
    let mut ends: Vec<usize> = Vec::with_capacity(spans.len());
    for (curve, span) in curves.into_iter().zip(spans) {
        let hull = curve.hull_within(span.floor, span.ceiling);
        let own = hull.windows(2).map(|ends| Segment {
            slope: slope(ends[0], ends[1]),
            blocks: ends[1].blocks - ends[0].blocks,
            end: ends[1].blocks,
        });
        segments.extend(own.take_while(|segment| segment.slope > 0.0));
        ends.push(segments.len());
    }
    let floors: u64 = spans.iter().map(|span| u64::from(span.floor)).sum();
    let more = u64::from(blocks).saturating_sub(floors);
    let marginal = marginal_slope(&mut segments.clone(), more);
    // The sizes of VMs that take the segments for which `is_taken`, which are their first ones.
    let sizes = |is_taken: &dyn Fn(&Segment) -> bool| -> Vec<u32> {
        let begins = [0].into_iter().chain(ends.iter().copied());
        let vms = begins.zip(&ends).zip(spans);
        vms.map(|((begin, &end), span)| {
            let own = &segments[begin..end];
            let taken = own.partition_point(is_taken);
            taken
                .checked_sub(1)
                .map_or(span.floor, |last| own[last].end)
        })
        .collect()
    };
    let mut targets = sizes(&|segment| segment.slope > marginal);
    if marginal > 0.0 {
        // Segments of the marginal slope are equally good, and taken as far as blocks last.
        let taken: u64 = targets.iter().map(|&target| u64::from(target)).sum();
        let mut left = u64::from(blocks).saturating_sub(taken) as u32;
        let most = sizes(&|segment| segment.slope >= marginal);
        for (target, most) in targets.iter_mut().zip(most) {
            let more = (most - *target).min(left);
            *target += more;
            left -= more;
        }
    }
    Descent {
        targets,
        slope: marginal,
    }
}

/// The slope of the segment at which `blocks` end when the steepest are taken first; 0 when they
/// suffice for all. A weighted selection, in time linear in the segments.
fn marginal_slope(segments: &mut [Segment], mut blocks: u64) -> f64 {
    let sum = |segments: &[Segment]| -> u64 {
        let segments = segments.iter();
        segments.map(|segment| u64::from(segment.blocks)).sum()
    };
    if sum(segments) <= blocks {
        return 0.0;
    }
    let mut rest = segments;
    while rest.len() > 1 {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by(middle, |one, other| other.slope.total_cmp(&one.slope));
        let (steep, flat) = rest.split_at_mut(middle);
        let steeper = sum(steep);
        rest = if steeper > blocks {
            steep
        } else {
            blocks -= steeper;
            flat
        };
    }
    rest[0].slope
}

#[cfg(test)]
mod tests;
