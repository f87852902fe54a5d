//! Two sessions on one backing, as of two backends on two nodes of a disk: how the older one stops,
//! and what a later check finds.

use super::layout::SESSIONS_KEPT;
use super::tests::*;
use super::*;
use crate::backing::trace::TraceBacking;
use crate::pool::allocator::{Bounds, VolumeId};

/// A journal with a volume, and another session of the same pool.
fn two() -> (Arc<TraceBacking>, Journal, Journal) {
    let backing = backing();
    let older = journal(&backing, &[(1, Hard), (2, Hard)]);
    let (younger, image) = Journal::open(backing.clone(), BOOT).unwrap();
    assert_eq!(image.volumes[&ID].written(), 2);
    (backing, older, younger)
}

fn overlap(backing: &Arc<TraceBacking>) -> Overlap {
    let overlap = read(backing).unwrap().overlap.expect("an overlap");
    assert!(overlap.older.starts_with("session 1 "), "{overlap:?}");
    assert!(overlap.younger.starts_with("session 2 "), "{overlap:?}");
    overlap
}

fn listed(overlap: &Overlap) -> Vec<String> {
    overlap.suspects.iter().map(ToString::to_string).collect()
}

/// The block numbers that are listed with that grade of evidence.
fn blocks(overlap: &Overlap, possible: bool) -> Vec<u32> {
    let all = overlap.suspects.iter();
    all.filter(|s| (s.evidence == Evidence::Possible) == possible)
        .flat_map(|s| s.block..s.block + s.count)
        .collect()
}

#[test]
fn sessions_one_after_the_other_are_no_overlap() {
    let backing = backing();
    drop(journal(&backing, &[(1, Hard)]));
    for physical in 2..3 * SESSIONS_KEPT as u32 {
        let (mut journal, _) = Journal::open(backing.clone(), BOOT).unwrap();
        assert_eq!(journal.session().id.number(), physical);
        journal.verify().unwrap();
        commit(&mut journal, physical, Hard).unwrap();
        if physical % 5 == 0 {
            compact(&mut journal);
            commit(&mut journal, physical, Soft).unwrap();
        }
        journal.verify().unwrap();
        assert_eq!(read(&backing).unwrap().overlap, None);
    }
}

#[test]
fn the_older_session_stops_and_leaves_a_note() {
    let (backing, mut older, mut younger) = two();
    younger.verify().unwrap();
    let error = older.verify().unwrap_err().to_string();
    assert!(
        error.contains("another backend has opened this pool: session 2"),
        "{error}"
    );
    for result in [
        commit(&mut older, 3, Hard),
        commit(&mut older, 3, Soft),
        older.commit(&Batch::default(), Hard, true),
        older.compact(|_| Ok(())),
    ] {
        assert!(
            matches!(result, Err(JournalError::Foreign(_))),
            "{result:?}"
        );
    }
    // The younger goes on. What it recorded is in doubt nevertheless: the other may have written to
    // these physical blocks before its check.
    commit(&mut younger, 7, Hard).unwrap();
    let found = overlap(&backing);
    let expected = [
        "in doubt: block 7 of vm1, at physical block 7",
        "possibly rewritten by both: blocks 1 to 2 of vm1",
    ];
    assert_eq!(listed(&found), expected);
    assert!(!found.compacted);
    compact(&mut younger);
    let found = overlap(&backing);
    assert!(found.compacted && found.suspects.is_empty(), "{found:?}");
}

/// Both write, and neither checks: what either recorded since is in doubt, and blocks that had a
/// physical block before may have been rewritten.
#[test]
fn what_two_recorded_at_the_same_time_is_found() {
    // How many commits each makes, and in which order.
    for (first, second) in [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3), (5, 5)] {
        for older_first in [true, false] {
            let (backing, mut older, mut younger) = two();
            let old = |journal: &mut Journal| {
                (0..first).for_each(|at| commit(journal, 10 + at, Hard).unwrap());
            };
            let young = |journal: &mut Journal| {
                (0..second).for_each(|at| commit(journal, 20 + at, Hard).unwrap());
            };
            if older_first {
                old(&mut older);
                young(&mut younger);
            } else {
                young(&mut younger);
                old(&mut older);
            }
            let what = format!("{first}, {second}, {older_first}");
            let found = overlap(&backing);
            let kept = read(&backing).unwrap().image;
            let recorded = blocks(&found, false);
            let kept = kept.volumes[&ID].map().map(|(block, _)| block);
            for block in kept.filter(|block| *block >= 10) {
                assert!(recorded.contains(&block), "{what}: {block} of {found:?}");
            }
            assert_eq!(blocks(&found, true), [1, 2], "{what}: {found:?}");
            // A check of either detects it as well.
            assert!(older.verify().is_err(), "{what}");
            assert_eq!(
                younger.verify().is_err(),
                older_last_at(&older, &younger),
                "{what}"
            );
        }
    }
}

