//! 2Q: new blocks pass through a FIFO queue, where requests do not move them. A block that
//! is requested again after it left that queue, while it is remembered, joins an LRU list.
//! One long scan passes through the queue and leaves the list alone.
//!
//! T. Johnson, D. Shasha, "2Q: a low overhead high performance buffer management
//! replacement algorithm", VLDB 1994: the full version, with the paper's Kin of a
//! quarter of the capacity and Kout of half of it, as in libCacheSim (which lets
//! nothing into a cache of less than 4 blocks; this one does).

use super::ghosts::Ghosts;
use super::{Eviction, check_lists, list};
use crate::table::{Place, Table};

const IN: Place = Place::of_policy(0);
const MAIN: Place = Place::of_policy(1);
const IN_LIST: u32 = 0;
const MAIN_LIST: u32 = 1;

/// 2Q. The newest blocks are in front.
#[derive(Clone, Debug)]
pub struct TwoQ {
    /// A1out.
    ghosts: Ghosts,
    capacity: u32,
    /// The length of A1in.
    incoming: u32,
    /// The length of Am.
    main: u32,
    /// Whether the block that is coming in was remembered.
    remembered: bool,
}

impl Eviction for TwoQ {
    const LISTS: u32 = 2;

    fn new(slots: u32) -> Self {
        Self {
            ghosts: Ghosts::new(slots / 2),
            capacity: 0,
            incoming: 0,
            main: 0,
            remembered: false,
        }
    }

    fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        if table.place(slot) == MAIN {
            table.move_to_front(list(table, MAIN_LIST), slot);
        }
    }

    #[inline]
    fn prepare(&mut self, block: u32) {
        self.remembered = self.ghosts.take(block).is_some();
    }

    fn evict(&mut self, table: &mut Table, incoming: Option<u32>) -> u32 {
        if self.incoming <= self.capacity / 4 && self.main > 0 {
            self.main -= 1;
            return table.pop_back(list(table, MAIN_LIST)).expect("Am");
        }
        self.incoming -= 1;
        let slot = table.pop_back(list(table, IN_LIST)).expect("A1in");
        if incoming.is_some() {
            let limit = self.capacity / 2;
            self.ghosts.remember_within(limit, table.block(slot));
        }
        slot
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        let (place, queue) = if self.remembered {
            self.main += 1;
            (MAIN, MAIN_LIST)
        } else {
            self.incoming += 1;
            (IN, IN_LIST)
        };
        table.set_place(slot, place);
        table.push_front(list(table, queue), slot);
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        if table.place(slot) == MAIN {
            self.main -= 1;
        } else {
            self.incoming -= 1;
        }
        table.unlink(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.ghosts.memory_bytes()
    }

    fn check(&self, table: &Table, len: u32) {
        assert_eq!(self.incoming + self.main, len);
        check_lists(table, &[(IN, self.incoming), (MAIN, self.main)]);
        self.ghosts.check(table);
    }
}
