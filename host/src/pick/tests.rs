//! Against a model that keeps a history for each block and sorts.

use std::collections::{BTreeMap, BTreeSet};
use std::panic;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

/// The requests to a block since it was last picked, discarded or not held.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    count: u64,
    first: u64,
    last: u64,
}

/// What is known of each block that is held.
struct Model {
    pick: HostPick,
    now: u64,
    held: BTreeSet<u32>,
    empty: BTreeSet<u32>,
    requested: BTreeMap<u32, History>,
    /// Of the clock: the bit of each block, and the block that is looked at next.
    referenced: Vec<bool>,
    hand: u32,
}

impl Model {
    fn new(pick: HostPick, held: &BlockSet) -> Self {
        Self {
            pick,
            now: 0,
            held: held.iter().collect(),
            empty: BTreeSet::new(),
            requested: BTreeMap::new(),
            referenced: vec![false; held.capacity() as usize],
            hand: 0,
        }
    }

    fn accessed(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            // The blocks of a request were accessed at once for `lru`, in their order for policies.
            if self.pick != HostPick::Lru || block == first {
                self.now += 1;
            }
            self.empty.remove(&block);
            self.referenced[block as usize] = true;
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

    /// Checks a pick, and does to the histories what it does.
    fn check_pick(&mut self, count: u32, picks: &BlockSet) {
        let picked: BTreeSet<u32> = picks.iter().collect();
        let wanted = (count as usize).min(self.held.len());
        assert_eq!(picked.len(), wanted);
        assert!(picked.is_subset(&self.held));
        let empty = picked.intersection(&self.empty).count();
        assert_eq!(empty, wanted.min(self.empty.len()), "empty blocks");
        let filled: BTreeSet<u32> = picked.difference(&self.empty).copied().collect();
        if self.pick == HostPick::Clock {
            assert_eq!(filled, self.swept(filled.len()));
            return;
        }
        let evicted = filled
            .iter()
            .filter(|block| self.requested.contains_key(block))
            .count();
        let unrequested = self.held.len() - self.requested.len();
        let expected = wanted.saturating_sub(unrequested);
        assert_eq!(evicted, expected, "evicted blocks");
        self.check_order(&filled, evicted);
        if self.pick != HostPick::Lru {
            self.requested.retain(|block, _| !picked.contains(block));
        }
    }

    /// The blocks that a hand going one by one takes of those that are not empty.
    fn swept(&mut self, count: usize) -> BTreeSet<u32> {
        let mut swept = BTreeSet::new();
        while swept.len() < count {
            let block = self.hand;
            self.hand = (self.hand + 1) % self.referenced.len() as u32;
            let is_filled = self.held.contains(&block) && !self.empty.contains(&block);
            if is_filled && !swept.contains(&block) {
                if self.referenced[block as usize] {
                    self.referenced[block as usize] = false;
                } else {
                    swept.insert(block);
                }
            }
        }
        swept
    }

    /// The requested blocks go in ascending order of a key, with policies that have one without
    /// ghosts.
    fn check_order(&self, picked: &BTreeSet<u32>, evicted: usize) {
        let key: fn(&History) -> (u64, u64) = match self.pick {
            HostPick::Lru => |of| (of.last, 0),
            // 2Q moves a block to its second list only if it is remembered from the first.
            HostPick::Fifo | HostPick::TwoQ => |of| (of.first, 0),
            HostPick::Lfu => |of| (of.count, of.last),
            // The target of ARC's first list is 0 without ghosts.
            HostPick::Arc => |of| (of.count.min(2), of.last),
            _ => return,
        };
        let mut order: Vec<_> = self.requested.values().map(key).collect();
        order.sort_unstable();
        let mut gone: Vec<_> = picked
            .iter()
            .filter_map(|block| self.requested.get(block).map(key))
            .collect();
        gone.sort_unstable();
        assert_eq!(gone, order[..evicted]);
    }
}

/// A range within `set`, at random.
fn range(set: &BlockSet, rng: &mut SmallRng) -> Option<(u32, u32)> {
    let first = set.next_in(rng.random_range(0..set.capacity()))?;
    let end = set.next_out(first).unwrap_or(set.capacity());
    Some((first, rng.random_range(1..=(end - first).min(90))))
}

impl Tracker {
    /// Checks that what it knows agrees.
    ///
    /// # Panics
    /// If something is wrong.
    fn check(&self, held: &BlockSet) {
        assert!(self.filled.is_subset_of(held));
        assert_eq!(self.filled.len(), self.filled.recount());
        if let super::History::Policy(policy) = &self.history {
            policy.check(&self.filled);
        }
    }
}

/// Shows a tracker and the model the same requests, discards, grants, surrenders and shrinks, some
/// of which fail.
fn compare(how: HostPick, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let capacity = rng.random_range(1..300);
    let mut held =
        BlockSet::full(capacity).sample(rng.random_range(0..=capacity), |n| rng.random_range(0..n));
    let mut tracker = Tracker::new(how, &held).unwrap().unwrap();
    let mut model = Model::new(how, &held);
    for _ in 0..400 {
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
                let picks = pick(how, count, &held, Some(&mut tracker), &mut rng);
                assert!(picks.is_subset_of(&held));
                model.check_pick(count, &picks);
                if rng.random_ratio(3, 4) {
                    held.subtract(&picks);
                    tracker.follow(&held);
                    model.follow(&held);
                }
            }
        }
        tracker.check(&held);
    }
}

