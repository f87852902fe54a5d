//! Block sets against simple models.

use super::*;
use alloc::collections::BTreeSet;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Random operations on the bitmap and on a `BTreeSet`, compared after each.
#[test]
fn behaves_as_a_set_of_numbers() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let capacity = rng.random_range(1..400);
        let mut set = BlockSet::empty(capacity);
        let mut model = BTreeSet::new();
        for _ in 0..300 {
            let start = rng.random_range(0..capacity);
            let len = rng.random_range(0..=capacity - start);
            let range = start..start + len;
            if rng.random() {
                let added = range.filter(|&b| model.insert(b)).count();
                assert_eq!(set.insert_range(start, len), added as u32, "seed {seed}");
            } else {
                let removed = range.filter(|b| model.remove(b)).count();
                assert_eq!(set.remove_range(start, len), removed as u32, "seed {seed}");
            }
            assert!(set.iter().eq(model.iter().copied()), "seed {seed}");
            assert!(
                set.runs()
                    .flat_map(|r| r.start..r.end())
                    .eq(model.iter().copied()),
                "seed {seed}"
            );
            assert_eq!(set.len(), set.recount(), "seed {seed}");
            let mut other = BlockSet::empty(capacity);
            other.insert_range(start, len);
            let difference = Difference(&set, &other);
            let only = (0..difference.word_count())
                .map(|i| difference.word(i).count_ones())
                .sum::<u32>();
            let mut left = set.clone();
            left.subtract(&other);
            assert_eq!(only, left.len(), "seed {seed}");
            let outside = (0..Complement(&set).word_count())
                .map(|i| Complement(&set).word(i).count_ones())
                .sum::<u32>();
            assert_eq!(outside, capacity - set.len(), "seed {seed}");
            let probe = rng.random_range(0..capacity);
            assert_eq!(set.contains(probe), model.contains(&probe), "seed {seed}");
            // Also beyond the capacity.
            let len = rng.random_range(0..100);
            assert_eq!(
                set.contains_range(probe, len),
                probe + len <= capacity && (probe..probe + len).all(|b| model.contains(&b)),
                "seed {seed}: {probe}+{len}"
            );
            assert_eq!(
                set.next_in(probe),
                model.range(probe..).next().copied(),
                "seed {seed}"
            );
            let within = probe..probe + len;
            assert_eq!(
                set.next_in_range(within.clone()),
                model.range(within.clone()).next().copied(),
                "seed {seed}: {within:?}"
            );
            assert_eq!(
                set.next_out_range(within.clone()),
                within.clone().find(|b| *b < capacity && !model.contains(b)),
                "seed {seed}: {within:?}"
            );
        }
    }
}

#[test]
fn samples_are_spread_evenly() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut below = |n| rng.random_range(0..n);
    let set = BlockSet::full(100_000);
    let picks = set.sample(25_000, &mut below);
    assert_eq!(picks.len(), 25_000);
    for quarter in 0..4 {
        let inside = picks.iter().filter(|b| b / 25_000 == quarter).count();
        // Six standard deviations of the hypergeometric distribution.
        assert!(inside.abs_diff(6_250) < 360, "{inside}");
    }
    assert_eq!(set.sample(200_000, &mut below), set);
}

/// Against sorting: the picked have smaller keys than the rest, and of equal
/// keys each is picked about equally often.
#[test]
fn the_least_are_picked_and_ties_are_broken_at_random() {
    for seed in 0..50 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let capacity = rng.random_range(1..300);
        let keys: Vec<u32> = (0..capacity).map(|_| rng.random_range(0..8)).collect();
        let set = BlockSet::full(capacity).sample(capacity / 2 + 1, |n| rng.random_range(0..n));
        let count = rng.random_range(0..=capacity);
        let key = |block: u32| keys[block as usize];
        let picked = set.least(count, key, |n| rng.random_range(0..n));
        assert_eq!(picked.len(), count.min(set.len()), "seed {seed}");
        assert!(picked.is_subset_of(&set), "seed {seed}");
        let mut rest = set.clone();
        rest.subtract(&picked);
        let highest = picked.iter().map(key).max().unwrap_or(0);
        assert!(
            rest.iter().all(|block| key(block) >= highest),
            "seed {seed}"
        );
    }
    let mut rng = SmallRng::seed_from_u64(1);
    let set = BlockSet::full(100);
    let mut low = 0;
    for _ in 0..400 {
        let picked = set.least(50, |block| block / 100, |n| rng.random_range(0..n));
        low += picked.iter().filter(|&block| block < 50).count();
    }
    // 10,000 expected; the deviation is about 70.
    assert!((9_500..10_500).contains(&low), "{low} of the lower half");
}

#[test]
fn bits_are_counted_together_as_one_by_one() {
    let mut rng = SmallRng::seed_from_u64(5);
    for len in 0..40 {
        let words: Vec<u64> = (0..len)
            .map(|_| rng.random::<u64>() | rng.random::<u64>())
            .collect();
        let singly: u32 = words.iter().map(|word| word.count_ones()).sum();
        assert_eq!(count_ones(words.into_iter()), singly, "{len} words");
    }
}

#[test]
fn digests_tell_sets_apart() {
    let full = BlockSet::full(1000);
    let mut other = full.clone();
    assert_eq!(full.digest(), other.digest());
    other.remove(999);
    assert_ne!(full.digest(), other.digest());
    other.insert(999);
    assert_eq!(full.digest(), other.digest());
}
