//! The free blocks of the disk.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Runs that one allocation may be split into, at most: a bound of the memory of a file.
const RUNS_MAX: usize = 16;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: u32,
    pub blocks: u32,
}

/// Free runs by their start, none of which touch.
#[derive(Clone, Debug)]
pub struct Space(BTreeMap<u32, u32>);

impl Space {
    /// A disk that is free.
    pub fn new(blocks: u32) -> Self {
        Self(BTreeMap::from([(0, blocks)]))
    }

    /// Takes the first run that is long enough; where none is, the first runs. `None` if they
    /// do not suffice.
    pub fn allocate(&mut self, blocks: u32) -> Option<Vec<Extent>> {
        let whole = self.0.iter().find(|&(_, &free)| free >= blocks);
        let taken = match whole {
            Some((&start, _)) => vec![Extent { start, blocks }],
            None => self.first_runs(blocks)?,
        };
        for &Extent { start, blocks } in &taken {
            let free = self.0.remove(&start).expect("a free run");
            if free > blocks {
                self.0.insert(start + blocks, free - blocks);
            }
        }
        Some(taken)
    }

    fn first_runs(&self, blocks: u32) -> Option<Vec<Extent>> {
        let (mut taken, mut left) = (Vec::new(), blocks);
        for (&start, &free) in self.0.iter().take(RUNS_MAX) {
            let blocks = free.min(left);
            taken.push(Extent { start, blocks });
            left -= blocks;
            if left == 0 {
                return Some(taken);
            }
        }
        None
    }

    /// Gives a run back.
    pub fn free(&mut self, Extent { mut start, blocks }: Extent) {
        let mut end = start + blocks;
        if let Some(blocks) = self.0.remove(&end) {
            end += blocks;
        }
        if let Some((&before, &blocks)) = self.0.range(..start).next_back() {
            debug_assert!(before + blocks <= start, "a run that is free already");
            if before + blocks == start {
                start = before;
            }
        }
        self.0.insert(start, end - start);
    }

    /// The free runs.
    #[cfg(test)]
    pub fn runs(&self) -> impl Iterator<Item = Extent> {
        let runs = self.0.iter();
        runs.map(|(&start, &blocks)| Extent { start, blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u32, blocks: u32) -> Extent {
        Extent { start, blocks }
    }

    #[test]
    fn the_first_run_that_fits_is_taken_and_runs_grow_together_again() {
        let mut space = Space::new(20);
        for start in [0, 5, 10] {
            assert_eq!(space.allocate(5), Some(vec![extent(start, 5)]));
        }
        space.free(extent(0, 5));
        assert_eq!(space.allocate(3), Some(vec![extent(0, 3)]));
        assert_eq!(space.allocate(3), Some(vec![extent(15, 3)]));
        space.free(extent(10, 5));
        assert_eq!(
            space.allocate(9),
            Some(vec![extent(3, 2), extent(10, 5), extent(18, 2)])
        );
        assert_eq!(space.allocate(1), None);
        for run in [(3, 2), (18, 2), (5, 5), (0, 3), (15, 3), (10, 5)] {
            space.free(extent(run.0, run.1));
        }
        assert!(space.runs().eq([extent(0, 20)]));
    }
}
