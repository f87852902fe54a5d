//! The optimum against a look at all that is to come, while slots come and go.

#![allow(clippy::print_stdout, reason = "a test prints its seed")]

mod common;

use std::collections::BTreeSet;

use common::{Rng, Zipf};
use guest_cache::eviction::belady::Belady;
use guest_cache::{Admission, Cache, Revoked};

/// When `block` is requested in `requests`; those of never are equal.
fn next(requests: &[u32], block: u32) -> usize {
    let found = requests.iter().position(|&other| other == block);
    found.unwrap_or(usize::MAX)
}

fn run(slots: u32, seed: u64) {
    println!("{slots} slots, seed {seed}");
    let (mut rng, zipf) = (Rng::new(seed), Zipf::new(4 * slots));
    let requests: Vec<u32> = (0..2000)
        .map(|_| common::block(zipf.next(&mut rng)))
        .collect();
    let mut cache = Cache::with_policy(slots, Belady::of(&requests, slots));
    cache.grow(0..slots);
    let mut cached = BTreeSet::new();
    for (now, &block) in requests.iter().enumerate() {
        let future = &requests[now + 1..];
        let mut gone = Vec::new();
        if cache.access(block).is_none() && rng.below(20) > 0 {
            if let Admission::Admitted { evicted, .. } = cache.admit(block) {
                gone.extend(evicted.map(|evicted| evicted.block));
                cached.insert(block);
            }
            for block in gone.drain(..) {
                assert!(cached.remove(&block));
                let others = cached.iter().filter(|&&other| other != requests[now]);
                let farthest = others.map(|&other| next(future, other)).max();
                assert!(farthest.is_none_or(|farthest| next(future, block) >= farthest));
            }
        }
        match rng.below(60) {
            0 => {
                cache.surrender(rng.below(slots), |_, lost| {
                    gone.extend(lost.map(|of| of.block))
                });
                for block in gone {
                    assert!(cached.remove(&block));
                    let farthest = cached.iter().map(|&other| next(future, other)).max();
                    assert!(farthest.is_none_or(|farthest| next(future, block) >= farthest));
                }
            }
            1 => {
                if let Revoked::Cached(lost) = cache.revoke(rng.below(slots)) {
                    assert!(cached.remove(&lost.block));
                }
            }
            2 => {
                let discarded = cache.discard(block);
                assert_eq!(cached.remove(&block), discarded.is_some());
            }
            3..6 => cache.grow(0..slots),
            _ => {}
        }
        cache.check();
        assert_eq!(cache.len() as usize, cached.len());
    }
}

#[test]
fn what_is_asked_for_last_goes() {
    for seed in 0..10 {
        run(1 + Rng::new(seed).below(40), seed);
    }
}
