//! Creating pools: over nothing, accessible to the owner only, at any size, and within the limits
//! of the process; and what a failed creation leaves.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::daemon::{Site, finish, limited, pool, pool_command};
use support::frontend::{DISCARD, Frontend, IOERR, OK};
use vssd_host::pool::Shape;
use vssd_host::pool::journal::layout::{AREAS, SESSIONS};

fn said(output: &Output) -> String {
    assert_eq!(output.status.signal(), None, "killed: {output:?}");
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(all).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Contents of a disk: position, bytes and name.
const OTHERS: [(&[u8], u64, &str); 6] = [
    (b"_BHRfS_M", 0x10040, "btrfs file system at 64KiB"),
    (b"CD001", 0x8001, "ISO 9660 file system at 32KiB"),
    (b"LABELONE", 512, "LVM physical volume at 512B"),
    (b"EFI PART", (1 << 30) - 512, "GPT partition table at"),
    (b"\xfc\x4e\x2b\xa9", (1 << 30) - 8192, "md RAID member at"),
    (b"a letter", 700 << 20, "data at 700MiB"),
];

#[test]
fn nothing_is_made_over_anything() {
    for (bytes, at, name) in OTHERS {
        let site = Site::new();
        let disk = site.path("disk.img");
        let path = disk.to_str().unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&disk)
            .unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(bytes, at).unwrap();
        let before = fs::metadata(&disk).unwrap();
        let refusals = [
            site.refused(&[site.spec("vm1", "size=8MiB")], &["--create"]),
            said(&pool(&["create", path, "--size", "8MiB"])),
            said(&pool(&["rm", path])),
            said(&pool(&["rm", path, "--force"])),
        ];
        for refusal in refusals {
            assert!(refusal.contains(name), "{name}: {refusal}");
            assert!(refusal.contains("nothing was"), "{refusal}");
        }
        let after = fs::metadata(&disk).unwrap();
        assert_eq!(
            (after.len(), after.mtime_nsec()),
            (before.len(), before.mtime_nsec())
        );
        let mut there = vec![0; bytes.len()];
        file.read_exact_at(&mut there, at).unwrap();
        assert_eq!(there, bytes);
        let made = pool(&["create", path, "--size", "8MiB", "--force"]);
        let text = said(&made);
        assert!(made.status.success() && text.contains(name), "{text}");
        // No more of it is left than of any other file.
        let checked = said(&pool(&["check", path]));
        assert!(checked.contains("no fault"), "{checked}");
        assert_ne!(fs::metadata(&disk).unwrap().len(), 1 << 30);
    }
}

/// A pool is overwritten by force, and the message says what was there.
#[test]
fn a_pool_is_something_too() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let path = disk.to_str().unwrap();
    assert!(pool(&["create", path, "--size", "8MiB"]).status.success());
    let refused = said(&pool(&["create", path, "--size", "8MiB"]));
    assert!(refused.contains("vSSD pool at 0B"), "{refused}");
    let json = pool(&["create", path, "--size", "4MiB", "--force", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["over"][0], "vSSD pool at 0B");
    // A damaged one can be removed; it is one still.
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .write_all_at(&[0xff; 4000], 100)
        .unwrap();
    assert!(pool(&["rm", path, "--force"]).status.success());
    assert!(!disk.exists());
}

#[test]
fn a_pool_file_is_for_its_maker_alone() {
    for (options, expected) in [
        (&[][..], 0o600),
        (&["--mode", "644"], 0o644),
        (&["--group", "GID"], 0o660),
    ] {
        let site = Site::new();
        let gid = fs::metadata(site.path(".")).unwrap().gid();
        let options: Vec<_> = options
            .iter()
            .map(|o| o.replace("GID", &gid.to_string()))
            .collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut served = vec!["--create"];
        served.extend(&options);
        // The umask has no effect.
        let inner = site.command(&[site.spec("vm1", "size=1MiB")], &served);
        let mut command = Command::new("sh");
        command.arg("-c").arg("umask 0; exec \"$@\"").arg("sh");
        command.arg(inner.get_program()).args(inner.get_args());
        site.launch(command).kill();
        let disk = site.path("disk.img");
        assert_eq!(mode(&disk), expected, "{options:?}");
        assert_eq!(fs::metadata(&disk).unwrap().gid(), gid);
        let other = site.path("other.img");
        let mut made = vec!["create", other.to_str().unwrap(), "--size", "1MiB"];
        made.extend(&options);
        assert!(pool(&made).status.success());
        assert_eq!(mode(&other), expected, "{options:?}");
    }
    // What is there keeps its mode.
    let site = Site::new();
    let disk = site.path("disk.img");
    let made = pool(&[
        "create",
        disk.to_str().unwrap(),
        "--size",
        "1MiB",
        "--mode",
        "664",
    ]);
    assert!(made.status.success());
    site.start(&[site.spec("vm1", "size=1MiB")]).kill();
    assert_eq!(mode(&disk), 0o664);
}

