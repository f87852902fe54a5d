//! What a cached block costs beside itself.

mod common;

use common::{Rng, Zipf};
use guest_cache::Policy;

/// Bytes of heap for each block of a full cache.
fn bytes_per_block(policy: Policy, slots: u32) -> f64 {
    let mut cache = policy.cache(slots);
    cache.grow(0..slots);
    let (mut rng, zipf) = (Rng::new(1), Zipf::new(4 * slots));
    while cache.len() < slots {
        let block = common::block(zipf.next(&mut rng));
        if cache.access(block).is_none() {
            cache.admit(block);
        }
    }
    cache.memory_bytes() as f64 / f64::from(slots)
}

#[test]
fn a_block_takes_few_bytes() {
    for &policy in Policy::ALL {
        let limit = match policy {
            Policy::Fifo | Policy::Clock | Policy::Lru | Policy::Sieve => 16.0,
            Policy::TwoQ | Policy::Lfu => 24.0,
            Policy::WTinyLfu => 32.0,
            Policy::S3Fifo | Policy::Arc => 32.0,
            Policy::Lirs => 48.5,
        };
        for slots in [1 << 16, 100_000, (1 << 17) - 1] {
            let bytes = bytes_per_block(policy, slots);
            println!("{policy}: {bytes:.2} bytes a block of {slots}");
            // The ends of the lists are once for all blocks.
            assert!(bytes <= limit + 0.01, "{policy}: {bytes}");
        }
    }
}
