//! FIFO lock queues: requests get the blocks and slots that they use in the order of arrival.
//!
//! A request enters, when it arrives, the queue of every resource that it uses: its
//! block, its slot, and the block that is evicted for it. Shared locks (reads of a slot) are
//! held together, exclusive ones one at a time. A lock enters all its queues at once, so it
//! waits for earlier locks only and there is no deadlock: the argument of deterministic
//! databases (A. Thomson et al., "Calvin: fast distributed transactions for partitioned
//! database systems", SIGMOD 2012).
//!
//! ```text
//!   block 7   [read 1][read 2] [write 4]          1 and 2 are acquired, 4 is when
//!   slot 3    [read 1][read 2] [write 4]          both are released, 5 when 3 is
//!   block 9             [fill 3]    [read 5]
//!   slot 8              [fill 3]
//! ```
//!
//! The queues are lists through one slab of links, so that entering and leaving
//! allocates only when there are more requests than ever before. Only the resources of requests
//! under way have queues, up to three for each: so few are searched one by one faster than in a tree.

use alloc::vec::Vec;

/// No link.
const NONE: u32 = u32::MAX;

/// Resources of a lock: a block, a slot, and a block that is evicted.
const RESOURCES_MAX: usize = 3;

/// A resource with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A block of the origin disk.
    Block(u32),
    /// A slot of the vSSD.
    Slot(u32),
}

/// A lock, until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockId(u32);

#[derive(Clone, Copy)]
struct Lock {
    links: [u32; RESOURCES_MAX],
    /// Queues in which it is not acquired.
    waits: u8,
    /// Its slot has been taken away.
    is_void: bool,
}

#[derive(Clone, Copy)]
struct Link {
    lock: u32,
    resource: Resource,
    is_shared: bool,
    is_acquired: bool,
    before: u32,
    after: u32,
}

/// A queue that is not empty.
#[derive(Clone, Copy)]
struct Queue {
    of: Resource,
    first: u32,
    last: u32,
}

/// All locks and their queues.
#[derive(Default)]
pub struct LockQueues {
    locks: Vec<Lock>,
    unused_locks: Vec<u32>,
    links: Vec<Link>,
    unused_links: Vec<u32>,
    queues: Vec<Queue>,
}

/// Puts a value into an unused place of a slab, or a new one.
fn place<T>(slab: &mut Vec<T>, unused: &mut Vec<u32>, value: T) -> u32 {
    match unused.pop() {
        Some(index) => {
            slab[index as usize] = value;
            index
        }
        None => {
            slab.push(value);
            slab.len() as u32 - 1
        }
    }
}

impl LockQueues {
    /// A lock of these resources, each shared or exclusive. A resource that is named twice
    /// counts once, as it is named first.
    ///
    /// # Panics
    /// With more than [`RESOURCES_MAX`].
    pub fn enqueue(&mut self, resources: &[(Resource, bool)]) -> LockId {
        let lock = Lock {
            links: [NONE; RESOURCES_MAX],
            waits: 0,
            is_void: false,
        };
        let id = place(&mut self.locks, &mut self.unused_locks, lock);
        for (at, &(what, is_shared)) in resources.iter().enumerate() {
            if resources[..at].iter().all(|&(other, _)| other != what) {
                self.join(id, at, what, is_shared);
            }
        }
        LockId(id)
    }

    fn join(&mut self, id: u32, at: usize, resource: Resource, is_shared: bool) {
        let queue = self.queue(resource);
        let before = queue.map_or(NONE, |queue| self.queues[queue].last);
        let is_acquired = match before {
            NONE => true,
            before => {
                let before = &self.links[before as usize];
                is_shared && before.is_shared && before.is_acquired
            }
        };
        let link = Link {
            lock: id,
            resource,
            is_shared,
            is_acquired,
            before,
            after: NONE,
        };
        let link = place(&mut self.links, &mut self.unused_links, link);
        if let Some(queue) = queue {
            self.links[before as usize].after = link;
            self.queues[queue].last = link;
        } else {
            self.queues.push(Queue {
                of: resource,
                first: link,
                last: link,
            });
        }
        let lock = &mut self.locks[id as usize];
        lock.links[at] = link;
        lock.waits += u8::from(!is_acquired);
    }

    /// The place of a queue; `None` while it is empty.
    fn queue(&self, of: Resource) -> Option<usize> {
        self.queues.iter().position(|queue| queue.of == of)
    }

    /// Whether a lock is acquired in all its queues.
    pub fn is_acquired(&self, id: LockId) -> bool {
        self.locks[id.0 as usize].waits == 0
    }

    /// Whether the slot of a lock has been taken away since the lock was enqueued.
    pub fn is_void(&self, id: LockId) -> bool {
        self.locks[id.0 as usize].is_void
    }

    /// Removes a lock from all its queues.
    pub fn release(&mut self, id: LockId) {
        let links = self.locks[id.0 as usize].links;
        for link in links.into_iter().filter(|&link| link != NONE) {
            self.unlink(link);
        }
        self.unused_locks.push(id.0);
    }

    fn unlink(&mut self, index: u32) {
        let Link {
            resource,
            before,
            after,
            ..
        } = self.links[index as usize];
        self.unused_links.push(index);
        let at = self.queue(resource).expect("a queue");
        if before == NONE && after == NONE {
            self.queues.swap_remove(at);
            return;
        }
        match before {
            NONE => self.queues[at].first = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.queues[at].last = before,
            after => self.links[after as usize].before = before,
        }
        self.acquire_next(after);
    }

