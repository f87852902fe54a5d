//! Standard streams that cannot be written: guests are served regardless, and commands end
//! silently.

mod support;

use std::fs::File;
use std::io::{self, PipeWriter, pipe};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::daemon::{Site, pool};
use support::frontend::{Frontend, OK, REQUESTS, RING_SIZE};

/// The writing end of a pipe whose reader has left.
fn closed() -> PipeWriter {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A guest reads and writes, over a connection whose beginning and end are logged.
fn use_it(socket: &Path) {
    let mut frontend = Frontend::connect(socket);
    assert_eq!(frontend.write_at(0, &[7; 4096]), OK);
    assert_eq!(frontend.read_at(0, 4096).unwrap(), [7; 4096]);
}

#[test]
fn a_log_that_cannot_be_written_changes_nothing() {
    for log in [Stdio::from(closed()), Stdio::from(full())] {
        let site = Site::new();
        let mut command = site.command(&[site.spec("vm1", "size=1MiB")], &["--create"]);
        command.stderr(log);
        let daemon = site.launch(command);
        (0..3).for_each(|_| use_it(&site.path("vm1.sock")));
        assert_eq!(daemon.status().vssds[0].counters.writes, 3);
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_log_that_is_not_read_changes_nothing() {
    let site = Site::new();
    let mut command = site.command(
        &[site.spec("vm1", "size=1MiB")],
        &["--create", "--log", "trace"],
    );
    let (reader, writer) = pipe().unwrap();
    // As small as a pipe can be: a few lines fill it.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    command.stderr(writer);
    let daemon = site.launch(command);
    (0..60).for_each(|_| use_it(&site.path("vm1.sock")));
    assert_eq!(daemon.status().vssds[0].counters.writes, 60);
    assert!(daemon.terminate().success());
    let logged = io::read_to_string(reader).unwrap();
    assert!(logged.contains("frontend connected"), "{logged}");
}

/// More lines than wait for their writer, from the thread that serves requests.
#[test]
fn a_log_that_is_full_does_not_stall_requests() {
    let site = Site::new();
    let mut command = site.command(
        &[site.spec("vm1", "size=1MiB")],
        &["--create", "--log", "debug"],
    );
    let (reader, writer) = pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    command.stderr(writer);
    let daemon = site.launch(command);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    let ring = &mut guest.rings[REQUESTS];
    let before = ring.next_avail;
    // Each kick of a ring that is invalid is a line.
    ring.claim(&guest.memory, before + RING_SIZE + 1);
    for _ in 0..5000 {
        ring.kick();
        ring.wait_kick_read();
    }
    ring.claim(&guest.memory, before);
    assert_eq!(guest.write_at(0, &[7; 4096]), OK);
    assert_eq!(daemon.status().vssds[0].counters.writes, 1);
    assert!(daemon.terminate().success());
    let logged = io::read_to_string(reader).unwrap();
    assert!(logged.contains("a queue could not be served"), "{logged}");
}

#[test]
fn a_backend_serves_without_standard_streams() {
    let site = Site::new();
    let mut command = site.command(&[site.spec("vm1", "size=1MiB")], &["--create"]);
    command.stdout(closed()).stderr(full());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        let output = site.vssdctl(&["status"]);
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
        assert!(Instant::now() < until, "it does not start");
        // Without its `ready` there is no event to wait for.
        thread::sleep(Duration::from_millis(10));
    };
    assert!(status.contains("vm1"), "{status}");
    use_it(&site.path("vm1.sock"));
    assert!(site.vssdctl(&["shutdown"]).status.success());
    assert!(child.wait().unwrap().success());
}

/// Runs a command with its standard output at `to`.
fn run(command: &mut Command, to: impl Into<Stdio>) -> Output {
    let child = command.stdout(to).stderr(Stdio::piped()).spawn().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn commands_end_quietly_when_their_reader_leaves() {
    let site = Site::new();
    let backing = site.path("other.img");
    let backing = backing.to_str().unwrap();
    assert!(
        pool(&["create", backing, "--size", "1MiB"])
            .status
            .success()
    );
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let control = daemon.control().to_str().unwrap().to_owned();
    let commands: [&[&str]; 8] = [
        &["status"],
        &["status", "--json"],
        &["watch"],
        &["latency", "vm1"],
        &["--help"],
        &["pool", "status", backing],
        &["pool", "check", backing],
        &["pool", "check", backing, "--json"],
    ];
    for args in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vssdctl"));
        command.arg("--control").arg(&control).args(args);
        let output = run(&mut command, closed());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert_eq!(said, "", "{args:?}");
    }
    // A full disk is reported.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssdctl"));
    command.args(["pool", "status", backing]);
    let output = run(&mut command, full());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("standard output"), "{said}");
}
