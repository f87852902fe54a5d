//! Two backends on one backing, as through two nodes of a disk.

use std::sync::mpsc;
use std::time::Duration;

use vssd::block_set::BlockSet;

use super::*;
use crate::pool::journal::Journal;

/// A pool with two vSSDs, opened once more by another.
fn two() -> (Arc<TraceBacking>, Host, Host) {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()));
    let boot = BootId([1; 16]);
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).unwrap();
    let mut older = Host::new(pool, 2);
    assert!(older.write(0, 0, &mut sector(0, 0, 1)));
    assert!(older.flush(0));
    let pool = Pool::open(backing.clone(), EngineName::Sync, boot).unwrap();
    (backing, older, Host::new(pool, 2))
}

/// The backend that had the pool first records nothing more and fails all changes, from the first
/// commit after its check on.
#[test]
fn the_first_backend_stops_when_a_second_has_come() {
    let (backing, mut older, mut younger) = two();
    let (lost, told) = mpsc::channel();
    older.pool.on_loss(move || lost.send(()).unwrap());
    older.pool.verify_now();
    assert!(
        !older.write(1, 8, &mut sector(1, 8, 2)),
        "a first write was recorded"
    );
    told.try_recv().unwrap();
    assert!(!older.flush(0));
    let mut some = BlockSet::empty(BLOCKS);
    some.insert_range(0, 10);
    assert!(!older.resize(0, &some, true));
    assert!(older.pool.compact_now().is_err());
    let error = older.pool.close();
    assert!(error.is_err());
    // The second goes on.
    assert!(younger.write(1, 40, &mut sector(1, 40, 3)));
    assert!(younger.flush(1));
    let found = Journal::read(backing.clone(), BootId([1; 16])).unwrap();
    let overlap = found.overlap.unwrap();
    let suspects: Vec<_> = overlap.suspects.iter().map(ToString::to_string).collect();
    assert!(
        suspects[0].starts_with("in doubt: block 20 of vm1, at physical block"),
        "{suspects:?}"
    );
    // Block 0 of vm0 was written before, and either could have written it again.
    assert_eq!(
        suspects[1..],
        ["possibly rewritten by both: block 0 of vm0"]
    );
    drop((older, younger));
    let refused = Pool::open(backing.clone(), EngineName::Sync, BootId([1; 16]));
    let error = refused.err().unwrap().to_string();
    assert!(
        error.contains("two backends had this pool at the same time"),
        "{error}"
    );
    Pool::accept(backing.clone(), BootId([1; 16])).unwrap();
    let pool = Pool::open(backing, EngineName::Sync, BootId([1; 16])).unwrap();
    let mut host = Host::new(pool, 2);
    assert_eq!(host.read(1, 40, 1).unwrap(), sector(1, 40, 3));
    assert_eq!(host.read(0, 0, 1).unwrap(), sector(0, 0, 1));
}

/// One that only reads detects it as well.
#[test]
fn a_quiet_backend_notices_too() {
    let (_, older, _younger) = two();
    let (lost, told) = mpsc::channel();
    older.pool.on_loss(move || {
        // It is signalled again and again, when the test may have ended.
        let _ = lost.send(());
    });
    told.recv_timeout(Duration::from_secs(60)).unwrap();
}
