//! The journal alone: damage, garbage and limits of size. Crashes are tested with the whole pool
//! (`pool::crash`).

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vm_memory::VolatileSlice;

use super::layout::AREAS;
use super::*;
use crate::backing::trace::{Event, Image, TraceBacking};
use crate::pool::Shape;
use crate::pool::allocator::{Bounds, VolumeId};

pub(super) const SHAPE: Shape = Shape {
    block_size: 4096,
    physical_blocks: 4096,
    overcommit_permille: 1000,
};

pub(super) const BOOT: BootId = BootId([7; 16]);

pub(super) const ID: VolumeId = VolumeId(0);

pub(super) fn backing() -> Arc<TraceBacking> {
    Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()))
}

/// A journal with a volume, and a batch for each of `physical_blocks`.
pub(super) fn journal(backing: &Arc<TraceBacking>, physical_blocks: &[(u32, Strength)]) -> Journal {
    let mut journal = Journal::create(backing.clone(), SHAPE, BOOT).unwrap();
    let bounds = Bounds {
        quota: 4096,
        reservation: 0,
    };
    let mut batch = Batch::default();
    batch.volume(ID, 4096, bounds, "vm1");
    journal.commit(&batch, Strength::Hard, true).unwrap();
    for &(physical, strength) in physical_blocks {
        commit(&mut journal, physical, strength).unwrap();
    }
    journal
}

/// Says that the block with the number of `physical` lies there.
pub(super) fn commit(
    journal: &mut Journal,
    physical: u32,
    strength: Strength,
) -> Result<(), JournalError> {
    let mut batch = Batch::default();
    batch.mapped(ID, physical, physical, 1);
    journal.commit(&batch, strength, true)
}

pub(super) fn read(backing: &Arc<TraceBacking>) -> Result<Reading, JournalError> {
    Journal::read(backing.clone(), BOOT)
}

pub(super) fn found(backing: &Arc<TraceBacking>, boot: BootId) -> Vec<u32> {
    let reading = Journal::read(backing.clone(), boot).unwrap();
    assert_eq!(reading.overlap, None);
    reading.image.volumes[&ID]
        .map()
        .map(|(block, _)| block)
        .collect()
}

fn overwrite(backing: &TraceBacking, at: u64, bytes: &mut [u8]) {
    backing.write(at, &[VolatileSlice::from(bytes)]).unwrap();
}

pub(super) use Strength::{Hard, Soft};

#[test]
fn soft_commits_count_until_the_machine_boots() {
    let backing = backing();
    let mut journal = journal(&backing, &[(1, Hard), (2, Soft), (3, Hard), (4, Soft)]);
    let other = BootId([8; 16]);
    assert_eq!(found(&backing, BOOT), [1, 2, 3, 4]);
    assert_eq!(found(&backing, other), [1, 2, 3]);
    journal.commit(&Batch::default(), Hard, true).unwrap();
    assert_eq!(found(&backing, other), [1, 2, 3, 4]);
    commit(&mut journal, 5, Soft).unwrap();
    // What was dropped is overwritten, not brought back by what follows.
    let (mut next, _) = Journal::open(backing.clone(), other).unwrap();
    commit(&mut next, 6, Hard).unwrap();
    assert_eq!(found(&backing, BOOT), [1, 2, 3, 4, 6]);
}

#[test]
fn a_damaged_commit_is_no_end() {
    let backing = backing();
    let journal = journal(&backing, &[(1, Hard), (2, Hard), (3, Hard)]);
    let area = journal.superblock.area(1);
    drop(journal);
    // The last commit may be lost; it may have been under way.
    overwrite(&backing, area + 4 * PAGE, &mut [0xff; 512]);
    assert_eq!(found(&backing, BOOT), [1, 2]);
    // One before it may not, nor that by which the session began.
    let damage = |page: u64| {
        overwrite(&backing, area + page * PAGE, &mut [0xff; 512]);
        match read(&backing) {
            Err(JournalError::Damaged { at }) => at == area + page * PAGE,
            Err(error) => panic!("{error}"),
            Ok(_) => false,
        }
    };
    assert!(damage(2));
    assert!(!damage(3));
    assert!(!damage(1));
    assert!(damage(0));
}

