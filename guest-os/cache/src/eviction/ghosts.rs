//! Blocks that went and are remembered for a while, by number only: what a policy
//! learns from when they are requested again.
//!
//! How many are remembered follows from the capacity. A cache that shrinks does
//! not forget at once, which would take as long again as giving up the slots: each
//! block that comes in afterwards makes up to two of them forgotten.

use crate::table::{Place, Table};

const FREE: u32 = 0;

/// The most that is forgotten for one block that comes in. Two, so that what is
/// too much becomes less.
pub const STEPS: usize = 2;

/// Queues of blocks that are not cached; a block is in at most one. The table's
/// slots are mere places to remember here.
#[derive(Clone, Debug)]
pub struct Ghosts {
    table: Table,
    lens: [u32; 2],
}

impl Ghosts {
    /// Two empty queues, of up to `room` blocks together.
    pub fn new(room: u32) -> Self {
        let mut table = Table::new(room, 3);
        (0..room).for_each(|ghost| table.push_back(table.list(FREE), ghost));
        Self {
            table,
            lens: [0; 2],
        }
    }

    /// How many blocks a queue has.
    #[inline]
    pub fn len(&self, queue: u8) -> u32 {
        self.lens[usize::from(queue)]
    }

    /// Remembers a block, as the youngest of a queue. Returns its number, below the
    /// room, until it is forgotten.
    ///
    /// # Panics
    /// Without room: the caller forgets first.
    #[inline]
    pub fn remember(&mut self, queue: u8, block: u32) -> u32 {
        let free = self.table.pop_back(self.table.list(FREE));
        let ghost = free.expect("room for a ghost");
        self.table.insert(ghost, block);
        self.table.set_place(ghost, Place::of_policy(queue));
        let list = self.table.list(1 + u32::from(queue));
        self.table.push_front(list, ghost);
        self.lens[usize::from(queue)] += 1;
        ghost
    }

    /// Remembers a block in the first queue, of at most `limit`.
    #[inline]
    pub fn remember_within(&mut self, limit: u32, block: u32) {
        for _ in 0..STEPS {
            if self.len(0) > 0 && self.len(0) >= limit {
                self.forget_oldest(0);
            }
        }
        if limit > 0 {
            self.remember(0, block);
        }
    }

    /// Forgets the oldest block of a queue that has one; which number it had.
    #[inline]
    pub fn forget_oldest(&mut self, queue: u8) -> u32 {
        let list = self.table.list(1 + u32::from(queue));
        let oldest = self.table.back(list).expect("a ghost");
        self.forget(queue, oldest);
        oldest
    }

    /// The number of a block that is remembered.
    #[inline]
    pub fn find(&self, block: u32) -> Option<u32> {
        self.table.find(block)
    }

    /// Forgets the block of a number, in a queue.
    pub fn forget(&mut self, queue: u8, ghost: u32) {
        self.table.unlink(ghost);
        self.table.remove(ghost);
        self.table.push_back(self.table.list(FREE), ghost);
        self.lens[usize::from(queue)] -= 1;
    }

    /// Forgets a block; which queue it was in, if it was remembered.
    #[inline]
    pub fn take(&mut self, block: u32) -> Option<u8> {
        let ghost = self.table.find(block)?;
        let queue = u8::from(self.table.place(ghost) == Place::of_policy(1));
        self.forget(queue, ghost);
        Some(queue)
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Checks the lengths, and that no ghost is in `cached`.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn check(&self, cached: &Table) {
        for queue in 0..2 {
            let list = self.table.list(1 + queue);
            let ghosts = self.table.backwards(list);
            let blocks = ghosts.map(|ghost| self.table.block(ghost));
            let count = blocks.inspect(|&block| assert_eq!(cached.find(block), None));
            assert_eq!(count.count(), self.lens[queue as usize] as usize);
        }
    }
}
