//! Histories of file workloads.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::rng;
use super::*;

fn files(share: f64, lifetime: u32, capacity: u32, start: u64, seed: u64) -> Files {
    Files::new(share, lifetime, capacity, start, rng(seed)).expect("a file workload")
}

impl Files {
    /// The blocks of all files, and checks that no block is in two, nor free.
    fn live(&self) -> BTreeSet<u32> {
        let mut live = BTreeSet::new();
        for file in self.files.iter().flatten() {
            let blocks = file.extents.iter().map(|extent| extent.blocks);
            assert_eq!(blocks.sum::<u32>(), file.blocks);
            (0..file.blocks).for_each(|at| assert!(live.insert(file.block(at))));
        }
        for Extent { start, blocks } in self.space.runs() {
            (start..start + blocks).for_each(|block| assert!(!live.contains(&block)));
        }
        live
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Only blocks of live files are read, rewritten and discarded; a block that is written
    /// for the first time was of no file.
    #[test]
    fn accesses_are_to_live_files(
        share in 0.0..=1.0f64,
        lifetime in 1..20_000u32,
        capacity in CAPACITY_MIN..20_000,
        seed: u64,
    ) {
        let mut files = files(share, lifetime, capacity, 0, seed);
        let mut live = files.live();
        for number in 0..20_000 {
            let (block, kind) = files.next_access();
            prop_assert!(block < capacity);
            match kind {
                AccessKind::Read => prop_assert!(live.contains(&block)),
                AccessKind::Write => drop(live.insert(block)),
                AccessKind::Discard => prop_assert!(live.remove(&block)),
            }
            if number % 4000 == 0 {
                // A file that is being written or deleted has all of its blocks until the end.
                prop_assert!(live.is_subset(&files.live()));
            }
        }
        prop_assert!(files.ranks.len() <= FILES_MAX);
    }

    #[test]
    fn a_late_start_goes_on_with_the_same_history(
        share in 0.0..=1.0f64,
        start in 0..5000u64,
        seed: u64,
    ) {
        let mut early = files(share, 500, 4096, 0, seed);
        for _ in 0..start {
            early.next_access();
        }
        let mut late = files(share, 500, 4096, start, seed);
        for _ in 0..2000 {
            prop_assert_eq!(early.next_access(), late.next_access());
        }
    }
}

/// Reads, writes and discards among so many accesses.
fn counts(files: &mut Files, accesses: u32) -> [u64; 3] {
    let mut counts = [0; 3];
    for _ in 0..accesses {
        let (_, kind) = files.next_access();
        counts[kind as usize] += 1;
    }
    counts
}

#[test]
fn the_share_decides_how_many_blocks_die() {
    for (share, capacity) in [
        (0.0, 1 << 16),
        (0.35, 1 << 16),
        (0.7, 1 << 18),
        (1.0, 1 << 14),
    ] {
        let mut files = files(share, 4096, capacity, 0, 5);
        let [reads, writes, discards] = counts(&mut files, 1_000_000);
        let ratio = reads as f64 / writes as f64;
        assert!((3.8..4.2).contains(&ratio), "{ratio}");
        let died = discards as f64 / writes as f64;
        assert!((died - share).abs() < 0.03, "{died} of {share}");
    }
}

/// A guest and its twin go through the same history, whatever the machine and the options of
/// its compiler: this is one of them.
#[test]
fn the_history_is_the_same_everywhere() {
    let mut files = files(0.6, 2000, 1 << 15, 0, 7);
    let hash = (0..500_000).fold(0xcbf2_9ce4_8422_2325_u64, |hash, _| {
        let (block, kind) = files.next_access();
        let word = u64::from(block) << 2 | kind as u64;
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!(hash, 4_730_290_908_456_245_251);
}

#[test]
fn hopeless_parameters_are_refused() {
    let refused = |share, lifetime, capacity, start| {
        Files::new(share, lifetime, capacity, start, rng(1)).map(drop)
    };
    assert_eq!(refused(1.5, 1, 256, 0), Err(FilesError::Share(1.5)));
    assert!(refused(f64::NAN, 1, 256, 0).is_err());
    assert_eq!(refused(0.5, 0, 256, 0), Err(FilesError::Lifetime));
    assert_eq!(refused(0.5, 1, 255, 0), Err(FilesError::Capacity(255)));
    assert_eq!(
        refused(0.5, 1, 256, u64::MAX),
        Err(FilesError::Start(u64::MAX))
    );
    assert_eq!(refused(0.0, 1, 256, 10), Ok(()));
}

#[test]
fn memory_is_bounded_on_any_disk() {
    for capacity in [CAPACITY_MIN, 1 << 20, u32::MAX] {
        let mut files = files(1.0, u32::MAX, capacity, 0, 3);
        counts(&mut files, 300_000);
        assert!(files.files.len() <= FILES_MAX);
        let extents = files.files.iter().flatten().map(|file| file.extents.len());
        let extents: Vec<usize> = extents.collect();
        assert!(extents.iter().all(|&count| count <= 32), "{extents:?}");
    }
}
