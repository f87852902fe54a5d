//! Power cuts and kills at every operation on the backing: what a flush or a
//! resize acknowledged is there, what is there was asked for, and no vSSD ever
//! reads what another wrote.
//!
//! A run of random requests and resizes of a few vSSDs on one pool leaves a trace of
//! writes and flushes. For every point of it the backing is put together as a crash would have
//! left it, in several ways; the pool on that is opened, compared with a model, and
//! used for a while, itself to crash again. [`histories`] are short, and all there are.

mod histories;
pub(super) mod host;
mod model;
mod two;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::block_set::BlockSet;

use self::host::Host;
use self::model::{Content, History, Model, Possible, ZEROS, content_of, possible, sector};
use super::journal::BootId;
use super::{Pool, Shape};
use crate::backing::trace::{Crash, Event, Image, TraceBacking};
use crate::io::EngineName;

pub(super) const SHAPE: Shape = Shape {
    block_size: 1024,
    physical_blocks: 1400,
    overcommit_permille: 1500,
};

/// Blocks of a vSSD: more than a window.
pub(super) const BLOCKS: u32 = 700;

const SECTORS_PER_BLOCK: u32 = 2;

/// Random requests and resizes; what may be found after each of them.
fn run(
    host: &mut Host,
    backing: &TraceBacking,
    models: &mut Vec<Model>,
    writes: &mut Content,
    steps: usize,
    rng: &mut SmallRng,
) -> Vec<Possible> {
    let mut all = Vec::new();
    let holes = host.pool.track_holes().unwrap();
    for step in 0..steps {
        let mut after = models.clone();
        let vssd = rng.random_range(0..after.len());
        let model = &models[vssd];
        let first = rng.random_range(0..BLOCKS * SECTORS_PER_BLOCK);
        let longest = BLOCKS * SECTORS_PER_BLOCK - first;
        let sectors = longest.min(rng.random_range(1..40));
        let (first_block, last) = (
            first / SECTORS_PER_BLOCK,
            (first + sectors - 1) / SECTORS_PER_BLOCK,
        );
        let mut held = (first_block..=last).all(|block| model.held.contains(block));
        let usage = host.pool.usage();
        if usage.free + usage.deferred < last + 1 - first_block {
            // A write might find no physical block for a part of it. Such requests fail,
            // and what they leave is undefined.
            held = false;
        }
        let range = first..first + sectors;
        let mut some = BlockSet::empty(BLOCKS);
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..BLOCKS);
            some.insert_range(at, rng.random_range(1..80).min(BLOCKS - at));
        }
        // What may be found while the request is under way; then it has ended.
        let mut meanwhile = after.clone();
        match rng.random_range(0..10) {
            0..=4 => {
                *writes += 1;
                let content = *writes;
                let mut bytes: Vec<u8> = range
                    .clone()
                    .flat_map(|s| sector(vssd, s, content))
                    .collect();
                if held {
                    meanwhile[vssd].change(range.clone(), content);
                    all.push(possible(models, &meanwhile));
                    backing.mark(all.len() - 1);
                }
                if held {
                    assert!(host.write(vssd, first, &mut bytes), "step {step}");
                    after = meanwhile;
                }
            }
            5 => {
                if held {
                    meanwhile[vssd].change(range, ZEROS);
                    all.push(possible(models, &meanwhile));
                    backing.mark(all.len() - 1);
                }
                if held {
                    assert!(host.discard(vssd, first, sectors), "step {step}");
                    after = meanwhile;
                }
            }
            6 | 7 => {
                all.push(possible(models, models));
                backing.mark(all.len() - 1);
                assert!(host.flush(vssd));
                after.iter_mut().for_each(Model::flushed);
            }
            8 => {
                some.intersect(&model.held);
                if some.is_empty() {
                    continue;
                }
                after[vssd].released(&some);
                // The commit that records it makes all else durable too.
                let mut instead = models.clone();
                instead[vssd].released(&some);
                all.push(possible(models, &instead));
                backing.mark(all.len() - 1);
                if rng.random_range(0..3) == 0 {
                    host.pool.be_full();
                }
                assert!(host.resize(vssd, &some, true));
                after.iter_mut().for_each(Model::flushed);
            }
            _ => {
                some.subtract(&model.held);
                if some.is_empty() {
                    continue;
                }
                after[vssd].held.union_with(&some);
                let mut instead = models.clone();
                instead[vssd].held.union_with(&some);
                all.push(possible(models, &instead));
                backing.mark(all.len() - 1);
                let granted = host.resize(vssd, &some, false);
                if granted {
                    after.iter_mut().for_each(Model::flushed);
                } else {
                    after = models.clone();
                }
            }
        }
        if rng.random_range(0..15) == 0 {
            all.push(possible(&after, &after));
            backing.mark(all.len() - 1);
            host.pool.compact_now().unwrap();
            after.iter_mut().for_each(Model::flushed);
        }
        *models = after;
        all.push(possible(models, models));
        backing.mark(all.len() - 1);
        if rng.random_range(0..4) == 0 {
            host.pool.punch_all(holes);
        }
    }
    all
}

