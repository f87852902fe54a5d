//! Slots that are surrendered, and slots that are granted.
//!
//! ```text
//!            want                 written back, no record      take_ready
//!   cached --------> departing -------------------------> ready ---------> (hypervisor's)
//!     ^                                                     |
//!     +------------------ wanted no more -------------------+
//! ```
//!
//! What goes first, until enough slots are on their way:
//!
//! 1. free slots,
//! 2. blocks that the caller says are spare,
//! 3. blocks that the application is done with,
//! 4. what the eviction policy chooses, without the blocks that the application needs and, if
//!    clean blocks are to go first, without dirty ones,
//! 5. what the eviction policy chooses.

use alloc::vec::Vec;
use core::ops::Range;

use super::advice::{Advice, TooManyRanges};
use super::lock_queue::Resource;
use super::state::{Core, Kind};
use crate::cache::Cached;

impl Core {
    /// Takes as many slots out of the cache as are wanted and not on their way, in the order of
    /// the module.
    pub fn pursue(&mut self, spare: &[u32]) {
        let on_its_way = self.on_its_way();
        let Some(missing) = self.wanted.checked_sub(on_its_way) else {
            self.keep_ready();
            return;
        };
        if missing == 0 || self.cache.capacity() == 0 {
            return;
        }
        let mut gone = Vec::with_capacity(missing.min(self.cache.capacity()) as usize);
        self.take_cached(missing, spare.iter().copied(), &mut gone);
        if missing as usize > gone.len() + self.free() as usize {
            let done = self.done();
            self.take_cached(missing, done, &mut gone);
        }
        let missing = missing - gone.len() as u32;
        let keeps_some = self.keeps_some();
        let Self {
            cache,
            dirty,
            advice,
            clean_first,
            ..
        } = self;
        let each = |slot, cached: Option<Cached>| {
            gone.push((slot, cached.map(|cached| cached.block)));
        };
        if keeps_some {
            let keep = |slot, block| {
                advice.of(block) == Advice::Needed
                    || *clean_first && dirty.current(slot, block).is_some()
            };
            cache.surrender_keeping(missing, keep, each);
        } else {
            cache.surrender(missing, each);
        }
        self.resize();
        for (slot, block) in gone {
            self.depart(slot, block);
        }
    }

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

    /// Takes the slots of those of `blocks` that are cached out of the cache, as far as what is
    /// gone already and its free slots are not enough.
    fn take_cached(
        &mut self,
        missing: u32,
        blocks: impl IntoIterator<Item = u32>,
        gone: &mut Vec<(u32, Option<u32>)>,
    ) {
        let count = missing.saturating_sub(gone.len() as u32 + self.free());
        let mut blocks = blocks.into_iter();
        for _ in 0..count {
            let cached = blocks.find_map(|block| Some((self.cache.find(block)?, block)));
            let Some((slot, block)) = cached else {
                return;
            };
            self.cache.revoke(slot);
            gone.push((slot, Some(block)));
        }
    }

    /// Free slots of the cache.
    fn free(&self) -> u32 {
        self.cache.capacity() - self.cache.len()
    }

    /// Whether blocks are wanted, or on their way.
    pub fn is_surrendering(&self) -> bool {
        self.wanted > 0 || self.on_its_way() > 0
    }

    /// Blocks that are ready, or will be.
    pub fn on_its_way(&self) -> u32 {
        (self.ready.len() + self.leaving.len()) as u32 + self.departing_count
    }

    /// A slot has left the cache, with what was in it.
    fn depart(&mut self, slot: u32, block: Option<u32>) {
        let victim = block.and_then(|block| self.detach(slot, block));
        if victim.is_none() && self.locks.is_idle(Resource::Slot(slot)) {
            self.free_record(slot);
            match self.cache.mark(slot) {
                0 => self.ready.push(slot),
                _ => self.leaving.push(slot),
            }
            return;
        }
        // The slot comes first: it is not for its block that this comes.
        let touched = [Some(Resource::Slot(slot)), block.map(Resource::Block)];
        let mut job = self.job_of(touched, false, block.unwrap_or(0), Kind::Depart, Some(slot));
        job.victim = victim;
        self.departing_count += 1;
        self.departing.push_back(job);
    }

    /// Slots that had a record and have none any longer can be given up.
    pub fn leave(&mut self) {
        let Self {
            cache,
            leaving,
            ready,
            ..
        } = self;
        leaving.retain(|&slot| {
            let is_on_record = cache.mark(slot) != 0;
            if !is_on_record {
                ready.push(slot);
            }
            is_on_record
        });
    }

    /// Gives back to the cache what is ready and not wanted.
    fn keep_ready(&mut self) {
        let surplus = self.on_its_way() - self.wanted;
        for _ in 0..surplus {
            // Blocks of the metadata go last and stay out: they are of use together only.
            match self.ready.pop() {
                Some(slot) if slot >= self.region => self.grow(slot),
                Some(block) => self.returned.push(block),
                None => break,
            }
        }
        self.resize();
    }

    /// Hands out up to `max` blocks that are ready.
    pub fn take_ready(&mut self, max: u32) -> Vec<u32> {
        let count = max.min(self.wanted).min(self.ready.len() as u32);
        self.wanted -= count;
        self.ready.drain(..count as usize).collect()
    }

    /// Slots come.
    pub fn grant(&mut self, blocks: &[Range<u32>]) {
        let (first, end) = (self.region, self.slots);
        for run in blocks {
            self.cache.grow(run.start.max(first)..run.end.min(end));
        }
        self.resize();
    }

    /// A slot comes back.
    pub fn grow(&mut self, slot: u32) {
        self.cache.grow([slot]);
    }

    /// The number of slots has changed.
    pub fn resize(&mut self) {
        self.promotion.resize(self.cache.capacity());
    }
}
