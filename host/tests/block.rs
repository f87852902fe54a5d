//! The virtio-blk side of the device, over a real vhost-user socket.

mod support;

use std::hint;
use std::thread;
use std::time::Instant;

use support::PATIENCE;
use support::daemon::{Daemon, Site};
use support::frontend::{
    DISCARD, EVENT_IDX, FLUSH, Frontend, GET_ID, IN, IOERR, OK, OUT, REQUESTS, SCRATCH, UNSUPP,
    WRITE_ZEROES, readable, writable,
};
use vssd::units::Geometry;
use vssd::wire::{MARK_OFFSET, mark};
use vssd_host::control::protocol::CountersStatus;

/// 16 blocks of 4 KiB, and the rest of `more`.
fn start(more: &str) -> (Site, Daemon, Frontend) {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", &format!("size=64KiB{more}"))]);
    let frontend = Frontend::connect(&site.path("vm1.sock"));
    (site, daemon, frontend)
}

/// `len` bytes in which no two sectors are alike, and none is 0.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let byte = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    (0..len)
        .map(|i| byte(i).wrapping_add(seed).max(1))
        .collect()
}

#[test]
fn the_device_shows_itself_as_a_vssd() {
    let (_site, _daemon, frontend) = start("");
    let config = &frontend.config;
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&config[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    assert_eq!(number(0, 8), 128, "capacity in sectors");
    assert_eq!(number(20, 4), 4096, "block size");
    let geometry = Geometry::new(4096, 16).unwrap();
    assert_eq!(config[MARK_OFFSET..][..8], mark(geometry));
    assert_eq!(number(44, 4), 8, "sectors of a discard");
    assert_eq!(number(34, 2), 3, "queues");
    let offered = |bit: u32| frontend.features >> bit & 1 == 1;
    for (bit, name) in [
        (2, "SEG_MAX"),
        (6, "BLK_SIZE"),
        (9, "FLUSH"),
        (13, "DISCARD"),
        (14, "WRITE_ZEROES"),
        (32, "VERSION_1"),
    ] {
        assert!(offered(bit), "{name}");
    }
    for (bit, name) in [
        (5, "RO"),
        (10, "TOPOLOGY"),
        (11, "CONFIG_WCE"),
        (12, "MQ"),
        (34, "RING_PACKED"),
        (40, "RING_RESET"),
    ] {
        assert!(!offered(bit), "{name}");
    }
}

#[test]
fn what_was_written_is_read_back() {
    let (_site, daemon, mut guest) = start("");
    let all = pattern(65536, 1);
    assert_eq!(guest.write_at(0, &all), OK);
    // One sector, as firmware writes, in the middle of a block.
    let sector = pattern(512, 9);
    assert_eq!(guest.write_at(13, &sector), OK);
    assert_eq!(guest.flush(), OK);
    let mut expected = all;
    expected[13 * 512..14 * 512].copy_from_slice(&sector);
    assert_eq!(guest.read_at(0, 65536).unwrap(), expected);
    assert_eq!(guest.read_at(13, 512).unwrap(), sector);
    let counters = daemon.vssd().counters;
    assert_eq!((counters.writes, counters.written_bytes), (2, 65536 + 512));
    assert_eq!((counters.reads, counters.read_bytes), (2, 65536 + 512));
    assert_eq!(counters.flushes, 1);
    assert_eq!(counters.rejects.len(), 0);
}

/// Buffers cut anywhere, also within a sector, and an empty one.
#[test]
fn data_may_lie_in_any_number_of_buffers() {
    let (_site, _daemon, mut guest) = start("");
    let bytes = pattern(8192, 3);
    let data = SCRATCH + 0x1000;
    guest.write(data, &bytes);
    let cuts = [0u32, 100, 100, 611, 4096, 8000, 8192];
    let buffers = |make: fn(u64, u32) -> support::frontend::Buffer| -> Vec<_> {
        cuts.windows(2)
            .map(|cut| make(data + u64::from(cut[0]), cut[1] - cut[0]))
            .collect()
    };
    assert_eq!(guest.request(OUT, 8, &buffers(readable)), OK);
    guest.write(data, &vec![0; 8192]);
    assert_eq!(guest.request(IN, 8, &buffers(writable)), OK);
    assert_eq!(guest.read(data, 8192), bytes);
}

/// More buffers than one system call takes, in an indirect table.
#[test]
fn a_request_may_have_more_buffers_than_a_system_call() {
    const BUFFERS: u32 = 1500;
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    let len = BUFFERS as usize * 512;
    let bytes = pattern(len, 11);
    // Backwards in memory, so that nothing can be joined.
    let place = |i: u32| SCRATCH + 0x10_0000 + u64::from(BUFFERS - i) * 512;
    for kind in [OUT, IN] {
        for i in 0..BUFFERS {
            let at = i as usize * 512;
            match kind {
                OUT => guest.write(place(i), &bytes[at..at + 512]),
                _ => guest.write(place(i), &[0; 512]),
            }
        }
        let data: Vec<_> = (0..BUFFERS)
            .map(|i| match kind {
                OUT => readable(place(i), 512),
                _ => writable(place(i), 512),
            })
            .collect();
        assert_eq!(guest.request_indirect(kind, 8, &data), OK);
    }
    for i in 0..BUFFERS {
        let at = i as usize * 512;
        assert_eq!(guest.read(place(i), 512), bytes[at..at + 512], "{i}");
    }
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeros() {
    let (_site, _daemon, mut guest) = start("");
    for (kind, flags) in [(DISCARD, 0), (WRITE_ZEROES, 0), (WRITE_ZEROES, 1)] {
        let bytes = pattern(16384, 5);
        assert_eq!(guest.write_at(0, &bytes), OK);
        assert_eq!(guest.range(kind, 3, 10, flags), OK);
        let mut expected = bytes;
        expected[3 * 512..13 * 512].fill(0);
        assert_eq!(guest.read_at(0, 16384).unwrap(), expected, "kind {kind}");
    }
}

#[test]
fn discards_are_checked() {
    let (_site, daemon, mut guest) = start(",held=32KiB");
    assert_eq!(guest.range(DISCARD, 0, 8, 1), UNSUPP, "unknown flag");
    assert_eq!(guest.range(WRITE_ZEROES, 0, 8, 2), UNSUPP, "unknown flag");
    assert_eq!(guest.range(DISCARD, 60, 8, 0), IOERR, "not held");
    assert_eq!(guest.range(DISCARD, 127, 2, 0), IOERR, "past the end");
    assert_eq!(guest.range(DISCARD, u64::MAX, u32::MAX, 0), IOERR);
    // Two ranges where config space allows one, and a third of a range.
    for len in [32, 5] {
        let data = [readable(SCRATCH + 0x1000, len)];
        assert_eq!(guest.request(DISCARD, 0, &data), IOERR);
    }
    let rejects = daemon.vssd().counters.rejects;
    assert_eq!(rejects["unsupported"], 2);
    assert_eq!(rejects["not-held"], 1);
    assert_eq!(rejects["out-of-range"], 2);
    assert_eq!(rejects["malformed"], 2);
}

#[test]
fn the_device_returns_its_id() {
    let (_site, _daemon, mut guest) = start("");
    let data = SCRATCH + 0x1000;
    assert_eq!(guest.request(GET_ID, 0, &[writable(data, 20)]), OK);
    let mut name = [0; 20];
    name[..3].copy_from_slice(b"vm1");
    assert_eq!(guest.read(data, 20), name);
    assert_eq!(guest.request(GET_ID, 0, &[writable(data, 19)]), IOERR);
}

#[test]
fn blocks_that_are_not_held_are_out_of_reach() {
    let (_site, daemon, mut guest) = start(",held=32KiB");
    assert_eq!(guest.write_at(0, &pattern(32768, 1)), OK);
    assert_eq!(guest.write_at(64, &[1; 512]), IOERR);
    assert_eq!(guest.read_at(64, 512), Err(IOERR));
    // The last held block and the first that is not.
    assert_eq!(guest.write_at(63, &[1; 1024]), IOERR);
    assert_eq!(guest.read_at(56, 8192), Err(IOERR));
    assert_eq!(guest.read_at(0, 32768).unwrap(), pattern(32768, 1));
    assert_eq!(daemon.vssd().counters.rejects["not-held"], 4);
}

#[test]
fn requests_beyond_the_device_or_unknown_are_refused() {
    let (_site, daemon, mut guest) = start("");
    for (sector, len) in [(128, 512), (127, 1024), (u64::MAX, 512), (0, 100), (0, 0)] {
        assert_eq!(guest.read_at(sector, len), Err(IOERR), "{sector} {len}");
        assert_eq!(guest.write_at(sector, &vec![0; len]), IOERR);
    }
    assert_eq!(daemon.vssd().counters.rejects["out-of-range"], 10);
    for kind in [2, 3, 9, 15, u32::MAX] {
        assert_eq!(guest.request(kind, 0, &[]), UNSUPP, "{kind}");
    }
    assert_eq!(guest.request(FLUSH, 0, &[]), OK);
}

/// Two devices on one file do not see each other's blocks.
#[test]
fn vssds_are_kept_apart() {
    let site = Site::new();
    let specs = [
        site.spec("vm1", "size=64KiB"),
        site.spec("vm2", "size=128KiB"),
    ];
    let daemon = site.start(&specs);
    let mut first = Frontend::connect(&site.path("vm1.sock"));
    let mut second = Frontend::connect(&site.path("vm2.sock"));
    assert_eq!(first.write_at(0, &[1; 65536]), OK);
    assert_eq!(second.read_at(0, 131072).unwrap(), [0; 131072]);
    assert_eq!(second.write_at(0, &[2; 131072]), OK);
    assert_eq!(first.read_at(0, 65536).unwrap(), [1; 65536]);
    assert_eq!(daemon.status().vssds.len(), 2);
}

/// A backend that was killed finds its blocks as they were, and serves a request that the guest
/// made meanwhile without another kick.
#[test]
fn a_killed_backend_is_replaced_without_loss() {
    let (site, daemon, mut guest) = start("");
    assert_eq!(guest.write_at(0, &pattern(65536, 7)), OK);
    daemon.kill();
    guest.unplug();
    let (header, status) = guest.envelope(OUT, 8);
    guest.write(SCRATCH + 0x1000, &[0xaa; 4096]);
    let ring = &mut guest.rings[support::frontend::REQUESTS];
    ring.chain(
        &guest.memory,
        0,
        &[header, readable(SCRATCH + 0x1000, 4096), status],
    );
    ring.publish(&guest.memory, 0);
    let daemon = site.start(&[site.spec("vm1", "size=64KiB")]);
    guest.plug(&site.path("vm1.sock"));
    let ring = &mut guest.rings[support::frontend::REQUESTS];
    assert_eq!(ring.wait_used(&guest.memory), (0, 1));
    let mut expected = pattern(65536, 7);
    expected[4096..8192].fill(0xaa);
    assert_eq!(guest.read_at(0, 65536).unwrap(), expected);
    assert_eq!(daemon.vssd().held, 16);
}

#[test]
fn a_guest_is_notified_of_the_entry_it_asked_for() {
    const REQUESTED: u16 = 100;
    let (_site, _daemon, mut guest) = start("");
    assert_ne!(guest.features & EVENT_IDX, 0);
    assert_eq!(guest.flush(), OK);
    let (header, status) = guest.envelope(FLUSH, 0);
    let ring = &mut guest.rings[REQUESTS];
    ring.chain(&guest.memory, 0, &[header, status]);
    ring.ask_for_call(&guest.memory, REQUESTED);
    for _ in 0..REQUESTED {
        ring.publish(&guest.memory, 0);
        ring.kick();
    }
    let mut calls = 0;
    for _ in 0..REQUESTED {
        while ring.used_entry(&guest.memory).is_none() {
            let called = ring.calls();
            assert_ne!(called, 0, "the guest is notified of the requested entry");
            calls += called;
        }
    }
    // One more may be that of the flush, which was over without it.
    assert!((1..=2).contains(&calls), "{calls} calls");
}

/// It does so rarely where others want the processor, but it does.
#[test]
fn a_backend_polls_for_requests_in_quick_succession_and_then_sleeps() {
    let (_site, daemon, mut guest) = start("");
    let until = Instant::now() + PATIENCE;
    let mut counters = CountersStatus::default();
    while counters.polls_found == 0 {
        assert!(Instant::now() < until, "it does not: {counters:?}");
        for _ in 0..50 {
            guest.read_at(0, 512).unwrap();
        }
        while !guest.rings[REQUESTS].will_want_kick(&guest.memory) {
            assert!(Instant::now() < until, "it does not fall asleep");
            thread::yield_now();
        }
        counters = daemon.vssd().counters;
    }
}

/// A disk's answer wakes the backend, and until it sleeps again it finds requests by itself.
#[test]
fn a_backend_that_is_awake_needs_no_notifications() {
    // A guest that shares the backend's one processor sees it asleep or not at all.
    if thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let site = Site::new();
    let specs = [site.spec("vm1", "size=64KiB")];
    // A disk so slow that the backend sleeps before it answers.
    let more = ["--create", "--no-poll", "--media", "hdd"];
    let _daemon = site.start_with(&specs, &more);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &pattern(4096, 7)), OK);
    let (header, status) = guest.envelope(IN, 0);
    let data = writable(SCRATCH + 0x1000, 4096);
    let until = Instant::now() + PATIENCE;
    // Whether the guest looks before the backend sleeps again is a matter of luck.
    let mut was_awake = false;
    while !was_awake {
        let ring = &mut guest.rings[REQUESTS];
        ring.chain(&guest.memory, 0, &[header, data, status]);
        ring.publish(&guest.memory, 0);
        if ring.wants_kick(&guest.memory) {
            ring.kick();
        }
        let mut slept = false;
        while ring.used_entry(&guest.memory).is_none() {
            assert!(Instant::now() < until, "it wants to be told at once");
            slept |= ring.will_want_kick(&guest.memory);
            hint::spin_loop();
        }
        was_awake = slept && !ring.will_want_kick(&guest.memory);
    }
    assert_eq!(guest.read(SCRATCH + 0x1000, 4096), pattern(4096, 7));
}