#[test]
fn it_picks_what_a_sorted_history_would() {
    for how in HostPick::tracked() {
        for seed in 0..60 {
            let case = panic::catch_unwind(|| compare(how, seed));
            assert!(case.is_ok(), "{how}, seed {seed}");
        }
    }
}

/// Where nothing was discarded or granted, a pick draws no more than its history does.
#[test]
fn without_empty_blocks_the_history_decides_alone() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let held = BlockSet::full(500).sample(300, |n| rng.random_range(0..n));
        let mut lru = Tracker::new(HostPick::Lru, &held).unwrap();
        let mut clock = Tracker::new(HostPick::Clock, &held).unwrap();
        let (mut recency, mut second_chance) = (Recency::new(500), SecondChance::new(500));
        for block in held.sample(100, |n| rng.random_range(0..n)).iter() {
            lru.as_mut().unwrap().accessed(block, 1);
            clock.as_mut().unwrap().accessed(block, 1);
            recency.accessed(block, 1);
            second_chance.accessed(block, 1);
        }
        for count in [0, 50, 150, 250, 400] {
            let mut same = rng.clone();
            let picks = pick(HostPick::Lru, count, &held, lru.as_mut(), &mut rng);
            let oldest = recency.oldest(count, &held, |n| same.random_range(0..n));
            assert_eq!(picks, oldest, "seed {seed}");
            let picks = pick(HostPick::Clock, count, &held, clock.as_mut(), &mut rng);
            let swept = second_chance.pick(count, &held);
            assert_eq!(picks, swept, "seed {seed}");
            assert_eq!(rng, same, "seed {seed}");
        }
    }
}

/// A block that was just granted may be requested before the tracker knows of the grant.
#[test]
fn a_request_that_comes_before_its_grant_fills_the_block() {
    for how in HostPick::tracked() {
        let mut held = BlockSet::empty(10);
        held.insert_range(0, 5);
        let mut tracker = Tracker::new(how, &held).unwrap().unwrap();
        tracker.accessed(0, 8);
        tracker.discarded(4, 2);
        held.insert_range(5, 5);
        tracker.follow(&held);
        tracker.check(&held);
        tracker.accessed(9, 1);
        tracker.check(&held);
        let mut rng = SmallRng::seed_from_u64(1);
        let picks = pick(how, 3, &held, Some(&mut tracker), &mut rng);
        assert!(picks.iter().eq([4, 5, 8]), "{how}");
    }
}

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