/// A snapshot is not a byte shorter than the superblock says.
#[test]
fn a_snapshot_is_needed_as_a_whole() {
    let backing = backing();
    let mut journal = journal(&backing, &[]);
    compact(&mut journal);
    assert_eq!(journal.superblock.snapshot, PAGE);
    let at = journal.superblock.area(journal.superblock.live);
    drop(journal);
    overwrite(&backing, at, &mut [0xff; 512]);
    let error = read(&backing).err().unwrap();
    assert!(matches!(error, JournalError::Damaged { at: found } if found == at));
}

/// Starts the other area, in which nothing is written any more.
pub(super) fn compact(journal: &mut Journal) {
    let describe = |sink: &mut Sink<'_>| {
        let mut batch = Batch::default();
        let bounds = Bounds {
            quota: 9,
            reservation: 0,
        };
        batch.volume(ID, 4096, bounds, "vm1");
        batch.next(VolumeId(5));
        sink.push(&batch)
    };
    journal.compact(describe).unwrap();
}

#[test]
fn a_superblock_is_needed_once_it_counts() {
    let backing = backing();
    let mut journal = journal(&backing, &[(1, Hard)]);
    let old = journal.superblock;
    compact(&mut journal);
    let new = journal.superblock;
    assert_ne!(new.offset(), old.offset());
    assert!(found(&backing, BOOT).is_empty());
    assert_eq!(read(&backing).unwrap().image.next, 5);
    // As long as nothing came behind it, it may just have been under way.
    overwrite(&backing, new.offset(), &mut [0xff; 512]);
    assert_eq!(found(&backing, BOOT), [1]);
    overwrite(&backing, new.offset(), &mut new.encode());
    commit(&mut journal, 2, Hard).unwrap();
    overwrite(&backing, old.offset(), &mut [0xff; 512]);
    assert_eq!(found(&backing, BOOT), [2]);
    overwrite(&backing, old.offset(), &mut old.encode());
    overwrite(&backing, new.offset(), &mut [0xff; 512]);
    let error = read(&backing).err().unwrap();
    assert!(matches!(error, JournalError::OldSuperblock), "{error}");
    overwrite(&backing, old.offset(), &mut [0xff; 512]);
    let error = read(&backing).err().unwrap();
    assert!(matches!(error, JournalError::NoPool), "{error}");
    let mut before = old.encode();
    before[8] = 1;
    overwrite(&backing, old.offset(), &mut before);
    let events = backing.events().len();
    let error = Journal::open(backing.clone(), BOOT).err().unwrap();
    assert!(matches!(error, JournalError::Version(1)), "{error}");
    assert_eq!(
        backing.events().len(),
        events,
        "it wrote to a pool that it does not know"
    );
}

#[test]
fn what_failed_does_not_come_back() {
    // The first flush, the write, the second flush.
    for fails in 0..3 {
        let backing = backing();
        let mut journal = journal(&backing, &[(1, Hard)]);
        backing.fail_in(fails);
        assert!(commit(&mut journal, 2, Hard).is_err());
        let again = commit(&mut journal, 3, Hard);
        if fails != 1 {
            assert!(matches!(again, Err(JournalError::Poisoned)));
            assert!(matches!(
                journal.compact(|_| Ok(())),
                Err(JournalError::Poisoned)
            ));
            (journal, _) = Journal::open(backing.clone(), BOOT).unwrap();
            commit(&mut journal, 3, Hard).unwrap();
        }
        assert_eq!(found(&backing, BOOT), [1, 3], "operation {fails}");
    }
}

