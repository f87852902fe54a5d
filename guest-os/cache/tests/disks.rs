//! The simulated disks do what they say: the other tests are worth no more than that.

mod common;
mod world;

use std::collections::BTreeSet;

use common::Rng;
use guest_cache::device::{BLOCK_LEN, BlockDevice, IoError};
use world::World;
use world::disk::{Disk, Fault, Kind};

const BLOCKS: u32 = 16;

fn world(seed: u64) -> World {
    let ssd = Disk::new("vSSD", BLOCKS, 4, Some((0..BLOCKS).collect()));
    World::new(seed, ssd, Disk::new("origin disk", BLOCKS, 4, None))
}

fn page(byte: u8) -> [u8; BLOCK_LEN] {
    [byte; BLOCK_LEN]
}

fn peek(disk: &Disk, block: u32) -> [u8; BLOCK_LEN] {
    let mut bytes = page(0);
    disk.peek(block, &mut bytes);
    bytes
}

/// Begins a write that ends when the world goes on.
fn begin_write(world: &mut World, block: u32, byte: u8, expected: Result<(), IoError>) {
    let ssd = world.ssd.clone();
    world.spawn("write".into(), async move {
        assert_eq!(ssd.write(block, &page(byte)).await, expected)
    });
}

fn write(world: &mut World, block: u32, byte: u8) {
    let ssd = world.ssd.clone();
    world.block_on(ssd.write(block, &page(byte))).unwrap();
}

fn flush(world: &mut World) {
    let ssd = world.ssd.clone();
    world.block_on(ssd.flush()).unwrap();
}

/// The bytes of which the sectors of a block are after many losses of power.
fn after_cuts(disk: &Disk, block: u32) -> (BTreeSet<u8>, bool) {
    let mut rng = Rng::new(1);
    let mut torn = false;
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let bytes = peek(&disk.cut(&mut rng), block);
        assert!(bytes.chunks(512).all(|sector| sector == [sector[0]; 512]));
        torn |= bytes != page(bytes[0]);
        seen.extend(bytes);
    }
    (seen, torn)
}

#[test]
fn only_what_ended_before_a_flush_is_sure_to_survive() {
    let mut world = world(1);
    write(&mut world, 3, 1);
    assert_eq!(after_cuts(&world.ssd, 3), ([0, 1].into(), true));
    flush(&mut world);
    assert_eq!(after_cuts(&world.ssd, 3), ([1].into(), false));
    write(&mut world, 3, 2);
    begin_write(&mut world, 4, 9, Ok(()));
    let ssd = world.ssd.clone();
    let flushing = async move { ssd.flush().await.unwrap() };
    world.spawn("flush".into(), flushing);
    world.finish();
    assert_eq!(after_cuts(&world.ssd, 3), ([2].into(), false));
    // The flush was submitted while it was under way.
    assert_eq!(after_cuts(&world.ssd, 4), ([0, 9].into(), true));
}

#[test]
fn what_has_ended_survives_the_guest_and_what_is_under_way_may() {
    let mut world = world(1);
    write(&mut world, 3, 1);
    begin_write(&mut world, 4, 2, Ok(()));
    let mut rng = Rng::new(1);
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let killed = world.ssd.kill(&mut rng);
        assert_eq!(peek(&killed, 3), page(1));
        assert!([page(0), page(2)].contains(&peek(&killed, 4)));
        seen.insert(peek(&killed, 4)[0]);
        assert_eq!(after_cuts(&killed, 3).0, [0, 1].into());
    }
    assert_eq!(seen, [0, 2].into());
}

#[test]
fn requests_end_in_any_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..100 {
        let mut world = world(seed);
        for block in 0..3 {
            begin_write(&mut world, block, 1, Ok(()));
        }
        let mut order = Vec::new();
        world.run_until(
            |world| world.tasks() == 0,
            |world| {
                let done = (0..3).filter(|&block| peek(&world.ssd, block) == page(1));
                let new = done
                    .filter(|block| !order.contains(block))
                    .collect::<Vec<_>>();
                order.extend(new);
            },
        );
        orders.insert(order[..2].to_vec());
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn what_is_revoked_is_gone_and_comes_back_as_zeros() {
    let mut world = world(1);
    write(&mut world, 3, 1);
    flush(&mut world);
    begin_write(&mut world, 3, 2, Err(IoError::Gone));
    world.ssd.revoke([3]);
    world.finish();
    begin_write(&mut world, 3, 2, Err(IoError::Gone));
    world.finish();
    assert_eq!(world.ssd.held(), [0..3, 4..BLOCKS]);
    world.ssd.grant([3]);
    assert_eq!(after_cuts(&world.ssd, 3), ([0].into(), false));
    let mut bytes = page(7);
    let ssd = world.ssd.clone();
    assert_eq!(world.block_on(ssd.read(3, &mut bytes)), Ok(()));
    assert_eq!(bytes, page(0));
}

#[test]
fn faults_come_when_they_are_asked_for() {
    let mut world = world(1);
    world.ssd.fail(Fault {
        kind: Kind::Write,
        after: 1,
        once: true,
    });
    write(&mut world, 3, 1);
    begin_write(&mut world, 3, 2, Err(IoError::Failed));
    world.finish();
    write(&mut world, 3, 3);
    world.ssd.fail(Fault {
        kind: Kind::Flush,
        after: 0,
        once: false,
    });
    let ssd = world.ssd.clone();
    for _ in 0..3 {
        assert_eq!(world.block_on(ssd.flush()), Err(IoError::Failed));
    }
    assert!(after_cuts(&world.ssd, 3).0.is_superset(&[0, 1, 3].into()));
    world.ssd.heal();
    flush(&mut world);
    assert_eq!(after_cuts(&world.ssd, 3), ([3].into(), false));
}

fn panics(what: impl FnOnce(&mut World)) {
    let mut world = world(1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(&mut world)));
    assert!(caught.is_err(), "the fault was not detected");
}

#[test]
fn misuse_is_noticed() {
    panics(|world| {
        begin_write(world, 3, 1, Ok(()));
        begin_write(world, 3, 2, Ok(()));
    });
    panics(|world| {
        begin_write(world, 3, 1, Ok(()));
        world.ssd.surrender([3]);
    });
    panics(|world| {
        world.ssd.surrender([3]);
        begin_write(world, 3, 1, Err(IoError::Gone));
    });
    panics(|world| world.block_on(std::future::pending()));
}
