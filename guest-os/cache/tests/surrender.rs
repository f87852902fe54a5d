//! A vSSD that shrinks and grows under a cache: what is handed out is not used any longer,
//! and nothing is lost but what was taken by force.
//!
//! The simulated disk itself watches that no block is handed out while a transfer
//! on it is under way, and that none is submitted afterwards.

#![allow(clippy::print_stdout, reason = "a test prints its seed")]

mod common;
mod world;

use guest_cache::{Config, Policy, WritePolicy};
use world::World;
use world::disk::{Disk, Fault, Kind};
use world::model::Model;
use world::run::{Habits, Run};

const VSSD_BLOCKS: u32 = 64;
const BLOCKS: u32 = 48;

/// Turns that are more than enough for anything to come to an end.
const LONG: u32 = 3000;

fn open(config: Config, seed: u64) -> Run {
    println!("seed {seed}: {config:?}");
    let ssd = Disk::new("vSSD", VSSD_BLOCKS, 8, Some((0..VSSD_BLOCKS).collect()));
    let origin = Disk::new("origin disk", 4096, 8, None);
    let world = World::new(seed, ssd, origin);
    Run::open(world, config, Model::new(BLOCKS, seed), |_, _| ())
}

/// Every write policy with every eviction policy.
fn every_config() -> impl Iterator<Item = Config> {
    WritePolicy::ALL.iter().flat_map(|&write| {
        let evictions = Policy::ALL.iter();
        evictions.map(move |&eviction| Config::new(eviction, write))
    })
}

/// One configuration a write policy, each with another eviction policy.
fn some_configs() -> impl Iterator<Item = Config> {
    let evictions = Policy::ALL.iter().cycle();
    let writes = WritePolicy::ALL.iter().zip(evictions);
    writes.map(|(&write, &eviction)| Config {
        dirty_percent: 100,
        ..Config::new(eviction, write)
    })
}

fn fill(run: &mut Run) {
    for block in 0..BLOCKS {
        run.write(block, false);
        run.world.run(3);
    }
    run.world.finish();
}

/// Takes what is ready until `count` blocks are taken.
fn take_all(run: &mut Run, count: u32) {
    run.want(count);
    for _ in 0..LONG {
        run.world.run(3);
        run.take(5);
        if run.wanted == 0 {
            return;
        }
    }
    panic!("{} of {count} blocks are still wanted", run.wanted);
}

#[test]
fn dirty_blocks_survive_every_shrink() {
    for (seed, config) in (0..).zip(every_config()) {
        let mut run = open(
            Config {
                dirty_percent: 100,
                ..config
            },
            seed,
        );
        fill(&mut run);
        for count in [1, 20, 15] {
            take_all(&mut run, count);
            run.check_all();
        }
        let stats = run.cache.stats();
        assert_eq!(stats.lost, 0);
        assert!(stats.cached <= stats.slots);
    }
}

#[test]
fn a_cache_of_nothing_passes_through_and_comes_back() {
    for (seed, config) in (0..).zip(every_config()) {
        let mut run = open(config, seed);
        fill(&mut run);
        run.shrink_to_nothing();
        let stats = run.cache.stats();
        assert_eq!((stats.slots, stats.cached, stats.dirty), (0, 0, 0));
        run.check_all();
        for block in 0..BLOCKS / 2 {
            run.write(block, false);
        }
        run.flush();
        run.check_all();
        // Without a vSSD, the origin disk has everything that is acknowledged.
        let on_origin = run.model.borrow().peek(&run.world.origin);
        let read = run.read_all().into_iter().collect::<Result<Vec<_>, _>>();
        assert_eq!(read, Ok(on_origin));

        let all = run.grantable();
        run.grant(&all);
        run.world.run(200);
        fill(&mut run);
        run.check_all();
        run.check_all();
        let stats = run.cache.stats();
        assert!(stats.slots >= BLOCKS, "{stats:?}");
        assert!(stats.read_hits > 0, "{stats:?}");
        run.shrink_to_nothing();
        run.check_all();
    }
}

#[test]
fn a_wish_that_is_cancelled_is_no_wish() {
    for (seed, config) in (0..).zip(some_configs()) {
        let mut run = open(config, seed);
        fill(&mut run);
        for turns in [0, 1, 5, 30, 300] {
            run.want(25);
            run.world.run(turns);
            run.want(0);
            run.world.run(LONG);
            assert_eq!(run.cache.ready(), 0, "ready though nothing is wanted");
            run.check_all();
        }
        assert_eq!(run.held(), VSSD_BLOCKS);
        // All of them are of use again.
        let slots = run.opened.slots;
        assert_eq!(run.cache.stats().slots, slots);
        take_all(&mut run, slots);
        run.check_all();
    }
}

#[test]
fn a_wish_replaces_the_one_before() {
    for (seed, config) in (0..).zip(some_configs()) {
        let mut run = open(config, seed);
        fill(&mut run);
        for count in [30, 3, 3, 11] {
            run.want(count);
            run.world.run(40);
        }
        run.world.run(LONG);
        assert_eq!(run.cache.ready(), 11);
        assert_eq!(run.take(100), 11);
        run.world.run(LONG);
        assert_eq!((run.cache.ready(), run.take(100)), (0, 0));
        run.check_all();
    }
}

#[test]
fn blocks_revoked_in_the_middle_of_a_surrender_are_not_handed_out() {
    for (seed, config) in (0..).zip(some_configs().flat_map(|config| [config; 6])) {
        let mut run = open(config, seed);
        fill(&mut run);
        run.want(20);
        let turns = run.world.rng.below(60);
        run.world.run(turns);
        let first = run.world.rng.below(VSSD_BLOCKS - 12);
        run.revoke((first..first + 12).collect(), 0);
        for _ in 0..LONG {
            run.world.run(1);
            run.take(2);
        }
        assert_eq!(run.wanted, 0, "still wanted");
        run.check_all();
        assert_eq!(run.held(), VSSD_BLOCKS - 12 - 20);
        let blocks = run.grantable();
        run.grant(&blocks);
        fill(&mut run);
        run.check_all();
    }
}

