//! First in, first out: what has been cached longest goes, used or not.
//!
//! L. A. Belady, "A study of replacement algorithms for a virtual-storage
//! computer", IBM Systems Journal 5(2), 1966.

use super::{Eviction, check_single, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);

/// First in, first out. The newest block is in front.
#[derive(Clone, Debug)]
pub struct Fifo;

impl Eviction for Fifo {
    const LISTS: u32 = 1;

    fn new(_slots: u32) -> Self {
        Self
    }

    #[inline]
    fn hit(&mut self, _table: &mut Table, _slot: u32, _block: u32) {}

    #[inline]
    fn evict(&mut self, table: &mut Table, _incoming: Option<u32>) -> u32 {
        table.pop_back(list(table, 0)).expect("a cached block")
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, CACHED);
        table.push_front(list(table, 0), slot);
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        table.unlink(slot);
    }

    fn check(&self, table: &Table, len: u32) {
        check_single(table, len);
    }
}
