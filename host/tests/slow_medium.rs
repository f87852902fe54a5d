//! The control plane answers whatever a disk does.
//!
//! The medium is so slow that it is busy for longer than any test waits. So what is answered
//! while it is busy was not waiting for it, however slow the machine is.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::PATIENCE;
use support::daemon::{Daemon, Site};
use support::frontend::{
    COMMANDS, Frontend, GET_ID, OK, REQUESTS, SCRATCH, unreadable_kick, writable,
};
use support::guest::Guest;
use vssd::units::Geometry;
use vssd_host::control::protocol::{Change, Connection, Reply, Request, Resize, VssdStatus};
use vssd_host::size::Amount;
use workloads::{HostPick, Pick};

/// Blocks of each vSSD.
const BLOCKS: u32 = 1024;

/// Bytes of a read: of its blocks every other one was written, so that it takes 128 accesses of
/// 5 ms.
const READ_LEN: u32 = 1 << 20;

/// Reads under way, in most tests: 27 s.
const READS: u16 = 42;

/// Where they go.
const BUFFER: u64 = SCRATCH + 0x1000;

/// A backend with two vSSDs, and its output.
fn start(more: &[&str]) -> (Site, Daemon, support::daemon::Log, String) {
    let site = Site::new();
    let specs = ["vm1", "vm2"].map(|name| site.spec(name, "size=4MiB"));
    let options = ["--create", "--media", "hdd", "--metrics", "127.0.0.1:0"];
    let (daemon, log) = site.start_with_log(&specs, &[&options, more].concat());
    let line = log.wait_for("http://");
    let url = line.split("http://").nth(1).unwrap();
    let address = url.split('/').next().unwrap().to_owned();
    (site, daemon, log, address)
}

/// Writes what the reads find.
fn scatter(guest: &mut Frontend) {
    for block in (0..READ_LEN / 4096).step_by(2) {
        assert_eq!(guest.write_at(8 * u64::from(block), &[1; 4096]), OK);
    }
}

