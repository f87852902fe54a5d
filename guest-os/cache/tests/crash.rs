//! Guests that end and losses of power at every request of a disk: what a write or a
//! flush promised is there, what is there was written, and the origin disk alone is what
//! the write policy says.
//!
//! A run does anything at random, with a model beside it. Before each disk request ends,
//! the disks are put together as a crash would leave them, in several ways. A cache that
//! is opened on them is compared with the model, and now and then used for a
//! while, itself to crash again. More runs: `VSSD_CACHE_SEEDS=100`.

#![allow(clippy::print_stdout, reason = "a test prints its seed")]

mod common;
mod world;

use std::collections::BTreeSet;

use common::Rng;
use guest_cache::{Config, Policy, WritePolicy};
use world::World;
use world::disk::Disk;
use world::model::{Crash, Model};
use world::run::{Habits, Run, is_lost};

/// Blocks of the origin disk: far more than are used, since a journal is at its end.
const ORIGIN_BLOCKS: u32 = 4096;

/// The size of a run, and the density of its checks.
#[derive(Clone, Copy)]
struct Scale {
    /// Blocks of the origin disk that are used.
    blocks: u32,
    /// Blocks of the vSSD.
    vssd: u32,
    turns: u32,
    /// One request in so many is crashed at.
    every: u32,
    /// How many crashes deep.
    depth: u32,
}

const SMALL: Scale = Scale {
    blocks: 40,
    vssd: 48,
    turns: 250,
    every: 1,
    depth: 2,
};

/// For epochs and metadata that fill up.
const LARGE: Scale = Scale {
    blocks: 700,
    vssd: 1000,
    turns: 6000,
    every: 400,
    depth: 1,
};

/// Crashes a world, and looks at what is left.
struct Inspector {
    rng: Rng,
    config: Config,
    scale: Scale,
}

impl Inspector {
    /// A request is about to end.
    fn look(&mut self, world: &World, model: &Model) {
        if self.config.write == WritePolicy::Ordered {
            model.check_order(&model.peek(&world.origin), false);
        }
        if self.rng.below(self.scale.every) > 0 {
            return;
        }
        for crash in [Crash::Kill, Crash::Cut, Crash::Cut] {
            let disks = match crash {
                Crash::Kill => (
                    world.ssd.kill(&mut self.rng),
                    world.origin.kill(&mut self.rng),
                ),
                Crash::Cut => (
                    world.ssd.cut(&mut self.rng),
                    world.origin.cut(&mut self.rng),
                ),
            };
            self.reopen(&disks, model, crash);
            if self.rng.below(3) == 0 {
                self.without_the_vssd(&disks.1, model, crash);
            }
        }
    }

    /// How the next cache is to work: half of the time as the last one.
    fn next_config(&mut self) -> Config {
        match self.rng.below(2) {
            0 => self.config,
            _ => any_config(&mut self.rng),
        }
    }

    fn world(&mut self, (ssd, origin): &(Disk, Disk)) -> World {
        World::new(self.rng.next().into(), ssd.copy(), origin.copy())
    }

    fn reopen(&mut self, disks: &(Disk, Disk), model: &Model, crash: Crash) {
        let config = self.next_config();
        let mut run = Run::open(self.world(disks), config, model.clone(), |_, _| ());
        let found = run.read_all();
        for (block, found) in (0..).zip(&found) {
            model.check(block, *found, crash, false);
        }
        let lost = found.iter().filter(|found| is_lost(found)).count() as u32;
        assert_eq!(run.opened.lost, lost, "lost as it was opened");
        assert_eq!(run.cache.stats().lost, lost, "lost");
        let check_again = |again: Vec<_>, what: &str| {
            if !model.unrecorded {
                assert_eq!(again, found, "{what}");
            }
            for (block, found) in (0..).zip(again) {
                model.check(block, found, crash, false);
            }
        };
        check_again(run.read_all(), "not the same when read twice");
        if self.rng.below(4) == 0 {
            run.shrink_to_nothing();
            check_again(run.read_all(), "not the same without the vSSD");
        }
        if self.scale.depth > 0 && !model.unrecorded && self.rng.below(12) == 0 {
            let mut model = model.clone();
            model.restart(&found, crash);
            self.go_on(disks, config, model);
        }
    }

    /// Goes on where a crash ended, to crash again.
    fn go_on(&mut self, disks: &(Disk, Disk), config: Config, model: Model) {
        println!("goes on: {config:?}");
        let mut next = Self {
            rng: Rng::new(self.rng.next().into()),
            config,
            scale: Scale {
                every: 8,
                depth: self.scale.depth - 1,
                ..self.scale
            },
        };
        let world = self.world(disks);
        let mut run = Run::open(world, config, model, |world, model| {
            // Before that the crash is one of the last session, with what was not found.
            if !world.ssd.has_inherited() && !world.origin.has_inherited() {
                next.look(world, model);
            }
        });
        for _ in 0..60 {
            run.turn(&Habits::RESTLESS, |world, model| next.look(world, model));
        }
        run.check_all();
    }

    /// The origin disk with a vSSD that has nothing of this cache.
    fn without_the_vssd(&mut self, origin: &Disk, model: &Model, crash: Crash) {
        let config = self.next_config();
        let disks = (vssd(self.scale.vssd, 8, 0..0), origin.copy());
        let mut run = Run::open(self.world(&disks), config, model.clone(), |_, _| ());
        let found = run.read_all();
        for (block, found) in (0..).zip(&found) {
            model.check(block, *found, crash, true);
        }
        let sectors = found.into_iter().collect::<Result<Vec<_>, _>>();
        let sectors = sectors.expect("checked");
        match self.config.write {
            WritePolicy::Ordered => model.check_order(&sectors, false),
            WritePolicy::Journaled => model.check_order(&sectors, true),
            _ => {}
        }
    }
}

