//! What the application says of ranges of blocks, for the choice of blocks at a shrink.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::state::Core;

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

impl Core {
    /// Takes note of advice. How many blocks of the range are cached now.
    pub fn advise(&mut self, range: Range<u32>, advice: Advice) -> Result<u32, TooManyRanges> {
        self.advice.set(range.clone(), advice)?;
        let mut cached = 0;
        if range.len() <= self.cache.len() as usize {
            let found = range.filter(|&block| self.cache.find(block).is_some());
            cached = found.count() as u32;
        } else {
            self.cache.for_each(|(block, _)| {
                cached += u32::from(range.contains(&block));
            });
        }
        Ok(cached)
    }

    /// Blocks that the application is done with, all cached ones among them: those of the ranges
    /// or those of the cache are looked through, whichever are fewer.
    pub fn done(&self) -> Vec<u32> {
        let blocks: usize = self.advice.with(Advice::Done).map(|it| it.len()).sum();
        if blocks <= self.cache.len() as usize {
            return self.advice.with(Advice::Done).flatten().collect();
        }
        let mut done = Vec::new();
        self.cache.for_each(|(block, _)| {
            if self.advice.of(block) == Advice::Done {
                done.push(block);
            }
        });
        done
    }

    /// Whether a shrink keeps some blocks until no other is left.
    pub fn keeps_some(&self) -> bool {
        self.clean_first || self.advice.with(Advice::Needed).next().is_some()
    }
}