/// A limit on the size of files ends neither program, at creation or at run time, and a failed
/// creation leaves nothing behind.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_the_end() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let path = disk.to_str().unwrap();
    let specs = [site.spec("vm1", "size=64MiB")];
    let limit = 20 << 20;
    for command in [
        pool_command(&["create", path, "--size", "64MiB"]),
        site.command(&specs, &["--create"]),
    ] {
        let refused = finish(limited(command, limit));
        assert_eq!(refused.status.code(), Some(1));
        let text = said(&refused);
        assert!(
            text.contains("ulimit -f") && text.contains("20MiB"),
            "{text}"
        );
        assert!(!disk.exists());
    }
    // One that was there before is as long as it was.
    File::create(&disk).unwrap().set_len(4096).unwrap();
    let command = pool_command(&["create", path, "--size", "64MiB"]);
    let refused = finish(limited(command, limit));
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(fs::metadata(&disk).unwrap().len(), 4096);

    // The first window of blocks is within the limit, the second is not.
    let shape = Shape {
        block_size: 4096,
        physical_blocks: 64 << 8,
        overcommit_permille: 1000,
    };
    let limit = shape.room().reserved + (2 << 20);
    for engine in ["uring", "sync"] {
        site.start(&specs).kill();
        let inner = site.command(&specs, &["--io", engine]);
        let mut command = limited(inner, limit);
        let log = site.path("limited.log");
        command.stderr(File::create(&log).unwrap());
        let daemon = site.launch(command);
        let mut guest = Frontend::connect(&site.path("vm1.sock"));
        assert_eq!(guest.write_at(0, &[1; 4096]), OK);
        assert_eq!(guest.write_at((32 << 20) / 512, &[2; 4096]), IOERR);
        assert_eq!(guest.write_at(8, &[3; 4096]), OK);
        assert_eq!(guest.flush(), OK);
        assert_eq!(daemon.terminate().code(), Some(0));
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("ulimit -f"), "{log}");
    }
}

/// An existing pool is not checked against the limit in advance: the write fails.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_of_a_command_that_writes_to_a_pool() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let path = disk.to_str().unwrap();
    assert!(pool(&["create", path, "--size", "1MiB"]).status.success());
    let refused = finish(limited(pool_command(&["rm", path]), 0));
    let text = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("erase the pool") && text.contains("ulimit -f"),
        "{text}"
    );
    assert!(said(&pool(&["check", path])).contains("no fault"));
}

/// A pool of a tebibyte is made without writing its journal full of zeros, and started
/// without reading gigabytes.
#[test]
fn a_tebibyte_takes_no_longer() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1TiB")];
    let daemon = site.start(&specs);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    let last = (1 << 40) / 512 - 8;
    assert_eq!(guest.write_at(last, &[7; 4096]), OK);
    assert_eq!(guest.flush(), OK);
    daemon.kill();
    let daemon = site.start(&specs);
    let read = daemon.bytes_read();
    assert!(read < 256 << 20, "{read} bytes were read to start");
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(last, 4096).unwrap(), [7; 4096]);
    drop(guest);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// On shared storage no lock keeps a second backend on another machine off the pool. The first one
/// ends when it detects that, and a check reports both.
#[test]
fn a_backend_ends_when_another_has_its_pool() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let specs = [site.spec("vm1", "size=1MiB")];
    let log = site.path("daemon.log");
    let mut command = site.command(&specs, &["--create"]);
    command.stderr(File::create(&log).unwrap());
    let mut daemon = site.launch(command);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    assert_eq!(guest.flush(), OK);
    // The other one claims the pool on a copy, and its claim gets onto the shared disk.
    let elsewhere = Site::new();
    let copy = elsewhere.path("disk.img");
    fs::copy(&disk, &copy).unwrap();
    elsewhere
        .start(&[elsewhere.spec("vm1", "size=1MiB")])
        .kill();
    let mut claim = vec![0; (AREAS - SESSIONS) as usize];
    File::open(&copy)
        .unwrap()
        .read_exact_at(&mut claim, SESSIONS)
        .unwrap();
    let shared = File::options().write(true).open(&disk).unwrap();
    shared.write_all_at(&claim, SESSIONS).unwrap();

    assert_eq!(daemon.wait().code(), Some(1));
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("another backend has opened this pool: session 2"),
        "{log}"
    );
    assert!(!site.path("vm1.sock").exists() && !site.path("control.sock").exists());
    let path = disk.to_str().unwrap();
    // The claim is there and what it began with is not: on one disk both would be.
    let checked = pool(&["check", path]);
    assert_eq!(checked.status.code(), Some(1));
    let text = said(&checked);
    assert!(
        text.contains("session 1") && text.contains("session 2"),
        "{text}"
    );
    let refused = site.refused(&specs, &[]);
    assert!(refused.contains("pool check"), "{refused}");
    assert!(pool(&["check", path, "--accept"]).status.success());
    assert!(said(&pool(&["check", path])).contains("no fault"));
    let _daemon = site.start(&specs);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
}

/// Waits until a file takes at most this many bytes; returns how many it takes.
fn wait_for_space(path: &Path, at_most: u64) -> u64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let space = fs::metadata(path).unwrap().blocks() * 512;
        if space <= at_most {
            return space;
        }
        assert!(Instant::now() < until, "{space} bytes, not {at_most}");
        // There is no event for that.
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pool_file_becomes_smaller_after_a_discard_and_a_shrink() {
    const MIB: u64 = 1 << 20;
    let site = Site::new();
    let disk = site.path("disk.img");
    let _daemon = site.start(&[site.spec("vm1", "size=8MiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for sector in (0..8 * MIB / 512).step_by(128) {
        assert_eq!(guest.write_at(sector, &[7; 128 * 512]), OK);
    }
    assert_eq!(guest.flush(), OK);
    let full = fs::metadata(&disk).unwrap().blocks() * 512;
    assert_eq!(guest.range(DISCARD, 0, (2 * MIB / 512) as u32, 0), OK);
    assert_eq!(guest.flush(), OK);
    let discarded = wait_for_space(&disk, full - 2 * MIB);
    let shrunk = site.vssdctl(&["shrink", "vm1", "4MiB", "--force", "--pick", "sequential"]);
    assert_eq!(shrunk.status.code(), Some(4), "{shrunk:?}");
    wait_for_space(&disk, discarded - 4 * MIB);
}
