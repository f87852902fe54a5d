//! Frontends that are silent or kill the threads that serve them, and as many as are allowed.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process;

use support::daemon::Site;
use support::frontend::{COMMANDS, Frontend, OK, QUEUES, REQUESTS, unreadable_kick};
use vssd_host::control::protocol::{Change, Connection, Resize};
use vssd_host::descriptors::{CONNECTED, IDLE, needed, raise_limit};
use vssd_host::size::Amount;
use vssd_host::transport::Transport;
use workloads::{HostPick, Pick};

#[test]
fn a_thread_that_dies_ends_its_connection_and_the_next_is_served() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=4MiB"), site.spec("vm2", "size=4MiB")];
    let (daemon, log) = site.start_with_log(&specs, &["--create", "--media", "hdd"]);
    let socket = site.path("vm1.sock");
    let mut other = Frontend::connect(&site.path("vm2.sock"));
    for (restarts, queue) in [(1, REQUESTS), (2, COMMANDS)] {
        let mut victim = Frontend::connect(&socket);
        assert_eq!(victim.write_at(0, &[7; 8192]), OK);
        // These are under way when the thread dies.
        victim.begin_reads(20, 8192, 0x20_0000);
        victim.wait_taken();
        let (kick, _client) = unreadable_kick();
        victim.kick_by(queue, &kick);
        victim.wait_hung_up();
        daemon.wait_until(|v| v.restarts == restarts && v.connection == Connection::None);
        if restarts == 1 {
            log.wait_for("a thread that served the frontend died");
        }
    }
    assert_eq!(other.write_at(0, &[8; 4096]), OK);
    assert_eq!(daemon.status().panics, 0, "none of that was a panic");
    let mut next = Frontend::connect(&socket);
    assert_eq!(next.read_at(0, 8192).unwrap(), [7; 8192]);
    // Requests that the dead threads left behind are not waited for.
    let mut resize = Resize::new("vm1", Change::Shrink(Amount::Blocks(1000)));
    (resize.pick, resize.force) = (Pick::Host(HostPick::Sequential), true);
    let id = daemon.begin(resize);
    assert!(daemon.ended(id).is_complete());
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_silent_client_is_disconnected_and_the_next_is_served() {
    let site = Site::new();
    let (daemon, log) = site.start_with_log(&[site.spec("vm1", "size=1MiB")], &["--create"]);
    let socket = site.path("vm1.sock");
    for begun in [&b""[..], b"\x01\0\0\0\x01"] {
        let mut silent = UnixStream::connect(&socket).unwrap();
        silent.write_all(begun).unwrap();
        let connecting = daemon.wait_until(|v| v.connection == Connection::Connecting);
        assert!(!connecting.connected);
        let known = daemon.wait_until(|v| v.peer_pid.is_some());
        assert_eq!(known.peer_pid, Some(process::id()));
        let text = site.vssdctl(&["status"]).stdout;
        assert!(String::from_utf8(text).unwrap().contains(" connecting "));
        // It has to wait for its turn, and gets it.
        let mut next = Frontend::connect(&socket);
        assert_eq!(next.write_at(0, &[1; 4096]), OK);
        let served = daemon.wait_until(|v| v.connected);
        assert_eq!(served.connection, Connection::Connected);
        assert_eq!(served.peer_pid, Some(process::id()));
        drop(next);
        daemon.wait_until(|v| v.connection == Connection::None && v.peer_pid.is_none());
    }
    let said = log.wait_for("sent no request");
    assert!(said.contains(&format!("pid={}", process::id())), "{said}");
}

/// Whichever of its threads gets the first event of the frontend.
#[test]
fn every_frontend_is_logged_with_its_process() {
    let site = Site::new();
    let specs: Vec<_> = (0..8)
        .map(|i| site.spec(&format!("vm{i}"), "size=1MiB"))
        .collect();
    let mut command = site.command(&specs, &["--create"]);
    command.stderr(File::create(site.path("daemon.log")).unwrap());
    let daemon = site.launch(command);
    for _ in 0..10 {
        let guests = (0..8).map(|i| Frontend::connect(&site.path(&format!("vm{i}.sock"))));
        assert_eq!(guests.collect::<Vec<_>>().len(), 8);
    }
    assert!(daemon.terminate().success());
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    let lines = log
        .lines()
        .filter(|line| line.contains("frontend connected"));
    let pid = format!("pid={}", process::id());
    let (known, unknown): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(&pid));
    assert_eq!((known.len(), unknown.len()), (80, 0), "{log}");
}

#[test]
fn clients_that_leave_at_once_do_not_matter() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let socket = site.path("vm1.sock");
    for _ in 0..50 {
        drop(UnixStream::connect(&socket).unwrap());
    }
    let mut guest = Frontend::connect(&socket);
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    assert_eq!(daemon.vssd().restarts, 0);
}

#[test]
fn the_descriptors_of_a_vssd_are_as_many_as_are_planned_for() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let daemon = site.start_with(&specs, &["--create", "--media", "dram"]);
    let none = daemon.descriptors();
    let connected = Frontend::connect(&site.path("vm1.sock"));
    daemon.wait_for_descriptors(none + CONNECTED as usize + 1);
    drop(connected);
    daemon.wait_for_descriptors(none);
    drop(daemon);
    let more = [0, 1].map(|i| site.spec(&format!("idle{i}"), "size=4KiB,held=0B"));
    let daemon = site.start_with(
        &[specs.to_vec(), more.to_vec()].concat(),
        &["--create", "--media", "dram"],
    );
    daemon.wait_for_descriptors(none + 2 * IDLE as usize);
}

fn many(site: &Site) -> Vec<String> {
    (0..60)
        .map(|i| site.spec(&format!("vm{i}"), "size=1MiB"))
        .collect()
}

#[test]
fn sixty_vssds_are_served_under_the_usual_limit() {
    // For this process, which has the other ends.
    raise_limit().unwrap();
    let site = Site::new();
    let command = site.command(&many(&site), &["--create"]);
    let daemon = site.launch(site.with_open_files("-Sn", 256, &command));
    let mut guests: Vec<_> = (0..60)
        .map(|i| Frontend::connect(&site.path(&format!("vm{i}.sock"))))
        .collect();
    for guest in &mut guests {
        assert_eq!(guest.rings.len(), QUEUES);
        assert_eq!(guest.write_at(0, &[9; 4096]), OK);
    }
    assert!(daemon.status().vssds.iter().all(|v| v.connected));
}

#[test]
fn more_vssds_than_there_are_descriptors_for_are_refused() {
    let site = Site::new();
    let most = needed(&[const { Transport::Virtqueues }; 60]);
    let limit = most - 1;
    let command = site.command(&many(&site), &["--create"]);
    let said = Site::refused_command(site.with_open_files("-n", limit, &command));
    let wanted = format!("60 vSSDs need {most} file descriptors");
    assert!(said.contains(&wanted), "{said}");
    assert!(said.contains(&format!("the limit is {limit}")), "{said}");
    assert!(!site.path("disk.img").exists(), "nothing was made");

    let specs = [site.spec("vm1", "size=1MiB")];
    let command = site.command(&specs, &["--create", "--size", "4MiB"]);
    let daemon =
        site.launch(site.with_open_files("-n", needed([&Transport::Virtqueues]), &command));
    let add = site.spec("vm2", "size=1MiB");
    let output = site.vssdctl(&["add", &add]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("2 vSSDs need"), "{said}");
    assert!(!site.path("vm2.sock").exists());
    assert_eq!(daemon.status().vssds.len(), 1);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
}
