use std::time::Instant;

use vssd_host::size::ByteSize;
use workloads::{HostPick, Pick, report};

use super::*;
use crate::testbed::{OriginShape, Shape, fill};

const BLOCKS: u32 = 4096;
const LONG: Duration = Duration::from_secs(3600);

fn twin(written: u64) -> Twin {
    Twin::start(Shape {
        size: ByteSize(u64::from(BLOCKS) * 4096),
        block_size: ByteSize(4096),
        written: ByteSize(written),
    })
    .unwrap()
}

fn run(twin: &mut Twin, line: &str) -> Vec<Report> {
    GuestChannel::run(twin, &line.parse().unwrap(), LONG).unwrap()
}

fn options(pick: Pick, deadline: Duration) -> ResizeOptions {
    ResizeOptions {
        pick,
        deadline,
        seed: 1,
    }
}

fn read(twin: &mut Twin, line: &str) -> (u64, u64, u64) {
    match run(twin, line).last() {
        Some(Report::Read(report::Read {
            hits,
            misses,
            errors,
            ..
        })) => (*hits, *misses, *errors),
        other => panic!("no reads but {other:?}"),
    }
}

#[test]
fn a_deadline_of_an_hour_passes_at_once() {
    let mut twin = twin(0);
    run(&mut twin, "policy pick=refuse");
    let started = Instant::now();
    let resized = twin.resize_to(1000, options(Pick::Guest, LONG)).unwrap();
    assert_eq!((resized.held, resized.revoked), (1000, BLOCKS - 1000));
    assert!(resized.elapsed_ns >= LONG.as_nanos() as u64);
    assert!(started.elapsed() < LONG / 10);
    twin.await_resized(1000, LONG).unwrap();
    let (hits, misses, errors) = read(&mut twin, "read workload=sequential count=4096 check=false");
    assert_eq!((hits, misses, errors), (1000, u64::from(BLOCKS - 1000), 0));
}

