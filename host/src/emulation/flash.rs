//! Flash: pages that are programmed once and erased in blocks, behind a map of pages.
//!
//! Each die keeps its own map and its own erase blocks. What the host writes goes to the
//! next page of the die's *open* block; the page that held it before is no longer valid.
//! When the open block is full and one erased block is left, the die *collects*: it takes the block with the fewest valid pages,
//! copies these to the erased one, which is open from now on, and erases it. Copies and erasure occupy the die as
//! requests do.
//!
//! ```text
//!   erased ──▶ open ──▶ full ──┐
//!     ▲                        │ fewest valid pages: copied to the open block
//!     └──────── erase ◀────────┘
//! ```
//!
//! Blocks change roles by the writes alone: data that never changes stays where it is, so its
//! blocks are not worn (no static wear levelling). The model ignores discards, so a page counts as
//! valid until it is written again. A read of a page never written takes as long as any other, and
//! a write of part of a page reads the page before.

use super::{Times, Wear};
use crate::io::Direction;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// Pages in an erase block.
pub const BLOCK_PAGES: u32 = 256;
/// Dies that work side by side.
pub const DIES: u64 = 8;
/// Spare pages, in percent of the offered ones.
pub const SPARE_PERCENT: u64 = 7;
/// Blocks that a die has more than it offers, at least: one that is open, one erased.
const SPARE_BLOCKS_MIN: u64 = 2;

/// See the module.
#[derive(Debug)]
pub struct Flash {
    times: Times,
    dies: Vec<Die>,
    host_bytes: u64,
    host_pages: u64,
}

impl Flash {
    pub(super) fn new(times: Times, len: u64) -> Self {
        let pages = len.div_ceil(PAGE * DIES);
        Self {
            times,
            dies: (0..DIES).map(|_| Die::new(pages)).collect(),
            host_bytes: 0,
            host_pages: 0,
        }
    }

    pub(super) fn start(
        &mut self,
        now_ns: u64,
        direction: Direction,
        offset: u64,
        len: u64,
    ) -> u64 {
        let end = offset + len;
        let mut done_ns = now_ns;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let die = &mut self.dies[(page % DIES) as usize];
            let whole = offset <= page * PAGE && (page + 1) * PAGE <= end;
            let work = match direction {
                Direction::Read => Work::READ,
                Direction::Write => die.write((page / DIES) as u32, whole),
            };
            die.busy_until_ns = die.busy_until_ns.max(now_ns) + work.time_ns(self.times);
            done_ns = done_ns.max(die.busy_until_ns);
            self.host_pages += u64::from(direction == Direction::Write);
        }
        if direction == Direction::Write {
            self.host_bytes += len;
        }
        done_ns
    }

    pub(super) fn wear(&self) -> Wear {
        let blocks = || self.dies.iter().flat_map(|die| &die.blocks);
        let erases: u64 = blocks().map(|block| u64::from(block.erases)).sum();
        let most = blocks().map(|block| block.erases).max().unwrap_or(0);
        let programmed: u64 = self.dies.iter().map(|die| die.programmed).sum();
        Wear {
            cycles_max: f64::from(most),
            cycles_mean: erases as f64 / blocks().count().max(1) as f64,
            limit: None,
            host_bytes: self.host_bytes,
            media_bytes: programmed * PAGE,
            write_amplification: match self.host_pages {
                0 => 1.0,
                pages => programmed as f64 / pages as f64,
            },
            erases,
        }
    }
}

/// What a die does for one page of a request, in accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    reads: u64,
    programs: u64,
    erases: u64,
}

impl Work {
    const READ: Self = Self {
        reads: 1,
        programs: 0,
        erases: 0,
    };

    fn time_ns(self, times: Times) -> u64 {
        self.reads * times.read_ns + self.programs * times.write_ns + self.erases * times.erase_ns
    }
}

#[derive(Clone, Debug, Default)]
struct Block {
    valid: u32,
    erases: u32,
}

/// One die. Both maps hold numbers of pages plus one, and 0 for none: memory that is all zeros is
/// not taken from the system before it is touched, so a model costs what was written.
#[derive(Debug)]
struct Die {
    busy_until_ns: u64,
    /// Where each offered page is.
    places: Vec<u32>,
    /// What is in each page there is, if it is valid.
    pages: Vec<u32>,
    blocks: Vec<Block>,
    erased: Vec<u32>,
    open: u32,
    /// Pages of the open block that are programmed.
    filled: u32,
    programmed: u64,
}

impl Die {
    fn new(offered: u64) -> Self {
        let block_pages = u64::from(BLOCK_PAGES);
        let with_spare = (offered * (100 + SPARE_PERCENT)).div_ceil(100 * block_pages);
        let blocks = with_spare.max(offered.div_ceil(block_pages) + SPARE_BLOCKS_MIN);
        Self {
            busy_until_ns: 0,
            places: vec![0; offered as usize],
            pages: vec![0; (blocks * block_pages) as usize],
            blocks: vec![Block::default(); blocks as usize],
            erased: (1..blocks as u32).rev().collect(),
            open: 0,
            filled: 0,
            programmed: 0,
        }
    }

