//! Grants while the backing takes its time: to several volumes at once, and beside first writes.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vm_memory::VolatileSlice;
use vssd::block_set::BlockSet;

use super::allocator::{Bounds, Denied};
use super::journal::{BootId, JournalError};
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
    flushes: AtomicU32,
}

impl Backing for Gated {
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.backing.read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.backing.write(offset, buffers)
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
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
        flushes: AtomicU32::default(),
    });
    let boot = BootId([1; 16]);
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).unwrap();
    (backing, pool)
}

fn grant(pool: &Pool, volume: &Volume, range: Range<u32>) -> Result<(), PoolError> {
    let mut blocks = BlockSet::empty(volume.capacity());
    blocks.insert_range(range.start, range.len() as u32);
    view_of(&blocks, |view| pool.grant(volume, view))
}

/// Waits until `reached`, or fails with `why`.
fn wait_until(why: &str, reached: impl Fn() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "{why}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The first write of a block.
fn write(pool: &Pool, volume: &Volume, block: u32) {
    let mut state = pool.state();
    let physical = volume.allocate(&mut state.allocator, block).unwrap();
    state.map(volume, block, physical, 1);
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
        wait_until("the room is promised twice", || {
            pool.may_hold(other, 60).is_err()
        });
        let refusal = grant(pool, other, 0..60).unwrap_err();
        drop(closed);
        first.join().unwrap().unwrap();
        refusal
    });
    let PoolError::Denied(refusal) = refusal else {
        panic!("{refusal}");
    };
    let (left, asked) = (40, 60);
    assert_eq!(refusal.denied, Denied::Commitment { left, asked });
    grant(pool, other, 0..40).unwrap();
    assert_eq!(pool.usage().committed, 100);
    pool.assert_consistent();
}

#[test]
fn two_volumes_are_never_granted_the_same_room() {
    let (backing, pool) = pool();
    let [one, other] = ["vm1", "vm2"].map(|name| pool.add(name, 100, BOUNDS, 0).unwrap());
    competes(&backing, &pool, &other, || grant(&pool, &one, 0..60));
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
    assert!(grant(&pool, &volume, 0..60).is_err());
    backing.backing.fail_in(0);
    assert!(pool.add("vm2", 100, BOUNDS, 60).is_err());
    assert_eq!(pool.usage().committed, 0);
    grant(&pool, &volume, 0..100).unwrap();
    pool.assert_consistent();
}

#[test]
fn first_writes_are_committed_while_a_grant_flushes_the_data_of_others() {
    let (backing, pool) = pool();
    let volume = pool.add("vm1", 100, BOUNDS, 50).unwrap();
    write(&pool, &volume, 0);
    thread::scope(|scope| {
        let closed = backing.gate.lock();
        let flushed = backing.flushes.load(Ordering::SeqCst);
        let grant = scope.spawn(|| grant(&pool, &volume, 50..100));
        wait_until("nothing is flushed", || {
            backing.flushes.load(Ordering::SeqCst) > flushed
        });
        write(&pool, &volume, 1);
        let noted = pool.note().unwrap();
        wait_until("the write waits for the grant", || {
            pool.outcome(noted).is_some()
        });
        drop(closed);
        grant.join().unwrap().unwrap();
    });
    pool.assert_consistent();
}

#[test]
fn after_a_failed_flush_nothing_is_granted() {
    let (backing, pool) = pool();
    let volume = pool.add("vm1", 100, BOUNDS, 50).unwrap();
    write(&pool, &volume, 0);
    backing.backing.fail_in(0);
    for _ in 0..2 {
        let error = grant(&pool, &volume, 50..100).unwrap_err();
        let poisoned = matches!(error, PoolError::Journal(JournalError::Poisoned));
        assert!(poisoned, "{error}");
    }
}
