//! Free physical blocks that may still take space on the backing, and those of them where a hole is
//! being punched.
//!
//! A physical block becomes stale when it becomes free, which is after the commit that frees it. It
//! is stale no more when a volume takes it, or once a hole is punched there. Meanwhile it is not
//! free, so no volume can take it: a hole never destroys what a later owner wrote.

use std::ops::Range;

use vssd::block_set::{BlockSet, Run, spans};

use super::{Allocator, Word};

/// See the module.
#[derive(Debug)]
pub(super) struct Stale {
    blocks: BlockSet,
    /// Some became stale since the last sweep began.
    is_growing: bool,
    /// Where a hole is being punched.
    punching: Option<Run>,
}

impl Stale {
    /// These became free.
    pub(super) fn add(&mut self, (index, bits): Word) {
        self.blocks.insert_bits(index, bits);
        self.is_growing = true;
    }

    /// This one has an owner.
    pub(super) fn remove(&mut self, physical: u32) {
        self.blocks.remove(physical);
    }

    fn punching(&self) -> u32 {
        self.punching.map_or(0, |run| run.len)
    }

    /// # Panics
    /// When a stale physical block is not free.
    pub(super) fn assert_free(&self, free: &BlockSet) {
        assert!(
            self.blocks.is_subset_of(free),
            "a stale physical block has an owner"
        );
        assert_eq!(self.blocks.len(), self.blocks.recount());
    }
}

impl Allocator {
    /// Keeps track of stale physical blocks from now on. All that are free now may be.
    pub fn track_stale(&mut self) {
        self.stale = Some(Stale {
            blocks: self.free.clone(),
            is_growing: true,
            punching: None,
        });
    }

    /// Physical blocks without an owner, those included where a hole is being punched.
    pub(super) fn without_owner(&self) -> u32 {
        self.free.len() + self.stale.as_ref().map_or(0, Stale::punching)
    }

    /// Whether a hole is being punched.
    pub fn is_punching(&self) -> bool {
        self.stale
            .as_ref()
            .is_some_and(|stale| stale.punching.is_some())
    }

    /// Whether some became stale since the last call.
    pub fn begin_sweep(&mut self) -> bool {
        let stale = self.stale.as_mut();
        stale.is_some_and(|stale| std::mem::take(&mut stale.is_growing))
    }

    /// The first stale physical blocks in a row within a range, at most `most` and half of what is
    /// free: whole units of `unit` physical blocks each. They are not free until
    /// [`end_punch`](Self::end_punch).
    ///
    /// # Panics
    /// When a hole is being punched already.
    pub fn begin_punch(&mut self, within: Range<u32>, unit: u32, most: u32) -> Option<Run> {
        let most = most.min(self.free.len().div_ceil(2)) / unit * unit;
        let stale = self.stale.as_mut()?;
        assert_eq!(stale.punching, None, "one hole at a time");
        let mut from = within.start;
        let run = loop {
            let start = stale.blocks.next_in_range(from..within.end)?;
            let first = start.checked_next_multiple_of(unit)?;
            let last = first.saturating_add(most).min(within.end);
            let end = stale.blocks.next_out_range(start..last);
            let end = end.unwrap_or(last) / unit * unit;
            if first < end {
                break Run {
                    start: first,
                    len: end - first,
                };
            }
            from = stale.blocks.next_out_range(start..within.end)?;
        };
        stale.blocks.remove_range(run.start, run.len);
        stale.punching = Some(run);
        let removed = self.free.remove_range(run.start, run.len);
        assert_eq!(removed, run.len, "a stale physical block has an owner");
        self.no_longer_free(run.start, run.len);
        Some(run)
    }

    /// The hole is punched, or could not be: the physical blocks are free again.
    ///
    /// # Panics
    /// When none was begun.
    pub fn end_punch(&mut self, is_punched: bool) {
        let stale = self.stale.as_mut().expect("stale blocks are tracked");
        let run = stale.punching.take().expect("a punch was begun");
        if !is_punched {
            stale.blocks.insert_range(run.start, run.len);
        }
        for word in spans(run.start, run.len) {
            self.put_free(word);
        }
    }
}