/// Whether the older wrote over the last commit of the younger.
fn older_last_at(older: &Journal, younger: &Journal) -> bool {
    let (position, crc) = younger.last.unwrap();
    let mut page = AlignedBuffer::default();
    let found = page.read(&*older.backing, position, PAGE as usize).unwrap();
    CommitHeader::decode(found).is_none_or(|header| header.crc != crc)
}

/// Blocks of others at physical blocks that the lost session had found free.
#[test]
fn blocks_at_the_places_of_the_other_are_in_doubt() {
    let (backing, mut older, mut younger) = two();
    let mut batch = Batch::default();
    // At the physical block of block 1, which the younger never touched.
    batch.mapped(ID, 100, 1, 1);
    younger.commit(&batch, Hard, true).unwrap();
    commit(&mut older, 30, Hard).unwrap();
    let found = overlap(&backing);
    let expected = [
        "in doubt: block 1 of vm1, at physical block 1",
        "in doubt: block 30 of vm1, at physical block 30",
        "in doubt: block 100 of vm1, without a physical block",
        "possibly rewritten by both: block 2 of vm1",
    ];
    assert_eq!(listed(&found), expected);
}

const BOUNDS: Bounds = Bounds {
    quota: 4096,
    reservation: 0,
};

/// Starts the other area with vm1, of which these blocks have physical blocks: block, physical block, count.
fn compact_with(journal: &mut Journal, runs: &[(u32, u32, u32)]) {
    let describe = |sink: &mut Sink<'_>| {
        let mut batch = Batch::default();
        batch.volume(ID, 4096, BOUNDS, "vm1");
        for &(block, physical, count) in runs {
            batch.mapped(ID, block, physical, count);
        }
        sink.push(&batch)
    };
    journal.compact(describe).unwrap();
}

/// Blocks that both sessions rewrote in place have no record. They are listed, in ranges whatever
/// their physical blocks, and those without a physical block are not.
#[test]
fn blocks_that_both_could_rewrite_are_listed_without_a_record() {
    let (backing, mut older, mut younger) = two();
    let mut batch = Batch::default();
    batch.mapped(ID, 3, 900, 1);
    batch.mapped(ID, 4, 20, 7);
    batch.mapped(ID, 500, 40, 1);
    // Before the younger session began, as far as the journal says.
    let (mut before, _) = Journal::open(backing.clone(), BOOT).unwrap();
    drop((older, younger));
    before.commit(&batch, Hard, true).unwrap();
    let (next, _) = Journal::open(backing.clone(), BOOT).unwrap();
    (older, younger) = (before, next);
    assert!(older.verify().is_err());
    younger.verify().unwrap();
    let found = read(&backing).unwrap().overlap.unwrap();
    let expected = [
        "possibly rewritten by both: blocks 1 to 10 of vm1",
        "possibly rewritten by both: block 500 of vm1",
    ];
    assert_eq!(listed(&found), expected);
    assert!(!found.compacted);
}

/// What was on record before a compaction is possible after it; what comes after it is recorded.
#[test]
fn a_compaction_hides_no_block_that_has_a_place() {
    let (backing, mut older, mut younger) = two();
    commit(&mut younger, 7, Hard).unwrap();
    assert!(older.verify().is_err());
    compact_with(&mut younger, &[(1, 1, 1), (2, 2, 1), (7, 7, 1), (8, 60, 2)]);
    let found = overlap(&backing);
    let expected = [
        "possibly rewritten by both: blocks 1 to 2 of vm1",
        "possibly rewritten by both: blocks 7 to 9 of vm1",
    ];
    assert_eq!(listed(&found), expected);
    assert!(found.compacted);
    commit(&mut younger, 8, Hard).unwrap();
    let found = overlap(&backing);
    let expected = [
        "in doubt: block 8 of vm1, at physical block 8",
        "possibly rewritten by both: blocks 1 to 2 of vm1",
        "possibly rewritten by both: block 7 of vm1",
        "possibly rewritten by both: block 9 of vm1",
    ];
    assert_eq!(listed(&found), expected);
}