    /// Writes an offered page, all of it or a part.
    fn write(&mut self, page: u32, whole: bool) -> Work {
        let mut work = Work::default();
        if self.filled == BLOCK_PAGES {
            work = self.open_next();
        }
        let old = self.places[page as usize];
        if old != 0 {
            self.pages[old as usize - 1] = 0;
            self.blocks[((old - 1) / BLOCK_PAGES) as usize].valid -= 1;
            work.reads += u64::from(!whole);
        }
        self.program(page);
        work.programs += 1;
        work
    }

    fn program(&mut self, page: u32) {
        let place = self.open * BLOCK_PAGES + self.filled;
        self.filled += 1;
        self.programmed += 1;
        self.places[page as usize] = place + 1;
        self.pages[place as usize] = page + 1;
        self.blocks[self.open as usize].valid += 1;
    }

    /// Opens another block, which has room for one page at least.
    fn open_next(&mut self) -> Work {
        let victim = match self.erased.len() {
            // The last one is for a collection to copy to.
            1 => Some(self.fewest_valid()),
            _ => None,
        };
        self.open = self.erased.pop().expect("a block is always kept erased");
        self.filled = 0;
        victim.map_or(Work::default(), |victim| self.collect(victim))
    }

    /// The full block with the fewest valid pages. There are more full blocks than offered pages
    /// would fill, so at least one of them has a page that is not valid.
    ///
    /// Looks at all of them, eight bytes each, once for every block that is opened.
    fn fewest_valid(&self) -> u32 {
        let full = (0..self.blocks.len() as u32).filter(|block| !self.erased.contains(block));
        full.min_by_key(|block| self.blocks[*block as usize].valid)
            .expect("a die has more blocks than are kept erased")
    }

    fn collect(&mut self, victim: u32) -> Work {
        let mut copies = 0;
        for place in victim * BLOCK_PAGES..(victim + 1) * BLOCK_PAGES {
            let page = std::mem::take(&mut self.pages[place as usize]);
            if page != 0 {
                self.program(page - 1);
                copies += 1;
            }
        }
        let block = &mut self.blocks[victim as usize];
        block.valid = 0;
        block.erases += 1;
        self.erased.push(victim);
        Work {
            reads: copies,
            programs: copies,
            erases: 1,
        }
    }
}

#[cfg(test)]
mod naive;

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Pages offered by the dies of these tests: no whole number of blocks.
    const OFFERED: u32 = 5 * BLOCK_PAGES + 17;

    impl Die {
        /// Every page that was written is in one place, and nothing else is.
        fn assert_consistent(&self, written: &[bool]) {
            for (page, place) in (1..).zip(&self.places) {
                assert_eq!(*place != 0, written[page as usize - 1]);
                if *place != 0 {
                    assert_eq!(self.pages[*place as usize - 1], page);
                }
            }
            let valid = |pages: &[u32]| pages.iter().filter(|page| **page != 0).count();
            let count = written.iter().filter(|written| **written).count();
            assert_eq!(valid(&self.pages), count);
            for (block, pages) in self.blocks.iter().zip(self.pages.chunks(256)) {
                assert_eq!(block.valid as usize, valid(pages));
            }
            for block in &self.erased {
                assert_eq!(self.blocks[*block as usize].valid, 0);
            }
            assert!(!self.erased.is_empty());
        }
    }

    #[test]
    fn no_page_is_lost_and_all_work_is_counted() {
        for seed in 0..4 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut die = Die::new(OFFERED.into());
            let mut written = vec![false; OFFERED as usize];
            let mut total = Work::default();
            for step in 0..20_000 {
                let page = rng.random_range(0..OFFERED);
                let again = written[page as usize];
                let whole: bool = rng.random();
                let (reads, programs) = (u64::from(again && !whole), 1);
                let work = die.write(page, whole);
                let copies = work.programs - programs;
                assert_eq!(work.reads, copies + reads, "seed {seed}, step {step}");
                assert!(work.erases == 1 || copies == 0);
                total.programs += work.programs;
                total.erases += work.erases;
                written[page as usize] = true;
                if step % 1000 == 0 {
                    die.assert_consistent(&written);
                }
            }
            die.assert_consistent(&written);
            assert_eq!(total.programs, die.programmed);
            let erases: u32 = die.blocks.iter().map(|block| block.erases).sum();
            assert_eq!(total.erases, u64::from(erases));
            assert!(total.programs > 20_000, "random overwrites are copied");
        }
    }

    #[test]
    fn what_is_overwritten_in_order_is_never_copied() {
        let mut die = Die::new(OFFERED.into());
        for _ in 0..5 {
            for page in 0..OFFERED {
                die.write(page, true);
            }
        }
        assert_eq!(die.programmed, 5 * u64::from(OFFERED));
        assert!(die.blocks.iter().any(|block| block.erases > 0));
    }
}
