//! W-TinyLFU: what is new waits in a small LRU window; what leaves it must have
//! been requested more often lately than what would go for it out of the main
//! part, a segmented LRU. A sketch counts the requests, also for blocks that are
//! not cached.
//!
//! G. Einziger, R. Friedman, B. Manes, "TinyLFU: a highly efficient cache admission
//! policy", ACM Transactions on Storage 13(4), 2017; the segmented LRU is that of
//! R. Karedla, J. S. Love, B. G. Wherry, IEEE Computer 27(3), 1994.
//!
//! The window has 1 % of the capacity, at least one block, and 80 % of the rest are
//! protected. Every request counts; the counts are halved after 10 requests for
//! each cached block.
//!
//! libCacheSim's W-TinyLFU counts otherwise: no requests that hit the window, but a
//! block's coming in and its leaving the window, in 14 counters of 32 bits for each
//! cached block, all ten of a block's and not only the least ones, halved after 32
//! hits for each block. So its counts are noise after a while, and it comes nearer
//! to LRU, for better (of the tests' sequences, 13 % fewer misses of `shift` at
//! 10,000 blocks, 7 % of `loop` at 1000) or worse (71 % more of `shift` at 1000, up
//! to 3 % of `zipf` and `scan`). It lets nothing
//! into a cache of less than 100 blocks, and its demotions may throw out a block,
//! since its limits are rounded down. `tests/departures` has all of this and misses
//! exactly as often; `tests/golden.rs` bounds what the paper's way makes of it.

use super::sketch::Sketch;
use super::{Eviction, check_lists, list};
use crate::table::{Place, Table};

const WINDOW: Place = Place::of_policy(0);
const PROBATION: Place = Place::of_policy(1);
const PROTECTED: Place = Place::of_policy(2);
const PLACES: [Place; 3] = [WINDOW, PROBATION, PROTECTED];

/// W-TinyLFU. What was requested last is in front.
#[derive(Clone, Debug)]
pub struct WTinyLfu {
    sketch: Sketch,
    window_capacity: u32,
    protected_capacity: u32,
    /// Of the window, probation and protected lists.
    lens: [u32; 3],
}

impl WTinyLfu {
    /// The last slot of a part, and its number.
    fn last(table: &Table, part: u32) -> Option<(usize, u32)> {
        Some((part as usize, table.back(list(table, part))?))
    }

    fn move_to(&mut self, table: &mut Table, slot: u32, from: usize, to: usize) {
        table.set_place(slot, PLACES[to]);
        table.move_to_front(list(table, to as u32), slot);
        self.lens[from] -= 1;
        self.lens[to] += 1;
    }

    /// What goes out of the main part.
    fn main_victim(table: &Table) -> Option<(usize, u32)> {
        Self::last(table, 1).or_else(|| Self::last(table, 2))
    }

    /// What goes, and from which part: when the window is full, what leaves it or
    /// what would go for that.
    fn victim(&mut self, table: &mut Table, incoming: bool) -> (usize, u32) {
        let is_full = self.lens[0] + u32::from(incoming) > self.window_capacity;
        let candidate = Self::last(table, 0).filter(|_| is_full);
        let Some(victim) = Self::main_victim(table) else {
            return candidate
                .or_else(|| Self::last(table, 0))
                .expect("a cached block");
        };
        let Some((from, candidate)) = candidate else {
            return victim;
        };
        let candidate_count = self.sketch.count(table.block(candidate));
        if candidate_count > self.sketch.count(table.block(victim.1)) {
            self.move_to(table, candidate, from, 1);
            victim
        } else {
            (from, candidate)
        }
    }
}

impl Eviction for WTinyLfu {
    const LISTS: u32 = 3;

    fn new(slots: u32) -> Self {
        Self {
            sketch: Sketch::new(slots),
            window_capacity: 0,
            protected_capacity: 0,
            lens: [0; 3],
        }
    }

    fn resize(&mut self, capacity: u32) {
        self.sketch.resize(capacity);
        self.window_capacity = (capacity / 100).max(1);
        let main = u64::from(capacity.saturating_sub(self.window_capacity));
        self.protected_capacity = (main * 4 / 5) as u32;
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, block: u32) {
        self.sketch.add(block);
        let place = table.place(slot);
        if place == WINDOW {
            table.move_to_front(list(table, 0), slot);
        } else if place == PROTECTED {
            table.move_to_front(list(table, 2), slot);
        } else {
            self.move_to(table, slot, 1, 2);
            while self.lens[2] > self.protected_capacity {
                let (_, last) = Self::last(table, 2).expect("a protected block");
                self.move_to(table, last, 2, 1);
            }
        }
    }

    #[inline]
    fn missed(&mut self, block: u32) {
        self.sketch.add(block);
    }

    fn evict(&mut self, table: &mut Table, incoming: Option<u32>) -> u32 {
        let (part, slot) = self.victim(table, incoming.is_some());
        table.unlink(slot);
        self.lens[part] -= 1;
        slot
    }

    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, WINDOW);
        table.push_front(list(table, 0), slot);
        self.lens[0] += 1;
        while self.lens[0] > self.window_capacity {
            let (_, last) = Self::last(table, 0).expect("a block in the window");
            self.move_to(table, last, 0, 1);
        }
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        let place = table.place(slot);
        let part = PLACES.iter().position(|&other| other == place);
        self.lens[part.expect("a place of the policy")] -= 1;
        table.unlink(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.sketch.memory_bytes()
    }

    fn check(&self, table: &Table, len: u32) {
        assert_eq!(self.lens.iter().sum::<u32>(), len);
        let [window, probation, protected] = self.lens;
        check_lists(
            table,
            &[
                (WINDOW, window),
                (PROBATION, probation),
                (PROTECTED, protected),
            ],
        );
    }
}
