//! Commands on ranges of blocks of the origin disk.

use guest_runtime::port::{Exit, feature};
use vssd::device::PickedBy;
use workloads::{Report, report};

use super::{ORIGIN_BLOCKS, bytes, cached, failures, replays, run, stamps};
use crate::world::{Twin, shrink_to};

/// Turns after which a short script has ended.
const LATER: u32 = 20_000;

fn plain() -> Twin {
    cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n")
}

/// The answers to `advise`: blocks, and cached ones.
fn advised(reports: &[Report]) -> Vec<(u32, u32)> {
    let advised = reports.iter().filter_map(|report| match report {
        Report::Advised(report::Advised { blocks, cached }) => Some((*blocks, *cached)),
        _ => None,
    });
    advised.collect()
}

/// The answers to `write-back` and `close`: blocks written back, and all written so far.
fn written_back(reports: &[Report]) -> Vec<(u64, u64)> {
    let written = reports.iter().filter_map(|report| match report {
        Report::WrittenBack(report::WrittenBack {
            blocks,
            errors: 0,
            origin_writes,
        }) => Some((*blocks, *origin_writes)),
        _ => None,
    });
    written.collect()
}

/// The blocks used first go first by LRU, unless the cache knows better of them.
#[test]
fn a_shrink_keeps_what_is_needed_or_dirty_and_takes_what_is_done() {
    for (options, advise, kept) in [
        ("", "", 0),
        ("", "advise advice=needed count=100", 100),
        ("", "advise advice=done first=100", 100),
        ("", "advise advice=needed; advise", 0),
        ("clean-first=true", "", 100),
    ] {
        let shrink = vec![(LATER, shrink_to(300, PickedBy::Guest))];
        let mut twin = cached(
            &bytes(ORIGIN_BLOCKS),
            shrink,
            "replay workload=sequential span=100 count=100; exit\n",
        );
        let script = format!(
            "cache dirty=100 {options}; \
             replay workload=sequential span=100 count=100 writes=100; \
             replay workload=sequential first=100 span=400 count=400; {advise}"
        );
        assert_eq!(run(&mut twin, script.trim_end_matches("; ")), Exit::Success);
        let what = format!("{options} {advise}");
        assert_eq!(failures(&twin.reports), [""; 0], "{what}");
        let replays = replays(&twin.reports);
        assert_eq!(replays.len(), 3, "{what}");
        assert_eq!((replays[0].misses, replays[1].misses), (100, 400), "{what}");
        assert_eq!(replays[2].hits, kept, "{what}");
        assert_eq!(replays[2].corrupt, 0, "{what}");
    }
}

#[test]
fn advice_is_answered_with_how_many_blocks_it_is_for() {
    let mut twin = plain();
    run(
        &mut twin,
        "cache; advise advice=done first=3990 count=10; \
         replay workload=sequential span=50 count=50; \
         advise advice=needed first=40 count=20; advise advice=done",
    );
    assert_eq!(failures(&twin.reports), [""; 0]);
    assert_eq!(
        advised(&twin.reports),
        [(10, 0), (20, 10), (ORIGIN_BLOCKS, 50)]
    );
}

#[test]
fn a_range_that_is_not_on_the_disk_is_refused() {
    for command in ["advise advice=needed", "discard"] {
        let mut twin = plain();
        run(
            &mut twin,
            &format!("cache; {command} first=3990 count=11; {command} first=4000"),
        );
        let [long, late] = failures(&twin.reports)[..] else {
            panic!("two failures, not {:?}", failures(&twin.reports));
        };
        assert!(
            long.contains("3990 to 4000") && long.contains("has 4000"),
            "{long}"
        );
        assert!(late.contains("4000 to 4000"), "{late}");
        assert_eq!(advised(&twin.reports), []);
        let mut twin = plain();
        run(&mut twin, command);
        assert!(failures(&twin.reports)[0].contains("no cache is open"));
    }
    let mut twin = plain();
    twin.port.features &= !feature::DISCARD;
    run(&mut twin, "cache; discard device=true");
    assert!(failures(&twin.reports)[0].contains("takes no discards"));
}

#[test]
fn discarded_blocks_are_neither_cached_nor_written_back() {
    for (discard, left, told) in [
        ("info", 50, 0),
        ("discard", 0, 0),
        ("discard first=10 count=5", 45, 0),
        ("discard count=50 device=true", 0, 50),
        ("discard first=49 count=1 device=true", 49, 1),
    ] {
        for memory in [0, 100] {
            let mut twin = plain();
            let script = format!(
                "cache write=write-back dirty=100 memory={memory}; \
                 replay workload=sequential span=50 count=50 writes=100 depth=1; {discard}; \
                 replay workload=sequential span=50 count=100 depth=1; write-back"
            );
            run(&mut twin, &script);
            let what = format!("{discard}, {memory} pages");
            assert_eq!(failures(&twin.reports), [""; 0], "{what}");
            let replays = replays(&twin.reports);
            let again = &replays[1];
            assert_eq!((again.corrupt, again.errors), (0, 0), "{what}");
            // The first read of each discarded block, from the origin disk.
            assert_eq!(again.misses, 50 - left, "{what}");
            assert_eq!(again.origin_reads, 50 - left, "{what}");
            assert_eq!(written_back(&twin.reports), [(left, left)], "{what}");
            assert_eq!(twin.host.borrow().discards, told, "{what}");
        }
    }
}

#[test]
fn a_workload_begins_where_it_is_placed() {
    let mut twin = plain();
    run(
        &mut twin,
        "cache write=write-through; \
         replay workload=sequential first=3000 span=100 count=100 writes=100; \
         replay workload=sequential first=3950 span=100 count=200; \
         replay workload=sequential first=3900 count=250; \
         replay workload=sequential first=4000 span=10 count=10; \
         replay workload=sequential first=4294967295 span=4294967295 count=10; stamps",
    );
    assert_eq!(failures(&twin.reports), [""; 0]);
    let replays = replays(&twin.reports);
    let found = replays.iter().map(|it| (it.hits, it.misses, it.beyond));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            (0, 100, 0),
            (50, 50, 100),
            (200, 50, 0),
            (0, 0, 10),
            (0, 0, 10)
        ]
    );
    let traffic = replays.iter().map(|it| (it.origin_reads, it.origin_writes));
    assert_eq!(
        traffic.take(3).collect::<Vec<_>>(),
        [(0, 100), (50, 100), (100, 100)]
    );
    let (numbers, bad, lost) = stamps(&twin.reports);
    assert_eq!((bad, lost), (0, 0));
    for (block, number) in (0..).zip(numbers) {
        let expected = (3000..3100).contains(&block);
        assert_eq!(number > 0, expected, "block {block} is from {number}");
    }
}

#[test]
fn what_has_no_place_for_a_first_block_is_refused() {
    for (replay, word) in [
        ("replay trace=true first=3", "first=3"),
        ("replay first=4000 count=1", "no block"),
    ] {
        let mut twin = plain();
        run(&mut twin, &format!("cache; {replay}"));
        let failures = failures(&twin.reports);
        assert!(
            failures.len() == 1 && failures[0].contains(word),
            "{replay}: {failures:?}"
        );
    }
}
