//! Least recently used: evicts the block whose last request is oldest.
//!
//! R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger, "Evaluation techniques
//! for storage hierarchies", IBM Systems Journal 9(2), 1970.

use super::{Eviction, check_single, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);

/// Least recently used. The block requested last is in front.
#[derive(Clone, Debug)]
pub struct Lru;

impl Eviction for Lru {
    const LISTS: u32 = 1;

    fn new(_slots: u32) -> Self {
        Self
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.move_to_front(list(table, 0), slot);
    }

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
