//! Water-filling: blocks in proportion to weights, between a floor and a ceiling for each VM.
//!
//! ```text
//!            ceiling
//!              __            level: blocks for each unit of weight
//!   - - - ____|  |____ - - - - - - - - - - -
//!    ____|    |  |    |         ____
//!   |    |    |  |    | ____ = |    | floor above the level
//! ```
//!
//! Every VM has the blocks of the same level, except where a floor or a ceiling holds it. Blocks
//! are whole: the result is that of handing them out one by one, each to the VM at the lowest
//! level after it (the method of Jefferson), ties to the VM that comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::span::Span;

/// The level that blocks of a VM stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Parts of the VM; without any it stays at its floor.
    pub weight: f64,
    /// Blocks that count once.
    pub active: f64,
    /// How often each block above `active` counts, at least 1.
    pub idle_factor: f64,
}

impl From<f64> for Price {
    /// Every block counts once.
    fn from(weight: f64) -> Self {
        Self {
            weight,
            active: f64::INFINITY,
            idle_factor: 1.0,
        }
    }
}

impl From<u32> for Price {
    fn from(weight: u32) -> Self {
        f64::from(weight).into()
    }
}

impl Price {
    fn level(&self, blocks: u32) -> f64 {
        let blocks = f64::from(blocks);
        let cost = if blocks <= self.active {
            blocks
        } else {
            self.active + (blocks - self.active) * self.idle_factor
        };
        cost / self.weight
    }

    /// Blocks at `level`, rounded down; the cast saturates.
    fn blocks(&self, level: f64) -> u32 {
        let cost = level * self.weight;
        let blocks = if cost <= self.active {
            cost
        } else {
            self.active + (cost - self.active) / self.idle_factor
        };
        blocks as u32
    }
}

/// Divides `blocks` among VMs. All floors must fit; what is above all ceilings stays.
pub fn fill(blocks: u32, spans: &[Span], prices: &[Price]) -> Vec<u32> {
    let top = |index: usize| {
        let Span { floor, ceiling } = spans[index];
        if prices[index].weight > 0.0 {
            ceiling
        } else {
            floor
        }
    };
    let at = |level: f64, fewer: u32| {
        let vms = spans.iter().zip(prices).enumerate();
        vms.map(move |(index, (span, price))| {
            let blocks = price.blocks(level).saturating_sub(fewer);
            blocks.clamp(span.floor, top(index))
        })
    };
    let fits = |level: f64| at(level, 0).map(u64::from).sum::<u64>() <= blocks.into();
    let tops = (0..spans.len()).map(top);
    if tops.clone().map(u64::from).sum::<u64>() <= blocks.into() {
        return tops.collect();
    }
    let level = greatest(f64::MAX, fits);
    // One below, so that rounding cannot have given a block too many. Few are left then.
    let mut targets: Vec<u32> = at(level, 1).collect();
    let sum: u64 = targets.iter().copied().map(u64::from).sum();
    let mut left = u64::from(blocks).saturating_sub(sum);
    let next = |index: usize, held: u32| {
        let level = || prices[index].level(held + 1);
        (held < top(index)).then(|| Reverse((level().to_bits(), index)))
    };
    let vms = targets.iter().enumerate();
    let mut lowest: BinaryHeap<_> = vms.filter_map(|(index, held)| next(index, *held)).collect();
    while left > 0
        && let Some(Reverse((_, index))) = lowest.pop()
    {
        targets[index] += 1;
        left -= 1;
        lowest.extend(next(index, targets[index]));
    }
    targets
}

/// The greatest value from 0 to `most` of which `holds` is true, which is true of 0 and, once
/// false, stays so. Floats that are not negative have the order of their bits, so this is exact.
pub fn greatest(most: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut yes, mut no) = (0, most.to_bits() + 1);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if holds(f64::from_bits(middle)) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    f64::from_bits(yes)
}

#[cfg(test)]
mod tests;
