//! What changes under the lock of a pool: its allocator, the maps of its volumes,
//! and the list of changes that the log does not have yet.

use vssd::block_set::spans;

use super::allocator::{Allocator, Fate, VolumeId};
use super::volume::{Extent, Volume};

/// A change of a map that the log does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Blocks in a row lie at physical blocks in a row.
    Mapped {
        /// Their volume.
        volume: VolumeId,
        /// First block.
        block: u32,
        /// First physical block.
        physical: u32,
        /// How many.
        count: u32,
    },
    /// Blocks in a row read as zeros again.
    Unmapped {
        /// Their volume.
        volume: VolumeId,
        /// First block.
        block: u32,
        /// How many.
        count: u32,
    },
}

impl Delta {
    /// Appends a change that adjoins this one; false when `next` does not.
    fn extend(&mut self, next: &Self) -> bool {
        match (self, *next) {
            (
                Self::Mapped {
                    volume,
                    block,
                    physical,
                    count,
                },
                Self::Mapped {
                    volume: of,
                    block: at,
                    physical: to,
                    count: more,
                },
            ) if *volume == of && *block + *count == at && *physical + *count == to => {
                *count += more
            }
            (
                Self::Unmapped {
                    volume,
                    block,
                    count,
                },
                Self::Unmapped {
                    volume: of,
                    block: at,
                    count: more,
                },
            ) if *volume == of && *block + *count == at => *count += more,
            _ => return false,
        }
        true
    }
}

/// See the module.
#[derive(Debug)]
pub struct PoolState {
    /// The owners of physical blocks.
    pub allocator: Allocator,
    /// `None` in a pool that is not durable.
    deltas: Option<Vec<Delta>>,
}

impl PoolState {
    /// The state of a pool that keeps a log if it `lasts`.
    pub fn new(allocator: Allocator, lasts: bool) -> Self {
        Self {
            allocator,
            deltas: lasts.then(Vec::new),
        }
    }

    fn changed(&mut self, delta: Delta) {
        let Some(deltas) = &mut self.deltas else {
            return;
        };
        if !deltas.last_mut().is_some_and(|last| last.extend(&delta)) {
            deltas.push(delta);
        }
    }

    /// The first writes of `count` blocks from `block` on, to physical blocks from
    /// `physical` on, are done.
    pub fn map(&mut self, volume: &Volume, block: u32, physical: u32, count: u32) {
        for i in 0..count {
            volume.map(&mut self.allocator, block + i, physical + i);
        }
        self.changed(Delta::Mapped {
            volume: volume.id(),
            block,
            physical,
            count,
        });
    }

    /// Abandons the first writes of these blocks to their physical blocks.
    pub fn abandon(&mut self, volume: &Volume, fresh: Extent) {
        let physical = fresh.physical.expect("the extent has physical blocks");
        for i in 0..fresh.count {
            volume.abandon(&mut self.allocator, fresh.first + i, physical + i);
        }
    }

    /// The blocks `bits` of word `index` read as zeros from now on; true when
    /// any of them was written. No request may be in flight on them.
    pub fn unmap(&mut self, volume: &Volume, (index, bits): (usize, u64)) -> bool {
        // The physical blocks may be reused once the log says that they are free.
        let fate = match self.deltas {
            Some(_) => Fate::Deferred,
            None => Fate::Free,
        };
        let gone = volume.unmap(&mut self.allocator, (index, bits), fate);
        let mut rest = gone;
        while rest != 0 {
            let first = rest.trailing_zeros();
            let count = (rest >> first).trailing_ones();
            self.changed(Delta::Unmapped {
                volume: volume.id(),
                block: index as u32 * 64 + first,
                count,
            });
            let below = u64::MAX.checked_shl(first + count).unwrap_or(0);
            rest &= below;
        }
        gone != 0
    }

    /// As [`unmap`](Self::unmap), for blocks whose release is in the log already.
    pub fn forget(&mut self, volume: &Volume, word: (usize, u64)) {
        volume.unmap(&mut self.allocator, word, Fate::Free);
    }

    /// Releases all that a volume has, whose removal is in the log already.
    pub fn retire(&mut self, volume: &Volume) {
        for word in spans(0, volume.capacity()) {
            self.forget(volume, word);
        }
        let held = self.allocator.account(volume.id()).held;
        self.allocator.let_go(volume.id(), held);
        self.allocator.close(volume.id());
    }

    /// True when the log is up to date.
    pub fn is_clean(&self) -> bool {
        self.deltas.as_ref().is_none_or(Vec::is_empty)
    }

    /// Takes the changes that the log does not have yet.
    pub fn cut(&mut self) -> Vec<Delta> {
        self.deltas.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts back changes that were cut and could not be logged.
    pub fn put_back(&mut self, mut cut: Vec<Delta>) {
        if let Some(deltas) = &mut self.deltas {
            cut.append(deltas);
            *deltas = cut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::allocator::Bounds;
    use super::*;

    fn state(lasts: bool) -> (PoolState, Volume) {
        let volume = Volume::new(VolumeId(3), 1000);
        let mut allocator = Allocator::new(2048, 1000);
        let bounds = Bounds {
            quota: 1000,
            reservation: 0,
        };
        allocator.open(volume.id(), bounds).unwrap();
        (PoolState::new(allocator, lasts), volume)
    }

    fn write(state: &mut PoolState, volume: &Volume, blocks: std::ops::Range<u32>) {
        for block in blocks {
            let physical = volume.allocate(&mut state.allocator, block).unwrap();
            state.map(volume, block, physical, 1);
        }
    }

    #[test]
    fn changes_in_a_row_are_one() {
        let (mut state, volume) = state(true);
        write(&mut state, &volume, 10..200);
        assert_eq!(state.cut().len(), 1);
        assert!(state.is_clean());
        // Bits 63 and up of a word, then on into the next.
        assert!(state.unmap(&volume, (1, !0)));
        assert!(state.unmap(&volume, (2, !0)));
        assert!(!state.unmap(&volume, (2, !0)));
        assert!(state.unmap(&volume, (0, 1 << 63 | 1 << 20)));
        let unmapped = |block, count| Delta::Unmapped {
            volume: volume.id(),
            block,
            count,
        };
        let cut = state.cut();
        assert_eq!(cut, [unmapped(64, 128), unmapped(20, 1), unmapped(63, 1)]);
        assert_eq!(state.allocator.usage().deferred, 130);
        write(&mut state, &volume, 300..301);
        state.put_back(cut.clone());
        assert_eq!(state.cut()[..3], cut[..]);
    }

    #[test]
    fn what_does_not_last_needs_no_list() {
        let (mut state, volume) = state(false);
        write(&mut state, &volume, 0..64);
        assert!(state.unmap(&volume, (0, !0)));
        assert!(state.is_clean());
        assert_eq!(state.allocator.usage().free, 2048);
    }
}