#[test]
fn a_backend_need_not_look_for_requests() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=64KiB")];
    let daemon = site.start_with(&specs, &["--create", "--no-poll"]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for _ in 0..1000 {
        guest.read_at(0, 512).unwrap();
    }
    // To be counted, the polls must be over.
    guest.unplug();
    daemon.wait_until(|vssd| !vssd.connected);
    let counters = daemon.vssd().counters;
    assert_eq!((counters.polls_found, counters.polls_vain), (0, 0));
}

#[test]
fn a_guest_that_declines_event_idx_is_served_too() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=64KiB")]);
    let mut guest = Frontend::unplugged();
    guest.declined = EVENT_IDX;
    guest.plug(&site.path("vm1.sock"));
    for round in 1..20 {
        assert_eq!(guest.write_at(8, &pattern(4096, round)), OK);
        assert_eq!(guest.read_at(8, 4096).unwrap(), pattern(4096, round));
    }
}

/// A backend may be killed between the used entry and its notification.
#[test]
fn a_backend_notifies_of_what_the_one_before_published() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=64KiB")]);
    let mut guest = Frontend::unplugged();
    let ring = &mut guest.rings[REQUESTS];
    ring.ask_for_call(&guest.memory, 1);
    ring.publish(&guest.memory, 0);
    ring.put_used(&guest.memory, 1);
    guest.plug(&site.path("vm1.sock"));
    let ring = &guest.rings[REQUESTS];
    // As QEMU does when a backend is back.
    ring.kick();
    assert_ne!(ring.calls(), 0);
}

