//! Real guests under real QEMU against the real backend.
//!
//! Where QEMU is missing these fail, and the message says what to run. Each
//! wait has a limit, so a hang is a failure with the guest's last lines.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::experiments::by_name;
use harness::experiments::common::lab::{Joined, Lab};
use harness::experiments::common::params::{Overrides, resolve};
use harness::experiments::latency::rows::{
    LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side,
};
use lab::accel::{Accel, kvm_opens};
use lab::backend::{Backend, BackendConfig};
use lab::qemu::{Drives, Machine, Qemu};
use lab::testbed::{Disks, OriginShape, ResizeOptions, Shape, Talk, Testbed};
use lab::vm_host::{VmHost, VmTestbed};
use results::manifest::Manifest;
use results::store::{RunFolder, read};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use terminal::progress::Progress;
use vssd_host::control::protocol::{EncodingName, Resized};
use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, GuestPick, HostPick, Pick, Report, command, report};

const SIZE: ByteSize = ByteSize(64 << 20);
const BLOCK: ByteSize = ByteSize(4096);
const BLOCKS: u32 = 16384;
/// A bound on hanging, whatever the machine.
const PATIENCE: Duration = Duration::from_secs(300);

const SHAPE: Shape = Shape {
    size: SIZE,
    block_size: BLOCK,
    written: SIZE,
};

fn vm_host(machine: Machine, accel: Accel) -> VmHost {
    VmHost {
        qemu: Qemu::find(None).expect("these tests need QEMU"),
        machine,
        accel,
        accel_reason: "for a test".to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
    }
}

fn bench() -> VmTestbed {
    vm_host(Machine::Q35, Accel::Tcg).start(SHAPE).unwrap()
}

fn run(bench: &mut VmTestbed, line: &str) -> Vec<Report> {
    bench.guest.run(&line.parse().unwrap(), PATIENCE).unwrap()
}

fn resize(bench: &mut VmTestbed, to: u32, pick: Pick, deadline: Duration) -> Resized {
    let options = ResizeOptions {
        pick,
        deadline,
        seed: 7,
    };
    let resized = bench.resize_to(to, options).unwrap();
    if resized.from != resized.held {
        bench.guest.await_resized(resized.held, PATIENCE).unwrap();
    }
    resized
}

/// What a `verify` found: ok, zeros, corrupt, errors, unexpected.
fn verify(bench: &mut VmTestbed, enforce: Enforce) -> [u32; 5] {
    let reports = bench
        .guest
        .run(&Command::Verify(command::Verify { enforce }), PATIENCE)
        .unwrap();
    match reports.last() {
        Some(Report::Verified(report::Verified {
            ok,
            zeros,
            corrupt,
            errors,
            unexpected,
            ..
        })) => [*ok, *zeros, *corrupt, *errors, *unexpected],
        other => panic!("no verdict but {other:?}"),
    }
}

fn assert_lists_equal(bench: &mut VmTestbed) {
    let status = bench.backend.status().unwrap();
    let reports = run(bench, "info");
    let Some(Report::Info(report::Info { held, digest, .. })) = reports.last() else {
        panic!("no info but {reports:?}");
    };
    assert_eq!(*held, status.held);
    assert_eq!(format!("{digest:016x}"), status.digest);
    assert!(status.agreed);
}

