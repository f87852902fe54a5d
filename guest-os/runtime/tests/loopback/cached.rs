//! A guest with a block cache.

mod ranges;
mod traces;

use std::cell::RefCell;
use std::rc::Rc;

use guest_cache::Policy;
use guest_runtime::port::{Exit, feature};
use vssd::device::PickedBy;
use vssd::wire::Encoding;
use workloads::latency::total;
use workloads::replay::{Access, AccessKind, Replay as Accesses};
use workloads::{Report, Workload, report};

use crate::world::{Action, BLOCK, Bytes, MemoryDisk, Twin, shrink_to, twin, twin_of};

const ORIGIN_BLOCKS: u32 = 4000;
const BLOCKS: u32 = 1000;

fn bytes(blocks: u32) -> Bytes {
    Rc::new(RefCell::new(vec![0; blocks as usize * BLOCK]))
}

/// A guest with an origin disk that runs `then` after the hypervisor has acted.
fn cached(origin: &Bytes, plans: Vec<(u32, Action)>, then: &'static str) -> Twin {
    let mut twin = twin(BLOCKS, Encoding::Compact, plans, then);
    twin.origin = Some(MemoryDisk::new(origin.clone()));
    twin
}

fn run(twin: &mut Twin, script: &str) -> Exit {
    guest_runtime::run(twin, script)
}

/// What a replay counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    memory_hits: u64,
    hits: u64,
    misses: u64,
    beyond: u64,
    lost: u64,
    errors: u64,
    corrupt: u64,
    origin_reads: u64,
    origin_writes: u64,
    acknowledged: u64,
    flushed: u64,
    measured: u64,
}

fn replays(reports: &[Report]) -> Vec<Replayed> {
    let replayed = reports.iter().filter_map(|report| match report {
        Report::Replayed(report::Replayed {
            memory_hits,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            beyond,
            lost,
            errors,
            corrupt,
            origin_reads,
            origin_writes,
            acknowledged,
            flushed,
            memory_buckets,
            hit_buckets,
            miss_buckets,
            write_buckets,
            ..
        }) => Some(Replayed {
            memory_hits: *memory_hits,
            hits: read_hits + write_hits,
            misses: read_misses + write_misses,
            beyond: *beyond,
            lost: *lost,
            errors: *errors,
            corrupt: *corrupt,
            origin_reads: *origin_reads,
            origin_writes: *origin_writes,
            acknowledged: *acknowledged,
            flushed: *flushed,
            measured: [memory_buckets, hit_buckets, miss_buckets, write_buckets]
                .map(|of| total(of))
                .iter()
                .sum(),
        }),
        _ => None,
    });
    replayed.collect()
}

/// The only replay of a run.
fn replay(twin: &Twin) -> Replayed {
    let mut replays = replays(&twin.reports);
    assert_eq!(replays.len(), 1, "{:?}", failures(&twin.reports));
    replays.remove(0)
}

fn failures(reports: &[Report]) -> Vec<&str> {
    let reasons = reports.iter().filter_map(|report| match report {
        Report::Failed(report::Failed { reason, .. }) => Some(reason.as_str()),
        _ => None,
    });
    reasons.collect()
}