/// What is dirty in blocks taken by force, and that alone, is lost, told, and mended by
/// the next write.
#[test]
fn revoked_blocks_are_lost_and_reported() {
    for (seed, config) in (0..).zip(some_configs()) {
        let mut run = open(config, seed);
        fill(&mut run);
        let dirty = run.cache.stats().dirty;
        assert_eq!(dirty > 0, config.write.keeps_dirty());
        let held = (0..VSSD_BLOCKS).collect();
        run.revoke(held, 0);
        assert_eq!(run.cache.stats().lost, dirty);
        run.check_all();
        fill(&mut run);
        run.check_all();
        assert_eq!(run.cache.stats().lost, 0);
    }
}

fn ordered_configs() -> impl Iterator<Item = Config> {
    some_configs().filter(|it| matches!(it.write, WritePolicy::Ordered | WritePolicy::Journaled))
}

fn open_with_one_slot(config: Config, seed: u64) -> Run {
    let first = guest_cache::metadata::region_blocks(VSSD_BLOCKS);
    let mut run = open(config, seed);
    run.revoke((first + 1..VSSD_BLOCKS).collect(), 0);
    run
}

/// All requests of a kind fail until the disk is healed.
fn fail(run: &Run, disk: &Disk, kind: Kind) {
    run.model.borrow_mut().faulty = true;
    disk.fail(Fault {
        kind,
        after: 0,
        once: false,
    });
}

/// Two writes of a block wait in memory for an origin disk that fails.
#[test]
fn a_write_that_fails_does_not_take_a_later_one_with_it() {
    for (seed, config) in (0..).zip(ordered_configs().flat_map(|config| [config; 8])) {
        let mut run = open_with_one_slot(config, seed);
        run.write(1, false);
        run.world.finish();
        fail(&run, &run.world.origin, Kind::Write);
        run.write(0, false);
        run.write(0, false);
        run.world.finish();
        run.check_all();
    }
}

/// The last version is lost, one before is kept, and the write that was to mend that fails.
#[test]
fn a_write_that_fails_leaves_a_lost_block_lost() {
    let first = guest_cache::metadata::region_blocks(VSSD_BLOCKS);
    for (seed, config) in (0..).zip(ordered_configs()) {
        let mut run = open(config, seed);
        fail(&run, &run.world.origin, Kind::Write);
        run.write(0, false);
        run.flush();
        run.world.finish();
        run.write(0, false);
        run.world.finish();
        run.revoke((first + 1..VSSD_BLOCKS).collect(), 0);
        assert_eq!(run.cache.stats().lost, 1);
        run.write(0, false);
        run.world.finish();
        run.check_all();
        assert_eq!(run.cache.stats().lost, 1);
    }
}

#[test]
fn a_block_that_is_lost_because_it_cannot_be_read_stays_lost() {
    for (seed, config) in (0..).zip(ordered_configs()) {
        let mut run = open(config, seed);
        run.write(0, false);
        run.world.finish();
        fail(&run, &run.world.ssd, Kind::Read);
        let mut model = run.model.borrow_mut();
        model.revoking(&run.world.origin, false, false);
        drop(model);
        run.write_back();
        run.world.finish();
        assert_eq!(run.cache.stats().lost, 1);
        run.check_all();
    }
}

/// The write that is to take it from another block is replaced by a later one, and what
/// is in the slot cannot be written back.
#[test]
fn a_slot_stays_with_a_version_that_cannot_be_written_back() {
    for (seed, config) in (0..).zip(ordered_configs()) {
        let mut run = open_with_one_slot(config, seed);
        run.write(0, false);
        run.world.finish();
        fail(&run, &run.world.origin, Kind::Write);
        run.write(1, false);
        // The later write is of another epoch.
        run.write_back();
        run.write(1, false);
        run.world.finish();
        run.read(2);
        run.check_all();
    }
}

/// A block leaves its slot and comes back, and then the read fails for which it came first.
#[test]
fn a_read_that_fails_leaves_a_later_one_the_slot() {
    for (seed, config) in (0..).zip(some_configs()) {
        let mut run = open_with_one_slot(config, seed);
        fail(&run, &run.world.origin, Kind::Read);
        run.read(1);
        run.write(0, false);
        run.read(1);
        run.world.finish();
        run.world.origin.heal();
        run.read(2);
        run.check_all();
    }
}

/// A read under way may give what the origin disk has, and nothing is lost.
#[test]
fn a_read_during_a_discard_survives_the_loss_of_its_slot() {
    for (seed, config) in (0..).zip(some_configs()) {
        let mut run = open(config, seed);
        run.write(0, false);
        run.world.finish();
        run.read(0);
        run.discard(0);
        run.revoke((0..VSSD_BLOCKS).collect(), 0);
        run.check_all();
        assert_eq!(run.cache.stats().lost, 0);
        run.write(0, false);
        run.check_all();
    }
}

/// Anything at once, for a while.
#[test]
fn whatever_comes_and_goes_what_is_promised_is_kept() {
    for (seed, config) in (0..).zip(every_config()) {
        let mut run = open(config, seed);
        for habits in [
            Habits::ASKED,
            Habits::RESTLESS,
            Habits::FAULTY,
            Habits::FAULTY.discarding(),
        ] {
            for _ in 0..600 {
                run.turn(&habits, |_, _| ());
            }
            run.check_all();
        }
    }
}
