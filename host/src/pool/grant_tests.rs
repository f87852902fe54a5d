//! Grants to several volumes at once, while the backing takes its time to record them.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vm_memory::VolatileSlice;
use vssd::block_set::BlockSet;

use super::allocator::{Bounds, Denied};
use super::journal::BootId;
use super::tests::world::view_of;
use super::volume::Volume;
use super::{Pool, PoolError, Shape};
use crate::backing::Backing;
use crate::backing::trace::{Image, TraceBacking};
use crate::io::EngineName;

const SHAPE: Shape = Shape {
    block_size: 4096,
    physical_blocks: 100,
    overcommit_permille: 1000,
};

const BOUNDS: Bounds = Bounds {
    quota: 100,
    reservation: 0,
};

/// A bound on hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A backing whose flushes wait for a gate.
struct Gated {
    backing: TraceBacking,
    gate: Mutex<()>,
}

impl Backing for Gated {
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.backing.read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.backing.write(offset, buffers)
    }

    fn flush(&self) -> io::Result<()> {
        let _open = self.gate.lock();
        self.backing.flush()
    }

    fn len(&self) -> u64 {
        self.backing.len()
    }
}

fn pool() -> (Arc<Gated>, Arc<Pool>) {
    let backing = Arc::new(Gated {
        backing: TraceBacking::new(SHAPE.backing_len(), Image::default()),
        gate: Mutex::default(),
    });
    let boot = BootId([1; 16]);
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).unwrap();
    (backing, pool)
}

fn grant(pool: &Pool, volume: &Volume, count: u32) -> Result<(), PoolError> {
    let mut blocks = BlockSet::empty(volume.capacity());
    blocks.insert_range(0, count);
    view_of(&blocks, |view| pool.grant(volume, view))
}

/// Calls `first`, which takes 60 of the 100 blocks, and while that is being recorded has `other`
/// ask for 60 as well.
fn competes(
    backing: &Gated,
    pool: &Pool,
    other: &Volume,
    first: impl FnOnce() -> Result<(), PoolError> + Send,
) {
    let refusal = thread::scope(|scope| {
        let closed = backing.gate.lock();
        let first = scope.spawn(first);
        let began = Instant::now();
        while pool.may_hold(other, 60).is_ok() {
            assert!(began.elapsed() < PATIENCE, "the room is promised twice");
            thread::sleep(Duration::from_millis(1));
        }
        let refusal = grant(pool, other, 60).unwrap_err();
        drop(closed);
        first.join().unwrap().unwrap();
        refusal
    });
    let PoolError::Denied(refusal) = refusal else {
        panic!("{refusal}");
    };
    let (left, asked) = (40, 60);
    assert_eq!(refusal.denied, Denied::Commitment { left, asked });
    grant(pool, other, 40).unwrap();
    assert_eq!(pool.usage().committed, 100);
    pool.assert_consistent();
}

#[test]
fn two_volumes_are_never_granted_the_same_room() {
    let (backing, pool) = pool();
    let [one, other] = ["vm1", "vm2"].map(|name| pool.add(name, 100, BOUNDS, 0).unwrap());
    competes(&backing, &pool, &other, || grant(&pool, &one, 60));
}

#[test]
fn a_new_volume_and_another_are_never_granted_the_same_room() {
    let (backing, pool) = pool();
    let other = pool.add("vm2", 100, BOUNDS, 0).unwrap();
    competes(&backing, &pool, &other, || {
        pool.add("vm1", 100, BOUNDS, 60).map(drop)
    });
}

#[test]
fn room_that_could_not_be_granted_is_free_again() {
    let (backing, pool) = pool();
    let volume = pool.add("vm1", 100, BOUNDS, 0).unwrap();
    backing.backing.fail_in(0);
    assert!(grant(&pool, &volume, 60).is_err());
    backing.backing.fail_in(0);
    assert!(pool.add("vm2", 100, BOUNDS, 60).is_err());
    assert_eq!(pool.usage().committed, 0);
    grant(&pool, &volume, 100).unwrap();
    pool.assert_consistent();
}