/// Numbers of the stamps that were read, and how many were bad or lost.
fn stamps(reports: &[Report]) -> (Vec<u64>, u32, u32) {
    let mut all = Vec::new();
    for report in reports {
        match report {
            Report::Stamps(report::Stamps { first, numbers }) => {
                assert_eq!(*first as usize, all.len());
                all.extend(numbers);
            }
            Report::StampsRead(report::StampsRead { blocks, bad, lost }) => {
                assert_eq!(*blocks as usize, all.len());
                return (all, *bad, *lost);
            }
            _ => {}
        }
    }
    panic!("no stamps were read: {:?}", failures(reports));
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    let refused = |twin: &mut Twin, script: &str, word: &str| {
        assert_eq!(run(twin, script), Exit::Success);
        let failures = failures(&twin.reports);
        assert!(
            failures.len() == 1 && failures[0].contains(word),
            "{script}: {failures:?}"
        );
    };
    let without = || twin(BLOCKS, Encoding::Compact, vec![], "exit\n");
    refused(&mut without(), "cache", "no origin disk");
    refused(&mut without(), "replay count=1", "no cache is open");
    refused(&mut without(), "close", "no cache is open");
    refused(
        &mut without(),
        "time-sampler count=10000001",
        "at most 10000000",
    );
    refused(&mut without(), "time-sampler sample=0", "sample of 0");
    refused(&mut without(), "time-sampler span=0", "no blocks");
    let with = || cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
    refused(&mut with(), "cache evict=lucky", "lucky");
    refused(&mut with(), "cache write=lucky", "lucky");
    refused(&mut with(), "cache share=lucky", "nothing, reads or pages");
    refused(&mut with(), "cache; cache", "open already");
    for command in ["fill", "verify", "read count=1", "stress count=1"] {
        refused(&mut with(), &format!("cache; {command}"), "a cache is open");
        refused(
            &mut with(),
            &format!("cache; {command}; close; fill; verify"),
            "a cache is open",
        );
    }
    refused(&mut with(), "cache; replay trace=true", "no trace disk");
    refused(
        &mut with(),
        "cache; replay count=1 workload=gaussian:5,-1",
        "mean",
    );
}

#[test]
fn a_sampler_is_timed_in_whole_rounds() {
    let mut twin = twin(BLOCKS, Encoding::Compact, vec![], "exit\n");
    let script = "time-sampler count=0; time-sampler workload=zipf:0.9 count=16385";
    assert_eq!(run(&mut twin, script), Exit::Success);
    let accesses = twin.reports.iter().filter_map(|report| match report {
        Report::SamplerTimed(report::SamplerTimed { accesses, .. }) => Some(*accesses),
        _ => None,
    });
    assert_eq!(accesses.collect::<Vec<_>>(), [16_384, 32_768]);
}

fn opened(reports: &[Report]) -> (u32, u32, u32, u32) {
    let opened = reports.iter().rev().find_map(|report| match report {
        Report::CacheOpened(report::CacheOpened {
            slots,
            restored,
            restored_dirty,
            lost,
            ..
        }) => Some((*slots, *restored, *restored_dirty, *lost)),
        _ => None,
    });
    opened.unwrap_or_else(|| panic!("no cache was opened: {:?}", failures(reports)))
}

/// What the eviction policy alone does, without a disk, on the same accesses.
fn simulated(policy: Policy, slots: u32, workload: &str, count: u64) -> (u64, u64) {
    let workload: Workload = workload.parse().unwrap();
    let mut stream = workload.stream(ORIGIN_BLOCKS, 5, 0).unwrap();
    let mut cache = policy.cache(BLOCKS);
    cache.grow(BLOCKS - slots..BLOCKS);
    let mut hits = 0;
    for _ in 0..count {
        let block = stream.next_block();
        match cache.access(block) {
            Some(_) => hits += 1,
            None => drop(cache.admit(block)),
        }
    }
    (hits, count - hits)
}

#[test]
fn hits_and_misses_are_those_of_the_policy_at_any_depth() {
    for (policy, workload) in [
        (Policy::Lru, "zipf:0.99"),
        (Policy::S3Fifo, "gaussian:2000,600"),
    ] {
        for depth in [1, 7, 64] {
            let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
            let script = format!(
                "cache evict={policy}; replay workload={workload} seed=5 count=20000 \
                 depth={depth} writes=30 flush=100"
            );
            run(&mut twin, &script);
            let (slots, ..) = opened(&twin.reports);
            let (hits, misses) = simulated(policy, slots, workload, 20_000);
            let found = replay(&twin);
            assert_eq!(
                (found.hits, found.misses),
                (hits, misses),
                "{policy} {depth}"
            );
            assert_eq!((found.errors, found.corrupt, found.lost), (0, 0, 0));
            assert_eq!(found.measured, 20_000);
            assert!(found.flushed > found.acknowledged - 200, "{found:?}");
            assert!(found.acknowledged.abs_diff(6000) < 300, "{found:?}");
        }
    }
}

