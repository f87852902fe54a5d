//! Orders, and the blocks that a policy knows nothing of.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn by_policy() -> impl Iterator<Item = HostPick> {
    HostPick::tracked().filter(|pick| policy_of(*pick).is_some())
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
            let picks = tracker.pick(count, &held, |n| rng.random_range(0..n));
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