/// Opens the pool that a crash left and compares it with what may be found. Returns what was found.
fn check(image: Image, boot: BootId, found: &Possible, killed: bool, what: &str) -> Vec<Model> {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), image));
    let pool = Pool::open(backing, EngineName::Sync, boot)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    pool.assert_consistent();
    let mut host = Host::new(pool, found.before.len());
    let mut models = Vec::new();
    for (vssd, (before, after)) in found.before.iter().zip(&found.after).enumerate() {
        let held = host.guests[vssd].0.volume.held();
        assert!(held == before.held || held == after.held, "{what}: {vssd}");
        let mut model = Model {
            held,
            sectors: BTreeMap::new(),
        };
        for s in 0..BLOCKS * SECTORS_PER_BLOCK {
            let read = host.read(vssd, s, 1);
            let is_held = model.held.contains(s / SECTORS_PER_BLOCK);
            assert_eq!(read.is_some(), is_held, "{what}: vssd {vssd} sector {s}");
            let Some(read) = read else { continue };
            // A killed process leaves the last of what had ended, or what was
            // under way; a power cut anything since the last flush.
            let before = before.contents(s);
            let before = if killed {
                &before[before.len() - 1..]
            } else {
                before
            };
            let allowed = before.iter().chain(after.contents(s).last());
            let content = content_of(vssd, s, &read);
            assert!(
                content.is_some_and(|content| allowed.clone().any(|c| *c == content)),
                "{what}: vssd {vssd} sector {s} reads as {:?}, not one of {:?}",
                &read[..16],
                allowed.collect::<Vec<_>>()
            );
            if let Some(content) = content.filter(|content| *content != ZEROS) {
                let contents = vec![content];
                model.sectors.insert(s, History { contents });
            }
        }
        models.push(model);
    }
    models
}

/// A pool with its vSSDs, half of the time nearly full, so that physical blocks are soon
/// used again.
fn prepare(
    boot: BootId,
    vssds: usize,
    writes: &mut Content,
    rng: &mut SmallRng,
) -> (Image, Vec<Model>) {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()));
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).unwrap();
    let mut host = Host::new(pool, vssds);
    let mut held = BlockSet::empty(BLOCKS);
    held.insert_range(0, BLOCKS);
    let sectors = BTreeMap::new();
    let mut models = vec![Model { held, sectors }; vssds];
    if rng.random() {
        let most = SHAPE.physical_blocks / vssds as u32 * SECTORS_PER_BLOCK - 40;
        for (vssd, model) in models.iter_mut().enumerate() {
            for first in (0..most).step_by(100) {
                *writes += 1;
                let range = first..most.min(first + 100);
                let bytes = range.clone().flat_map(|s| sector(vssd, s, *writes));
                assert!(host.write(vssd, first, &mut bytes.collect::<Vec<_>>()));
                model.change(range, *writes);
            }
            assert!(host.flush(vssd));
            model.flushed();
        }
    }
    drop(host);
    (backing.image(), models)
}

