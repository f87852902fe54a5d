//! Disks that hold anything at all: a cache opens on them or says why not, loops
//! nowhere, and serves what is written from then on.

mod common;
mod world;

use std::ops::Range;

use common::Rng;
use guest_cache::device::BLOCK_LEN;
use guest_cache::{BlockCache, Config, OpenError, Policy, WritePolicy};
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
fn used(write: WritePolicy, seed: u64, habits: &Habits) -> (Disk, Disk, Range<u32>, Range<u32>) {
    let config = Config::new(Policy::Lru, write);
    let ssd = Disk::new("vSSD", VSSD_BLOCKS, 8, Some((0..VSSD_BLOCKS).collect()));
    let origin = Disk::new("origin disk", ORIGIN_BLOCKS, 8, None);
    let world = World::new(seed, ssd, origin);
    let mut run = Run::open(world, config, Model::new(BLOCKS, seed), |_, _| ());
    for _ in 0..600 {
        run.turn(habits, |_, _| ());
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
            let (ssd, origin, metadata, journal) = used(write, seed, &Habits::ASKED);
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

/// All bytes of a disk.
fn contents(disk: &Disk, blocks: u32) -> Vec<[u8; BLOCK_LEN]> {
    let mut bytes = [0; BLOCK_LEN];
    (0..blocks)
        .map(|block| {
            disk.peek(block, &mut bytes);
            bytes
        })
        .collect()
}

/// Makes the blocks with this magic ones of version 1.
fn age(disk: &Disk, blocks: &Range<u32>, magic: &[u8; 8]) {
    let mut aged = 0;
    let mut bytes = [0; BLOCK_LEN];
    for block in blocks.clone() {
        disk.peek(block, &mut bytes);
        if bytes.starts_with(magic) {
            bytes[8..10].copy_from_slice(&1_u16.to_le_bytes());
            disk.poke(block, &bytes);
            aged += 1;
        }
    }
    assert!(aged > 0, "there are such blocks: {blocks:?}");
}

/// The error of opening a cache on these disks, which must stay as they are.
fn refusal(ssd: &Disk, origin: &Disk, config: Config) -> OpenError {
    let before = (contents(ssd, VSSD_BLOCKS), contents(origin, ORIGIN_BLOCKS));
    let mut world = World::new(1, ssd.copy(), origin.copy());
    let (ssd, origin, held) = (world.ssd.clone(), world.origin.clone(), world.ssd.held());
    let opening = BlockCache::open(ssd, origin, &held, config, world.clock());
    let opened = world.block_on(opening).map(|_| ());
    let after = (
        contents(&world.ssd, VSSD_BLOCKS),
        contents(&world.origin, ORIGIN_BLOCKS),
    );
    assert!(before == after, "a disk was written to");
    opened.expect_err("the format is another one")
}

#[test]
fn a_cache_of_an_older_format_is_refused_unless_it_is_given_up() {
    let write = WritePolicy::WriteBack;
    let (ssd, origin, metadata, _) = used(write, 1, &Habits::STEADY);
    age(&ssd, &metadata, b"vSSDmeta");
    let config = Config::new(Policy::Lru, write);
    let error = refusal(&ssd, &origin, config);
    assert_eq!(error, OpenError::VssdVersion { version: 1 });
    let sentence = error.to_string();
    assert!(sentence.contains("format 1") && sentence.contains("format 2"));
    assert!(sentence.contains("fresh=true"), "{sentence}");

    let fresh = Config {
        fresh: true,
        ..config
    };
    for config in [fresh, config] {
        let mut world = World::new(1, ssd.clone(), origin.clone());
        let held = world.ssd.held();
        let opening = BlockCache::open(ssd.clone(), origin.clone(), &held, config, world.clock());
        let (_, opened) = world.block_on(opening).expect("nothing of it is left");
        assert_eq!((opened.restored, opened.is_broken), (0, false));
    }
}

#[test]
fn a_journal_of_an_older_format_is_refused_by_every_policy() {
    let (ssd, origin, _, journal) = used(WritePolicy::Journaled, 1, &Habits::STEADY);
    age(&origin, &journal, b"vSSDjrnl");
    for &write in WritePolicy::ALL {
        let config = Config {
            fresh: true,
            ..Config::new(Policy::Lru, write)
        };
        let error = refusal(&ssd, &origin, config);
        assert_eq!(error, OpenError::OriginVersion { version: 1 }, "{write}");
        let sentence = error.to_string();
        assert!(sentence.contains("write=write-through"), "{sentence}");
    }
}
