//! Which block is evicted: the policies, one a file.
//!
//! A policy keeps the cached slots in lists of the [`Table`] and is notified of
//! every access. Adding one is a file, a variant of [`Policy`], a model in
//! the tests and a column of golden counts.

pub mod arc;
pub mod belady;
pub mod clock;
pub mod fifo;
pub mod lfu;
pub mod lirs;
pub mod lru;
pub mod s3_fifo;
pub mod sieve;
pub mod two_q;
pub mod w_tiny_lfu;

mod ghosts;
mod policy;
mod ring;
mod sketch;

pub use policy::{AnyCache, Policy};
pub use sketch::Sketch;

use crate::table::{List, Place, Table};

/// A policy. The slots passed to it are cached, and in none of its lists
/// before [`insert`](Self::insert).
pub trait Eviction {
    /// How many lists of the table it needs.
    const LISTS: u32;

    /// For a cache that may have `slots` slots and has none.
    fn new(slots: u32) -> Self;

    /// The cache has `capacity` slots from now on, and at most as many blocks.
    fn resize(&mut self, _capacity: u32) {}

    /// A request hit the block in a slot.
    fn hit(&mut self, table: &mut Table, slot: u32, block: u32);

    /// A request missed a block. It may be admitted next, or not.
    #[inline]
    fn missed(&mut self, _block: u32) {}

    /// A block that is not cached is about to be admitted; [`evict`](Self::evict), if
    /// there is no room, and [`insert`](Self::insert) follow.
    #[inline]
    fn prepare(&mut self, _block: u32) {}

    /// Chooses what goes, for `incoming` if something is to come, and takes it out
    /// of the policy's lists. Something is cached. The table still has the block.
    /// What goes for nothing, because the cache shrinks, is not remembered.
    fn evict(&mut self, table: &mut Table, incoming: Option<u32>) -> u32;

    /// A block has come into a slot: sets its place, and its list.
    fn insert(&mut self, table: &mut Table, slot: u32, block: u32);

    /// The block of a slot goes, whatever it is worth: takes the slot out of the
    /// policy's lists. The table still has the block.
    fn remove(&mut self, table: &mut Table, slot: u32);

    /// Bytes of heap beside the table.
    fn memory_bytes(&self) -> usize {
        0
    }

    /// Checks that the `len` cached slots are where the policy thinks.
    ///
    /// # Panics
    /// If one is not.
    fn check(&self, table: &Table, len: u32);
}

/// A policy's own list; that of the free slots comes before them.
#[inline]
fn list(table: &Table, index: u32) -> List {
    table.list(1 + index)
}

/// Checks that each of a policy's lists has so many slots, all at its place.
fn check_lists(table: &Table, lists: &[(Place, u32)]) {
    for (index, &(place, len)) in (0..).zip(lists) {
        let slots = table.backwards(list(table, index));
        let count = slots.inspect(|&slot| assert_eq!(table.place(slot), place));
        assert_eq!(count.count(), len as usize);
    }
}

/// Checks that a policy with a single list has every cached slot in it.
fn check_single(table: &Table, len: u32) {
    let slots = table.backwards(list(table, 0));
    let count = slots.inspect(|&slot| assert!(table.place(slot).is_cached()));
    assert_eq!(count.count(), len as usize);
}
