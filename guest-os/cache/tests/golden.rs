//! The misses of every policy beside those of libCacheSim, as `golden.py` counted
//! them into `golden.csv`.

mod common;

use common::sequence;
use guest_cache::{Admission, Policy};

/// Requests of a sequence.
const REQUESTS: u32 = 200_000;

/// Below these capacities libCacheSim lets nothing in, every request misses.
fn refuses(policy: Policy, capacity: u32) -> bool {
    match policy {
        Policy::S3Fifo => capacity < 20,
        _ => false,
    }
}

/// How many requests miss in a cache of `capacity` blocks.
fn misses(policy: Policy, requests: &[u32], capacity: u32) -> u64 {
    let mut cache = policy.cache(capacity);
    cache.grow(0..capacity);
    let miss = |block: &&u32| {
        cache.access(**block).is_none() && {
            assert_ne!(cache.admit(**block), Admission::Bypassed);
            true
        }
    };
    requests.iter().filter(miss).count() as u64
}

#[test]
fn misses_are_libcachesims() {
    let mut different = 0;
    let mut requests = (String::new(), Vec::new());
    for line in include_str!("golden.csv").lines().skip(1) {
        let mut fields = line.split(',');
        let mut field = || fields.next().expect("four fields");
        let (name, sequence_name) = (field(), field());
        let (capacity, expected): (u32, u64) = (
            field().parse().expect("a number"),
            field().parse().expect("a number"),
        );
        if requests.0 != sequence_name {
            requests = (sequence_name.into(), sequence(sequence_name, REQUESTS));
        }
        if name == "sum" {
            let products = (0u64..)
                .zip(&requests.1)
                .map(|(i, &block)| i * u64::from(block));
            assert_eq!(
                products.fold(0, u64::wrapping_add),
                expected,
                "{sequence_name}"
            );
            continue;
        }
        let Ok(policy) = name.parse::<Policy>() else {
            continue;
        };
        let count = misses(policy, &requests.1, capacity);
        if refuses(policy, capacity) {
            assert_eq!(expected, u64::from(REQUESTS), "{line}: let something in");
            assert!(count < expected, "{line}: lets nothing in");
        } else if count != expected {
            println!("{line}: here {count}");
            different += 1;
        }
    }
    assert_eq!(different, 0);
}
