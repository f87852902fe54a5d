//! S3-FIFO: what is new waits in a small queue and goes quickly unless it is asked
//! for again; what was is in a main queue with second chances. A block that went
//! from the small queue is remembered, and is admitted to the main one at once.
//!
//! J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak, "FIFO queues are all you need
//! for cache eviction", SOSP 2023.
//!
//! As in the authors' later simulator: the small queue has 10 % of the capacity,
//! 90 % of as many are remembered, two more requests move a block to the main
//! queue, and until something had to go for the first time the main queue takes
//! what the small one has no room for. Unlike there, the small queue has at least
//! one place: the simulator lets nothing into a cache of less than 20 blocks.

use super::ghosts::Ghosts;
use super::{Eviction, check_lists, list};
use crate::table::{Place, Table};

const SMALL: Place = Place::of_policy(0);
const MAIN: Place = Place::of_policy(1);
const SMALL_LIST: u32 = 0;
const MAIN_LIST: u32 = 1;

/// Requests beside the first that move a block from the small to the main queue.
const PROMOTED: u32 = 2;

/// S3-FIFO. The newest blocks are in front.
#[derive(Clone, Debug)]
pub struct S3Fifo {
    ghosts: Ghosts,
    capacity: u32,
    small: u32,
    main: u32,
    /// Whether something had to go yet.
    filled: bool,
    /// Whether the block that is coming in was remembered.
    remembered: bool,
}

/// How many blocks are remembered of a cache of `capacity`.
fn ghosts(capacity: u32) -> u32 {
    (u64::from(capacity) * 9 / 10) as u32
}

impl S3Fifo {
    fn small_capacity(&self) -> u32 {
        (self.capacity / 10).max(1)
    }

    /// The first of the main queue without a recent request. The queue is not empty.
    fn evict_main(&mut self, table: &mut Table) -> u32 {
        let main = list(table, MAIN_LIST);
        loop {
            let slot = table.back(main).expect("a block in the main queue");
            let count = table.count(slot);
            if count == 0 {
                table.unlink(slot);
                self.main -= 1;
                return slot;
            }
            table.set_count(slot, count - 1);
            table.move_to_front(main, slot);
        }
    }

    /// The first of the small queue that was not requested again; what was goes to
    /// the main queue.
    fn evict_small(&mut self, table: &mut Table, remember: bool) -> Option<u32> {
        while let Some(slot) = table.pop_back(list(table, SMALL_LIST)) {
            self.small -= 1;
            if table.count(slot) < PROMOTED {
                if remember {
                    let limit = ghosts(self.capacity);
                    self.ghosts.remember_within(limit, table.block(slot));
                }
                return Some(slot);
            }
            self.push_main(table, slot);
        }
        None
    }

    fn push_main(&mut self, table: &mut Table, slot: u32) {
        table.set_place(slot, MAIN);
        table.set_count(slot, 0);
        table.push_front(list(table, MAIN_LIST), slot);
        self.main += 1;
    }
}

impl Eviction for S3Fifo {
    const LISTS: u32 = 2;

    fn new(slots: u32) -> Self {
        Self {
            ghosts: Ghosts::new(ghosts(slots)),
            capacity: 0,
            small: 0,
            main: 0,
            filled: false,
            remembered: false,
        }
    }

    fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        let count = table.count(slot);
        if count < 3 {
            table.set_count(slot, count + 1);
        }
    }

    #[inline]
    fn prepare(&mut self, block: u32) {
        self.remembered = self.ghosts.take(block).is_some();
    }

    fn evict(&mut self, table: &mut Table, incoming: Option<u32>) -> u32 {
        self.filled = true;
        loop {
            let main_is_full = self.main > self.capacity - self.small_capacity();
            if main_is_full || self.small == 0 {
                return self.evict_main(table);
            }
            if let Some(slot) = self.evict_small(table, incoming.is_some()) {
                return slot;
            }
        }
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        if self.remembered || !self.filled && self.small >= self.small_capacity() {
            self.push_main(table, slot);
        } else {
            table.set_place(slot, SMALL);
            table.set_count(slot, 0);
            table.push_front(list(table, SMALL_LIST), slot);
            self.small += 1;
        }
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        if table.place(slot) == SMALL {
            self.small -= 1;
        } else {
            self.main -= 1;
        }
        table.unlink(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.ghosts.memory_bytes()
    }

    fn check(&self, table: &Table, len: u32) {
        assert_eq!(self.small + self.main, len);
        check_lists(table, &[(SMALL, self.small), (MAIN, self.main)]);
        self.ghosts.check(table);
    }
}
