//! Traces replayed by guests from trace disks: their misses equal the simulator's, and invalid
//! disks are rejected.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use lab::accel::Accel;
use lab::qemu::{Machine, Qemu};
use lab::testbed::{Disks, OriginShape, Shape, Testbed};
use lab::twin::Twin;
use lab::vm_host::VmHost;
use simulate::input::Input;
use simulate::replay;
use simulate::trace::trace_image;
use terminal::progress::Progress;
use vssd_host::size::ByteSize;
use workloads::trace::{Options, TimeOrder};
use workloads::trace_disk::{AccessRecord, Header};
use workloads::{Report, report};

const HIDDEN: Progress = Progress { shown: false };
const PATIENCE: Duration = Duration::from_secs(600);

const VSSD: ByteSize = ByteSize(8 << 20);
/// 32 times as many blocks as the vSSD.
const ORIGIN: ByteSize = ByteSize(256 << 20);

fn disks(trace: &Path) -> Disks {
    Disks {
        vssd: Shape {
            size: VSSD,
            block_size: ByteSize(4096),
            written: VSSD,
        },
        origin: Some(OriginShape {
            size: ORIGIN,
            media: None,
        }),
        trace: Some(trace.to_owned()),
    }
}

fn twin(trace: &Path) -> Box<dyn Testbed> {
    Box::new(Twin::start(disks(trace)).unwrap())
}

fn qemu(trace: &Path) -> Box<dyn Testbed> {
    let vm_host = VmHost {
        qemu: Qemu::find(None).expect("these tests need QEMU"),
        machine: Machine::Q35,
        accel: Accel::Tcg,
        accel_reason: "for a test".to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
    };
    Box::new(vm_host.start(disks(trace)).unwrap())
}

fn run(bed: &mut dyn Testbed, line: &str) -> anyhow::Result<Report> {
    let reports = bed.guest().run(&line.parse().unwrap(), PATIENCE)?;
    Ok(reports.into_iter().next_back().expect("a report"))
}

/// Opens a cache; returns its number of slots.
fn open(bed: &mut dyn Testbed, policy: &str) -> u32 {
    let line = format!("cache evict={policy} write=write-back fresh=true");
    match run(bed, &line).unwrap() {
        Report::CacheOpened(report::CacheOpened { slots, .. }) => slots,
        other => panic!("expected an open cache, got {other:?}"),
    }
}

/// Reads, read misses, writes and write misses; and the accesses beyond the disk. No access may
/// fail.
fn replay(bed: &mut dyn Testbed, depth: u32) -> anyhow::Result<([u64; 4], u64)> {
    match run(bed, &format!("replay trace=true depth={depth}"))? {
        Report::Replayed(report::Replayed {
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            bypassed: 0,
            beyond,
            lost: 0,
            errors: 0,
            corrupt: 0,
            ..
        }) => {
            let reads = read_hits + read_misses;
            let writes = write_hits + write_misses;
            Ok(([reads, read_misses, writes, write_misses], beyond))
        }
        other => panic!("expected a replay without errors, got {other:?}"),
    }
}

/// Requests to twice as many blocks as the cache has: of parts of blocks, many blocks and 0 bytes;
/// with hot regions, and with times out of order.
fn a_trace(folder: &Path) -> PathBuf {
    let mut text = String::from("time_us,op,offset_bytes,length_bytes\n");
    let mut word = 1u64;
    for at in 0u64..4000 {
        // The LCG of Numerical Recipes: the trace is the same everywhere.
        word = word
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let place = (word >> 33) % (16 << 20);
        let offset = match word >> 61 {
            0..5 => place / 8,
            _ => place,
        };
        let op = if word >> 20 & 3 == 0 { "w" } else { "r" };
        let length = (word >> 8) % 5 * 3000;
        let time = 100 + at - at % 3;
        text += &format!("{time},{op},{offset},{length}\n");
    }
    let path = folder.join("trace.csv");
    fs::write(&path, text).unwrap();
    path
}