/// What an eviction policy alone does with files, and how many blocks of them are discarded.
fn simulated_files(policy: Policy, slots: u32, is_told: bool, count: u64) -> (u64, u64, u64) {
    let workload: Workload = "files:0.7,500".parse().unwrap();
    let mut replay = Accesses::new(workload, 3000, 5, 0, 0).unwrap();
    let mut cache = policy.cache(BLOCKS);
    cache.grow(BLOCKS - slots..BLOCKS);
    let (mut hits, mut discards) = (0, 0);
    for _ in 0..count {
        let Access { block, kind } = replay.next_access();
        if kind == AccessKind::Discard {
            discards += 1;
            if is_told {
                cache.discard(block);
            }
        } else if cache.access(block).is_some() {
            hits += 1;
        } else {
            let _ = cache.admit(block);
        }
    }
    (hits, count - discards - hits, discards)
}

#[test]
fn blocks_of_deleted_files_free_their_slots_if_the_cache_is_told() {
    let discarded = |reports: &[Report]| {
        reports.iter().find_map(|report| match report {
            Report::Replayed(report::Replayed { discards, .. }) => Some(*discards),
            _ => None,
        })
    };
    for policy in [Policy::Lru, Policy::Arc] {
        for (discard, depth) in [("none", 8), ("cache", 1), ("cache", 32), ("device", 32)] {
            let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
            let script = format!(
                "cache evict={policy}; replay workload=files:0.7,500 span=3000 seed=5 \
                 count=20000 depth={depth} flush=100 discard={discard}"
            );
            run(&mut twin, &script);
            let (slots, ..) = opened(&twin.reports);
            let (hits, misses, discards) =
                simulated_files(policy, slots, discard != "none", 20_000);
            let found = replay(&twin);
            let what = format!("{policy} {discard} {depth}");
            assert_eq!((found.hits, found.misses), (hits, misses), "{what}");
            assert_eq!(
                (found.errors, found.corrupt, found.lost),
                (0, 0, 0),
                "{what}"
            );
            assert_eq!(discarded(&twin.reports), Some(discards), "{what}");
            let told = twin.host.borrow().discards;
            assert_eq!(told > 0, discard == "device", "{what}: {told}");
        }
    }
}

#[test]
fn a_disk_that_takes_no_discards_gets_none() {
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
    twin.port.features &= !feature::DISCARD;
    run(
        &mut twin,
        "cache; replay workload=files:0.5 count=100 discard=device",
    );
    let failures = failures(&twin.reports);
    assert!(failures[0].contains("takes no discards"), "{failures:?}");
}

#[test]
fn samples_come_in_order_and_add_up() {
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
    let replayed = "replay workload=zipf:1.1 count=10500 depth=16 writes=50 every=1000";
    run(&mut twin, &format!("cache; {replayed}"));
    let mut sum = 0;
    let mut last = 0;
    for report in &twin.reports {
        if let Report::CacheSample(report::CacheSample {
            accesses,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            slots,
            cached,
            ..
        }) = report
        {
            assert_eq!(*accesses, last + 1000);
            last = *accesses;
            sum += read_hits + read_misses + write_hits + write_misses;
            assert!(cached <= slots && *slots > 0);
        }
    }
    assert_eq!((last, sum), (10_000, 10_000));
}

/// However late the event of a revocation is, what fails by it is no error of the disk.
#[test]
fn a_request_to_a_block_that_was_taken_is_explained_before_its_event_comes() {
    let taken = || vec![(3_000, shrink_to(100, PickedBy::Host))];
    let script = "cache write=write-through; \
                  replay workload=uniform span=400 count=30000 depth=16 writes=30";
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), taken(), "exit\n");
    twin.port.silent = true;
    run(&mut twin, script);
    let found = replay(&twin);
    assert_eq!((found.errors, found.corrupt, found.lost), (0, 0, 0));

    let script = "fill; stress count=20000 writes=30; read workload=uniform count=3000";
    let mut twin = self::twin(BLOCKS, Encoding::Compact, taken(), "exit\n");
    twin.port.silent = true;
    run(&mut twin, script);
    let stressed = twin.reports.iter().any(|report| {
        matches!(
            report,
            Report::Stressed(report::Stressed {
                errors: 0,
                corrupt: 0,
                lost_race: 1..,
                ..
            })
        )
    });
    assert!(stressed, "{:?}", twin.reports);
}

