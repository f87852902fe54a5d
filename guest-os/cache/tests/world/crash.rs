//! What a crash leaves of a disk.

use std::rc::Rc;

use guest_cache::device::BLOCK_LEN;

use super::disk::{Disk, Page};
use crate::common::Rng;

/// What a disk writes at once, or not at all.
pub const SECTOR_LEN: usize = 512;

/// How much of what may be lost is lost.
#[derive(Clone, Copy)]
struct Survival {
    /// Of 8 block writes, how many survive.
    blocks: u32,
    /// Of 8 that do, how many in part only.
    torn: u32,
}

impl Survival {
    /// The extremes are drawn often: they are what most mistakes show at.
    fn drawn(rng: &mut Rng) -> Self {
        Self {
            blocks: [0, 1, 4, 7, 8][rng.below(5) as usize],
            torn: [0, 0, 2, 8][rng.below(4) as usize],
        }
    }

    fn apply(self, old: Option<&Page>, new: &Page, rng: &mut Rng) -> Option<Page> {
        if rng.below(8) >= self.blocks {
            return None;
        }
        if rng.below(8) >= self.torn {
            return Some(new.clone());
        }
        let mut page = old.map_or([0; BLOCK_LEN], |old| **old);
        let sectors = page.chunks_exact_mut(SECTOR_LEN);
        for (sector, written) in sectors.zip(new.chunks_exact(SECTOR_LEN)) {
            if rng.below(2) == 0 {
                sector.copy_from_slice(written);
            }
        }
        Some(Rc::new(page))
    }
}

impl Disk {
    /// The disk after a loss of power at this moment: of the writes that are under way or
    /// not flushed any have survived, each as a whole or some sectors of it, and
    /// one of two writes of the same block can have the other's sectors under it.
    pub fn cut(&self, rng: &mut Rng) -> Self {
        let state = self.0.borrow();
        let mut after = state.restarted();
        let survival = Survival::drawn(rng);
        let unflushed = state.unflushed.iter();
        let ended = unflushed.map(|write| (write.block, &write.page));
        for (block, page) in ended.chain(state.being_written()) {
            if let Some(page) = survival.apply(after.durable.get(block), page, rng) {
                after.durable.set(block, page);
            }
        }
        after.visible = after.durable.clone();
        after.unflushed.clear();
        Self::of(after)
    }

    /// The disk after the end of the guest at this moment: what has ended is there, though
    /// not durable, and of the writes under way any block or none.
    pub fn kill(&self, rng: &mut Rng) -> Self {
        let state = self.0.borrow();
        let mut after = state.restarted();
        let survival = Survival {
            torn: 0,
            ..Survival::drawn(rng)
        };
        for (block, page) in state.being_written() {
            let old = after.visible.get(block);
            if let Some(page) = survival.apply(old, page, rng) {
                after.write(block, page);
            }
        }
        Self::of(after)
    }

    /// What is on the disk now, for another to use.
    pub fn copy(&self) -> Self {
        Self::of(self.0.borrow().restarted())
    }
}
