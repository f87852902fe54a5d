//! A naive die of flash, to compare with the real one.
//!
//! It keeps nothing but what was programmed into each block, in order. Which of
//! these copies are valid is found by looking at all of them, every time that it matters.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{BLOCK_PAGES, Die, Work};

/// Pages offered: little more than three blocks, so that collections are frequent.
const OFFERED: u32 = 3 * BLOCK_PAGES + 29;

#[derive(Default)]
struct NaiveBlock {
    /// What was programmed since the last erasure: a page, and when.
    copies: Vec<(u32, u64)>,
    erases: u32,
}

struct NaiveDie {
    blocks: Vec<NaiveBlock>,
    open: usize,
    programs: u64,
}

impl NaiveDie {
    fn new(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).map(|_| NaiveBlock::default()).collect(),
            open: 0,
            programs: 0,
        }
    }

    /// When each page was programmed last.
    fn newest(&self) -> BTreeMap<u32, u64> {
        let mut newest = BTreeMap::new();
        for (page, when) in self.blocks.iter().flat_map(|block| &block.copies) {
            let last = newest.entry(*page).or_insert(*when);
            *last = (*last).max(*when);
        }
        newest
    }

    /// The pages of each block of which no newer copy is anywhere, in order.
    fn valid(&self) -> Vec<Vec<u32>> {
        let newest = self.newest();
        let is_newest = |(page, when): &&(u32, u64)| newest[page] == *when;
        let of = |block: &NaiveBlock| {
            let valid = block.copies.iter().filter(is_newest);
            valid.map(|(page, _)| *page).collect()
        };
        self.blocks.iter().map(of).collect()
    }

    fn program(&mut self, page: u32) {
        self.programs += 1;
        self.blocks[self.open].copies.push((page, self.programs));
    }

    fn write(&mut self, page: u32, whole: bool) -> Work {
        let mut work = Work {
            reads: u64::from(!whole && self.newest().contains_key(&page)),
            programs: 1,
            erases: 0,
        };
        if self.blocks[self.open].copies.len() == BLOCK_PAGES as usize {
            let copies = self.open_next();
            work.reads += copies.unwrap_or(0);
            work.programs += copies.unwrap_or(0);
            work.erases += u64::from(copies.is_some());
        }
        self.program(page);
        work
    }

    /// Opens the first erased block; how many pages moved there if a block was collected.
    fn open_next(&mut self) -> Option<u64> {
        let is_erased = |block: &usize| self.blocks[*block].copies.is_empty();
        let all = 0..self.blocks.len();
        let erased: Vec<usize> = all.clone().filter(is_erased).collect();
        let valid = self.valid();
        let full = all.filter(|block| !is_erased(block));
        let victim = full.min_by_key(|block| valid[*block].len())?;
        self.open = erased[0];
        if erased.len() > 1 {
            return None;
        }
        for page in &valid[victim] {
            self.program(*page);
        }
        self.blocks[victim].copies.clear();
        self.blocks[victim].erases += 1;
        Some(valid[victim].len() as u64)
    }
}

/// Both dies hold the same pages in the same blocks, worn the same.
fn assert_same(die: &Die, naive: &NaiveDie, at: &str) {
    let valid = naive.valid();
    let places = die.pages.chunks(BLOCK_PAGES as usize);
    for (i, (block, pages)) in die.blocks.iter().zip(places).enumerate() {
        let there = pages.iter().filter(|page| **page != 0);
        let there: Vec<u32> = there.map(|page| page - 1).collect();
        assert_eq!(there, valid[i], "{at}: pages of block {i}");
        assert_eq!(block.valid as usize, valid[i].len(), "{at}: block {i}");
        assert_eq!(block.erases, naive.blocks[i].erases, "{at}: block {i}");
    }
    assert_eq!(die.programmed, naive.programs, "{at}");
    assert_eq!(die.open as usize, naive.open, "{at}");
}

#[test]
fn a_die_does_what_a_naive_one_does() {
    for seed in 0..6 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut die = Die::new(OFFERED.into());
        let mut naive = NaiveDie::new(die.blocks.len());
        let mut erases = 0;
        for step in 0..6000 {
            // Some seeds write everywhere, some mostly to a part, some mostly in order.
            let page = match (seed % 3, rng.random_range(0..10)) {
                (1, 1..) => rng.random_range(0..OFFERED / 8),
                (2, 1..) => step % OFFERED,
                _ => rng.random_range(0..OFFERED),
            };
            let whole = rng.random_range(0..4) > 0;
            let work = die.write(page, whole);
            let at = format!("seed {seed}, step {step}");
            assert_eq!(work, naive.write(page, whole), "{at}");
            assert_same(&die, &naive, &at);
            erases += work.erases;
        }
        assert!(erases > 10, "seed {seed} collects {erases} times");
    }
}
