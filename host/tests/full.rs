//! A full pool: guests get errors, and the log and the counters show it.

mod support;

use std::fs::{self, File};

use support::daemon::{Daemon, Site};
use support::frontend::{DISCARD, Frontend, IOERR, OK, WRITE_ZEROES};
use vssd_host::control::protocol::VssdStatus;

/// Blocks of each of two vSSDs, and of the pool that they share.
const BLOCKS: u64 = 256;

/// Two vSSDs on a pool that is overcommitted twice.
fn start() -> (Site, Daemon, [Frontend; 2]) {
    let site = Site::new();
    let specs = ["vm1", "vm2"].map(|name| site.spec(name, "size=1MiB"));
    let more = ["--create", "--size", "1MiB", "--overcommit", "2"];
    let log = File::create(site.path("daemon.log")).unwrap();
    let mut command = site.command(&specs, &more);
    command.stderr(log);
    let daemon = site.launch(command);
    let guests = ["vm1.sock", "vm2.sock"].map(|name| Frontend::connect(&site.path(name)));
    (site, daemon, guests)
}

fn of(daemon: &Daemon, name: &str) -> VssdStatus {
    let mut vssds = daemon.status().vssds.into_iter();
    vssds.rfind(|v| v.name == name).unwrap()
}

/// Writes block after block; returns how many were refused.
fn fill(guest: &mut Frontend, byte: u8) -> u64 {
    let written = (0..BLOCKS).map(|block| guest.write_at(8 * block, &[byte; 4096]));
    written.filter(|status| *status == IOERR).count() as u64
}

#[test]
fn requests_without_room_are_counted_and_logged() {
    let (site, daemon, [mut first, mut second]) = start();
    assert_eq!(fill(&mut first, 1), 0);
    assert_eq!(fill(&mut second, 2), BLOCKS);
    // A part of a block takes a physical block as well.
    assert_eq!(second.write_at(1, &[2; 512]), IOERR);
    let counters = of(&daemon, "vm2").counters;
    assert_eq!((counters.no_space, counters.io_errors), (BLOCKS + 1, 0));
    assert_eq!(of(&daemon, "vm1").counters.no_space, 0);
    let text = String::from_utf8(site.vssdctl(&["status"]).stdout).unwrap();
    assert!(
        text.contains("vm2: 257 requests found no room in the pool"),
        "{text}"
    );
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("the pool is full"));
    let lines: Vec<_> = lines.collect();
    assert!(!lines.is_empty() && lines.len() < 10, "{log}");
    assert!(lines[0].contains("vm2"), "{log}");
    // Those that came too soon after a line are in a later one, at the latest when it ends.
    let lines = log.lines().filter(|line| line.contains("full"));
    assert_eq!(lines.map(times).sum::<u64>(), BLOCKS + 1, "{log}");
}

/// How many requests a line is about.
fn times(line: &str) -> u64 {
    let (_, after) = line.split_once("times=").unwrap();
    let digits = after.split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

/// What has ended is not logged by another request of its kind.
#[test]
fn the_rest_is_logged_while_no_more_come() {
    let site = Site::new();
    let specs = ["vm1", "vm2"].map(|name| site.spec(name, "size=1MiB"));
    let more = ["--create", "--size", "1MiB", "--overcommit", "2"];
    let (_daemon, log) = site.start_with_log(&specs, &more);
    let mut guests = ["vm1.sock", "vm2.sock"].map(|name| Frontend::connect(&site.path(name)));
    assert_eq!(fill(&mut guests[0], 1), 0);
    assert_eq!(fill(&mut guests[1], 2), BLOCKS);
    let mut logged = times(&log.wait_for("the pool is full"));
    while logged < BLOCKS {
        logged += times(&log.wait_for("full"));
    }
    assert_eq!(logged, BLOCKS);
}

#[test]
fn what_was_discarded_is_free_at_once() {
    let (_site, daemon, [mut first, mut second]) = start();
    assert_eq!(fill(&mut first, 1), 0);
    assert_eq!(daemon.status().pool.free, 0);
    assert_eq!(first.range(DISCARD, 0, 8 * 64, 0), OK);
    let pool = daemon.status().pool;
    assert_eq!(pool.free, 64);
    assert!(pool.deferred <= 64, "{pool:?}");
    // And another vSSD gets it, after a commit if necessary.
    for block in 0..64 {
        assert_eq!(second.write_at(8 * block, &[2; 4096]), OK);
    }
    assert_eq!(second.write_at(8 * 64, &[2; 4096]), IOERR);
    assert_eq!(daemon.status().pool.free, 0);
}

/// Without UNMAP, what was written keeps its physical block: its guest can write there again although a
/// neighbour has filled the pool meanwhile.
#[test]
fn zeros_keep_their_physical_blocks_unless_they_are_to_be_given_up() {
    let (_site, daemon, [mut first, mut second]) = start();
    for block in 0..100 {
        assert_eq!(first.write_at(8 * block, &[1; 4096]), OK);
    }
    // From within a block to within another.
    assert_eq!(first.range(WRITE_ZEROES, 3, 8 * 90, 0), OK);
    assert_eq!(of(&daemon, "vm1").used, 100);
    let zeroed = first.read_at(0, 95 * 4096).unwrap();
    assert_eq!(zeroed[..3 * 512], [1; 3 * 512]);
    assert_eq!(zeroed[3 * 512..][..90 * 4096], [0; 90 * 4096]);
    assert_eq!(
        zeroed[(3 + 8 * 90) * 512..],
        [1; (8 * 95 - 3 - 8 * 90) * 512]
    );
    // Blocks that were never written get a physical block: to write to them later will not fail.
    assert_eq!(first.range(WRITE_ZEROES, 8 * 100, 8 * 56, 0), OK);
    assert_eq!(of(&daemon, "vm1").used, 156);
    assert_eq!(fill(&mut second, 2), 156);
    for block in 0..156 {
        assert_eq!(first.write_at(8 * block, &[3; 4096]), OK, "{block}");
    }
    assert_eq!(first.write_at(8 * 156, &[3; 4096]), IOERR);
    assert_eq!(first.range(WRITE_ZEROES, 8 * 156, 8, 0), IOERR);
    // With UNMAP they are given up.
    assert_eq!(first.range(WRITE_ZEROES, 0, 8 * 156, 1), OK);
    assert_eq!(of(&daemon, "vm1").used, 0);
    assert_eq!(first.read_at(0, 156 * 4096).unwrap(), [0; 156 * 4096]);
    assert_eq!(first.range(WRITE_ZEROES, 3, 2, 0), OK);
    assert_eq!(of(&daemon, "vm1").used, 1);
    assert_eq!(first.read_at(0, 4096).unwrap(), [0; 4096]);
}