fn vssd(blocks: u32, max_run: u32, held: impl IntoIterator<Item = u32>) -> Disk {
    Disk::new("vSSD", blocks, max_run, Some(held.into_iter().collect()))
}

fn any_config(rng: &mut Rng) -> Config {
    let policies = Policy::ALL.len() as u32;
    let writes = WritePolicy::ALL.len() as u32;
    let promote = 1 + (rng.below(4) / 3) as u8;
    let bypass_blocks = [0, 0, 4][rng.below(3) as usize];
    let dirty = rng.below(8);
    Config {
        promote,
        bypass_blocks,
        dirty_percent: [0, 20, 60, 100][dirty as usize / 2],
        clean_first: dirty % 2 == 1,
        ..Config::new(
            Policy::ALL[rng.below(policies) as usize],
            WritePolicy::ALL[rng.below(writes) as usize],
        )
    }
}

fn any_held(blocks: u32, rng: &mut Rng) -> BTreeSet<u32> {
    let chance = [8, 8, 6, 3][rng.below(4) as usize];
    (0..blocks).filter(|_| rng.below(8) < chance).collect()
}

fn crash_everywhere(write: WritePolicy, scale: Scale, habits: &Habits, seed: u64) {
    let mut rng = Rng::new(seed);
    let config = Config {
        write,
        ..any_config(&mut rng)
    };
    println!("seed {seed}: {config:?}");
    let max_run = 1 + rng.below(12);
    let ssd = vssd(scale.vssd, max_run, any_held(scale.vssd, &mut rng));
    let origin = Disk::new("origin disk", ORIGIN_BLOCKS, max_run, None);
    let world = World::new(seed, ssd, origin);
    let mut inspector = Inspector { rng, config, scale };
    let model = Model::new(scale.blocks, seed);
    let mut run = Run::open(world, config, model, |world, model| {
        inspector.look(world, model)
    });
    for _ in 0..scale.turns {
        run.turn(habits, |world, model| inspector.look(world, model));
    }
    run.check_all();
    run.close();
    inspector.scale.every = 1;
    inspector.look(&run.world, &run.model.borrow());
}

fn seeds() -> u64 {
    let seeds = std::env::var("VSSD_CACHE_SEEDS").ok();
    seeds.map_or(2, |text| text.parse().expect("a number of seeds"))
}

fn crash_in_every_way(write: WritePolicy) {
    let ways = [
        Habits::STEADY,
        Habits::ASKED,
        Habits::RESTLESS,
        Habits::FAULTY,
    ];
    for seed in 0..seeds() {
        for (way, habits) in (0..).zip(ways) {
            crash_everywhere(write, SMALL, &habits, seed * 4 + way);
            let seed = seed * 4 + way;
            crash_everywhere(write, SMALL, &habits.discarding(), 2000 + seed);
            crash_everywhere(write, SMALL, &habits.advised(), 4000 + seed);
        }
    }
}

#[test]
fn write_through_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::WriteThrough);
}

#[test]
fn write_around_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::WriteAround);
}

#[test]
fn read_only_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::ReadOnly);
}

#[test]
fn write_back_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::WriteBack);
}

#[test]
fn ordered_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::Ordered);
}

#[test]
fn journaled_keeps_what_it_promises() {
    crash_in_every_way(WritePolicy::Journaled);
}

#[test]
fn large_ones_keep_what_they_promise() {
    for seed in 0..seeds() {
        for &write in WritePolicy::ALL {
            crash_everywhere(write, LARGE, &Habits::ASKED, 1000 + seed);
            crash_everywhere(write, LARGE, &Habits::ASKED.advised(), 3000 + seed);
        }
    }
}
/// A block that was flushed as zeros and is overwritten, which the next cache finds: when its slot is
/// revoked and comes back as zeros, it is lost and not zeros again.
#[test]
fn a_revoked_block_is_not_taken_for_the_zeros_that_it_was_before() {
    const BLOCK: u32 = 3;
    let config = Config {
        dirty_percent: 100,
        ..Config::new(Policy::Lru, WritePolicy::WriteBack)
    };
    let mut rng = Rng::new(1);
    let open = |(ssd, origin): (Disk, Disk)| {
        let model = Model::new(SMALL.blocks, 1);
        Run::open(World::new(1, ssd, origin), config, model, |_, _| ())
    };
    let mut run = open((
        vssd(SMALL.vssd, 8, 0..SMALL.vssd),
        Disk::new("origin disk", ORIGIN_BLOCKS, 8, None),
    ));
    run.write(BLOCK, true);
    run.world.finish();
    run.flush();
    run.world.finish();
    run.write(BLOCK, false);
    run.world.finish();
    let (ssd, origin) = (&run.world.ssd, &run.world.origin);
    let run = open((ssd.kill(&mut rng), origin.kill(&mut rng)));
    assert_eq!(run.cache.stats().dirty, 1);
    let held: Vec<u32> = (run.opened.metadata_blocks..SMALL.vssd).collect();
    run.world.ssd.revoke(held.iter().copied());
    run.world.ssd.grant(held);
    let (ssd, origin) = (&run.world.ssd, &run.world.origin);
    let mut run = open((ssd.kill(&mut rng), origin.kill(&mut rng)));
    assert!(is_lost(&run.read_all()[BLOCK as usize]));
}
