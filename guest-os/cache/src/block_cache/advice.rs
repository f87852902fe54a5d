//! What the application says of ranges of blocks, for the choice of blocks at a shrink.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Ranges of blocks with advice, at most. A shrink looks a block up in them by bisection.
pub const RANGES_MAX: usize = 1024;

/// What the application will do with blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advice {
    /// Nothing is known of them.
    #[default]
    Normal,
    /// They will be used again: a shrink gives them up last.
    Needed,
    /// They will not be used again: a shrink gives them up first.
    Done,
}

/// There would be more than [`RANGES_MAX`] ranges with advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRanges;

impl fmt::Display for TooManyRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "advice holds for at most {RANGES_MAX} separate ranges of blocks: advise larger \
             ranges, or set some back to normal"
        )
    }
}

impl core::error::Error for TooManyRanges {}

/// Ranges with advice other than [`Advice::Normal`]: sorted, disjoint, none empty, and
/// neighbours with the same advice are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvisedRanges(Vec<(Range<u32>, Advice)>);

impl AdvisedRanges {
    /// From now on this advice holds for `range`, in place of any other.
    ///
    /// # Errors
    /// When that makes too many ranges; nothing has changed then.
    pub fn set(&mut self, range: Range<u32>, advice: Advice) -> Result<(), TooManyRanges> {
        if range.is_empty() {
            return Ok(());
        }
        let before = self.0.iter().map(|(it, advice)| {
            let end = it.end.min(range.start);
            (it.start..end, *advice)
        });
        let after = self.0.iter().map(|(it, advice)| {
            let start = it.start.max(range.end);
            (start..it.end, *advice)
        });
        let mut ranges: Vec<(Range<u32>, Advice)> = Vec::with_capacity(self.0.len() + 2);
        for (it, advice) in before.chain([(range.clone(), advice)]).chain(after) {
            if it.is_empty() || advice == Advice::Normal {
                continue;
            }
            match ranges.last_mut() {
                Some((last, same)) if last.end == it.start && *same == advice => last.end = it.end,
                _ => ranges.push((it, advice)),
            }
        }
        if ranges.len() > RANGES_MAX {
            return Err(TooManyRanges);
        }
        self.0 = ranges;
        Ok(())
    }

    /// The advice for a block.
    pub fn of(&self, block: u32) -> Advice {
        let at = self.0.partition_point(|(range, _)| range.end <= block);
        let found = self.0.get(at).filter(|(range, _)| range.start <= block);
        found.map_or(Advice::Normal, |&(_, advice)| advice)
    }

