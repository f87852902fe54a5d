//! The misses of every policy beside those of libCacheSim, as `golden.py` counted
//! them into `golden.csv`: the same ones, but for the policies that depart from
//! the simulator on purpose, which say so in their modules; `departures` has these
//! as the simulator has them.

mod common;

use common::golden::{Golden, REQUESTS, for_each, golden};
use common::sequence;
use guest_cache::eviction::belady::Belady;
use guest_cache::{Admission, Cache, Policy};

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

fn optimal_misses(requests: &[u32], capacity: u32) -> u64 {
    let mut cache = Cache::with_policy(capacity, Belady::of(requests, capacity));
    cache.grow(0..capacity);
    let mut misses = 0;
    for (i, &block) in requests.iter().enumerate() {
        if cache.access(block).is_none() {
            cache.admit(block);
            misses += 1;
        }
        if i % 20_011 == 0 {
            cache.check();
        }
    }
    misses
}

/// The least and the most misses that are as they should be beside libCacheSim's.
fn expected(policy: Policy, line: &Golden) -> (u64, u64) {
    let part = |share: f64| (line.misses as f64 * share) as u64;
    match policy {
        // Below these capacities the simulator lets nothing in.
        Policy::S3Fifo if line.capacity < 20 => (0, line.misses),
        Policy::WTinyLfu if line.capacity < 100 => (0, line.misses),
        // It counts otherwise, which shows most where what is hot changes.
        Policy::WTinyLfu if line.sequence == "shift" => (part(0.55), part(1.15)),
        Policy::WTinyLfu if line.sequence == "loop" => (part(0.99), part(1.09)),
        Policy::WTinyLfu => (part(0.97), part(1.001)),
        Policy::Lirs => (line.misses.saturating_sub(30), line.misses + 30),
        _ => (line.misses, line.misses),
    }
}

#[test]
fn requests_are_those_of_the_script() {
    let mut sequences = 0;
    for line in golden().filter(|line| line.name == "sum") {
        assert_eq!(line.capacity, REQUESTS);
        let requests = sequence(line.sequence, REQUESTS);
        let products = (0..).zip(requests).map(|(i, block)| i * u64::from(block));
        assert_eq!(
            products.fold(0, u64::wrapping_add),
            line.misses,
            "{}",
            line.sequence
        );
        sequences += 1;
    }
    assert_eq!(sequences, 5);
}

#[test]
fn misses_are_libcachesims() {
    let mut different = Vec::new();
    let mut lines = 0;
    for_each(|line, requests| {
        let Ok(policy) = line.name.parse::<Policy>() else {
            assert!(["belady", "sum"].contains(&line.name), "{}", line.name);
            return;
        };
        let count = misses(policy, requests, line.capacity);
        let same = |other: &Golden| {
            (other.name, other.sequence, other.capacity) == ("belady", line.sequence, line.capacity)
        };
        let optimum = golden().find(same).expect("the optimum").misses;
        assert!(count >= optimum, "{policy} beats the optimum of {optimum}");
        let (least, most) = expected(policy, &line);
        let Golden {
            name,
            sequence,
            capacity,
            misses,
        } = line;
        let said = format!("{name}, {sequence}, {capacity} blocks: {misses} misses, here {count}");
        if count != misses {
            println!("{said}");
        }
        if count < least || count > most {
            different.push(said);
        }
        lines += 1;
    });
    assert!(different.is_empty(), "{different:#?}");
    assert_eq!(lines, Policy::ALL.len() * 5 * 7);
}

#[test]
fn the_optimum_is_libcachesims() {
    let mut lines = 0;
    for_each(|line, requests| {
        if line.name == "belady" {
            let count = optimal_misses(requests, line.capacity);
            assert_eq!(count, line.misses, "{}, {}", line.sequence, line.capacity);
            lines += 1;
        }
    });
    assert_eq!(lines, 5 * 7);
}