/// Compares the counts of a guest with those of the simulator for the same number of slots.
fn as_simulated(start: fn(&Path) -> Box<dyn Testbed>, policies: &[&str], depths: &[u32]) {
    let place = tempfile::tempdir().unwrap();
    let path = a_trace(place.path());
    let options = Options {
        order: TimeOrder::Sort { window: 16 },
        disk_bytes: Some(ORIGIN.0),
        ..Options::default()
    };
    let input = Input::from_trace(&path, options.clone(), HIDDEN).unwrap();
    let (image, made) = trace_image(&path, options, place.path(), HIDDEN).unwrap();
    assert!(made.summary.empty > 0);
    for policy in policies {
        let contender = policy.parse().unwrap();
        for depth in depths {
            let mut bed = start(&image);
            let slots = open(&mut *bed, policy);
            let bar = ProgressBar::hidden();
            let rows = replay::run(&input, &[contender], &[slots], 0, &bar).unwrap();
            let row = &rows[0];
            let wanted = [row.reads, row.read_misses, row.writes, row.write_misses];
            assert!(u64::from(input.distinct) > u64::from(slots) && row.misses() > 0);
            let found = replay(&mut *bed, *depth).unwrap();
            assert_eq!(
                found,
                (wanted, 0),
                "{policy} with {slots} slots, depth {depth}"
            );
            bed.shut_down().unwrap();
        }
    }
}

#[test]
fn a_twin_has_the_misses_of_the_simulator() {
    let policies = [
        "fifo",
        "clock",
        "lru",
        "lfu",
        "2q",
        "arc",
        "lirs",
        "s3-fifo",
        "sieve",
        "w-tiny-lfu",
    ];
    as_simulated(twin, &policies, &[1, 32]);
}

#[test]
fn a_guest_under_qemu_has_the_misses_of_the_simulator() {
    as_simulated(qemu, &["lru", "arc"], &[32]);
}

/// Replays an image with these bytes.
fn replayed(bytes: &[u8]) -> anyhow::Result<([u64; 4], u64)> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image");
    fs::write(&path, bytes).unwrap();
    let mut bed = twin(&path);
    open(&mut *bed, "lru");
    let found = replay(&mut *bed, 8);
    // The guest still works after an invalid image.
    run(&mut *bed, "info").unwrap();
    bed.shut_down().unwrap();
    found
}

fn image(accesses: &[AccessRecord], announced: u64) -> Vec<u8> {
    let header = Header {
        accesses: announced,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(accesses.iter().flat_map(|access| access.encode()));
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    bytes
}

#[test]
fn accesses_beyond_the_origin_disk_are_counted_and_skipped() {
    let last = (ORIGIN.0 / 4096 - 1) as u32;
    let accesses = [
        AccessRecord::new(3, true, 0),
        AccessRecord::new(last, false, 1),
        AccessRecord::new(last + 1, true, 1),
        AccessRecord::new(u32::MAX, false, 2),
        AccessRecord::new(3, false, 3),
    ];
    let (counts, beyond) = replayed(&image(&accesses, 5)).unwrap();
    assert_eq!((counts, beyond), ([2, 1, 1, 1], 2));
}

#[test]
fn an_empty_trace_disk_can_be_replayed() {
    let none = replayed(&image(&[], 0)).unwrap();
    assert_eq!(none, ([0; 4], 0));
}

#[test]
fn invalid_trace_disks_are_rejected() {
    let good = image(&[AccessRecord::new(1, false, 0)], 1);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, word) in [
        (vec![0; 8192], "start like a trace"),
        (good[..512].to_vec(), "short"),
        (changed(7, b'2'), "start like a trace"),
        (changed(17, 2), "blocks"),
        (changed(100, 1), "header"),
        (image(&[AccessRecord::new(1, false, 0)], 513), "513"),
        (image(&[], u64::MAX), "18446744073709551615"),
    ] {
        let error = replayed(&bytes).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(word), "{word}: {text}");
    }
}
