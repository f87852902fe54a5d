//! A cache that is advised, while it is at work.

use super::*;

fn lru(write: WritePolicy) -> Config {
    Config {
        dirty_percent: 100,
        ..Config::new(Policy::Lru, write)
    }
}

/// Blocks in the order in which the origin disk got them, and what.
fn written(run: &Run) -> Vec<(u32, u8)> {
    run.origin.state.borrow().written.clone()
}

#[test]
fn writes_that_bypass_the_vssd_go_to_the_origin_disk_and_leave_the_cache() {
    for write in [WritePolicy::WriteThrough, WritePolicy::WriteAround] {
        let mut run = Run::open(lru(write), 0..VSSD_BLOCKS, 1);
        run.read(1, 0);
        run.wait(0);
        run.cache.bypass_writes(true);
        for block in [1, 2] {
            run.write(block, 7);
            run.wait(0);
        }
        assert_eq!(written(&run), [(1, 7), (2, 7)], "{write}");
        assert_eq!(run.cache.stats().cached, 0, "{write}");
        run.read(1, 7);
        run.wait(0);
        assert_eq!(run.cache.stats().cached, 1, "reads come in as before");
        run.cache.bypass_writes(false);
        run.write(1, 8);
        run.wait(0);
        assert_eq!(run.cache.stats().cached, 1, "{write}");
    }
}

#[test]
fn a_dirty_block_is_written_where_it_is_and_a_clean_one_bypasses_the_vssd() {
    let mut run = Run::open(lru(WritePolicy::WriteBack), 0..VSSD_BLOCKS, 1);
    run.write(1, 11);
    run.read(2, 0);
    run.wait(0);
    run.cache.bypass_writes(true);
    for (block, value) in [(1, 12), (2, 22), (3, 33)] {
        run.write(block, value);
        run.wait(0);
    }
    assert_eq!(written(&run), [(2, 22), (3, 33)]);
    let stats = run.cache.stats();
    assert_eq!((stats.cached, stats.dirty), (1, 1));
    let cache = run.cache.clone();
    run.tasks.push(Box::pin(async move {
        assert_eq!(cache.write_back().await.errors, 0);
    }));
    run.wait(0);
    run.write(1, 13);
    run.wait(0);
    assert_eq!(written(&run), [(2, 22), (3, 33), (1, 12), (1, 13)]);
    assert_eq!(run.cache.stats().cached, 0);
}

#[test]
fn writes_that_are_kept_in_order_do_not_bypass_earlier_ones() {
    for write in [WritePolicy::Ordered, WritePolicy::Journaled] {
        let mut run = Run::open(lru(write), 0..VSSD_BLOCKS, 1);
        run.cache.bypass_writes(true);
        run.cache.admit_reused(true);
        run.write(1, 11);
        run.wait(0);
        run.write(2, 22);
        run.wait(0);
        assert_eq!((written(&run), run.cache.stats().dirty), (vec![], 2));
    }
}

#[test]
fn a_block_comes_in_at_its_second_miss_while_only_reused_ones_do() {
    let mut run = Run::open(lru(WritePolicy::WriteThrough), 0..VSSD_BLOCKS, 1);
    run.cache.admit_reused(true);
    // Of the first the second miss is a write.
    for (block, is_write, cached) in [
        (1, false, 0),
        (2, true, 0),
        (1, true, 1),
        (2, false, 2),
        (3, false, 2),
    ] {
        if is_write {
            run.write(block, 7);
        } else {
            run.request_any(block);
        }
        run.wait(0);
        assert_eq!(run.cache.stats().cached, cached, "block {block}");
    }
    // The same advice again forgets nothing.
    run.cache.admit_reused(true);
    run.request_any(3);
    run.wait(0);
    assert_eq!(run.cache.stats().cached, 3);
    run.cache.admit_reused(false);
    run.request_any(4);
    run.wait(0);
    assert_eq!(run.cache.stats().cached, 4);
}

#[test]
fn a_write_that_is_done_on_the_vssd_comes_in_at_once() {
    let mut run = Run::open(lru(WritePolicy::WriteBack), 0..VSSD_BLOCKS, 1);
    run.cache.admit_reused(true);
    run.write(1, 7);
    run.wait(0);
    assert_eq!((written(&run), run.cache.stats().dirty), (vec![], 1));
}

/// What a bypassing cache reports is what it would have with more slots, and not what a cache of its write
/// policy would.
#[test]
fn demand_follows_the_advice() {
    let config = Config {
        demand_sample: 1000,
        ..lru(WritePolicy::WriteThrough)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 1);
    let mut least = |bypasses| {
        run.cache.bypass_writes(bypasses);
        for block in (0..10).cycle().take(200) {
            run.write(block, 1);
            run.wait(0);
            run.request_any(block);
            run.wait(0);
        }
        let demand = run.cache.take_demand(16).unwrap();
        assert_eq!((demand.accesses, demand.writes), (400, 200));
        demand.reads.last().map_or(1.0, |(_, ratio)| *ratio)
    };
    assert_eq!(least(false), 0.5, "every read finds what was written");
    assert_eq!(least(true), 1.0, "no read does");
}

/// At any depth, what is read is what was written last, whatever the advice was meanwhile.
#[test]
fn advice_that_changes_loses_nothing() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    for (seed, config) in (0..).zip(configs()) {
        println!("{} {}, seed {seed}", config.eviction, config.write);
        let mut run = Run::open(config, 0..first + 6, seed);
        let mut rng = Rng(seed);
        let mut last = BTreeMap::new();
        for step in 0..1500u32 {
            let block = rng.below(16);
            match rng.below(8) {
                0 => run.cache.bypass_writes(rng.below(2) == 0),
                1 => run.cache.admit_reused(rng.below(2) == 0),
                2..5 => {
                    last.insert(block, step as u8);
                    run.write(block, step as u8);
                }
                _ => run.read(block, last.get(&block).copied().unwrap_or(0)),
            }
            run.wait(31);
        }
        run.wait(0);
        let cache = run.cache.clone();
        run.tasks.push(Box::pin(async move {
            assert_eq!(cache.write_back().await.errors, 0);
        }));
        run.wait(0);
        let origin = run.origin.state.borrow();
        for (block, value) in last {
            assert_eq!(origin.blocks[&block][0], value, "block {block}");
        }
    }
}
