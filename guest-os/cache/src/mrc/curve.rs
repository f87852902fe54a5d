//! Miss ratios over cache sizes.

use alloc::vec::Vec;

/// The miss ratio of an LRU cache by its size in blocks, as a step function: each step holds
/// from its size to that of the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    // Ascending sizes; before the first, everything misses.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    blocks: u64,
    miss_ratio: f64,
}

impl Curve {
    /// The curve of `accesses` accesses. `hits` has the number of accesses per distance, by
    /// ascending distance. Sums of estimated counts may be below 0 or above `accesses`; ratios
    /// are clamped.
    pub fn of(accesses: f64, hits: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let mut sum = 0.0;
        for (blocks, count) in hits {
            sum += count;
            let miss_ratio = (1.0 - sum / accesses).clamp(0.0, 1.0);
            match steps.last_mut() {
                Some(last) if last.blocks == blocks => last.miss_ratio = miss_ratio,
                last => {
                    assert!(last.is_none_or(|last| last.blocks < blocks), "ascending");
                    steps.push(Step { blocks, miss_ratio });
                }
            }
        }
        Self { steps }
    }

    /// The sizes at which the ratio changes, with the new ratio.
    pub fn steps(&self) -> impl Iterator<Item = (u64, f64)> {
        self.steps.iter().map(|step| (step.blocks, step.miss_ratio))
    }

    /// The miss ratio of a cache of `blocks` blocks.
    pub fn miss_ratio(&self, blocks: u64) -> f64 {
        match self.steps.partition_point(|step| step.blocks <= blocks) {
            0 => 1.0,
            after => self.steps[after - 1].miss_ratio,
        }
    }

    /// The mean of the absolute differences to `other` over all cache sizes from 1 to
    /// `blocks_max`, which is at least 1, all with equal weight.
    pub fn mean_absolute_error(&self, other: &Self, blocks_max: u64) -> f64 {
        assert!(blocks_max > 0, "a mean over no cache sizes");
        let changes = |curve: &Self| {
            let sizes = curve.steps.iter().map(|step| step.blocks);
            sizes.filter(|blocks| *blocks <= blocks_max).collect()
        };
        let mut sizes: Vec<u64> = changes(self);
        sizes.extend(changes(other));
        sizes.push(1);
        sizes.sort_unstable();
        sizes.dedup();
        let ends = sizes.iter().skip(1).copied().chain([blocks_max + 1]);
        let sum: f64 = sizes
            .iter()
            .zip(ends)
            .map(|(from, to)| {
                let difference = self.miss_ratio(*from) - other.miss_ratio(*from);
                difference.abs() * (to - from) as f64
            })
            .sum();
        sum / blocks_max as f64
    }
}