    /// Acquires a link whose predecessor was released, and those after it that share
    /// with it.
    fn acquire_next(&mut self, mut index: u32) {
        while index != NONE {
            let link = self.links[index as usize];
            let is_next = match link.before {
                NONE => true,
                before => {
                    let before = &self.links[before as usize];
                    link.is_shared && before.is_shared && before.is_acquired
                }
            };
            if link.is_acquired || !is_next {
                return;
            }
            self.links[index as usize].is_acquired = true;
            self.locks[link.lock as usize].waits -= 1;
            index = link.after;
        }
    }

    /// Whether the queue is empty.
    pub fn is_idle(&self, resource: Resource) -> bool {
        self.queue(resource).is_none()
    }

    /// The slot has been taken away: the locks in its queue are void, except the one whose
    /// request took it.
    pub fn void(&mut self, slot: u32, except: Option<LockId>) {
        let queue = self.queue(Resource::Slot(slot));
        let mut index = queue.map_or(NONE, |queue| self.queues[queue].first);
        while index != NONE {
            let Link { lock, after, .. } = self.links[index as usize];
            if except != Some(LockId(lock)) {
                self.locks[lock as usize].is_void = true;
            }
            index = after;
        }
    }

    /// The slot does not have `block`: the other locks for that block are void, up to one for
    /// another block. Behind that, the block has come in again, and the request that brings it
    /// must not be void: it has to write back what it replaces. Returns whether the queue ends
    /// before such a lock.
    pub fn void_block(&mut self, slot: u32, block: u32, holder: LockId) -> bool {
        let links = self.locks[holder.0 as usize].links;
        let mut links = links.into_iter().filter(|&link| link != NONE);
        let own = links.find(|&link| self.links[link as usize].resource == Resource::Slot(slot));
        let Some(own) = own.map(|link| self.links[link as usize]) else {
            return true;
        };
        self.void_while(own.before, block, |link| link.before);
        self.void_while(own.after, block, |link| link.after) == NONE
    }

    /// Voids locks from a link of a slot's queue on, up to one that is not for `block`. Returns
    /// the link of that one, if there is one.
    fn void_while(&mut self, mut index: u32, block: u32, next: impl Fn(&Link) -> u32) -> u32 {
        while index != NONE {
            let link = self.links[index as usize];
            let lock = &mut self.locks[link.lock as usize];
            let [first, ..] = lock.links;
            if self.links[first as usize].resource != Resource::Block(block) {
                break;
            }
            lock.is_void = true;
            index = next(&link);
        }
        index
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.locks.capacity() * size_of::<Lock>()
            + self.links.capacity() * size_of::<Link>()
            + (self.unused_locks.capacity() + self.unused_links.capacity()) * size_of::<u32>()
            + self.queues.capacity() * size_of::<Queue>()
    }
}

#[cfg(test)]
mod tests {
    use super::Resource::{Block, Slot};
    use super::*;

    #[test]
    fn shared_locks_are_held_together_and_exclusive_ones_one_at_a_time() {
        let mut locks = LockQueues::default();
        let first = locks.enqueue(&[(Block(7), true), (Slot(3), true)]);
        let second = locks.enqueue(&[(Block(7), true), (Slot(3), true)]);
        let fill = locks.enqueue(&[(Block(1), false), (Slot(8), false), (Block(9), false)]);
        let write = locks.enqueue(&[(Block(7), false), (Slot(3), false)]);
        let after = locks.enqueue(&[(Block(7), true), (Slot(3), true)]);
        let evicted = locks.enqueue(&[(Block(9), true)]);
        assert!(
            [first, second, fill]
                .iter()
                .all(|&id| locks.is_acquired(id))
        );
        assert!(
            [write, after, evicted]
                .iter()
                .all(|&id| !locks.is_acquired(id))
        );
        locks.release(first);
        assert!(!locks.is_acquired(write));
        locks.release(second);
        assert!(locks.is_acquired(write) && !locks.is_acquired(after));
        locks.release(fill);
        assert!(locks.is_acquired(evicted));
        locks.release(write);
        assert!(locks.is_acquired(after));
        assert!(locks.is_idle(Slot(8)) && !locks.is_idle(Slot(3)));
    }

    #[test]
    fn a_lock_released_before_it_is_acquired_lets_others_share() {
        let mut locks = LockQueues::default();
        let first = locks.enqueue(&[(Block(7), true)]);
        let write = locks.enqueue(&[(Block(7), false)]);
        let second = locks.enqueue(&[(Block(7), true)]);
        locks.release(write);
        assert!(locks.is_acquired(first) && locks.is_acquired(second));
    }

    #[test]
    fn a_slot_taken_away_voids_the_locks_in_its_queue_only() {
        let mut locks = LockQueues::default();
        let before = locks.enqueue(&[(Block(7), true), (Slot(3), true)]);
        locks.void(3, None);
        let after = locks.enqueue(&[(Block(8), false), (Slot(3), false)]);
        assert!(locks.is_void(before) && !locks.is_void(after));
        assert!(!locks.is_acquired(after));
    }

    #[test]
    fn a_slot_without_its_block_can_be_filled_with_another() {
        let mut locks = LockQueues::default();
        let fill = locks.enqueue(&[(Block(7), false), (Slot(3), false)]);
        let hit = locks.enqueue(&[(Block(7), true), (Slot(3), true)]);
        let next = locks.enqueue(&[(Block(8), false), (Slot(3), false), (Block(7), false)]);
        locks.void_block(3, 7, fill);
        let voids = [fill, hit, next].map(|id| locks.is_void(id));
        assert_eq!(voids, [false, true, false]);
    }

    #[test]
    fn a_resource_named_twice_counts_once() {
        let mut locks = LockQueues::default();
        let twice = locks.enqueue(&[(Block(7), false), (Slot(1), false), (Block(7), false)]);
        assert!(locks.is_acquired(twice));
        locks.release(twice);
        assert!(locks.is_idle(Block(7)));
    }
}
