//! CLOCK, or second chance: first in, first out, but a block that was requested since it came or
//! was last visited goes round once more.
//!
//! F. J. Corbató, "A paging experiment with the Multics system", in: In Honor of
//! P. M. Morse, MIT Press, 1969. The clock's hand is the back of a list here:
//! what it passes goes to the front, which is the same order.

use super::{Eviction, check_single, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);

/// CLOCK with one bit. The newest block is in front.
#[derive(Clone, Debug)]
pub struct Clock;

impl Eviction for Clock {
    const LISTS: u32 = 1;

    fn new(_slots: u32) -> Self {
        Self
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_count(slot, 1);
    }

    #[inline]
    fn evict(&mut self, table: &mut Table, _incoming: Option<u32>) -> u32 {
        let queue = list(table, 0);
        loop {
            let slot = table.back(queue).expect("a cached block");
            if table.count(slot) == 0 {
                table.unlink(slot);
                return slot;
            }
            table.set_count(slot, 0);
            table.move_to_front(queue, slot);
        }
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, CACHED);
        table.set_count(slot, 0);
        table.push_front(list(table, 0), slot);
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        table.unlink(slot);
    }

    fn check(&self, table: &Table, len: u32) {
        check_single(table, len);
    }
}
