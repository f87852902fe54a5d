//! Disks that hold anything at all: a cache opens on them or says why not, loops
//! nowhere, and serves what is written from then on.

mod common;
mod world;

use std::ops::Range;

use common::Rng;
use guest_cache::device::BLOCK_LEN;
use guest_cache::{BlockCache, Config, Policy, WritePolicy};
use world::World;
use world::disk::Disk;
use world::model::Model;
use world::run::{Habits, Run};

const VSSD_BLOCKS: u32 = 64;
const ORIGIN_BLOCKS: u32 = 2100;
const BLOCKS: u32 = 40;

/// Transfers that opening may take: each block of both disks some times.
const TRANSFERS: u64 = 8 * (VSSD_BLOCKS + ORIGIN_BLOCKS) as u64;

/// Disks that a cache of that policy has left in the middle of its work, and where it
/// keeps its metadata and its journal.
fn used(write: WritePolicy, seed: u64) -> (Disk, Disk, Range<u32>, Range<u32>) {
    let config = Config::new(Policy::Lru, write);
    let ssd = Disk::new("vSSD", VSSD_BLOCKS, 8, Some((0..VSSD_BLOCKS).collect()));
    let origin = Disk::new("origin disk", ORIGIN_BLOCKS, 8, None);
    let world = World::new(seed, ssd, origin);
    let mut run = Run::open(world, config, Model::new(BLOCKS, seed), |_, _| ());
    for _ in 0..600 {
        run.turn(&Habits::ASKED, |_, _| ());
    }
    let world = &mut run.world;
    (
        world.ssd.kill(&mut world.rng),
        world.origin.kill(&mut world.rng),
        0..run.opened.metadata_blocks,
        run.opened.origin_blocks..ORIGIN_BLOCKS,
    )
}

/// Spoils a part of a disk.
fn spoil(disk: &Disk, blocks: &Range<u32>, rng: &mut Rng) {
    let count = blocks.end - blocks.start;
    if count == 0 {
        return;
    }
    let way = rng.below(5);
    for _ in 0..1 + rng.below(8) {
        let block = blocks.start + rng.below(count);
        let mut bytes = [0; BLOCK_LEN];
        match way {
            // Another block's.
            0 => disk.peek(blocks.start + rng.below(count), &mut bytes),
            // Nothing of it is left.
            1 => bytes.fill([0, 0xff][rng.below(2) as usize]),
            2 => bytes.fill_with(|| rng.next() as u8),
            // The end is missing.
            3 => {
                disk.peek(block, &mut bytes);
                bytes[rng.below(BLOCK_LEN as u32) as usize..].fill(0);
            }
            _ => {
                disk.peek(block, &mut bytes);
                for _ in 0..1 + rng.below(3) {
                    // Most of what matters is at the beginning.
                    let until = [64, BLOCK_LEN as u32][rng.below(2) as usize];
                    bytes[rng.below(until) as usize] = rng.next() as u8;
                }
            }
        }
        disk.poke(block, &bytes);
    }
}

/// Opens a cache on anything; if it opens, it has to be of use.
fn open(ssd: &Disk, origin: &Disk, write: WritePolicy, rng: &mut Rng) {
    let mut world = World::new(rng.next().into(), ssd.copy(), origin.copy());
    let config = Config::new(Policy::Arc, write);
    let (ssd, origin, held) = (world.ssd.clone(), world.origin.clone(), world.ssd.held());
    let opening = BlockCache::open(ssd, origin, &held, config, world.clock());
    let opened = world.block_on_and(opening, |world| {
        let transfers = world.ssd.submitted() + world.origin.submitted();
        assert!(transfers < TRANSFERS, "it opens without end");
    });
    let Ok((cache, opened)) = opened else {
        return;
    };
    let mut bytes = [0; BLOCK_LEN];
    for block in 0..opened.origin_blocks.min(2 * BLOCKS) {
        // Whatever it is.
        let _ = world.block_on(cache.read(block, &mut bytes));
        let data = [block as u8 + 1; BLOCK_LEN];
        let written = world.block_on(cache.write(block, &data));
        written.unwrap_or_else(|error| panic!("write block {block}: {error}"));
    }
    world.block_on(cache.flush()).expect("a flush");
    for block in 0..opened.origin_blocks.min(2 * BLOCKS) {
        let read = world.block_on(cache.read(block, &mut bytes));
        read.unwrap_or_else(|error| panic!("read block {block}: {error}"));
        assert_eq!(bytes, [block as u8 + 1; BLOCK_LEN], "block {block}");
    }
    assert_eq!(cache.stats().lost, 0, "all is written anew");
}

#[test]
fn spoiled_metadata_and_journals_are_survived() {
    for &write in WritePolicy::ALL {
        for seed in 0..4 {
            let (ssd, origin, metadata, journal) = used(write, seed);
            println!("{write}: seed {seed}, metadata {metadata:?}, journal {journal:?}");
            let mut rng = Rng::new(seed);
            for round in 0..60 {
                let (ssd, origin) = (ssd.copy(), origin.copy());
                if round % 3 != 0 {
                    spoil(&ssd, &metadata, &mut rng);
                }
                if round % 3 != 1 {
                    spoil(&origin, &journal, &mut rng);
                }
                let next = match rng.below(3) {
                    0 => WritePolicy::ALL[rng.below(6) as usize],
                    _ => write,
                };
                open(&ssd, &origin, next, &mut rng);
            }
        }
    }
}

#[test]
fn noise_is_opened_like_new_disks() {
    let mut rng = Rng::new(5);
    for &write in WritePolicy::ALL {
        for _ in 0..10 {
            let ssd = Disk::new("vSSD", VSSD_BLOCKS, 8, Some((0..VSSD_BLOCKS).collect()));
            let origin = Disk::new("origin disk", ORIGIN_BLOCKS, 8, None);
            for (disk, blocks) in [(&ssd, VSSD_BLOCKS), (&origin, ORIGIN_BLOCKS)] {
                let mut bytes = [0; BLOCK_LEN];
                for block in 0..blocks {
                    bytes.fill_with(|| rng.next() as u8);
                    disk.poke(block, &bytes);
                }
            }
            open(&ssd, &origin, write, &mut rng);
        }
    }
}

/// An origin disk that is too small for a journal, or for anything, and a vSSD of
/// next to nothing.
#[test]
fn disks_of_any_size_are_opened_or_refused() {
    for &write in WritePolicy::ALL {
        for origin_blocks in [0, 1, 2, 7, 100, 600, 2059, 2060] {
            for vssd_blocks in [0, 1, 2, 15, 16, 17, 20, 40] {
                println!("{write}: {origin_blocks} and {vssd_blocks} blocks");
                let held = Some((0..vssd_blocks).collect());
                let ssd = Disk::new("vSSD", vssd_blocks, 8, held);
                let origin = Disk::new("origin disk", origin_blocks, 8, None);
                let mut rng = Rng::new(u64::from(origin_blocks + vssd_blocks));
                open(&ssd, &origin, write, &mut rng);
            }
        }
    }
}
