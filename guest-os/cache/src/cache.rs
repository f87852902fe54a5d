//! The cache, the same for every policy: slots that come and go, requests that
//! hit or miss, blocks admitted and discarded.
//!
//! ```text
//!             grow                admit
//!   absent ---------> free ------------------> cached
//!     ^                ^  |                       |
//!     |                |  | revoke, surrender     |
//!     |<---------------|--+                       |
//!     |                +------- discard ----------+
//!     +---------------- revoke, surrender --------+
//! ```
//!
//! The policy sees cached slots only. Without a slot a cache lets nothing in.

use alloc::vec::Vec;

use crate::eviction::Eviction;
use crate::eviction::lru::Lru;
use crate::table::{List, Place, Table};

/// Slots that a cache may have: 256 GiB of 4 KiB blocks. Half of what a table can
/// have, so that a policy can remember as many blocks as are cached, and some.
pub const MAX_SLOTS: u32 = 1 << 26;

/// Blocks that a shrinking cache evicts before it removes them from the table. Eviction follows the
/// policy's list, one memory access after the other; the lookups of a batch depend on nothing but
/// their slots, so the processor overlaps their misses.
const BATCH: usize = 64;

/// The list of the free slots; those of a policy come after it.
const FREE: u32 = 0;

/// A block that was in a slot until now, and the slot's flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The block of the origin disk.
    pub block: u32,
    /// The slot of the vSSD.
    pub slot: u32,
    /// What [`Cache::set_flag`] said last; a new block starts with `false`.
    pub flag: bool,
}

/// What comes of a missed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The block is in `slot` from now on, in place of `evicted`.
    Admitted {
        /// Where its data belongs.
        slot: u32,
        /// What had to go for it, out of the same slot.
        evicted: Option<Cached>,
    },
    /// The block stays outside.
    Bypassed,
}

/// What was in a slot that was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The cache did not have the slot.
    Absent,
    /// Nothing.
    Free,
    /// A block, which is not cached any longer.
    Cached(Cached),
}

/// A cache of blocks in slots, by a policy.
#[derive(Clone, Debug)]
pub struct Cache<P> {
    table: Table,
    policy: P,
    capacity: u32,
    len: u32,
}

impl Cache<Lru> {
    /// All blocks, the one requested last first.
    pub fn by_recency(&self) -> Vec<u32> {
        let slots = self.table.backwards(self.table.list(FREE + 1));
        let mut blocks: Vec<_> = slots.map(|slot| self.table.block(slot)).collect();
        blocks.reverse();
        blocks
    }
}

impl<P: Eviction> Cache<P> {
    /// A cache that may have any of `slots` slots and has none yet.
    ///
    /// # Panics
    /// With more than [`MAX_SLOTS`].
    pub fn new(slots: u32) -> Self {
        Self::with_policy(slots, P::new(slots))
    }

    /// The same by a policy that has been made for as many slots.
    ///
    /// # Panics
    /// With more than [`MAX_SLOTS`].
    pub fn with_policy(slots: u32, policy: P) -> Self {
        assert!(slots <= MAX_SLOTS, "{slots} slots: at most {MAX_SLOTS}");
        Self {
            table: Table::new(slots, 1 + P::LISTS),
            policy,
            capacity: 0,
            len: 0,
        }
    }

    /// A cache that has all of `slots` slots.
    pub fn with_all(slots: u32) -> Self {
        let mut cache = Self::new(slots);
        cache.grow(0..slots);
        cache
    }

