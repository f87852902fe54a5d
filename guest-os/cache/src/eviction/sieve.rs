//! SIEVE: a hand goes from the oldest block to the newest, again and again; what was requested
//! since it last came by stays where it is, the first that was not goes. Unlike CLOCK, nothing
//! moves: new blocks are visited soon.
//!
//! Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi, "SIEVE is simpler than
//! LRU: an efficient turn-key eviction algorithm for web caches", NSDI 2024.

use super::{Eviction, check_single, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);

/// SIEVE. The newest block is in front.
#[derive(Clone, Debug)]
pub struct Sieve {
    /// Where the hand is; none stands for the back.
    hand: Option<u32>,
}

impl Eviction for Sieve {
    const LISTS: u32 = 1;

    fn new(_slots: u32) -> Self {
        Self { hand: None }
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_count(slot, 1);
    }

    #[inline]
    fn evict(&mut self, table: &mut Table, _incoming: Option<u32>) -> u32 {
        let queue = list(table, 0);
        loop {
            let slot = self.hand.or_else(|| table.back(queue));
            let slot = slot.expect("a cached block");
            self.hand = table.before(slot);
            if table.count(slot) == 0 {
                table.unlink(slot);
                return slot;
            }
            table.set_count(slot, 0);
        }
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, CACHED);
        table.set_count(slot, 0);
        table.push_front(list(table, 0), slot);
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        if self.hand == Some(slot) {
            self.hand = table.before(slot);
        }
        table.unlink(slot);
    }

    fn check(&self, table: &Table, len: u32) {
        check_single(table, len);
        assert!(self.hand.is_none_or(|slot| table.place(slot).is_cached()));
    }
}
