//! Against a model that keeps a history for each block and sorts.

use std::collections::{BTreeMap, BTreeSet};
use std::panic;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// The requests to a block since it was last picked, discarded or not held.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    count: u64,
    first: u64,
    last: u64,
}

/// What is known of each block that is held.
#[derive(Default)]
struct Model {
    now: u64,
    held: BTreeSet<u32>,
    empty: BTreeSet<u32>,
    requested: BTreeMap<u32, History>,
}

impl Model {
    fn accessed(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            self.now += 1;
            self.empty.remove(&block);
            let history = self.requested.entry(block).or_default();
            history.count += 1;
            history.last = self.now;
            if history.count == 1 {
                history.first = self.now;
            }
        }
    }

    fn discarded(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            self.requested.remove(&block);
            self.empty.insert(block);
        }
    }

    fn follow(&mut self, held: &BlockSet) {
        for block in 0..held.capacity() {
            if !held.contains(block) {
                self.held.remove(&block);
                self.empty.remove(&block);
                self.requested.remove(&block);
            } else if self.held.insert(block) {
                self.empty.insert(block);
            }
        }
    }

    /// Checks a pick, and forgets what it took of the requested blocks.
    fn check_pick(&mut self, pick: HostPick, count: u32, picks: &BlockSet) {
        let picked: BTreeSet<u32> = picks.iter().collect();
        let wanted = (count as usize).min(self.held.len());
        assert_eq!(picked.len(), wanted);
        assert!(picked.is_subset(&self.held));
        let of = |kind: &dyn Fn(&u32) -> bool| picked.iter().filter(|block| kind(block)).count();
        let empty = of(&|block| self.empty.contains(block));
        let evicted = of(&|block| self.requested.contains_key(block));
        assert_eq!(empty, wanted.min(self.empty.len()), "empty blocks");
        let unrequested = self.held.len() - self.requested.len();
        assert_eq!(
            evicted,
            wanted.saturating_sub(unrequested),
            "evicted blocks"
        );
        if let Some(order) = self.order(pick) {
            for block in &order[..evicted] {
                assert!(picked.contains(block), "{block} of {order:?}: {picked:?}");
            }
        }
        self.requested.retain(|block, _| !picked.contains(block));
    }

    /// The requested blocks as they go, by policies whose order is a key without ghosts.
    fn order(&self, pick: HostPick) -> Option<Vec<u32>> {
        let key: fn(&History) -> (u64, u64) = match pick {
            // 2Q moves a block to its second list only if it is remembered from the first.
            HostPick::Fifo | HostPick::TwoQ => |of| (of.first, 0),
            HostPick::Lfu => |of| (of.count, of.last),
            // The target of ARC's first list is 0 without ghosts.
            HostPick::Arc => |of| (of.count.min(2), of.last),
            _ => return None,
        };
        let mut order: Vec<u32> = self.requested.keys().copied().collect();
        order.sort_by_key(|block| key(&self.requested[block]));
        Some(order)
    }
}

fn by_policy() -> impl Iterator<Item = HostPick> {
    HostPick::tracked().filter(|pick| policy_of(*pick).is_some())
}

/// A range within `set`, at random.
fn range(set: &BlockSet, rng: &mut SmallRng) -> Option<(u32, u32)> {
    let first = set.next_in(rng.random_range(0..set.capacity()))?;
    let end = set.next_out(first).unwrap_or(set.capacity());
    Some((first, rng.random_range(1..=(end - first).min(9))))
}