/// Every policy, with the list changing under it as fast as it goes.
#[test]
fn nothing_is_lost_while_the_guest_gives_blocks_up_and_gets_them_back() {
    for write in [
        "write-through",
        "write-around",
        "read-only",
        "write-back",
        "ordered",
        "journaled",
    ] {
        let origin = bytes(ORIGIN_BLOCKS);
        let plans: Vec<(u32, Action)> = (0..12)
            .map(|i| {
                let target = if i % 2 == 0 { 50 * i } else { BLOCKS };
                (400 * (i + 1), shrink_to(target, PickedBy::Guest))
            })
            .collect();
        let mut twin = cached(&origin, plans, "write-back; stamps; info; exit\n");
        let script = format!(
            "cache write={write}; replay workload=zipf:0.8 writes=50 depth=16 flush=50 every=500"
        );
        assert_eq!(run(&mut twin, &script), Exit::Success);
        assert_eq!(failures(&twin.reports), [""; 0], "{write}");
        let found = replay(&twin);
        let wrong = (found.lost, found.errors, found.corrupt, found.beyond);
        assert_eq!(wrong, (0, 0, 0, 0), "{write}: {found:?}");
        assert!(found.measured > 2000, "{write}: {found:?}");
        let (numbers, bad, lost) = stamps(&twin.reports);
        assert_eq!((bad, lost), (0, 0), "{write}");
        assert_eq!(numbers.iter().max(), Some(&found.acknowledged), "{write}");
        let surrendered = twin.reports.iter().rev().find_map(|report| match report {
            Report::Info(report::Info {
                held,
                surrendered,
                revoked,
                ..
            }) => Some((*held, *surrendered > 1000, *revoked)),
            _ => None,
        });
        assert_eq!(surrendered, Some((BLOCKS, true, 0)), "{write}");
    }
}

/// The whole vSSD goes, and comes back.
#[test]
fn a_cache_without_a_block_lets_everything_through() {
    let plans: Vec<(u32, Action)> = vec![(300, shrink_to(0, PickedBy::Guest))];
    let origin = bytes(ORIGIN_BLOCKS);
    let mut twin = cached(
        &origin,
        plans,
        "replay workload=zipf:0.8 writes=50 count=2000 seed=9; stamps; exit\n",
    );
    run(&mut twin, "cache; replay workload=zipf:0.8 writes=50");
    let replays = replays(&twin.reports);
    let [before, after] = &replays[..] else {
        panic!(
            "two replays, not {replays:?}: {:?}",
            failures(&twin.reports)
        );
    };
    assert!(before.hits > 0 && before.corrupt + before.errors + before.lost == 0);
    assert_eq!((after.hits, after.misses), (0, 2000));
    assert_eq!(after.corrupt + after.errors + after.lost, 0);
    assert_eq!(twin.host.borrow().device.granted().len(), 0);
    let (_, bad, lost) = stamps(&twin.reports);
    assert_eq!((bad, lost), (0, 0));
}

