//! Guests with a block cache.

use lab::accel::Accel;
use lab::qemu::Machine;
use lab::testbed::{Disks, GuestChannel, OriginShape};
use lab::vm_host::{VmHost, VmTestbed};
use vssd_host::size::ByteSize;
use workloads::{Pick, Report, report};

use super::{BLOCKS, PATIENCE, SHAPE, assert_lists_equal, resize, run, vm_host};

const ORIGIN: OriginShape = OriginShape {
    size: ByteSize(40 << 30),
    media: None,
};

fn cached_bench(vm_host: &VmHost) -> VmTestbed {
    vm_host
        .start(Disks {
            origin: Some(ORIGIN),
            ..SHAPE.into()
        })
        .unwrap()
}

/// The counts of a replay that must be 0 (lost, errors, corrupt), its hits, the last acknowledged
/// write, and the last write that a flush made durable.
fn replayed(reports: &[Report]) -> ([u64; 3], u64, u64, u64) {
    let replayed = reports.iter().find_map(|report| match report {
        Report::Replayed(report::Replayed {
            read_hits,
            lost,
            errors,
            corrupt,
            acknowledged,
            flushed,
            ..
        }) => Some((
            [*lost, *errors, *corrupt],
            *read_hits,
            *acknowledged,
            *flushed,
        )),
        _ => None,
    });
    replayed.unwrap_or_else(|| panic!("expected the result of replay, got {reports:?}"))
}

/// The number of the newest write on the first `span` blocks, which must all have stamps.
fn newest_stamp(bench: &mut VmTestbed, span: u32) -> u64 {
    let reports = run(bench, &format!("stamps span={span}"));
    let sound = Report::StampsRead(report::StampsRead {
        blocks: span,
        bad: 0,
        lost: 0,
    });
    assert_eq!(reports.last(), Some(&sound));
    let numbers = reports.iter().filter_map(|report| match report {
        Report::Stamps(report::Stamps { numbers, .. }) => numbers.iter().copied().max(),
        _ => None,
    });
    numbers.max().unwrap()
}

#[test]
fn a_cache_works_while_the_vssd_shrinks_to_0_blocks_and_grows() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let mut bench = cached_bench(&vm_host);
    run(&mut bench, "cache write=write-back fresh=true");
    let load = "replay workload=zipf:0.9 span=40000 writes=40 flush=200 depth=16 every=500";
    bench.guest.start(&load.parse().unwrap()).unwrap();
    for to in [9_000, BLOCKS, 0, BLOCKS, 3_000] {
        let resized = resize(&mut bench, to, Pick::Guest, PATIENCE);
        assert!(
            resized.is_complete() && resized.agreed,
            "to {to}: {resized:?}"
        );
        assert_eq!(resized.revoked, 0, "to {to}");
        // The replay continues at every size.
        let until = bench.guest.until(PATIENCE);
        for _ in 0..4 {
            bench.guest.next_report(until, "replay").unwrap();
        }
    }
    let reports = bench.guest.stop(PATIENCE).unwrap();
    let (wrong, hits, acknowledged, flushed) = replayed(&reports);
    assert_eq!(wrong, [0, 0, 0], "{reports:?}");
    assert!(
        hits > 0 && acknowledged > 0 && flushed > 0,
        "{hits} hits, {acknowledged} acknowledged, {flushed} flushed"
    );
    assert_lists_equal(&mut bench);
    assert_eq!(newest_stamp(&mut bench, 40_000), acknowledged);
    bench.shut_down().unwrap();
}

#[test]
fn flushed_writes_survive_a_killed_guest() {
    const SPAN: u32 = 30_000;
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let mut bench = cached_bench(&vm_host);
    for write in ["write-back", "write-through", "ordered", "journaled"] {
        run(
            &mut bench,
            &format!("cache write={write} dirty=90 fresh=true"),
        );
        let line = format!("replay workload=zipf:0.9 span={SPAN} writes=60 count=20000 depth=16");
        let (wrong, ..) = replayed(&run(&mut bench, &line));
        assert_eq!(wrong, [0, 0, 0], "{write}");
        run(&mut bench, "flush");
        let numbers = |bench: &mut VmTestbed| {
            let reports = run(bench, &format!("stamps span={SPAN}"));
            let numbers = reports.into_iter().filter_map(|report| match report {
                Report::Stamps(report::Stamps { numbers, .. }) => Some(numbers),
                _ => None,
            });
            numbers.flatten().collect::<Vec<u64>>()
        };
        let flushed = numbers(&mut bench);
        let load = format!("replay workload=zipf:0.9 seed=2 span={SPAN} writes=60 every=1000");
        bench.guest.start(&load.parse().unwrap()).unwrap();
        let until = bench.guest.until(PATIENCE);
        for _ in 0..5 {
            bench.guest.next_report(until, "replay").unwrap();
        }
        bench = bench.kill_guest(&vm_host).unwrap();
        let reports = run(&mut bench, &format!("cache write={write}"));
        let warm = |report: &Report| {
            matches!(
                report,
                Report::CacheOpened(report::CacheOpened {
                    restored: 1..,
                    lost: 0,
                    ..
                })
            )
        };
        assert!(reports.last().is_some_and(warm), "{write}: {reports:?}");
        let found = numbers(&mut bench);
        let older: Vec<(usize, u64, u64)> = (0..)
            .zip(found.iter().zip(&flushed))
            .filter(|(_, (found, flushed))| found < flushed)
            .map(|(block, (found, flushed))| (block, *found, *flushed))
            .collect();
        assert!(
            older.is_empty(),
            "{write}: {} blocks are older than the flushed data, e.g. {:?}",
            older.len(),
            older[0]
        );
        let reports = run(&mut bench, "close");
        assert!(matches!(
            reports.last(),
            Some(Report::WrittenBack(report::WrittenBack { errors: 0, .. }))
        ));
        // The next policy starts with empty disks.
        bench = cached_bench(&vm_host);
    }
    bench.shut_down().unwrap();
}

#[test]
fn pages_that_do_not_fit_in_memory_are_refused() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let mut bench = cached_bench(&vm_host);
    for pages in ["60000", "4000000000"] {
        let line = format!("cache memory={pages} fresh=true");
        let refused = bench.guest.run(&line.parse().unwrap(), PATIENCE);
        let reason = refused.unwrap_err().to_string();
        assert!(
            reason.contains(pages) && reason.contains("choose a smaller `memory`"),
            "{reason}"
        );
    }
    // Nothing of them is left.
    run(&mut bench, "cache memory=20000 fresh=true");
    let reports = run(
        &mut bench,
        "replay workload=zipf:0.9 span=20000 count=20000",
    );
    assert_eq!(replayed(&reports).0, [0, 0, 0]);
    bench.shut_down().unwrap();
}