/// Physical blocks of a vSSD that either removed were free from then on, and both may have made a new one
/// with the same number.
#[test]
fn vssds_that_were_made_or_removed_meanwhile_are_listed() {
    let second = VolumeId(1);
    for older_removes in [true, false] {
        let (backing, mut older, mut younger) = two();
        let remove = |journal: &mut Journal| {
            let mut batch = Batch::default();
            batch.removed(ID);
            journal.commit(&batch, Hard, true).unwrap();
        };
        let make = |journal: &mut Journal, name: &str, block: u32| {
            let mut batch = Batch::default();
            batch.volume(second, 4096, BOUNDS, name);
            batch.mapped(second, block, 70 + block, 2);
            journal.commit(&batch, Hard, true).unwrap();
        };
        // The chain becomes that of the older, and what the younger did last is behind its end.
        make(&mut older, "of-older", 4);
        commit(&mut younger, 9, Hard).unwrap();
        make(&mut younger, "of-younger", 5);
        if older_removes {
            remove(&mut older);
        } else {
            remove(&mut younger);
        }
        let found = overlap(&backing);
        let [vm1, made] = if older_removes {
            ["without a physical block", "at physical blocks 74 to 75"]
        } else {
            ["at physical blocks 1 to 2", "at physical blocks 74 to 75"]
        };
        let listed = listed(&found);
        let expected = [
            format!("in doubt: blocks 1 to 2 of vm1, {vm1}"),
            format!("in doubt: blocks 4 to 5 of of-older, {made}"),
        ];
        for line in expected {
            assert!(
                listed.contains(&line),
                "{older_removes}, {line}: {listed:#?}"
            );
        }
        if !older_removes {
            let lost = "in doubt: blocks 5 to 6 of of-younger, without a physical block".to_owned();
            assert!(listed.contains(&lost), "{listed:#?}");
        }
    }
}

/// Soft commits of the other session count as well.
#[test]
fn soft_commits_behind_the_end_are_evidence() {
    let (backing, mut older, mut younger) = two();
    commit(&mut younger, 40, Soft).unwrap();
    commit(&mut younger, 41, Soft).unwrap();
    commit(&mut older, 30, Hard).unwrap();
    assert!(older.verify().is_err());
    let found = overlap(&backing);
    assert!(blocks(&found, false).contains(&41), "{found:?}");
}

/// As of a session with another boot id, which dropped soft commits and has not written there.
#[test]
fn soft_commits_of_an_earlier_boot_are_no_overlap() {
    let backing = backing();
    drop(journal(
        &backing,
        &[(1, Hard), (2, Soft), (3, Soft), (4, Soft)],
    ));
    let (_, image) = Journal::open(backing.clone(), BootId([8; 16])).unwrap();
    assert_eq!(image.volumes[&ID].written(), 1);
    assert_eq!(found(&backing, BOOT), [1]);
}

/// An older session that compacts takes the pool with it.
#[test]
fn a_superblock_of_the_older_is_found() {
    let (backing, mut older, younger) = two();
    older.session.as_mut().unwrap().superseded = None;
    // As if it had checked just before the other began.
    let superblock = Superblock {
        epoch: next_epoch(older.superblock.epoch),
        live: 0,
        ..older.superblock
    };
    older.write_superblock(superblock).unwrap();
    drop(younger);
    let found = overlap(&backing);
    assert!(found.compacted, "{found:?}");
}

#[test]
fn another_pool_on_top_is_found() {
    let (backing, _, mut younger) = two();
    erase(&*backing).unwrap();
    let error = younger.verify().unwrap_err().to_string();
    assert!(error.contains("erased"), "{error}");
    // Nothing was written to an erased pool.
    assert!(matches!(read(&backing), Err(JournalError::NoPool)));
    let (backing, _, mut younger) = two();
    Journal::create(backing.clone(), SHAPE, BOOT).unwrap();
    assert!(younger.verify().is_err());
    assert_eq!(read(&backing).unwrap().overlap, None);
}

/// Refused attempts do not evict the sessions because of which they are refused.
#[test]
fn an_overlap_is_remembered_until_it_is_accepted() {
    let (backing, mut older, _) = two();
    assert!(older.verify().is_err());
    let events = backing.events().len();
    let error = Journal::open(backing.clone(), BOOT).err().unwrap();
    assert!(matches!(error, JournalError::Overlap(_)), "{error}");
    assert_eq!(backing.events().len(), events, "it took the pool over");
    let (mut journal, _) = Journal::open_overlapped(backing.clone(), BOOT).unwrap();
    compact(&mut journal);
    assert!(read(&backing).unwrap().overlap.is_some());
    journal.forget_overlap().unwrap();
    assert_eq!(read(&backing).unwrap().overlap, None);
    journal.verify().unwrap();
    Journal::open(backing.clone(), BOOT).unwrap();
    // Even where detecting it takes a longer search, the page of the first attempt is reused.
    let (backing, mut older, _) = two();
    commit(&mut older, 3, Hard).unwrap();
    commit(&mut older, 4, Hard).unwrap();
    for _ in 0..3 * SESSIONS_KEPT {
        let error = Journal::open(backing.clone(), BOOT).err().unwrap();
        assert!(matches!(error, JournalError::Overlap(_)), "{error}");
    }
    overlap(&backing);
}