#[test]
fn what_a_revocation_takes_is_reported_and_never_hidden() {
    let plans: Vec<(u32, Action)> = (0..6)
        .map(|i| {
            let target = if i % 2 == 0 { 300 } else { BLOCKS };
            (400 * (i + 1), shrink_to(target, PickedBy::Host))
        })
        .collect();
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), plans, "stamps; exit\n");
    run(
        &mut twin,
        "cache write=write-back dirty=90; replay workload=zipf:0.8 writes=50 depth=16",
    );
    let found = replay(&twin);
    assert_eq!((found.errors, found.corrupt), (0, 0), "{found:?}");
    let reported: u32 = twin
        .reports
        .iter()
        .map(|report| match report {
            Report::DirtyLost(report::DirtyLost { blocks, .. }) => *blocks,
            _ => 0,
        })
        .sum();
    assert!(reported > 0, "{found:?}");
    let (_, bad, lost) = stamps(&twin.reports);
    assert_eq!(bad, 0);
    assert!(
        lost <= reported && (found.lost == 0) <= (lost == 0),
        "{lost} of {reported}"
    );
}

#[test]
fn a_cache_that_was_closed_begins_warm_and_one_that_was_not_keeps_what_was_flushed() {
    for close in [true, false] {
        let origin = bytes(ORIGIN_BLOCKS);
        let end = if close {
            "close; exit\n"
        } else {
            "flush; exit\n"
        };
        let mut twin = cached(&origin, vec![], end);
        run(
            &mut twin,
            "cache write=write-back dirty=90; replay workload=zipf:0.99 writes=50 count=5000",
        );
        let acknowledged = replay(&twin).acknowledged;
        let host = twin.host.clone();
        let mut again = twin_of(host, vec![], "stamps; exit\n");
        again.origin = Some(MemoryDisk::new(origin));
        run(&mut again, "cache write=write-back");
        let (_, restored, restored_dirty, lost) = opened(&again.reports);
        assert!(restored > 100 && restored_dirty > 0 && lost == 0);
        let (numbers, bad, lost) = stamps(&again.reports);
        assert_eq!((bad, lost), (0, 0));
        assert_eq!(numbers.iter().max(), Some(&acknowledged));
    }
}

#[test]
fn accesses_beyond_the_origin_disk_are_counted_and_not_made() {
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
    run(
        &mut twin,
        "cache; replay workload=sequential span=5000 count=10000 writes=10 every=5000",
    );
    let found = replay(&twin);
    let beyond = 2 * u64::from(5000 - ORIGIN_BLOCKS);
    assert_eq!((found.beyond, found.measured), (beyond, 10_000 - beyond));
    assert_eq!(found.errors + found.corrupt, 0);
}

#[test]
fn a_broken_origin_disk_fails_requests_and_nothing_else() {
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], "exit\n");
    twin.origin.as_mut().unwrap().bad = 8000..8800;
    run(
        &mut twin,
        "cache write=write-through; replay workload=uniform writes=50 count=4000",
    );
    let found = replay(&twin);
    assert!(found.errors > 0, "{found:?}");
    assert_eq!((found.corrupt, found.lost), (0, 0), "{found:?}");
    assert!(found.acknowledged < 2000);
}

/// Memory serves what it has, the block cache the rest, and every access is counted once; also
/// while the vSSD shrinks to nothing.
#[test]
fn memory_is_a_tier_above_the_cache() {
    for share in ["nothing", "reads", "pages"] {
        let origin = bytes(ORIGIN_BLOCKS);
        let mut twin = cached(&origin, vec![(20, shrink_to(0, PickedBy::Guest))], "exit\n");
        let script = format!(
            "cache memory=100 share={share}; \
             replay workload=zipf:0.9 count=20000 writes=20 depth=16; stamps; close"
        );
        assert_eq!(run(&mut twin, &script), Exit::Success);
        let counts = replay(&twin);
        let all = counts.memory_hits + counts.hits + counts.misses;
        assert_eq!((all, counts.measured), (20_000, 20_000), "{share}");
        assert_eq!(
            [counts.lost, counts.errors, counts.corrupt],
            [0; 3],
            "{share}"
        );
        assert!(counts.memory_hits > 2000, "{share}: {counts:?}");
        let (numbers, bad, lost) = stamps(&twin.reports);
        assert_eq!((bad, lost), (0, 0), "{share}");
        assert_eq!(
            numbers.into_iter().max(),
            Some(counts.acknowledged),
            "{share}"
        );
    }
}