fn vssd(daemon: &Daemon, name: &str) -> VssdStatus {
    let all = daemon.status().vssds;
    all.into_iter().find(|v| v.name == name).unwrap()
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn shrink(name: &str, pick: Pick) -> Resize {
    let mut resize = Resize::new(name, Change::Shrink(Amount::Blocks(100)));
    resize.pick = pick;
    // No driver is there, except where one is to surrender blocks.
    resize.force = true;
    resize
}

/// Everything that does not concern vm1 works, and the status is complete, while vm1 drains.
fn answers(site: &Site, daemon: &Daemon, address: &str, held: u32) {
    let busy = vssd(daemon, "vm1");
    assert!(busy.draining, "{busy:?}");
    let text = String::from_utf8(site.vssdctl(&["status"]).stdout).unwrap();
    assert!(text.contains("draining"), "{text}");
    assert!(scrape(address).contains(r#"vssd_waiting{vssd="vm1",for="requests"} 1"#));
    let latency = Request::Latency {
        vssd: "vm1".to_owned(),
        reset: true,
    };
    let reply = daemon.client().call(&latency).unwrap();
    assert!(matches!(reply, Reply::Latency(_)), "{reply:?}");
    // A resize that is carried out at once, and one whose deadline the clock keeps.
    let resize = Request::Resize(shrink("vm2", Pick::Host(HostPick::Sequential)));
    let Reply::Resized(resized) = daemon.client().call(&resize).unwrap() else {
        panic!("vm2 is not resized");
    };
    assert_eq!((resized.held, resized.revoked), (held - 100, 100));
    let mut overdue = shrink("vm2", Pick::Guest);
    overdue.deadline_ms = 1;
    let Reply::Resized(resized) = daemon.client().call(&Request::Resize(overdue)).unwrap() else {
        panic!("vm2 is not resized");
    };
    assert_eq!((resized.held, resized.revoked), (held - 200, 100));
    let added = site.vssdctl(&["add", &site.spec("vm3", "size=4KiB,held=0B")]);
    assert!(added.status.code().is_some(), "it is answered");
    let still = vssd(daemon, "vm1");
    assert!(
        still.draining,
        "all of that came after the medium was idle: {still:?}"
    );
}

fn resize_to_be_surrendered() -> Resize {
    let mut resize = shrink("vm1", Pick::Guest);
    resize.deadline_ms = 0;
    resize
}

#[test]
fn a_surrender_blocks_no_other_vssd_and_a_second_signal_exits() {
    let (site, daemon, log, address) = start(&[]);
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut guest = Guest::boot(&site.path("vm1.sock"), geometry);
    scatter(&mut guest.frontend);
    guest.frontend.begin_reads(READS, READ_LEN, BUFFER);
    guest.frontend.wait_taken();
    daemon.begin(resize_to_be_surrendered());
    guest.surrender_and_go();
    daemon.wait_until(|v| v.draining);
    answers(&site, &daemon, &address, BLOCKS);

    // The guest is killed: the end of its connection waits for the same requests.
    guest.frontend.unplug();
    daemon.wait_until(|v| v.draining && v.resize.is_some());
    answers(&site, &daemon, &address, BLOCKS - 200);

    daemon.ask_to_end();
    log.wait_for("waiting for requests of vm1");
    daemon.ask_to_end();
    let mut daemon = daemon;
    assert_eq!(daemon.wait().code(), Some(128 + libc::SIGTERM));
    log.wait_for("exiting at once");
    for socket in ["vm1.sock", "vm2.sock", "control.sock"] {
        assert!(!site.path(socket).exists(), "{socket} is still there");
    }
}

/// The command waits for the requests, and the end of the connection for the command.
#[test]
fn a_frontend_may_leave_while_its_surrender_waits() {
    let (site, daemon, _log, _address) = start(&[]);
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut guest = Guest::boot(&site.path("vm1.sock"), geometry);
    scatter(&mut guest.frontend);
    // These end within the test.
    guest.frontend.begin_reads(READS / 4, READ_LEN, BUFFER);
    guest.frontend.wait_taken();
    daemon.begin(resize_to_be_surrendered());
    guest.surrender_and_go();
    daemon.wait_until(|v| v.draining);
    guest.frontend.unplug();
    daemon.wait_until(|v| v.connection == Connection::None && !v.draining);
    let mut next = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(next.write_at(0, &[1; 4096]), OK);
    assert_eq!(daemon.vssd().restarts, 0);
}

/// The requests that the command waits for are those of a thread that has died.
#[test]
fn a_thread_may_die_while_a_surrender_waits() {
    for stop_first in [false, true] {
        let (site, daemon, _log, _address) = start(&[]);
        let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
        let mut guest = Guest::boot(&site.path("vm1.sock"), geometry);
        scatter(&mut guest.frontend);
        guest.frontend.begin_reads(READS, READ_LEN, BUFFER);
        guest.frontend.wait_taken();
        daemon.begin(resize_to_be_surrendered());
        guest.surrender_and_go();
        daemon.wait_until(|v| v.draining);
        let (kick, _client) = unreadable_kick();
        guest.frontend.kick_by(REQUESTS, &kick);
        if stop_first {
            guest.frontend.stop_ring_and_go(COMMANDS)
        } else {
            guest.frontend.wait_hung_up()
        }
        daemon.wait_until(|v| v.connection == Connection::None && v.restarts == 1);
        let mut next = Frontend::connect(&site.path("vm1.sock"));
        // The model of the medium is still busy with what was given up; this does not need it.
        assert_eq!(next.request(GET_ID, 0, &[writable(BUFFER, 20)]), OK);
    }
}

#[test]
fn a_reset_or_a_disconnect_blocks_no_other_vssd() {
    for reset in [true, false] {
        let (site, daemon, _log, address) = start(&[]);
        let mut guest = Frontend::connect(&site.path("vm1.sock"));
        scatter(&mut guest);
        guest.begin_reads(READS, READ_LEN, BUFFER);
        guest.wait_taken();
        if reset {
            guest.stop_ring_and_go(REQUESTS)
        } else {
            guest.unplug()
        }
        daemon.wait_until(|v| v.draining);
        answers(&site, &daemon, &address, BLOCKS);
        daemon.kill();
    }
}

#[test]
fn a_revocation_blocks_no_other_vssd() {
    let (site, daemon, _log, address) = start(&[]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    scatter(&mut guest);
    guest.begin_reads(READS, READ_LEN, BUFFER);
    guest.wait_taken();
    let mut resize = shrink("vm1", Pick::Guest);
    resize.deadline_ms = 1;
    daemon.begin(resize);
    daemon.wait_until(|v| v.draining);
    answers(&site, &daemon, &address, BLOCKS);
    daemon.kill();
}

#[test]
fn synchronous_requests_block_no_other_vssd() {
    for engine in ["uring", "sync"] {
        let (site, daemon, _log, address) = start(&["--io", engine]);
        let mut guest = Frontend::connect(&site.path("vm1.sock"));
        scatter(&mut guest);
        // No direct I/O to such an address.
        guest.begin_reads(READS, READ_LEN, BUFFER + 1);
        // There is no event when they have been taken; a resize before that waits for none.
        loop {
            let mut resize = shrink("vm1", Pick::Guest);
            resize.change = Change::Shrink(Amount::Blocks(1));
            resize.deadline_ms = 1;
            let id = daemon.begin(resize);
            let ended = |v: &VssdStatus| v.last_resize.as_ref().is_some_and(|r| r.id == id);
            if daemon.wait_until(|v| v.draining || ended(v)).draining {
                break;
            }
        }
        answers(&site, &daemon, &address, BLOCKS);
        daemon.kill();
    }
}