#[test]
fn a_failed_compaction_changes_nothing() {
    for fails in 0..4 {
        let backing = backing();
        let mut journal = journal(&backing, &[(1, Hard)]);
        backing.fail_in(fails);
        let describe = |sink: &mut Sink<'_>| sink.push(&Batch::default());
        assert!(journal.compact(describe).is_err());
        assert_eq!(found(&backing, BOOT), [1], "operation {fails}");
    }
}

#[test]
fn a_full_area_is_an_error() {
    let backing = backing();
    let mut journal = journal(&backing, &[]);
    let mut batch = Batch::default();
    for block in 0..4000 {
        batch.mapped(ID, block, block, 1);
    }
    let error = loop {
        match journal.commit(&batch, Soft, true) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    assert!(journal.wants_compaction());
    assert_eq!(found(&backing, BOOT).len(), 4000);
}

/// Opening a backing with any contents ends, without a panic.
#[test]
fn garbage_is_refused_or_understood() {
    let backing = backing();
    let journal = journal(&backing, &[(1, Hard), (2, Soft), (3, Hard)]);
    let end = journal.superblock.area(1) + 6 * PAGE;
    let areas = journal.superblock.area(1)..end;
    let image = backing.image();
    for seed in 0..2000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), image.clone()));
        for _ in 0..rng.random_range(1..5) {
            // Superblocks and sessions, or the live area.
            let part = [0..AREAS, areas.clone()][rng.random_range(0..2)].clone();
            let sector = rng.random_range(part.start / 512..part.end / 512) * 512;
            let mut bytes = [0; 512];
            backing
                .read(sector, &[VolatileSlice::from(&mut bytes[..])])
                .unwrap();
            let at = rng.random_range(0..128);
            bytes[at] = rng.random();
            // Half of them with a checksum that says they are as they should be.
            let has_checksum = bytes.starts_with(b"vSSDpool") || bytes.starts_with(b"vSSDsess");
            if rng.random() && has_checksum {
                let crc = crc32fast::hash(&bytes[..124]);
                bytes[124..128].copy_from_slice(&crc.to_le_bytes());
            }
            overwrite(&backing, sector, &mut bytes);
        }
        if let Ok(reading) = read(&backing) {
            reading.image.check(10);
        }
        if let Ok((_, image)) = Journal::open(backing, BOOT) {
            image.check(10);
        }
    }
}

#[test]
fn a_check_finds_every_fault() {
    let bounds = Bounds {
        quota: 1,
        reservation: 0,
    };
    let geometry = vssd::units::Geometry::new(4096, 100).unwrap();
    let set = [1u32, 1, 0, 3, 5, 3].map(u32::to_le_bytes).concat();
    let set = vssd::encoding::SetView::parse(&set, geometry).unwrap();
    let mut batch = Batch::default();
    for id in [VolumeId(0), VolumeId(1)] {
        batch.volume(id, 100, bounds, "same");
        batch.granted(id, &set);
        batch.mapped(id, 5, 77, 1);
    }
    batch.mapped(VolumeId(1), 9, 78, 1);
    let mut image = PoolImage::new(SHAPE);
    assert!(image.apply_all(batch.bytes()));
    let faults: Vec<_> = image.check(100).iter().map(ToString::to_string).collect();
    let expected = [
        "same holds 3 blocks, but its quota is 1",
        "two vSSDs are called same",
        "same holds 3 blocks, but its quota is 1",
        "physical block 77 belongs to block 5 of same and to block 5 of same",
        "block 9 of same is at physical block 78, but its guest does not hold it",
    ];
    assert_eq!(faults, expected);
    assert_eq!(image.check(2).len(), 2);
}

#[test]
fn reading_writes_nothing() {
    let backing = backing();
    drop(journal(&backing, &[(1, Hard), (2, Soft)]));
    let before = backing.events().len();
    found(&backing, BOOT);
    found(&backing, BootId([9; 16]));
    let after = backing.events();
    assert_eq!(after.len(), before);
    assert!(matches!(after[0], Event::Write(..)));
}