/// Compares what crashes leave after every operation from `begin` on with what may be found then: a
/// kill, and two losses of power.
fn check_from(
    begin: usize,
    (mut crash, mut now): (Crash, Possible),
    (events, all): (&[Event], &[Possible]),
    rng: &mut SmallRng,
    seed: u64,
) {
    for (at, event) in events.iter().enumerate().skip(begin) {
        crash.happened(event);
        if let Event::Mark(index) = event {
            now = all[*index].clone();
        }
        let what = format!("seed {seed}, killed after operation {at}");
        check(crash.killed(), BootId([1; 16]), &now, true, &what);
        for variant in 0..2 {
            let what = format!("seed {seed}, power cut {variant} after operation {at}");
            check(crash.unpowered(rng), BootId([2; 16]), &now, false, &what);
        }
    }
}

/// A resize also records what requests have changed meanwhile, so it has to make durable what they
/// wrote: a map that outlives its data would lead to what another vSSD left in the same place.
#[test]
fn a_resize_records_no_write_before_its_data() {
    for seed in 0..4 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()));
        let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, BootId([1; 16]));
        let mut host = Host::new(pool.unwrap(), 2);
        let mut held = BlockSet::empty(BLOCKS);
        held.insert_range(0, BLOCKS);
        let sectors = BTreeMap::new();
        let mut models = vec![Model { held, sectors }; 2];
        // Both write everything, and then give half of it up: no physical block is without what
        // was left there.
        for (vssd, model) in models.iter_mut().enumerate() {
            let all = 0..BLOCKS * SECTORS_PER_BLOCK;
            let bytes = all.clone().flat_map(|s| sector(vssd, s, 1));
            assert!(host.write(vssd, 0, &mut bytes.collect::<Vec<_>>()));
            model.change(all, 1);
        }
        let mut half = BlockSet::empty(BLOCKS);
        half.insert_range(0, BLOCKS / 2);
        for (vssd, model) in models.iter_mut().enumerate() {
            assert!(host.resize(vssd, &half, true) && host.resize(vssd, &half, false));
            model.flushed();
            model.released(&half);
            model.held.union_with(&half);
        }
        let began = backing.events().len();
        let first = possible(&models, &models);
        let mut all = Vec::new();
        host.pool.stop_serving();
        for write in 2..14 {
            let (block, gone) = (
                rng.random_range(0..BLOCKS / 2),
                rng.random_range(BLOCKS / 2..BLOCKS),
            );
            let mut gives = BlockSet::empty(BLOCKS);
            gives.insert_range(gone, 1);
            let mut after = models.clone();
            let range = block * SECTORS_PER_BLOCK..(block + 1) * SECTORS_PER_BLOCK;
            after[1].change(range.clone(), write);
            after[0].released(&gives);
            all.push(possible(&models, &after));
            backing.mark(all.len() - 1);
            let mut bytes: Vec<u8> = range.clone().flat_map(|s| sector(1, s, write)).collect();
            let released = host.write_during(1, range.start, &mut bytes, |host| {
                host.resize(0, &gives, true)
            });
            assert!(released);
            after.iter_mut().for_each(Model::flushed);
            models = after;
            // It comes back, and that seals what the write left: its own record need not
            // survive the loss of power, and every later one would flush on its behalf.
            let mut after = models.clone();
            after[0].held.union_with(&gives);
            all.push(possible(&models, &after));
            backing.mark(all.len() - 1);
            assert!(host.resize(0, &gives, false));
            models = after;
            all.push(possible(&models, &models));
            backing.mark(all.len() - 1);
        }
        drop(host);
        let mut crash = Crash::new(Image::default());
        let events = backing.events();
        events[..began]
            .iter()
            .for_each(|event| crash.happened(event));
        check_from(began, (crash, first), (&events, &all), &mut rng, seed);
    }
}

