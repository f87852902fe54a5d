//! Which blocks the hypervisor takes when it picks them.
//!
//! It cannot see what a guest does with a block. What it sees are the requests
//! that reach the backend, so a [`Tracker`] can remember those; that costs memory
//! and a little time with every request, and nothing while tracking is off.
//!
//! ```text
//!                         request, or held when tracking begins
//!                       +---------------------------------------+
//!            grant      |                                       v
//!  not held -------> empty                                   filled
//!                       ^                                       |
//!                       +---------------------------------------+
//!                                       discard
//! ```
//!
//! A block of either state is not held once it is surrendered or revoked. With every pick that
//! needs a tracker, empty blocks go first, at random, as nothing is lost with them. The requests
//! decide on the filled ones: see [`Recency`], [`SecondChance`] and [`PolicyTracker`].

mod policy;
mod second_chance;

use rand::RngExt;
use vssd::block_set::BlockSet;
use vssd::recency::Recency;
use workloads::HostPick;

pub use policy::PolicyTracker;
pub use second_chance::SecondChance;

/// What a pick goes by: which blocks have contents, and the requests to them.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The blocks that are held and not empty: 1 bit a block.
    filled: BlockSet,
    history: History,
}

/// The requests to a vSSD. Those to a block before it became empty do not matter: it is picked as
/// an empty one until the next request replaces them.
#[derive(Clone, Debug)]
enum History {
    /// For [`HostPick::Lru`].
    Lru(Recency),
    /// For [`HostPick::Clock`].
    Clock(SecondChance),
    /// For all others.
    Policy(Box<PolicyTracker>),
}

/// A vSSD has more blocks than can be tracked for a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pick}` tracks at most {max} blocks, and this vSSD has {capacity}: `lru` and `clock` track any \
     number",
    max = policy::MAX_BLOCKS
)]
pub struct TooManyBlocks {
    /// What was to be tracked for.
    pub pick: HostPick,
    /// Blocks of the vSSD.
    pub capacity: u32,
}

impl Tracker {
    /// An empty tracker for `pick`, of a vSSD whose guest holds the blocks of `held`; `None` when
    /// the pick needs none.
    ///
    /// # Errors
    /// When the vSSD has too many blocks for it.
    pub fn new(pick: HostPick, held: &BlockSet) -> Result<Option<Self>, TooManyBlocks> {
        let capacity = held.capacity();
        let history = match pick {
            HostPick::Lru => Some(History::Lru(Recency::new(capacity))),
            HostPick::Clock => Some(History::Clock(SecondChance::new(capacity))),
            _ if pick.needs_tracker() && capacity > policy::MAX_BLOCKS => {
                return Err(TooManyBlocks { pick, capacity });
            }
            _ => PolicyTracker::new(pick, held)
                .map(Box::new)
                .map(History::Policy),
        };
        Ok(history.map(|history| Self {
            filled: held.clone(),
            history,
        }))
    }

    /// The pick that it serves.
    pub fn serves(&self) -> HostPick {
        match &self.history {
            History::Lru(_) => HostPick::Lru,
            History::Clock(_) => HostPick::Clock,
            History::Policy(policy) => policy.serves(),
        }
    }

    /// A request touched these blocks, all of them within the vSSD.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        // Nearly always true, and faster than an insertion.
        if !self.filled.contains_range(first, count) {
            self.filled.insert_range(first, count);
        }
        match &mut self.history {
            History::Lru(recency) => recency.accessed(first, count),
            History::Clock(clock) => clock.accessed(first, count),
            History::Policy(policy) => policy.accessed(first, count),
        }
    }

    /// These blocks have no contents any more, all of them within the vSSD.
    pub fn discarded(&mut self, first: u32, count: u32) {
        self.filled.remove_range(first, count);
        if let History::Policy(policy) = &mut self.history {
            policy.discarded(first, count);
        }
    }

    /// The guest holds exactly the blocks of `held` now.
    pub fn follow(&mut self, held: &BlockSet) {
        self.filled.intersect(held);
        if let History::Policy(policy) = &mut self.history {
            policy.follow(held);
        }
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        let filled = (self.filled.capacity() as usize).div_ceil(64) * 8;
        filled
            + match &self.history {
                History::Lru(recency) => recency.memory_bytes(),
                History::Clock(clock) => clock.memory_bytes(),
                History::Policy(policy) => policy.memory_bytes(),
            }
    }

    /// At most `count` of the blocks of `held`, which the guest holds: empty ones first.
    fn pick(&mut self, count: u32, held: &BlockSet, rng: &mut impl RngExt) -> BlockSet {
        self.follow(held);
        let mut below = |n| rng.random_range(0..n);
        let mut empty = held.clone();
        empty.subtract(&self.filled);
        let mut picks = empty.sample(count, &mut below);
        if picks.len() < count {
            let count = count - picks.len();
            picks.union_with(&match &mut self.history {
                History::Lru(recency) => recency.oldest(count, &self.filled, below),
                History::Clock(clock) => clock.pick(count, &self.filled),
                History::Policy(policy) => policy.pick(count, &self.filled, below),
            });
        }
        picks
    }
}

/// At most `count` of the blocks in `granted`. A pick without its tracker is uniform: the blocks
/// are due, and their history is unknown.
pub fn pick(
    how: HostPick,
    count: u32,
    granted: &BlockSet,
    tracker: Option<&mut Tracker>,
    rng: &mut impl RngExt,
) -> BlockSet {
    match (how, tracker) {
        (_, Some(tracker)) if tracker.serves() == how => tracker.pick(count, granted, rng),
        (HostPick::Sequential, _) => granted.last(count),
        // The named blocks have been taken; nothing else may be.
        (HostPick::Given, _) => BlockSet::empty(granted.capacity()),
        _ => granted.sample(count, |n| rng.random_range(0..n)),
    }
}

#[cfg(test)]
mod tests;
