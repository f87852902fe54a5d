//! What each block of the region is for.
//!
//! ```text
//!           granted       blanked        planned, written
//!   Absent ────────> Raw ────────> Free ──────────────────> Log, Next, Building
//!                                   ^                            │
//!                                   │ the roots are erased       │ the checkpoint
//!                                   │                            v is complete
//!                                  Old <─────────────────── Checkpoint, Log, Next
//!                                       replaced, given up
//! ```
//!
//! Any of them becomes `Absent` when it is revoked.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// What a block of the region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is not held.
    Absent,
    /// It may read as zeros, which a block that is used must not.
    Raw,
    /// Nothing, and it is not zeros.
    Free,
    /// It is in the plan under way.
    Planned,
    /// A part of the checkpoint that counts.
    Checkpoint,
    /// A part of the log.
    Log,
    /// Where the log goes on.
    Next,
    /// A part of the checkpoint that is being written, or where its log begins.
    Building,
    /// It was in a checkpoint or log that recovery may still find.
    Old,
}

/// The blocks of the region.
#[derive(Debug)]
pub struct Space {
    uses: Vec<Use>,
    /// Blocks of each use.
    counts: [u32; 9],
    /// Where to look next, so that blocks written together are neighbours.
    cursor: u32,
}

impl Space {
    /// A region of `blocks` blocks, none of them held.
    pub fn new(blocks: u32) -> Self {
        let mut counts = [0; 9];
        counts[Use::Absent as usize] = blocks;
        Self {
            uses: vec![Use::Absent; blocks as usize],
            counts,
            cursor: 0,
        }
    }

    pub fn blocks(&self) -> u32 {
        self.uses.len() as u32
    }

    pub fn get(&self, place: u32) -> Use {
        self.uses[place as usize]
    }

    pub fn set(&mut self, place: u32, to: Use) {
        let from = core::mem::replace(&mut self.uses[place as usize], to);
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Makes all that are `from` be `to`.
    pub fn replace(&mut self, from: Use, to: Use) {
        if self.count(from) > 0 {
            self.uses
                .iter_mut()
                .filter(|of| **of == from)
                .for_each(|of| *of = to);
            self.counts[to as usize] += core::mem::take(&mut self.counts[from as usize]);
        }
    }

    pub fn count(&self, of: Use) -> u32 {
        self.counts[of as usize]
    }

    pub fn held(&self) -> u32 {
        self.blocks() - self.count(Use::Absent)
    }

    /// The blocks of a use.
    pub fn all(&self, of: Use) -> impl Iterator<Item = u32> {
        // Most often there is none, and a look at all of them to be spared.
        let blocks = if self.count(of) > 0 { self.blocks() } else { 0 };
        (0..blocks).filter(move |&place| self.get(place) == of)
    }

    /// A free block, which is planned from now on.
    pub fn allocate(&mut self) -> Option<u32> {
        if self.count(Use::Free) == 0 {
            return None;
        }
        let places = (self.cursor..self.blocks()).chain(0..self.cursor);
        let place = places
            .into_iter()
            .find(|&place| self.get(place) == Use::Free)
            .expect("there is a free block");
        self.set(place, Use::Planned);
        self.cursor = place + 1;
        Some(place)
    }

    /// What of some ranges of the vSSD is in the region.
    pub fn clip(&self, ranges: &[Range<u32>]) -> impl Iterator<Item = u32> + use<> {
        let blocks = self.blocks();
        let clip = move |range: &Range<u32>| range.start.min(blocks)..range.end.min(blocks);
        let clipped: Vec<_> = ranges.iter().map(clip).collect();
        clipped.into_iter().flatten()
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.uses.capacity() * size_of::<Use>()
    }

    /// Checks the counts against the blocks.
    ///
    /// # Panics
    /// If one is wrong.
    #[cfg(test)]
    pub fn check(&self) {
        let mut counts = [0; 9];
        self.uses.iter().for_each(|&of| counts[of as usize] += 1);
        assert_eq!(counts, self.counts);
    }
}