/// Two crashes deep: everything that can be left of a run.
fn crash_everywhere(seed: u64, steps: usize, variants: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let boot = BootId([1; 16]);
    let rebooted = BootId([2; 16]);
    let vssds = rng.random_range(2..4);
    let mut writes = 0;
    let (start, mut models) = prepare(boot, vssds, &mut writes, &mut rng);

    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), start.clone()));
    let pool = Pool::open(backing.clone(), EngineName::Sync, boot).unwrap();
    let mut host = Host::new(pool, vssds);
    let first = possible(&models, &models);
    let all = run(
        &mut host,
        &backing,
        &mut models,
        &mut writes,
        steps,
        &mut rng,
    );
    drop(host);

    let mut crash = Crash::new(start);
    let mut now = first;
    for (at, event) in backing.events().iter().enumerate() {
        crash.happened(event);
        if let Event::Mark(index) = event {
            now = all[*index].clone();
        }
        let what = format!("seed {seed}, killed after operation {at}");
        let found = check(crash.killed(), boot, &now, true, &what);
        if at % 16 == 8 {
            again(crash.clone(), boot, found, &mut writes, &mut rng, &what);
        }
        for variant in 0..variants {
            let what = format!("seed {seed}, power cut {variant} after operation {at}");
            let image = crash.unpowered(&mut rng);
            let found = check(image.clone(), rebooted, &now, false, &what);
            if variant == 0 && at % 16 == 0 {
                let crash = Crash::new(image);
                again(crash, rebooted, found, &mut writes, &mut rng, &what);
            }
        }
    }
}

/// Goes on after a crash, and crashes once more. What a killed process wrote and
/// was not flushed can still be lost by then.
fn again(
    mut crash: Crash,
    boot: BootId,
    mut models: Vec<Model>,
    writes: &mut Content,
    rng: &mut SmallRng,
    what: &str,
) {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), crash.killed()));
    let pool = Pool::open(backing.clone(), EngineName::Sync, boot).unwrap();
    // To serve from a pool it is opened with a flush.
    let opened = backing.events().len();
    let mut host = Host::new(pool, models.len());
    let first = possible(&models, &models);
    let all = run(&mut host, &backing, &mut models, writes, 6, rng);
    drop(host);
    let mut now = first;
    let events = backing.events();
    let end = rng.random_range(opened..=events.len());
    for event in &events[..end] {
        crash.happened(event);
        if let Event::Mark(index) = event {
            now = all[*index].clone();
        }
    }
    let what = format!("{what}, then after {end} more");
    check(crash.killed(), boot, &now, true, &what);
    let image = crash.unpowered(rng);
    check(image, BootId([3; 16]), &now, false, &what);
}

/// More seeds: `VSSD_CRASH_SEEDS=100`.
#[test]
fn whatever_a_crash_leaves_is_sound() {
    let seeds = std::env::var("VSSD_CRASH_SEEDS").ok();
    let seeds = seeds.map_or(4, |text| text.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        crash_everywhere(seed, 40, 2);
    }
}

/// A backing that fails now and then costs the operation that it fails, and
/// nothing that was acknowledged as durable.
#[test]
fn a_failing_medium_loses_nothing() {
    let boot = BootId([1; 16]);
    for seed in 0..40 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()));
        let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).unwrap();
        let mut host = Host::new(pool, 2);
        let mut expected: Vec<BTreeMap<u32, Vec<u8>>> = vec![BTreeMap::new(); 2];
        for write in 1..60 {
            let vssd = rng.random_range(0..2);
            let at = rng.random_range(0..BLOCKS * SECTORS_PER_BLOCK);
            let mut bytes = sector(vssd, at, write).to_vec();
            if rng.random_range(0..4) == 0 {
                backing.fail_in(rng.random_range(0..5));
            }
            let written = host.write(vssd, at, &mut bytes);
            let flushed = host.flush(vssd);
            if written && flushed {
                expected[vssd].insert(at, bytes);
            } else {
                // It may be there or not.
                expected[vssd].remove(&at);
            }
            if !flushed {
                // Only what is durable can be relied on now.
                drop(host);
                let pool = Pool::open(backing.clone(), EngineName::Sync, boot);
                let pool = pool.or_else(|_| Pool::open(backing.clone(), EngineName::Sync, boot));
                host = Host::new(pool.unwrap(), 2);
            }
        }
        drop(host);
        let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), backing.image()));
        let pool = Pool::open(backing, EngineName::Sync, BootId([2; 16])).unwrap();
        pool.assert_consistent();
        let mut host = Host::new(pool, 2);
        for (vssd, expected) in expected.iter().enumerate() {
            for (at, bytes) in expected {
                let read = host.read(vssd, *at, 1);
                assert_eq!(read.as_ref(), Some(bytes), "seed {seed} vssd {vssd} {at}");
            }
        }
    }
}
