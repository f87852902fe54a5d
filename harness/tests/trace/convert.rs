//! Conversion of traces to trace disks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use simulate::input::Input;
use simulate::trace::trace_image;
use terminal::progress::Progress;
use workloads::trace::{Beyond, Options, TimeOrder};
use workloads::trace_disk::{AccessRecord, BLOCK_BYTES, Header, Place};

use super::{csv, harness, names, printed};

const HIDDEN: Progress = Progress { shown: false };

/// Timeout.
const PATIENCE: Duration = Duration::from_secs(600);

/// The accesses of an image, read by its layout alone.
pub(super) fn accesses(image: &Path) -> Vec<AccessRecord> {
    let bytes = fs::read(image).unwrap();
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    assert!(
        rest.is_empty(),
        "the size of {} is not a multiple of the block size",
        image.display()
    );
    let header = Header::decode(&blocks[0], bytes.len() as u64).unwrap();
    assert_eq!(header.disk_blocks(), blocks.len() as u64);
    let at = |number: u64| {
        let place = Place::of(number);
        let block = &blocks[place.block as usize];
        AccessRecord::decode(block[place.bytes()].try_into().unwrap())
    };
    let after = Place::of(header.accesses);
    if let Some(last) = blocks.get(after.block as usize) {
        assert!(last[after.bytes().start..].iter().all(|byte| *byte == 0));
    }
    (0..header.accesses).map(at).collect()
}

#[test]
fn a_request_becomes_an_access_to_each_of_its_blocks() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // Two blocks and a half, nothing, a part of one.
    let lines = "5,r,4096,10240\n5,w,0,0\n9,W,8191,1\n";
    fs::write(here.join("t.csv"), csv(lines)).unwrap();
    let text = printed(here, "trace convert t.csv t.trace");
    for word in [
        "3: 1 reads",
        "1 empty",
        "4 of 4 KiB blocks",
        "3 distinct",
        "8192 bytes",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let wanted = [
        AccessRecord::new(1, false, 0),
        AccessRecord::new(2, false, 0),
        AccessRecord::new(3, false, 0),
        AccessRecord::new(1, true, 2),
    ];
    assert_eq!(accesses(&here.join("t.trace")), wanted);
    assert_eq!(names(here), ["t.csv", "t.trace"]);
    let mode = |name: &str| fs::metadata(here.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("t.trace"), mode("t.csv"));
}

#[test]
fn a_packed_lis_trace_becomes_reads_of_whole_blocks() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // A part of block 0, half of blocks 0 and 1, nothing.
    // A zstd frame with one raw block of 24 bytes.
    let frame = b"\x28\xb5\x2f\xfd\x20\x18\xc1\0\x007 1 0 0\n4 8 0 1\n9 0 0 2\n";
    fs::write(here.join("t.lis.zst"), frame).unwrap();
    let text = printed(here, "trace convert t.lis.zst t.trace");
    for words in [
        "(lis)",
        "3: 3 reads of 4.5 KiB, 0 writes of 0 B, 1 empty",
        "3 of 4 KiB blocks, 0 of them writes",
        "2 distinct",
        "assumed    The trace has no times",
        "all requests are reads",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    let wanted = [0, 0, 1].map(|block| (block, false));
    let found = accesses(&here.join("t.trace"));
    let found: Vec<_> = found.iter().map(|of| (of.block, of.write)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn no_empty_block_follows_a_full_one() {
    let place = tempfile::tempdir().unwrap();
    for (requests, blocks) in [(511, 2), (512, 2), (513, 3)] {
        let lines: String = (0..requests)
            .map(|at| format!("{at},r,{},4096\n", 4096 * at))
            .collect();
        let path = place.path().join("t.csv");
        fs::write(&path, csv(&lines)).unwrap();
        let (image, made) = trace_image(&path, Options::default(), place.path(), HIDDEN).unwrap();
        assert_eq!(made.image_bytes, blocks * 4096);
        let all = accesses(&image);
        assert_eq!(all.len(), requests);
        assert!(all.iter().zip(0..).all(|(access, at)| access.block == at));
    }
    assert_eq!(names(place.path()), ["t.csv"], "images are temporary files");
}

#[test]
fn guest_and_simulator_get_the_same_accesses() {
    let place = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for at in 0u64..3000 {
        let op = if at.is_multiple_of(3) { "w" } else { "r" };
        let offset = at * at * 7919 % (1 << 30);
        lines += &format!(
            "{},{op},{offset},{}\n",
            30 + at - 3 * (at % 7),
            at % 5 * 3000
        );
    }
    let path = place.path().join("t.csv");
    fs::write(&path, csv(&lines)).unwrap();
    let options = Options {
        disk_bytes: Some(1 << 29),
        beyond: Beyond::Skip,
        order: TimeOrder::Sort { window: 64 },
        limit: 1000.try_into().ok(),
        ..Options::default()
    };
    let of_trace = Input::from_trace(&path, options.clone(), HIDDEN).unwrap();
    let (image, made) = trace_image(&path, options, place.path(), HIDDEN).unwrap();
    let of_image = Input::from_trace(&image, Options::default(), HIDDEN).unwrap();
    assert_eq!(made.summary.requests(), 1000);
    assert!(made.summary.counts.beyond_disk > 0);
    assert_eq!(of_image.blocks, of_trace.blocks);
    assert_eq!(of_image.writes, of_trace.writes);
    assert_eq!(of_image.distinct, of_trace.distinct);
    assert_eq!(made.distinct.blocks, u64::from(of_trace.distinct));
    assert!(made.distinct.exact);
    // Block numbers are disk addresses.
    let all = accesses(&image);
    assert_eq!(all.len(), of_trace.len());
    let end = all.iter().map(|access| u64::from(access.block) + 1).max();
    assert_eq!(end, Some(made.summary.end_block));
    // The accesses of one request share its number and are adjacent.
    assert!(all.is_sorted_by_key(|access| access.request));
}

#[test]
fn compressed_traces_convert_alike() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let lines = csv("0,r,4096,4096\n1,w,8192,8192\n");
    fs::write(here.join("plain"), &lines).unwrap();
    let gzip = Command::new("gzip")
        .arg("-k")
        .arg(here.join("plain"))
        .status();
    assert!(gzip.unwrap().success());
    printed(here, "trace convert plain a");
    printed(here, "trace convert plain.gz b --format csv");
    assert_eq!(
        fs::read(here.join("a")).unwrap(),
        fs::read(here.join("b")).unwrap()
    );
}

#[test]
fn ctrl_c_leaves_no_partial_image() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // An endless trace in a pipe.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        here.join("pipe.csv"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut child = harness(here, "trace convert pipe.csv out")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = fs::OpenOptions::new()
        .write(true)
        .open(here.join("pipe.csv"))
        .unwrap();
    let writer = thread::spawn(move || {
        let _ = pipe.write_all(csv("").as_bytes());
        while pipe.write_all(b"1,r,0,4096000\n").is_ok() {}
    });
    let began = Instant::now();
    while names(here).len() < 2 {
        assert!(began.elapsed() < PATIENCE, "no image was created");
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    writer.join().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(names(here), ["pipe.csv"]);
}
