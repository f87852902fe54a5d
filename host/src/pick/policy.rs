//! Requests tracked by an eviction policy of the guest's cache (`guest_cache`).
//!
//! The cache has a slot for each block that the guest holds, and has every block requested since
//! tracking began. So it never evicts for room, and the ghosts of a policy (blocks that were
//! evicted) stay empty: only a shrink asks what is to go.
//!
//! ```text
//!  tracking begins
//!        |
//!        v         request
//!  not requested ----------> cached
//!        ^                      |
//!        +----------------------+
//!             picked, discarded
//! ```
//!
//! A block of either state is not held once it is surrendered or revoked. Blocks not requested go
//! first, at random; then those that the policy evicts.
//!
//! A number of a slot means nothing here: the cache assigns them. Only how many it has matters.

use guest_cache::cache::MAX_SLOTS;
use guest_cache::{AnyCache, Policy};
use vssd::block_set::BlockSet;
use workloads::HostPick;

/// The most blocks of a vSSD that a policy can track.
pub const MAX_BLOCKS: u32 = MAX_SLOTS;

/// The policy that a pick goes by, for picks that have no tracker of their own.
fn policy_of(pick: HostPick) -> Option<Policy> {
    match pick {
        HostPick::Fifo => Some(Policy::Fifo),
        HostPick::Sieve => Some(Policy::Sieve),
        HostPick::S3Fifo => Some(Policy::S3Fifo),
        HostPick::Lfu => Some(Policy::Lfu),
        HostPick::TwoQ => Some(Policy::TwoQ),
        HostPick::Arc => Some(Policy::Arc),
        HostPick::WTinyLfu => Some(Policy::WTinyLfu),
        HostPick::Lirs => Some(Policy::Lirs),
        HostPick::Uniform
        | HostPick::Lru
        | HostPick::Clock
        | HostPick::Sequential
        | HostPick::Given => None,
    }
}

/// A cache of block numbers, and the blocks that it does not have.
#[derive(Clone, Debug)]
pub struct PolicyTracker {
    pick: HostPick,
    cache: AnyCache,
    /// The blocks that the guest holds.
    held: BlockSet,
    /// Of these, the ones in the cache.
    cached: BlockSet,
    /// Slots that the cache does not have: one for each block that is not held.
    absent: BlockSet,
}

impl PolicyTracker {
    /// Nothing has been requested of the `held` blocks; `None` when the pick goes by no policy.
    ///
    /// # Panics
    /// When the vSSD has more than [`MAX_BLOCKS`].
    pub fn new(pick: HostPick, held: &BlockSet) -> Option<Self> {
        let capacity = held.capacity();
        let mut cache = policy_of(pick)?.cache(capacity);
        cache.grow(0..held.len());
        let mut absent = BlockSet::full(capacity);
        absent.remove_range(0, held.len());
        Some(Self {
            pick,
            cache,
            held: held.clone(),
            cached: BlockSet::empty(capacity),
            absent,
        })
    }

    /// The pick that it serves.
    pub fn serves(&self) -> HostPick {
        self.pick
    }

    /// A request touched these blocks. One that is not known to be held has been granted just
    /// now: [`follow`](Self::follow) has yet to report it.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            if self.cache.access(block).is_none() && self.held.contains(block) {
                self.cache.admit(block);
                self.cached.insert(block);
            }
        }
    }

    /// These blocks have no contents any more.
    pub fn discarded(&mut self, first: u32, count: u32) {
        let mut from = first;
        while let Some(block) = self.cached.next_in(from)
            && block < first + count
        {
            self.cached.remove(block);
            self.cache.discard(block);
            from = block + 1;
        }
    }

    /// The guest holds exactly the blocks of `held` now. What it gave up leaves the cache, so that
    /// it has no history when it comes back.
    pub fn follow(&mut self, held: &BlockSet) {
        let mut left = self.held.clone();
        left.subtract(held);
        let mut uncached = 0;
        for block in left.iter() {
            if self.cached.remove(block) {
                let slot = self.cache.find(block).expect("a cached block has a slot");
                self.cache.revoke(slot);
                self.absent.insert(slot);
            } else {
                uncached += 1;
            }
        }
        // The cache has a free slot for each block that is held and not cached.
        let absent = &mut self.absent;
        self.cache.surrender(uncached, |slot, cached| {
            assert_eq!(cached, None, "a slot of a held block");
            absent.insert(slot);
        });
        let mut came = held.clone();
        came.subtract(&self.held);
        if !came.is_empty() {
            let slots: Vec<u32> = self.absent.iter().take(came.len() as usize).collect();
            for &slot in &slots {
                self.absent.remove(slot);
            }
            self.cache.grow(slots);
        }
        self.held.clone_from(held);
    }

    /// At most `count` blocks of `set`, which has every block of the cache. Those that the policy
    /// gives up leave the cache, and count as not requested until they are revoked, or forever if
    /// that fails.
    pub fn pick(&mut self, count: u32, set: &BlockSet, below: impl FnMut(u32) -> u32) -> BlockSet {
        let mut unrequested = set.clone();
        unrequested.subtract(&self.cached);
        let mut picks = unrequested.sample(count, below);
        let evicted = (count - picks.len()).min(self.cache.len());
        if evicted > 0 {
            self.evict(evicted, &mut picks);
        }
        picks
    }

    /// Moves `count` blocks from the cache to `picks`.
    fn evict(&mut self, count: u32, picks: &mut BlockSet) {
        // A cache gives up its free slots first.
        let free = self.cache.capacity() - self.cache.len();
        let mut slots = Vec::with_capacity((free + count) as usize);
        let cached = &mut self.cached;
        self.cache.surrender(free + count, |slot, gone| {
            slots.push(slot);
            if let Some(gone) = gone {
                cached.remove(gone.block);
                picks.insert(gone.block);
            }
        });
        self.cache.grow(slots);
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        let sets = [&self.held, &self.cached, &self.absent];
        let bitmaps = sets.map(|set| set.capacity().div_ceil(64) as usize * 8);
        self.cache.memory_bytes() + bitmaps.iter().sum::<usize>()
    }

    /// Checks the cache, and that it and the sets agree. Blocks that are not in `filled` have no
    /// contents.
    ///
    /// # Panics
    /// If something is wrong.
    #[cfg(test)]
    pub(super) fn check(&self, filled: &BlockSet) {
        self.cache.check();
        assert_eq!(self.cache.capacity(), self.held.len());
        assert_eq!(self.absent.len(), self.held.capacity() - self.held.len());
        let mut cached = BlockSet::empty(self.held.capacity());
        self.cache.for_each(|(block, slot)| {
            cached.insert(block);
            assert!(!self.absent.contains(slot), "slot {slot}");
        });
        assert_eq!(cached, self.cached);
        assert!(self.cached.is_subset_of(&self.held) && self.cached.is_subset_of(filled));
    }
}

#[cfg(test)]
mod tests;