/// Shows a tracker and the model the same requests, discards, grants, surrenders and shrinks, some
/// of which fail.
fn compare(pick: HostPick, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let capacity = rng.random_range(1..300);
    let mut held =
        BlockSet::full(capacity).sample(rng.random_range(0..=capacity), |n| rng.random_range(0..n));
    let mut tracker = PolicyTracker::new(pick, &held).unwrap();
    let mut model = Model {
        held: held.iter().collect(),
        ..Model::default()
    };
    for step in 0..400 {
        match rng.random_range(0..100) {
            0..80 => {
                if let Some((first, count)) = range(&held, &mut rng) {
                    tracker.accessed(first, count);
                    model.accessed(first, count);
                }
            }
            80..88 => {
                if let Some((first, count)) = range(&held, &mut rng) {
                    tracker.discarded(first, count);
                    model.discarded(first, count);
                }
            }
            88..92 => {
                let mut others = BlockSet::full(capacity);
                others.subtract(&held);
                let count = rng.random_range(0..=others.len());
                held.union_with(&others.sample(count, |n| rng.random_range(0..n)));
                tracker.follow(&held);
                model.follow(&held);
            }
            92..96 => {
                let count = rng.random_range(0..=held.len() / 4);
                let gone = held.sample(count, |n| rng.random_range(0..n));
                held.subtract(&gone);
                tracker.follow(&held);
                model.follow(&held);
            }
            _ => {
                let count = rng.random_range(0..=capacity);
                let picks = tracker.pick(count, &held, &mut rng);
                assert!(picks.is_subset_of(&held));
                model.check_pick(pick, count, &picks);
                if rng.random_ratio(3, 4) {
                    held.subtract(&picks);
                    tracker.follow(&held);
                    model.follow(&held);
                }
            }
        }
        if step % 20 == 0 {
            tracker.check();
        }
    }
    tracker.check();
}

#[test]
fn it_picks_what_a_sorted_history_would() {
    for pick in by_policy() {
        for seed in 0..60 {
            let case = panic::catch_unwind(|| compare(pick, seed));
            assert!(case.is_ok(), "{pick}, seed {seed}");
        }
    }
}

/// What a policy evicts first is what its cache would surrender.
#[test]
fn its_order_is_that_of_the_guests_cache() {
    for pick in by_policy() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let held = BlockSet::full(200);
            let mut tracker = PolicyTracker::new(pick, &held).unwrap();
            let mut cache = policy_of(pick).unwrap().cache(200);
            cache.grow(0..200);
            for _ in 0..2_000 {
                let block = rng.random_range(0..200) * rng.random_range(0..200) / 200;
                tracker.accessed(block, 1);
                if cache.access(block).is_none() {
                    cache.admit(block);
                }
            }
            let free = 200 - cache.len();
            let count = rng.random_range(free..=200);
            let picks = tracker.pick(count, &held, &mut rng);
            let mut evicted = Vec::new();
            cache.surrender(count, |_, gone| evicted.extend(gone.map(|gone| gone.block)));
            assert_eq!(picks.len(), count, "{pick}, seed {seed}");
            for block in evicted {
                assert!(picks.contains(block), "{pick}, seed {seed}: {block}");
            }
        }
    }
}

#[test]
fn every_policy_of_the_cache_is_a_pick_of_its_name() {
    for policy in Policy::ALL {
        let pick: HostPick = policy.name().parse().unwrap();
        assert!(pick.needs_tracker());
        assert!(policy_of(pick).is_none_or(|of| of == *policy), "{policy}");
    }
    assert_eq!(by_policy().count(), Policy::ALL.len() - 2);
}

/// A block that was just granted may be requested before the tracker knows of the grant.
#[test]
fn a_request_for_a_block_that_is_not_known_to_be_held_is_left_out() {
    for pick in by_policy() {
        let mut held = BlockSet::empty(10);
        held.insert_range(0, 5);
        let mut tracker = PolicyTracker::new(pick, &held).unwrap();
        tracker.accessed(0, 10);
        tracker.discarded(4, 6);
        tracker.check();
        held.insert_range(5, 5);
        tracker.follow(&held);
        tracker.accessed(7, 1);
        tracker.check();
        let mut rng = SmallRng::seed_from_u64(1);
        let picks = tracker.pick(5, &held, &mut rng);
        assert!(picks.iter().eq([4, 5, 6, 8, 9]), "{pick}");
    }
}
