//! Which blocks the hypervisor takes when it picks them.
//!
//! It cannot see what a guest does with a block. What it sees are the requests
//! that reach the backend, so a [`Tracker`] can remember those; that costs memory
//! and a little time with every request, and nothing while tracking is off.

mod policy;
mod second_chance;

use rand::RngExt;
use vssd::block_set::BlockSet;
use vssd::recency::Recency;
use workloads::HostPick;

pub use policy::PolicyTracker;
pub use second_chance::SecondChance;

/// The history of requests to a vSSD.
#[derive(Clone, Debug)]
pub enum Tracker {
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
        Ok(match pick {
            HostPick::Lru => Some(Self::Lru(Recency::new(capacity))),
            HostPick::Clock => Some(Self::Clock(SecondChance::new(capacity))),
            _ if pick.needs_tracker() && capacity > policy::MAX_BLOCKS => {
                return Err(TooManyBlocks { pick, capacity });
            }
            _ => PolicyTracker::new(pick, held)
                .map(Box::new)
                .map(Self::Policy),
        })
    }

    /// The pick that it serves.
    pub fn serves(&self) -> HostPick {
        match self {
            Self::Lru(_) => HostPick::Lru,
            Self::Clock(_) => HostPick::Clock,
            Self::Policy(policy) => policy.serves(),
        }
    }

    /// A request touched these blocks, all of them within the vSSD.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        match self {
            Self::Lru(recency) => recency.accessed(first, count),
            Self::Clock(clock) => clock.accessed(first, count),
            Self::Policy(policy) => policy.accessed(first, count),
        }
    }

    /// These blocks have no contents any more, all of them within the vSSD. `lru` and `clock`
    /// record accesses alone.
    pub fn discarded(&mut self, first: u32, count: u32) {
        if let Self::Policy(policy) = self {
            policy.discarded(first, count);
        }
    }

    /// The guest holds exactly the blocks of `held` now. `lru` and `clock` keep the history of a
    /// block that is given up.
    pub fn follow(&mut self, held: &BlockSet) {
        if let Self::Policy(policy) = self {
            policy.follow(held);
        }
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Lru(recency) => recency.memory_bytes(),
            Self::Clock(clock) => clock.memory_bytes(),
            Self::Policy(policy) => policy.memory_bytes(),
        }
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
        (HostPick::Lru, Some(Tracker::Lru(recency))) => {
            recency.oldest(count, granted, |n| rng.random_range(0..n))
        }
        (HostPick::Clock, Some(Tracker::Clock(clock))) => clock.pick(count, granted),
        (_, Some(Tracker::Policy(policy))) if policy.serves() == how => {
            policy.pick(count, granted, rng)
        }
        (HostPick::Sequential, _) => granted.last(count),
        // The named blocks have been taken; nothing else may be.
        (HostPick::Given, _) => BlockSet::empty(granted.capacity()),
        _ => granted.sample(count, |n| rng.random_range(0..n)),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn every_pick_takes_as_many_granted_blocks_as_asked() {
        let mut granted = BlockSet::full(1000);
        granted.remove_range(100, 200);
        let mut rng = SmallRng::seed_from_u64(1);
        for how in HostPick::all().filter(|how| *how != HostPick::Given) {
            let mut tracker = Tracker::new(how, &granted).unwrap();
            assert_eq!(tracker.is_some(), how.needs_tracker());
            if let Some(tracker) = &mut tracker {
                assert_eq!(tracker.serves(), how);
                assert!(tracker.memory_bytes() > 0);
                for block in granted.iter().step_by(3) {
                    tracker.accessed(block, 1);
                }
            }
            for count in [0, 1, 400, 800, 2000] {
                let picks = pick(how, count, &granted, tracker.as_mut(), &mut rng);
                assert_eq!(picks.len(), count.min(800), "{how:?}");
                assert!(picks.is_subset_of(&granted), "{how:?}");
            }
        }
    }

    #[test]
    fn a_vssd_of_too_many_blocks_is_refused_with_what_works() {
        let held = BlockSet::empty(policy::MAX_BLOCKS + 1);
        let refused = Tracker::new(HostPick::TwoQ, &held).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`2q` tracks at most 67108864 blocks, and this vSSD has 67108865: `lru` and `clock` \
             track any number"
        );
        assert!(Tracker::new(HostPick::Clock, &held).unwrap().is_some());
    }
}
