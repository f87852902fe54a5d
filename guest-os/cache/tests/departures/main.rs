//! The two policies that depart from libCacheSim, as the simulator has them: that
//! these miss exactly as often as it does is what shows that the departures are
//! those that the modules tell, and nothing else.

#[path = "../common/mod.rs"]
mod common;
mod lirs;
mod order;
mod w_tiny_lfu;

use common::golden::{Golden, for_each};

/// Compares the misses of `policy`, by lines of the golden file.
fn compare(policy: &str, count: impl Fn(&[u32], usize) -> u64) {
    let mut lines = 0;
    for_each(|line, requests| {
        let Golden {
            name,
            sequence,
            capacity,
            misses,
        } = line;
        if name == policy {
            assert_eq!(
                count(requests, capacity as usize),
                misses,
                "{sequence}, {capacity}"
            );
            lines += 1;
        }
    });
    assert_eq!(lines, 5 * 7);
}

#[test]
fn lirs_departs_by_one_rule() {
    compare("lirs", lirs::misses);
}

#[test]
fn w_tiny_lfu_departs_by_how_it_counts() {
    compare("w-tiny-lfu", w_tiny_lfu::misses);
}
