//! Belady's optimum: evicts the block whose next request is farthest. No policy that admits
//! every missed block has fewer misses.
//!
//! L. A. Belady, "A study of replacement algorithms for a virtual-storage
//! computer", IBM Systems Journal 5(2), 1966.
//!
//! It knows the requests beforehand, so it is not a [`Policy`](super::Policy), and serves
//! a simulator only: [`Cache::with_policy`](crate::Cache::with_policy) with a
//! [`Belady`] of the requests, then exactly these requests in this order, each
//! miss followed by the block's admission, if any.
//!
//! The times of the next requests of cached blocks are bits, found from above
//! through a tree of 64-bit words: as deep as a priority queue of 64-fold nodes,
//! with no keys to compare. Blocks without a further request are in a list.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::{Eviction, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);
const NEVER: u32 = u32::MAX;

/// A set of numbers that knows its greatest one.
#[derive(Clone, Debug)]
struct Times(Vec<Box<[u64]>>);

impl Times {
    fn new(limit: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = limit.max(1);
        while words > 1 || levels.is_empty() {
            words = words.div_ceil(64);
            levels.push(vec![0; words].into_boxed_slice());
        }
        Self(levels)
    }

    fn insert(&mut self, time: u32) {
        let mut at = time as usize;
        for level in &mut self.0 {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                return;
            }
            at /= 64;
        }
    }

    fn remove(&mut self, time: u32) {
        let mut at = time as usize;
        for level in &mut self.0 {
            level[at / 64] &= !(1 << (at % 64));
            if level[at / 64] != 0 {
                return;
            }
            at /= 64;
        }
    }

    fn greatest(&self) -> Option<u32> {
        let mut at = 0;
        for level in self.0.iter().rev() {
            at = at * 64 + level[at].checked_ilog2()? as usize;
        }
        Some(at as u32)
    }

    fn memory_bytes(&self) -> usize {
        self.0.iter().map(|level| size_of_val(&**level)).sum()
    }
}

/// The optimum for requests that are known.
#[derive(Clone, Debug)]
pub struct Belady {
    requests: Box<[u32]>,
    /// When the block of each request is requested again.
    next: Box<[u32]>,
    /// The request that comes next.
    now: usize,
    times: Times,
    /// When the block of each slot is requested again.
    next_of: Box<[u32]>,
}

impl Belady {
    /// For a cache that may have `slots` slots, and these requests.
    ///
    /// # Panics
    /// With `u32::MAX` requests or more.
    pub fn of(requests: &[u32], slots: u32) -> Self {
        let count = u32::try_from(requests.len()).ok();
        let count = count
            .filter(|&count| count < NEVER)
            .expect("fewer requests");
        let mut latest = BTreeMap::new();
        let mut next = vec![NEVER; requests.len()].into_boxed_slice();
        for time in (0..count).rev() {
            let block = requests[time as usize];
            if let Some(later) = latest.insert(block, time) {
                next[time as usize] = later;
            }
        }
        Self {
            requests: requests.into(),
            next,
            now: 0,
            times: Times::new(requests.len()),
            next_of: vec![NEVER; slots as usize].into_boxed_slice(),
        }
    }

    /// The block's request has come: it is for the one at the clock.
    fn tick(&mut self, block: u32) {
        assert_eq!(
            self.requests.get(self.now),
            Some(&block),
            "request {}",
            self.now
        );
        self.now += 1;
    }

    fn note(&mut self, table: &mut Table, slot: u32) {
        let next = self.next[self.now - 1];
        self.next_of[slot as usize] = next;
        if next == NEVER {
            table.push_front(list(table, 0), slot);
        } else {
            self.times.insert(next);
        }
    }
}

impl Eviction for Belady {
    const LISTS: u32 = 1;

    /// For no request at all: see [`Belady::of`].
    fn new(slots: u32) -> Self {
        Self::of(&[], slots)
    }

    fn hit(&mut self, table: &mut Table, slot: u32, block: u32) {
        self.tick(block);
        self.times.remove(self.next_of[slot as usize]);
        self.note(table, slot);
    }

    fn missed(&mut self, block: u32) {
        self.tick(block);
    }

    fn evict(&mut self, table: &mut Table, _incoming: Option<u32>) -> u32 {
        if let Some(slot) = table.pop_back(list(table, 0)) {
            return slot;
        }
        let time = self.times.greatest().expect("a cached block");
        self.times.remove(time);
        let block = self.requests[time as usize];
        table.find(block).expect("a cached block")
    }

    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, CACHED);
        self.note(table, slot);
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        match self.next_of[slot as usize] {
            NEVER => table.unlink(slot),
            time => self.times.remove(time),
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&*self.requests)
            + size_of_val(&*self.next)
            + size_of_val(&*self.next_of)
            + self.times.memory_bytes()
    }

    fn check(&self, table: &Table, len: u32) {
        let never = table.backwards(list(table, 0)).count();
        let ones = self.times.0[0].iter().map(|word| word.count_ones());
        assert_eq!(never as u32 + ones.sum::<u32>(), len);
        let cached = (0..table.slots()).filter(|&slot| table.place(slot).is_cached());
        for slot in cached {
            let next = self.next_of[slot as usize];
            assert!(next == NEVER || self.requests[next as usize] == table.block(slot));
        }
    }
}
