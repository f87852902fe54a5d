//! Allocator and maps against a naive model: a map from block to physical block for each
//! volume, and sets of physical blocks.

pub(super) mod world;

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::block_set::BlockSet;
use vssd::units::Geometry;

use self::world::World;
use super::allocator::{Allocator, Bounds, Denied, Refusal, VolumeId};
use super::journal::{Batch, BootId, Journal};
use super::volume::Volume;
use super::{Pool, Shape, Strength};
use crate::backing::trace::{Image, TraceBacking};
use crate::io::EngineName;

#[test]
fn behaves_as_maps_of_numbers() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for step in 0..300 {
            world.step();
            if step % 25 == 0 {
                world.check();
            }
        }
        world.check();
        world.punch_all();
        world.check();
    }
}

fn single(physical_blocks: u32, capacity: u32) -> (Allocator, Volume) {
    let mut allocator = Allocator::new(physical_blocks, 1000);
    let bounds = Bounds {
        quota: capacity,
        reservation: 0,
    };
    allocator.open(VolumeId(0), bounds).unwrap();
    (allocator, Volume::new(VolumeId(0), capacity))
}

/// Blocks written in any order lie in a row, as long as there are whole regions.
#[test]
fn neighbours_stay_together() {
    let (mut allocator, volume) = single(8192, 4096);
    let mut blocks: Vec<u32> = (0..2048).collect();
    let mut rng = SmallRng::seed_from_u64(3);
    for i in (1..blocks.len()).rev() {
        blocks.swap(i, rng.random_range(0..=i));
    }
    for block in blocks {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert!(volume.extents(0, 2048).count() <= 4, "no more than windows");
    let (mut allocator, volume) = single(8192, 4096);
    for block in 0..2048 {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert_eq!(volume.extents(0, 2048).count(), 1, "written in order");
}

/// Without a whole region, what is written in a row still lies in a row.
#[test]
fn gaps_are_filled_in_order() {
    let (mut allocator, volume) = single(1000, 3000);
    // One block in each window: every region has an owner after two.
    for block in [0, 600, 1200, 1800, 2400] {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    for block in 2500..2600 {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert!(volume.extents(2500, 100).count() <= 3);
}

#[test]
fn a_reservation_keeps_its_places() {
    let mut allocator = Allocator::new(100, 2000);
    let open = |allocator: &mut Allocator, id, reservation| {
        let bounds = Bounds {
            quota: 100,
            reservation,
        };
        allocator.open(VolumeId(id), bounds)
    };
    open(&mut allocator, 0, 30).unwrap();
    open(&mut allocator, 1, 0).unwrap();
    let denied = open(&mut allocator, 2, 80).unwrap_err();
    assert_eq!(
        denied,
        Denied::Reservation {
            free: 70,
            asked: 80
        }
    );
    let refusal = Refusal {
        denied,
        block_size: 4096,
    };
    assert_eq!(
        refusal.to_string(),
        "280KiB (70 blocks) of the pool are neither used nor reserved, but 320KiB (80 blocks) were \
         requested"
    );
    let greedy = Volume::new(VolumeId(1), 100);
    for block in 0..70 {
        let physical = greedy.allocate(&mut allocator, block).unwrap();
        greedy.map(&mut allocator, block, physical);
    }
    let denied = Denied::Full { settling: false };
    assert_eq!(greedy.allocate(&mut allocator, 70), Err(denied));
    let modest = Volume::new(VolumeId(0), 100);
    for block in 0..30 {
        let physical = modest.allocate(&mut allocator, block).unwrap();
        modest.map(&mut allocator, block, physical);
    }
    assert_eq!(modest.allocate(&mut allocator, 30), Err(denied));
    allocator.assert_consistent();
}

#[test]
fn engines_of_a_pool_that_emulates_a_medium_are_paced() {
    let backing = std::sync::Arc::new(crate::backing::MemoryBacking::new(1 << 20).unwrap());
    let pool = super::Pool::volatile(backing, 4096, 1000);
    assert!(pool.wear().is_none(), "nothing is emulated");
    pool.emulate(crate::emulation::MediaKind::Hdd).unwrap();
    let mut engine = pool.engine().unwrap();
    let mut bytes = [1; 512];
    let slice = vm_memory::VolatileSlice::from(&mut bytes[..]);
    // SAFETY: the bytes live to the end of the test.
    #[allow(unsafe_code)]
    unsafe {
        let direction = crate::io::Direction::Write;
        engine.submit(0, direction, 0, &mut [slice].into_iter());
    }
    assert_eq!(pool.wear().unwrap().host_bytes, 512);
}

/// A pool of a tebibyte, all of it written: opening it works on runs of blocks, since one more step
/// for each of 256 Mi blocks takes tens of seconds.
#[test]
fn a_full_pool_of_a_tebibyte_is_opened() {
    const BLOCKS: u32 = 1 << 28;
    let shape = Shape {
        block_size: 4096,
        physical_blocks: BLOCKS,
        overcommit_permille: 1000,
    };
    let boot = BootId([1; 16]);
    let backing = Arc::new(TraceBacking::new(shape.backing_len(), Image::default()));
    let mut journal = Journal::create(backing.clone(), shape, boot).unwrap();
    let bounds = Bounds {
        quota: BLOCKS,
        reservation: 0,
    };
    let mut batch = Batch::default();
    batch.volume(VolumeId(0), BLOCKS, bounds, "vm1");
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    super::commit::granted(&mut batch, VolumeId(0), &BlockSet::full(BLOCKS), geometry);
    batch.mapped(VolumeId(0), 0, 0, BLOCKS);
    journal.commit(&batch, Strength::Hard, true).unwrap();
    drop(journal);
    for _ in 0..2 {
        let pool = Pool::open(backing.clone(), EngineName::Sync, boot).unwrap();
        // Its thread verifies every second, and might after the next session has begun.
        pool.stop_serving();
        let usage = pool.usage();
        assert_eq!((usage.free, usage.committed), (0, u64::from(BLOCKS)));
        let volume = pool.attach("vm1", BLOCKS, None, None).unwrap().unwrap();
        let extents: Vec<_> = volume.extents(BLOCKS - 1000, 1000).collect();
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].physical, Some(BLOCKS - 1000));
        // Then from a snapshot.
        pool.compact_now().unwrap();
    }
}