#[test]
fn a_resize_under_load_is_deterministic() {
    let digests: Vec<(String, u64)> = (0..2)
        .map(|_| {
            let mut twin = twin(1);
            fill(&mut twin, 3).unwrap();
            run(&mut twin, "policy pick=random seed=5");
            twin.start(&"stress seed=9".parse().unwrap()).unwrap();
            for (target, pick) in [
                (1000, Pick::Guest),
                (3000, Pick::Guest),
                (2000, Pick::Host(HostPick::Uniform)),
            ] {
                twin.resize_to(target, options(pick, LONG)).unwrap();
                twin.await_resized(target, LONG).unwrap();
            }
            let reports = GuestChannel::stop(&mut twin, LONG).unwrap();
            let Some(Report::Stressed(report::Stressed {
                reads,
                writes,
                errors: 0,
                corrupt: 0,
                ..
            })) = reports.last()
            else {
                panic!("{reports:?}");
            };
            assert!(*reads > 0 && *writes > 0);
            (twin.status().unwrap().digest, reads + writes)
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn returned_blocks_miss_once() {
    for (written, check) in [(0, false), (1, true)] {
        let mut twin = twin(written);
        if check {
            fill(&mut twin, 3).unwrap();
        }
        for target in [0, BLOCKS] {
            let resized = twin.resize_to(target, options(Pick::Host(HostPick::Uniform), LONG));
            assert!(resized.unwrap().is_complete());
            twin.await_resized(target, LONG).unwrap();
        }
        let line = format!("read workload=sequential count=8192 check={check}");
        let (hits, misses, errors) = read(&mut twin, &line);
        assert_eq!((hits, misses, errors), (4096, 4096, 0), "check={check}");
    }
}

#[test]
fn the_hypervisor_keeps_blocks_that_it_observed_in_use() {
    for tracked in HostPick::tracked() {
        let pick = Pick::Host(tracked);
        let mut twin = twin(0);
        twin.resize_to(4000, options(pick, LONG))
            .expect_err("request tracking is off");
        twin.observe(tracked).unwrap();
        let hot = "read workload=hotspot:500,1,0 count=20000 check=false";
        read(&mut twin, hot);
        twin.resize_to(1000, options(pick, LONG)).unwrap();
        twin.await_resized(1000, LONG).unwrap();
        assert_eq!(read(&mut twin, hot), (20_000, 0, 0), "{pick}");
        assert!(twin.status().unwrap().tracker.memory_bytes > 0);
    }
}

#[test]
fn a_busy_twin_can_be_dropped() {
    let mut twin = twin(0);
    twin.start(&"stress".parse().unwrap()).unwrap();
    drop(twin);
}

#[test]
fn commands_time_out_in_virtual_time() {
    let mut twin = twin(0);
    twin.start(&"stress".parse().unwrap()).unwrap();
    let error = twin.finish(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
    let mut idle = self::twin(0);
    idle.start(&"wait held=1".parse().unwrap()).unwrap();
    let error = idle.finish(LONG).unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
}

#[test]
fn a_guest_that_exits_takes_no_more_commands() {
    let mut twin = twin(0);
    GuestChannel::run(&mut twin, &Command::Exit, LONG).unwrap();
    let error = twin.start(&Command::Info).unwrap_err().to_string();
    assert!(error.contains("the guest"), "{error}");
    Box::new(self::twin(0)).shut_down().unwrap();
}

/// A twin with a sparse origin disk of 40 GiB, and this trace.
fn cached_twin(trace: Option<PathBuf>) -> Twin {
    let vssd = Shape {
        size: ByteSize(u64::from(BLOCKS) * 4096),
        block_size: ByteSize(4096),
        written: ByteSize(u64::from(BLOCKS) * 4096),
    };
    let origin = OriginShape {
        size: ByteSize(40 << 30),
        media: None,
    };
    Twin::start(Disks {
        vssd,
        origin: Some(origin),
        trace,
    })
    .unwrap()
}

/// The counts of a replay, without times.
fn replay(twin: &mut Twin, line: &str) -> [u64; 8] {
    match run(twin, line).last() {
        Some(Report::Replayed(report::Replayed {
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            beyond,
            lost,
            errors,
            corrupt,
            ..
        })) => [
            *read_hits,
            *read_misses,
            *write_hits,
            *write_misses,
            *beyond,
            *lost,
            *errors,
            *corrupt,
        ],
        other => panic!("no replay but {other:?}"),
    }
}

/// A twin discards free slots on its vSSD, as a guest under QEMU does, and they read as zeros.
#[test]
fn discards_reach_the_vssd() {
    let counts = ["none", "cache", "device"].map(|discard| {
        let mut twin = cached_twin(None);
        run(&mut twin, "cache evict=lru dirty=90");
        let line = format!(
            "replay workload=files:0.6,1000 span=20000 count=30000 discard={discard} flush=500"
        );
        let counts = replay(&mut twin, &line);
        assert_eq!(counts[4..], [0; 4], "{discard}");
        counts
    });
    assert_eq!(counts[1], counts[2]);
    assert_ne!(counts[0], counts[1]);
}

/// The number of the last write to each of the first `span` blocks.
fn stamps(twin: &mut Twin, span: u32) -> Vec<u64> {
    let reports = run(twin, &format!("stamps span={span}"));
    let sound = Report::StampsRead(report::StampsRead {
        blocks: span,
        bad: 0,
        lost: 0,
    });
    assert_eq!(reports.last(), Some(&sound));
    let numbers = reports.into_iter().filter_map(|report| match report {
        Report::Stamps(report::Stamps { numbers, .. }) => Some(numbers),
        _ => None,
    });
    numbers.flatten().collect()
}

#[test]
fn flushed_writes_survive_a_killed_guest() {
    const SPAN: u32 = 20_000;
    for write in [
        "write-through",
        "write-around",
        "read-only",
        "write-back",
        "ordered",
        "journaled",
    ] {
        let mut twin = cached_twin(None);
        run(&mut twin, &format!("cache write={write} dirty=90"));
        let counts = replay(
            &mut twin,
            &format!("replay workload=zipf:0.9 span={SPAN} writes=60 count=20000"),
        );
        assert_eq!(counts[5..], [0, 0, 0], "{write}");
        run(&mut twin, "flush");
        let flushed = stamps(&mut twin, SPAN);
        twin.start(
            &format!("replay workload=zipf:0.9 seed=2 span={SPAN} writes=50")
                .parse()
                .unwrap(),
        )
        .unwrap();
        for _ in 0..30 {
            twin.run_until(Vec::new(), Until::Polls(100), u64::MAX, "replay")
                .unwrap();
        }
        let mut twin = twin.kill_guest().unwrap();
        let reports = run(&mut twin, &format!("cache write={write}"));
        let is_warm = |report: &Report| {
            matches!(
                report,
                Report::CacheOpened(report::CacheOpened {
                    restored: 1..,
                    lost: 0,
                    ..
                })
            )
        };
        assert!(reports.last().is_some_and(is_warm), "{write}: {reports:?}");
        let found = stamps(&mut twin, SPAN);
        let wrong: Vec<(usize, u64, u64)> = (0..)
            .zip(found.iter().zip(&flushed))
            .filter(|(_, (found, flushed))| found < flushed)
            .map(|(block, (found, flushed))| (block, *found, *flushed))
            .collect();
        assert!(
            wrong.is_empty(),
            "{write}: {} older, {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(9)]
        );
    }
}

#[test]
fn a_trace_in_a_file_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"vSSDtrc1");
    bytes[8..16].copy_from_slice(&100_000_u64.to_le_bytes());
    bytes[16..20].copy_from_slice(&4096_u32.to_le_bytes());
    for i in 0..100_000_u32 {
        bytes.extend((i * 31 % 5000).to_le_bytes());
        bytes.extend((i % 2).to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let mut twin = cached_twin(Some(path));
    run(&mut twin, "cache write=write-through");
    let counts = replay(&mut twin, "replay trace=true span=4000");
    assert_eq!(counts[..4].iter().sum::<u64>(), 80_000);
    assert_eq!(counts[4..], [20_000, 0, 0, 0]);
}

fn pool(blocks: u32) -> TwinPool {
    TwinPool::new(Shape {
        size: ByteSize(u64::from(blocks) * 4096),
        block_size: ByteSize(4096),
        written: ByteSize(0),
    })
    .unwrap()
}

fn cached() -> Disks {
    Disks {
        vssd: Shape {
            size: ByteSize(u64::from(BLOCKS) * 4096),
            block_size: ByteSize(4096),
            written: ByteSize(0),
        },
        origin: Some(OriginShape {
            size: ByteSize(1 << 30),
            media: None,
        }),
        trace: None,
    }
}

#[test]
fn twins_of_a_pool_share_its_blocks() {
    let pool = pool(BLOCKS);
    let mut one = pool.boot("one", &cached(), 3000).unwrap();
    assert!(pool.boot("two", &cached(), 2000).is_err(), "too few blocks");
    assert!(
        pool.boot("one", &cached(), 10).is_err(),
        "the name is taken"
    );
    let mut two = pool.boot("two", &cached(), 1000).unwrap();
    assert_eq!((one.held(), two.held()), (3000, 1000));
    let guest = options(Pick::Guest, LONG);
    assert!(two.resize_to(2000, guest).is_err(), "they are not free");
    assert!(one.resize_to(2000, guest).unwrap().is_complete());
    assert!(two.resize_to(2000, guest).unwrap().is_complete());
    assert_eq!((one.held(), two.held()), (2000, 2000));
    drop(two);
    pool.remove("two").unwrap();
    pool.boot("two", &cached(), 2096).unwrap();
}

#[test]
fn a_cache_follows_advice_in_every_session_until_it_changes() {
    let pool = pool(BLOCKS);
    let mut twin = pool.boot("vm", &cached(), BLOCKS).unwrap();
    run(&mut twin, "cache write=write-through");
    // Blocks of data written to the vSSD, and a few of records.
    let mut written = 0;
    let mut replay = |twin: &mut Twin, line: &str| {
        run(twin, &format!("replay {line} count=500 check=false"));
        let before = written;
        written = twin.status().unwrap().counters.written_bytes / 4096;
        written - before
    };
    let (writes, scan) = (
        "workload=uniform span=100 writes=100",
        "workload=sequential first=1000",
    );
    assert!(replay(&mut twin, writes) >= 500);
    assert!(replay(&mut twin, scan) >= 500);
    twin.advise(Advice {
        bypass_writes: true,
        admit_reused: true,
    })
    .unwrap();
    for scan in [scan, "workload=sequential first=2000"] {
        assert!(replay(&mut twin, writes) < 50);
        let scanned = replay(&mut twin, scan);
        assert!(
            scanned < 50,
            "{scanned} of what is cached, or of a new scan"
        );
        twin.set_encoding(EncodingName::List4096).unwrap();
    }
    twin.advise(Advice::NONE).unwrap();
    assert!(replay(&mut twin, writes) >= 500);
}

#[test]
fn a_cache_that_samples_reports_its_demand() {
    let pool = pool(BLOCKS);
    let mut twin = pool.boot("vm", &cached(), BLOCKS).unwrap();
    assert_eq!(twin.demand().unwrap(), None, "there is no cache");
    run(&mut twin, "cache write=write-through sample=512");
    let replay = "replay workload=sequential span=1000 count=4000 check=false";
    run(&mut twin, replay);
    let demand = twin.demand().unwrap().unwrap();
    assert_eq!(
        (demand.accesses, demand.hits, demand.writes),
        (4000, 3000, 0)
    );
    // A scan hits when all of it fits, and never before. The sample knows the number of blocks within
    // a few percent.
    let last = demand.curve.last().unwrap();
    assert!((900..1100).contains(&last.blocks), "{last:?}");
    assert!(last.misses_ppm.abs_diff(250_000) < 20_000, "{last:?}");
    assert_eq!(twin.demand().unwrap().unwrap().accesses, 0);
    run(&mut twin, "close");
    run(&mut twin, "cache write=write-through");
    run(&mut twin, replay);
    assert_eq!(twin.demand().unwrap(), None, "it does not sample");
}