/// Frontends may connect and disconnect any number of times.
#[test]
fn connections_leave_nothing_behind() {
    let (site, daemon, mut guest) = start("");
    let mut counts = Vec::new();
    for _ in 0..40 {
        guest.unplug();
        daemon.wait_until(|vssd| !vssd.connected);
        guest = Frontend::connect(&site.path("vm1.sock"));
        assert_eq!(guest.write_at(0, &[1; 512]), OK);
        counts.push(daemon.descriptors());
    }
    // The last connection may still be on its way out; forty may not.
    assert!(counts[39] < counts[0] + 20, "{counts:?}");
}

/// A vSSD of two windows, the second of which lies where no write succeeds:
/// each window has a region of its own as long as there are any.
fn start_on_a_failing_medium(site: &Site) -> Daemon {
    let specs = [site.spec("vm1", "size=4MiB")];
    site.start(&specs).kill();
    let shape = vssd_host::pool::Shape {
        block_size: 4096,
        physical_blocks: 1024,
        overcommit_permille: 1000,
    };
    site.start_limited(&specs, shape.backing_len() - (2 << 20))
}

/// The first sector of the second window.
const FAILING: u64 = 4096;

/// On a medium that fails some writes the guest gets an error for each of
/// them, the log a line for all of them, and everything else goes on.
#[test]
fn a_failing_medium_is_an_error_for_the_guest_and_a_line_for_the_log() {
    let site = Site::new();
    let daemon = start_on_a_failing_medium(&site);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for i in 0..50 {
        assert_eq!(guest.write_at(i, &[i as u8 + 1; 512]), OK);
        assert_eq!(guest.write_at(FAILING + i, &[1; 512]), IOERR);
        assert_eq!(guest.read_at(i, 512).unwrap(), [i as u8 + 1; 512]);
    }
    assert_eq!(daemon.vssd().counters.io_errors, 50);
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = std::fs::read_to_string(site.path("daemon.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("ERROR")).count();
    assert_eq!(lines, 1, "{log}");
}

/// Writes that fail in the middle of the device end nothing, and what was to be
/// written for the first time still reads as zeros.
#[test]
fn a_failing_medium_does_not_end_the_device() {
    let site = Site::new();
    let daemon = start_on_a_failing_medium(&site);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[3; 4096]), OK);
    for sector in [FAILING, FAILING + 800] {
        assert_eq!(guest.write_at(sector, &[1; 4096]), IOERR);
        assert_eq!(guest.read_at(sector, 4096).unwrap(), [0; 4096]);
    }
    assert_eq!(guest.read_at(0, 4096).unwrap(), [3; 4096]);
    assert_eq!(guest.flush(), OK);
    assert_eq!(daemon.vssd().counters.io_errors, 2);
}