/// Shrinks, looks, grows back, looks.
fn there_and_back(machine: Machine, accel: Accel) {
    let mut bench = vm_host(machine, accel).start(SHAPE).unwrap();
    assert_eq!(bench.guest.ready.capacity, BLOCKS);
    run(&mut bench, "fill seed=5");
    run(&mut bench, "policy pick=scattered");
    let resized = resize(&mut bench, 10_000, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed && resized.revoked == 0);
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [10_000, 0, 0, BLOCKS - 10_000, 0]);
    resize(&mut bench, BLOCKS, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [10_000, BLOCKS - 10_000, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    run(&mut bench, "flush");
    bench.shut_down().unwrap();
}

#[test]
fn q35_under_tcg() {
    there_and_back(Machine::Q35, Accel::Tcg);
}

#[test]
fn microvm_under_tcg() {
    there_and_back(Machine::Microvm, Accel::Tcg);
}

/// Where /dev/kvm cannot be opened there is no KVM to boot under; that the
/// choice of an accelerator then says so is what remains to be tested.
#[test]
fn both_machines_under_kvm_where_there_is_one() {
    if kvm_opens() {
        there_and_back(Machine::Q35, Accel::Kvm);
        there_and_back(Machine::Microvm, Accel::Kvm);
    } else {
        let chosen = lab::accel::choose(lab::accel::AccelChoice::Kvm);
        assert!(chosen.unwrap_err().to_string().contains("/dev/kvm"));
    }
}

/// A vSSD by the size of whose blocks no driver may count its requests: `blk_size` is a page.
#[test]
fn blocks_larger_than_a_page_change_hands() {
    const COUNT: u32 = 1024;
    let shape = Shape {
        block_size: ByteSize(64 << 10),
        ..SHAPE
    };
    let mut bench = vm_host(Machine::Q35, Accel::Tcg).start(shape).unwrap();
    assert_eq!(bench.guest.ready.capacity, COUNT);
    run(&mut bench, "fill seed=5");
    run(&mut bench, "policy pick=scattered");
    let resized = resize(&mut bench, 600, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed && resized.revoked == 0);
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [600, 0, 0, COUNT - 600, 0]);
    resize(&mut bench, COUNT, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [600, COUNT - 600, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn the_exchange_of_2017_moves_the_same_blocks() {
    let mut bench = bench();
    run(&mut bench, "fill");
    run(&mut bench, "policy pick=random seed=3");
    bench.backend.set_encoding(EncodingName::List4096).unwrap();
    let resized = resize(&mut bench, 2_000, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed);
    assert_eq!(resized.exchanges, (BLOCKS - 2_000).div_ceil(512));
    resize(&mut bench, BLOCKS, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [2_000, BLOCKS - 2_000, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn the_hypervisor_can_pick_by_itself() {
    let mut bench = bench();
    run(&mut bench, "fill");
    let resized = resize(&mut bench, 9_000, Pick::Host(HostPick::Uniform), PATIENCE);
    assert_eq!((resized.revoked, resized.agreed), (BLOCKS - 9_000, true));
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [9_000, 0, 0, BLOCKS - 9_000, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn a_guest_that_refuses_loses_the_blocks_at_the_deadline() {
    let mut bench = bench();
    run(&mut bench, "fill");
    bench
        .guest
        .run(
            &Command::Policy(command::Policy {
                pick: GuestPick::Refuse,
                seed: 0,
            }),
            PATIENCE,
        )
        .unwrap();
    let patience = Duration::from_millis(300);
    let resized = resize(&mut bench, 8_000, Pick::Guest, patience);
    assert_eq!((resized.revoked, resized.agreed), (BLOCKS - 8_000, true));
    assert!(resized.elapsed_ns >= patience.as_nanos() as u64);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [8_000, 0, 0, BLOCKS - 8_000, 0]);
    bench.shut_down().unwrap();
}

#[test]
fn a_killed_backend_loses_no_write_and_no_block() {
    let mut bench = bench();
    run(&mut bench, "fill");
    run(&mut bench, "policy pick=random seed=9");
    resize(&mut bench, 12_000, Pick::Guest, PATIENCE);
    bench
        .guest
        .start(&"stress count=0 writes=60".parse().unwrap())
        .unwrap();
    for _ in 0..3 {
        let written = |bench: &VmTestbed| bench.backend.status().unwrap().counters.writes;
        let (before, began) = (written(&bench), Instant::now());
        // Under way means that requests were served since the last look.
        while written(&bench) < before + 2_000 {
            assert!(began.elapsed() < PATIENCE, "nothing is written");
        }
        bench = bench.kill_backend().unwrap();
        bench.backend.await_agreed().unwrap();
        assert_eq!(bench.backend.status().unwrap().held, 12_000);
    }
    let reports = bench.guest.stop(PATIENCE).unwrap();
    let stressed = reports.iter().find_map(|report| match report {
        Report::Stressed(report::Stressed {
            writes,
            lost_race,
            errors,
            corrupt,
            ..
        }) => Some((*writes >= 6_000, *lost_race, *errors, *corrupt)),
        _ => None,
    });
    assert_eq!(stressed, Some((true, 0, 0, 0)), "{reports:?}");
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [12_000, 0, 0, BLOCKS - 12_000, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn a_guest_that_reboots_finds_its_blocks() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let mut bench = vm_host.start(SHAPE).unwrap();
    run(&mut bench, "fill seed=4");
    resize(&mut bench, 5_000, Pick::Guest, PATIENCE);
    let mut bench = bench.reboot(&vm_host).unwrap();
    assert_eq!(bench.guest.ready.held, 5_000);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn a_killed_qemu_is_noticed_and_explained() {
    let mut bench = bench();
    let pid = Pid::from_raw(bench.guest.pid()).unwrap();
    bench
        .guest
        .start(&"stress count=0".parse().unwrap())
        .unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let error = bench.guest.finish(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("ended too early"), "{error}");
    // Its backend is none the worse and its end was waited for.
    assert!(bench.backend.status().is_ok());
    assert!(test_kill_process(pid).is_err(), "QEMU is still there");
}

#[test]
fn a_hung_guest_is_ended_with_its_last_lines() {
    let mut bench = bench();
    let pid = Pid::from_raw(bench.guest.pid()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    bench.guest.start(&Command::Info).unwrap();
    let error = bench
        .guest
        .finish(Duration::from_millis(200))
        .unwrap_err()
        .to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    assert!(error.contains("ready"), "no last lines: {error}");
    drop(bench);
    assert!(test_kill_process(pid).is_err(), "QEMU is still there");
}

#[test]
fn a_guest_without_a_vssd_says_so() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let folder = tempfile::tempdir().unwrap();
    let error = vm_host
        .launch(Drives::default(), folder.path().to_owned())
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(error.contains("vSSD") || error.contains("disk"), "{error}");
}

#[test]
fn a_guest_that_panics_says_where() {
    // Too little memory for what the guest keeps of its device. A larger device would do as
    // well, but its backend takes room for 21 bytes a block from the file system for the journal.
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let folder = tempfile::tempdir().unwrap();
    let config = BackendConfig {
        program: vm_host.program.clone(),
        folder: folder.path().to_owned(),
        size: ByteSize(320 << 30),
        block_size: BLOCK,
        media: None,
        sharing: None,
    };
    let backend = Backend::start(config).unwrap();
    let socket = backend.socket(0);
    let drives = Drives {
        vssd: Some(&socket),
        ..Drives::default()
    };
    let error = vm_host.launch(drives, folder.path().to_owned());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("exit status: 35"), "{error}");
    assert!(error.contains("panicked at"), "{error}");
}

#[test]
fn a_second_backend_in_the_same_folder_is_refused() {
    let bench = bench();
    let config = bench.backend.config().clone();
    let error = Backend::start(config).unwrap_err().to_string();
    assert!(error.contains("vm1.sock"), "{error}");
    bench.shut_down().unwrap();
}

/// A small run of the experiment: every phase is measured on both sides, by
/// both encodings, and the histograms hold what the cycles recorded.
#[test]
fn latencies_are_measured_before_during_and_after_resizes() {
    let latency = by_name("latency").unwrap();
    let lab = Lab {
        joined: Joined::Qemu(vm_host(Machine::Q35, Accel::Tcg)),
        seed: 1,
        progress: Progress { shown: false },
    };
    let sets = [
        "size=64MiB",
        "shrink=32MiB",
        "cycles=1",
        "wait_ms=200",
        "warmup_requests=100",
    ]
    .map(str::to_owned);
    let overrides = Overrides {
        sets: &sets,
        ..Overrides::default()
    };
    let params = resolve(latency.defaults(), &overrides).unwrap();
    let out = tempfile::tempdir().unwrap();
    let manifest = Manifest::new(lab.conditions("a test", "latency", false, &params));
    let mut folder = RunFolder::create(out.path(), manifest).unwrap();
    latency.run(&params, &lab, &mut folder).unwrap();
    folder.complete().unwrap();

    let rows: Vec<LatencyRow> = read(out.path()).unwrap();
    let buckets: Vec<LatencyBucketRow> = read(out.path()).unwrap();
    let cycles: Vec<LatencyCycleRow> = read(out.path()).unwrap();
    assert_eq!(rows.len(), 20);
    assert_eq!(cycles.len(), 2);
    for cycle in &cycles {
        assert!(cycle.agreed && cycle.failed == 0, "{cycle:?}");
        let of_guest =
            |row: &&LatencyRow| row.encoding == cycle.encoding && row.side == Side::Guest;
        let requests: u64 = rows.iter().filter(of_guest).map(|row| row.requests).sum();
        assert_eq!(requests, cycle.requests, "{}", cycle.encoding);
    }
    let resizes = |row: &LatencyRow| matches!(row.phase, LatencyPhase::Shrink | LatencyPhase::Grow);
    for cycle in &cycles {
        for side in [Side::Guest, Side::Backend] {
            // How much of it fits into each wait is up to the machine.
            let of = |row: &&LatencyRow| row.encoding == cycle.encoding && row.side == side;
            let quiet = rows.iter().filter(of).filter(|row| !resizes(row));
            let requests: u64 = quiet.map(|row| row.requests).sum();
            assert!(requests > 0, "{}, {side:?}", cycle.encoding);
        }
    }
    for row in &rows {
        // A resize this short may be over while no request is in flight; with
        // the exchange of 2017 it is not.
        if resizes(row) && row.side == Side::Guest && row.encoding == "list-4096" {
            assert!(row.requests > 0, "{row:?}");
        }
        // The backend reads its clock once a pass: what it answers without I/O takes it 0 ns.
        if row.side == Side::Guest {
            assert_eq!(row.requests > 0, row.p50_ns > 0, "{row:?}");
        }
        assert!(row.phase_ns > 0 && row.p50_ns <= row.p99_ns, "{row:?}");
        assert!(row.p99_ns <= row.p999_ns && row.p999_ns <= row.max_ns);
        let place = LatencyPhase::ALL.iter().position(|of| *of == row.phase);
        let counted: u64 = buckets
            .iter()
            .filter(|bucket| bucket.encoding == row.encoding && bucket.side == row.side)
            .map(|bucket| bucket.counts()[place.unwrap()])
            .sum();
        assert_eq!(counted, row.requests, "{row:?}");
    }
}

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

/// What a replay found that must not be: lost, errors, corrupt. Then its hits, the last
/// write that was acknowledged, and the last one that a flush made durable.
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
    replayed.unwrap_or_else(|| panic!("no replay but {reports:?}"))
}

/// The number of the newest write that is on the first `span` blocks, all of which carry
/// a stamp.
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
fn a_cache_is_served_while_the_vssd_shrinks_to_nothing_and_grows() {
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
        // It is under way at every size.
        let until = bench.guest.until(PATIENCE);
        for _ in 0..4 {
            bench.guest.hear(until, "replay").unwrap();
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
fn a_killed_guest_loses_nothing_that_its_cache_had_flushed() {
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
            bench.guest.hear(until, "replay").unwrap();
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
            "{write}: {} blocks are older than what was flushed, such as {:?}",
            older.len(),
            older[0]
        );
        let reports = run(&mut bench, "close");
        assert!(matches!(
            reports.last(),
            Some(Report::WrittenBack(report::WrittenBack { errors: 0, .. }))
        ));
        // The next one begins with zeros.
        bench = cached_bench(&vm_host);
    }
    bench.shut_down().unwrap();
}