    /// The ranges with this advice.
    pub fn with(&self, advice: Advice) -> impl Iterator<Item = Range<u32>> {
        let ranges = self.0.iter().filter(move |&&(_, it)| it == advice);
        ranges.map(|(range, _)| range.clone())
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(Range<u32>, Advice)>()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::boxed::Box;
    use alloc::string::ToString;
    use std::println;

    use super::*;
    use crate::block_cache::Config;
    use crate::block_cache::tests::{Rng, Run, configs};
    use crate::{Policy, WritePolicy};

    const ALL: [Advice; 3] = [Advice::Normal, Advice::Needed, Advice::Done];

    #[test]
    fn ranges_are_the_advice_of_each_block() {
        for seed in 0..50 {
            let mut rng = Rng(seed);
            let mut model = [Advice::Normal; 60];
            let mut ranges = AdvisedRanges::default();
            for _ in 0..60 {
                let first = rng.below(60);
                let end = (first + rng.below(12)).min(60);
                let advice = ALL[rng.below(3) as usize];
                ranges.set(first..end, advice).expect("few ranges");
                model[first as usize..end as usize].fill(advice);
                for (block, &advice) in (0..).zip(&model) {
                    assert_eq!(ranges.of(block), advice, "seed {seed}, block {block}");
                }
                let runs = model.chunk_by(|a, b| a == b);
                let runs = runs.filter(|run| run[0] != Advice::Normal);
                assert_eq!(ranges.0.len(), runs.count(), "seed {seed}");
                for of in ALL {
                    let with: u32 = ranges.with(of).map(|range| range.len() as u32).sum();
                    let blocks = model.iter().filter(|&&it| it == of && it != Advice::Normal);
                    assert_eq!(with, blocks.count() as u32, "seed {seed}");
                }
            }
            assert_eq!(ranges.of(60), Advice::Normal);
        }
    }

    #[test]
    fn the_last_block_has_advice_like_any() {
        let mut ranges = AdvisedRanges::default();
        ranges.set(5..u32::MAX, Advice::Done).expect("one range");
        assert_eq!(ranges.of(u32::MAX - 1), Advice::Done);
        assert_eq!(
            [ranges.of(4), ranges.of(u32::MAX)],
            [Advice::Normal, Advice::Normal]
        );
    }

    #[test]
    fn ranges_beyond_the_limit_are_refused_and_change_nothing() {
        let mut ranges = AdvisedRanges::default();
        let most = RANGES_MAX as u32;
        for at in 0..most {
            let range = 4 * at..4 * at + 3;
            ranges.set(range, Advice::Needed).expect("up to the limit");
        }
        let full = ranges.clone();
        let refused = [
            (4 * most..4 * most + 1, Advice::Needed),
            (1..2, Advice::Normal),
            (3..4, Advice::Done),
        ];
        for (range, advice) in refused {
            assert_eq!(ranges.set(range, advice), Err(TooManyRanges));
            assert_eq!(ranges, full);
        }
        assert!(TooManyRanges.to_string().contains("at most 1024"));
        // What joins two ranges makes room.
        assert_eq!(ranges.set(3..4, Advice::Needed), Ok(()));
        assert_eq!(ranges.set(4 * most..4 * most + 1, Advice::Done), Ok(()));
        assert_eq!(ranges.set(0..u32::MAX, Advice::Normal), Ok(()));
        assert_eq!(ranges, AdvisedRanges::default());
    }

    /// A cache with `slots` slots.
    fn open(config: Config, slots: u32) -> Run {
        let first = crate::metadata::region_blocks(crate::block_cache::tests::VSSD_BLOCKS);
        Run::open(config, 0..first + slots, 3)
    }

    fn read(run: &mut Run, blocks: impl IntoIterator<Item = u32>) {
        for block in blocks {
            run.read(block, 0);
            run.wait(0);
        }
    }

    /// Gives up `count` slots; says which blocks up to 16 are cached then.
    fn shrink(run: &mut Run, count: u32, spare: &[u32]) -> Vec<u32> {
        run.cache.want(count, spare);
        for _ in 0..2000 {
            run.turn();
        }
        assert_eq!(run.cache.take_ready(count).len(), count as usize);
        let core = run.cache.core.borrow();
        core.cache.check();
        let cached = (0..16).filter(|&block| core.cache.find(block).is_some());
        cached.collect()
    }

    fn lru() -> Config {
        Config {
            dirty_percent: 100,
            ..Config::new(Policy::Lru, WritePolicy::WriteBack)
        }
    }

    #[test]
    fn by_every_policy_what_is_done_goes_first_and_what_is_needed_last() {
        for config in configs() {
            for rest in [8, 1 << 10] {
                println!("{} {}, to {rest}", config.eviction, config.write);
                let mut run = open(config, 10);
                read(&mut run, 0..8);
                // One range of few blocks, or of more than are cached.
                assert_eq!(run.cache.advise(5..rest, Advice::Done), Ok(3));
                assert_eq!(run.cache.advise(2..5, Advice::Needed), Ok(3));
                assert_eq!(shrink(&mut run, 2, &[]), [0, 1, 2, 3, 4, 5, 6, 7]);
                assert_eq!(shrink(&mut run, 2, &[]).len(), 6);
                let left = shrink(&mut run, 1, &[]);
                assert_eq!(left, [0, 1, 2, 3, 4]);
                assert_eq!(shrink(&mut run, 2, &[]), [2, 3, 4]);
                assert_eq!(shrink(&mut run, 1, &[]).len(), 2);
                assert_eq!(shrink(&mut run, 2, &[]), []);
            }
        }
    }

    #[test]
    fn spare_blocks_go_before_any_other() {
        let mut run = open(lru(), 4);
        read(&mut run, 0..4);
        assert_eq!(run.cache.advise(1..3, Advice::Done), Ok(2));
        assert_eq!(run.cache.advise(3..4, Advice::Needed), Ok(1));
        assert_eq!(shrink(&mut run, 2, &[9, 3]), [0, 2]);
    }

    #[test]
    fn advice_holds_for_blocks_that_come_later_until_there_is_other_advice() {
        let mut run = open(lru(), 8);
        assert_eq!(run.cache.advise(0..2, Advice::Needed), Ok(0));
        assert_eq!(run.cache.advise(6..100, Advice::Done), Ok(0));
        read(&mut run, 0..8);
        assert_eq!(shrink(&mut run, 1, &[]).len(), 7);
        assert_eq!(shrink(&mut run, 1, &[]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(run.cache.advise(0..1, Advice::Normal), Ok(1));
        assert_eq!(shrink(&mut run, 1, &[]), [1, 2, 3, 4, 5]);
        // Those that were kept back are where they were for the policy.
        assert_eq!(run.cache.advise(1..2, Advice::Normal), Ok(1));
        assert_eq!(shrink(&mut run, 1, &[]), [2, 3, 4, 5]);
    }

    #[test]
    fn advice_does_not_change_what_is_evicted() {
        let mut run = open(lru(), 4);
        read(&mut run, 0..4);
        assert_eq!(run.cache.advise(0..1, Advice::Needed), Ok(1));
        assert_eq!(run.cache.advise(3..4, Advice::Done), Ok(1));
        read(&mut run, [4]);
        assert_eq!(shrink(&mut run, 0, &[]), [1, 2, 3, 4]);
    }

    #[test]
    fn dirty_blocks_go_last_if_clean_ones_are_to_go_first() {
        for clean_first in [false, true] {
            let config = Config {
                clean_first,
                ..lru()
            };
            let mut run = open(config, 4);
            run.write(0, 7);
            read(&mut run, 1..3);
            run.write(3, 7);
            run.wait(0);
            assert_eq!(run.cache.advise(1..2, Advice::Needed), Ok(1));
            let left = [1, 1, 1].map(|count| shrink(&mut run, count, &[]));
            let expected: [&[u32]; 3] = if clean_first {
                // A dirty block and a needed one are worth what they are to the policy.
                [&[0, 1, 3], &[1, 3], &[3]]
            } else {
                [&[1, 2, 3], &[1, 3], &[1]]
            };
            assert_eq!(left, expected, "clean first: {clean_first}");
            let written = run.cache.stats().origin_writes;
            assert_eq!(written, if clean_first { 1 } else { 2 });
            let cache = run.cache.clone();
            run.tasks.push(Box::pin(async move {
                assert_eq!(cache.write_back().await.errors, 0);
            }));
            run.wait(0);
            assert_eq!(run.cache.stats().origin_writes, 2);
        }
    }
}
