//! Which blocks the hypervisor takes when it picks them.
//!
//! It cannot see what a guest does with a block. What it sees are the requests
//! that reach the backend, so a [`Tracker`] can remember those; that costs memory
//! and a little time with every request, and nothing while tracking is off.

mod second_chance;

use rand::RngExt;
use vssd::block_set::BlockSet;
use vssd::recency::Recency;
use workloads::HostPick;

pub use second_chance::SecondChance;

/// The history of requests to a vSSD.
#[derive(Clone, Debug)]
pub enum Tracker {
    /// For [`HostPick::Lru`].
    Lru(Recency),
    /// For [`HostPick::Clock`].
    Clock(SecondChance),
}

impl Tracker {
    /// An empty tracker for `pick`, of a vSSD with `capacity` blocks; `None` when it needs none.
    pub fn new(pick: HostPick, capacity: u32) -> Option<Self> {
        match pick {
            HostPick::Lru => Some(Self::Lru(Recency::new(capacity))),
            HostPick::Clock => Some(Self::Clock(SecondChance::new(capacity))),
            HostPick::Uniform | HostPick::Sequential | HostPick::Given => None,
        }
    }

    /// The pick that it serves.
    pub fn serves(&self) -> HostPick {
        match self {
            Self::Lru(_) => HostPick::Lru,
            Self::Clock(_) => HostPick::Clock,
        }
    }

    /// A request touched these blocks, all of them within the vSSD.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        match self {
            Self::Lru(recency) => recency.accessed(first, count),
            Self::Clock(clock) => clock.accessed(first, count),
        }
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Lru(recency) => recency.memory_bytes(),
            Self::Clock(clock) => clock.memory_bytes(),
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
            let mut tracker = Tracker::new(how, 1000);
            assert_eq!(tracker.is_some(), how.needs_tracker());
            if let Some(tracker) = &mut tracker {
                assert_eq!(tracker.serves(), how);
                assert!(tracker.memory_bytes() > 0);
                for block in (0..1000).step_by(3) {
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
}
