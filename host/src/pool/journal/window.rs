//! The map of a window, as a recovery rebuilds it.
//!
//! A pool of a tebibyte has 256 Mi blocks, so blocks in a row are never visited one by one.

use vssd::block_set::{BlockSet, spans};

use crate::pool::allocator::{REGION, REGION_WORDS};
use crate::pool::volume::{PhysicalBlocks, Run, WindowMap};

const WORDS: usize = REGION_WORDS as usize;

/// See the module. Blocks are counted from the start of the window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    written: [u64; WORDS],
    physical_blocks: At,
}

#[derive(Clone, Debug)]
enum At {
    /// Each as far behind this physical block as it is in the window.
    Linear(u32),
    /// A physical block for each that is written.
    Table(Box<[u32; REGION as usize]>),
}

impl Window {
    /// One with `count` blocks, from `block` on, at physical blocks in a row.
    pub(super) fn new(block: u32, count: u32, physical: u32) -> Self {
        let mut window = Self {
            written: [0; WORDS],
            physical_blocks: match physical.checked_sub(block) {
                Some(home) => At::Linear(home),
                None => At::Table(Box::new([0; REGION as usize])),
            },
        };
        window.set(block, count, physical);
        window
    }

    /// From a snapshot; `None` when it has an impossible physical block.
    pub(super) fn of(map: &WindowMap) -> Option<Self> {
        let written = map.written;
        let set = BlockSet::from_words(REGION, written.to_vec());
        let physical_blocks = match &map.physical_blocks {
            PhysicalBlocks::Linear(home) => At::Linear(*home),
            PhysicalBlocks::Table(physical_blocks) => {
                let mut table = Box::new([0; REGION as usize]);
                for (block, physical) in set.iter().zip(physical_blocks) {
                    table[block as usize] = *physical;
                }
                At::Table(table)
            }
        };
        let window = Self {
            written,
            physical_blocks,
        };
        let mut ends = window
            .runs()
            .into_iter()
            .map(|run| run.physical.checked_add(run.count));
        ends.all(|end| end.is_some()).then_some(window)
    }

    /// Blocks in a row are at physical blocks in a row from now on.
    pub(super) fn set(&mut self, block: u32, count: u32, physical: u32) {
        let home = physical.checked_sub(block);
        if let At::Linear(of) = self.physical_blocks
            && home != Some(of)
        {
            let mut table = Box::new([0; REGION as usize]);
            for (physical, entry) in (of..).zip(table.iter_mut()) {
                *entry = physical;
            }
            self.physical_blocks = At::Table(table);
        }
        if let At::Table(table) = &mut self.physical_blocks {
            let entries = &mut table[block as usize..(block + count) as usize];
            for (entry, physical) in entries.iter_mut().zip(physical..) {
                *entry = physical;
            }
        }
        for (word, bits) in spans(block, count) {
            self.written[word] |= bits;
        }
    }

    /// Blocks in a row are not written any more.
    pub(super) fn clear(&mut self, block: u32, count: u32) {
        for (word, bits) in spans(block, count) {
            self.written[word] &= !bits;
        }
    }

    /// Whether none is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == [0; WORDS]
    }

    /// Blocks that are written.
    pub(super) fn len(&self) -> u32 {
        self.written.iter().map(|word| word.count_ones()).sum()
    }

    /// Where a block is, if it is written.
    pub(super) fn physical(&self, block: u32) -> Option<u32> {
        let written = self.written[(block / 64) as usize] >> (block % 64) & 1 == 1;
        written.then(|| match &self.physical_blocks {
            At::Linear(home) => home + block,
            At::Table(table) => table[block as usize],
        })
    }

    /// Written blocks in a row at physical blocks in a row, ascending.
    pub(super) fn runs(&self) -> Vec<Run> {
        let set = BlockSet::from_words(REGION, self.written.to_vec());
        let mut runs: Vec<Run> = Vec::new();
        for written in set.runs() {
            let table = match &self.physical_blocks {
                At::Linear(home) => {
                    runs.push(Run {
                        block: written.start,
                        physical: home.wrapping_add(written.start),
                        count: written.len,
                    });
                    continue;
                }
                At::Table(table) => table,
            };
            for block in written.start..written.end() {
                let physical = table[block as usize];
                let last = runs.last_mut().filter(|last| {
                    last.block + last.count == block
                        && last.physical.wrapping_add(last.count) == physical
                });
                match last {
                    Some(last) => last.count += 1,
                    None => runs.push(Run {
                        block,
                        physical,
                        count: 1,
                    }),
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Whatever is set and cleared, it says what a plain map says.
    #[test]
    fn a_window_is_a_map() {
        for seed in 0..200 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut window, mut model) = (None::<Window>, BTreeMap::new());
            for _ in 0..20 {
                let block = rng.random_range(0..REGION);
                let count = rng.random_range(0..=(REGION - block).min(80));
                if rng.random_range(0..3) > 0 {
                    // Often where the block would be in a linear window.
                    let home = [0, 1000, 1000, 5][rng.random_range(0..4)];
                    let physical = home + block * rng.random_range(0..2);
                    match &mut window {
                        Some(window) => window.set(block, count, physical),
                        None => window = Some(Window::new(block, count, physical)),
                    }
                    model.extend((0..count).map(|i| (block + i, physical + i)));
                } else if let Some(window) = &mut window {
                    window.clear(block, count);
                    model.retain(|at, _| !(block..block + count).contains(at));
                }
                let Some(window) = &window else { continue };
                let runs = window.runs();
                let all = runs
                    .iter()
                    .flat_map(|run| (0..run.count).map(|i| (run.block + i, run.physical + i)));
                assert_eq!(all.collect::<BTreeMap<_, _>>(), model, "seed {seed}");
                assert_eq!(window.len() as usize, model.len());
                assert_eq!(window.is_empty(), model.is_empty());
                for block in 0..REGION {
                    assert_eq!(window.physical(block), model.get(&block).copied());
                }
            }
        }
    }

    #[test]
    fn a_snapshot_of_a_place_that_cannot_be_is_refused() {
        let mut written = [0; WORDS];
        written[7] = 1 << 63;
        for (home, possible) in [(u32::MAX - 512, true), (u32::MAX - 511, false)] {
            let physical_blocks = PhysicalBlocks::Linear(home);
            let map = WindowMap {
                written,
                physical_blocks,
            };
            assert_eq!(Window::of(&map).is_some(), possible);
        }
    }
}