    /// How many slots it has.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many blocks it has.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it has no block.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap, for the slots that it has and those that it may have.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.policy.memory_bytes()
    }

    /// A request for `block`: its slot, if it is cached.
    #[inline]
    pub fn access(&mut self, block: u32) -> Option<u32> {
        let found = self.table.find(block);
        match found {
            Some(slot) => self.policy.hit(&mut self.table, slot, block),
            None => self.policy.missed(block),
        }
        found
    }

    /// A request for `block` that another tier served: a hit, if it is cached.
    pub fn touch(&mut self, block: u32) {
        if let Some(slot) = self.table.find(block) {
            self.policy.hit(&mut self.table, slot, block);
        }
    }

    /// The slot of `block`, without this being a request.
    pub fn find(&self, block: u32) -> Option<u32> {
        self.table.find(block)
    }

    /// Lets in a block that is not cached, which is for the caller to know: a block
    /// admitted twice would be in two slots. A debug build looks.
    #[inline]
    pub fn admit(&mut self, block: u32) -> Admission {
        debug_assert_eq!(self.find(block), None, "block {block} is cached");
        if self.capacity == 0 {
            return Admission::Bypassed;
        }
        self.policy.prepare(block);
        let (slot, evicted) = if self.len < self.capacity {
            let slot = self.table.pop_back(self.free()).expect("a free slot");
            self.len += 1;
            (slot, None)
        } else {
            let slot = self.policy.evict(&mut self.table, Some(block));
            (slot, Some(self.take_out(slot)))
        };
        self.table.insert(slot, block);
        self.policy.insert(&mut self.table, slot, block);
        Admission::Admitted { slot, evicted }
    }

    /// Takes the block out of a slot that the policy gave.
    #[inline]
    fn take_out(&mut self, slot: u32) -> Cached {
        let block = self.table.remove(slot);
        let flag = self.table.has_flag(slot);
        if flag {
            self.table.set_flag(slot, false);
        }
        Cached { block, slot, flag }
    }

    fn free(&self) -> List {
        self.table.list(FREE)
    }

    /// Forgets `block`; its slot stays, free. What it was, if it was cached.
    pub fn discard(&mut self, block: u32) -> Option<Cached> {
        let slot = self.table.find(block)?;
        self.policy.remove(&mut self.table, slot);
        let cached = self.take_out(slot);
        self.table.set_place(slot, Place::FREE);
        self.table.push_back(self.free(), slot);
        self.len -= 1;
        Some(cached)
    }

    /// Takes a slot away, with what is in it: the hypervisor has revoked it.
    pub fn revoke(&mut self, slot: u32) -> Revoked {
        let place = self.table.place(slot);
        let revoked = if place == Place::ABSENT {
            return Revoked::Absent;
        } else if place == Place::FREE {
            self.table.unlink(slot);
            Revoked::Free
        } else {
            self.policy.remove(&mut self.table, slot);
            self.len -= 1;
            Revoked::Cached(self.take_out(slot))
        };
        self.table.set_place(slot, Place::ABSENT);
        self.capacity -= 1;
        self.policy.resize(self.capacity);
        revoked
    }

    /// Gives up `count` slots, or all if there are fewer: first the free ones, then
    /// those of the blocks that the policy would throw out next. Says which, in
    /// that order, with what was in them; returns how many.
    pub fn surrender(&mut self, count: u32, mut each: impl FnMut(u32, Option<Cached>)) -> u32 {
        let given = count.min(self.capacity);
        let mut left = given;
        while left > 0
            && let Some(slot) = self.table.pop_back(self.free())
        {
            self.table.set_place(slot, Place::ABSENT);
            each(slot, None);
            left -= 1;
        }
        self.len -= left;
        let mut batch = [0; BATCH];
        while left > 0 {
            let batch = &mut batch[..BATCH.min(left as usize)];
            left -= batch.len() as u32;
            for slot in &mut *batch {
                *slot = self.policy.evict(&mut self.table, None);
            }
            for &mut slot in batch {
                let cached = self.take_out(slot);
                self.table.set_place(slot, Place::ABSENT);
                each(slot, Some(cached));
            }
        }
        self.capacity -= given;
        self.policy.resize(self.capacity);
        given
    }

    /// The same, but the blocks of which `keep` is true, by slot and block, go after all others.
    /// Those that stay are worth to the policy what they were.
    ///
    /// The policy chooses on a copy of the cache, since what it has chosen it has forgotten. If
    /// there is no memory for one, nothing is kept.
    pub fn surrender_keeping(
        &mut self,
        count: u32,
        keep: impl FnMut(u32, u32) -> bool,
        mut each: impl FnMut(u32, Option<Cached>),
    ) -> u32
    where
        P: Clone,
    {
        let given = count.min(self.capacity);
        let blocks = given.saturating_sub(self.capacity - self.len);
        let copy = if blocks > 0 { self.copy() } else { None };
        let Some(copy) = copy else {
            return self.surrender(count, each);
        };
        let chosen = copy.choose(blocks, keep);
        self.surrender(given - blocks, &mut each);
        for slot in chosen {
            self.policy.remove(&mut self.table, slot);
            let cached = self.take_out(slot);
            self.table.set_place(slot, Place::ABSENT);
            each(slot, Some(cached));
        }
        self.capacity -= blocks;
        self.len -= blocks;
        self.policy.resize(self.capacity);
        given
    }

    /// A copy, if there is memory for it.
    fn copy(&self) -> Option<Self>
    where
        P: Clone,
    {
        let mut room: Vec<u8> = Vec::new();
        room.try_reserve_exact(self.memory_bytes()).ok()?;
        drop(room);
        Some(self.clone())
    }

    /// The slots of `count` blocks in the order in which the policy throws them out, those to be
    /// kept last.
    fn choose(mut self, count: u32, mut keep: impl FnMut(u32, u32) -> bool) -> Vec<u32> {
        let count = count as usize;
        let (mut chosen, mut kept) = (Vec::with_capacity(count), Vec::new());
        let mut left = self.len;
        while chosen.len() < count && left > 0 {
            let slot = self.policy.evict(&mut self.table, None);
            if keep(slot, self.table.block(slot)) {
                kept.push(slot);
            } else {
                chosen.push(slot);
            }
            left -= 1;
        }
        let missing = count - chosen.len();
        chosen.extend(kept.into_iter().take(missing));
        chosen
    }

    /// Takes slots back, free. One that the cache has already stays as it is.
    ///
    /// # Panics
    /// If a slot is not one that the cache may have.
    pub fn grow(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            assert!(slot < self.table.slots(), "slot {slot}: no such slot");
            if self.table.place(slot) == Place::ABSENT {
                self.table.set_place(slot, Place::FREE);
                self.table.push_front(self.free(), slot);
                self.capacity += 1;
            }
        }
        self.policy.resize(self.capacity);
    }

    /// The flag of a slot that has a block: for what is above the cache, to say
    /// something of the block. No policy looks at it.
    pub fn has_flag(&self, slot: u32) -> bool {
        self.table.has_flag(slot)
    }

    /// Sets the flag of a slot that has a block, until the block goes.
    ///
    /// # Panics
    /// If there is none.
    pub fn set_flag(&mut self, slot: u32, flag: bool) {
        assert!(self.table.place(slot).is_cached(), "slot {slot}: no block");
        self.table.set_flag(slot, flag);
    }

    /// The mark of a slot, 0 to 3: for what is above the cache, to say something of
    /// the slot. It stays whatever comes into the slot or goes, even while the slot
    /// is absent.
    pub fn mark(&self, slot: u32) -> u8 {
        self.table.mark(slot)
    }

    /// Sets the mark of a slot, 0 to 3.
    pub fn set_mark(&mut self, slot: u32, mark: u8) {
        self.table.set_mark(slot, mark);
    }

    /// The block in a slot, if there is one.
    pub fn block(&self, slot: u32) -> Option<u32> {
        let is_cached = self.table.place(slot).is_cached();
        is_cached.then(|| self.table.block(slot))
    }

    /// All blocks and their slots, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.table.slots())
            .filter(|&slot| self.table.place(slot).is_cached())
            .map(|slot| (self.table.block(slot), slot))
    }

    /// Checks that every slot is in exactly one place.
    ///
    /// # Panics
    /// If one is not.
    pub fn check(&self) {
        let places = (0..self.table.slots()).map(|slot| self.table.place(slot));
        let cached = places.clone().filter(|place| place.is_cached()).count();
        let free = places.filter(|&place| place == Place::FREE).count();
        assert_eq!(cached, self.len as usize);
        assert_eq!(cached + free, self.capacity as usize);
        assert_eq!(self.table.backwards(self.free()).count(), free);
        for (block, slot) in self.iter() {
            assert_eq!(self.find(block), Some(slot));
        }
        self.policy.check(&self.table, self.len);
    }
}
