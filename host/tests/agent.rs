//! Resizes over the channel of an agent, by a real socket, and what can go wrong there.

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use support::agent::{Agent, port};
use support::daemon::{Daemon, Log, Site};
use support::frontend::{Frontend, IOERR, OK};
use support::guest::refuse;
use support::resizing::{BLOCKS, Content, SECTORS, content, own, to};
use vssd::driver::Driver;
use vssd::stream::Closed;
use vssd::stream::frame::{Header, Kind};
use vssd_host::control::protocol::{AgentConnection, Request, TransportName};
use workloads::{HostPick, Pick};

/// A daemon that serves one vSSD with an agent, and its log.
fn start() -> (Site, Daemon, Log) {
    let site = Site::new();
    let (daemon, log) = site.start_with_log(&[spec(&site)], &["--create"]);
    (site, daemon, log)
}

fn spec(site: &Site) -> String {
    let agent = site.path("agent.sock");
    site.spec("vm1", &format!("size=4MiB,agent={}", agent.display()))
}

/// A guest: its disk with one queue, and its agent.
fn boot(site: &Site, random: u64) -> (Frontend, Agent) {
    let disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
    (disk, Agent::boot(&site.path("agent.sock"), random))
}

/// A frame as it is on the line.
fn frame(header: Header, message: &[u8]) -> Vec<u8> {
    let frame = [&header.encode(message)[..], message].concat();
    // Groups of up to 253 bytes that are no zeros, each with its code in front.
    let mut line = vec![0];
    for group in frame.split(|byte| *byte == 0) {
        assert!(group.len() < 254, "a longer one has several codes");
        line.push(group.len() as u8 + 1);
        line.extend(group);
    }
    line.push(0);
    line
}

#[test]
fn a_guest_shrinks_and_grows_by_its_agent() {
    let (site, daemon, _log) = start();
    let (mut disk, mut agent) = boot(&site, 1);
    let seen = daemon.wait_until(|v| v.agreed);
    assert_eq!(
        (seen.guest(), seen.transport),
        ("agent", TransportName::Stream)
    );
    assert_eq!(seen.agent.unwrap().connection, AgentConnection::Agent);
    let identity = agent.identity.clone().unwrap();
    assert_eq!(
        (identity.name.as_str(), identity.geometry.capacity()),
        ("vm1", BLOCKS)
    );
    let last = BLOCKS - 1;
    assert_eq!(disk.write_at(u64::from(last) * SECTORS, &own(last)), OK);

    let id = daemon.begin(to(BLOCKS - 100));
    agent.settle_at(BLOCKS - 100);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!((ended.revoked, ended.exchanges), (0, 1));
    assert_eq!(disk.write_at(u64::from(last) * SECTORS, &own(last)), IOERR);

    let id = daemon.begin(to(BLOCKS));
    agent.settle_at(BLOCKS);
    assert!(daemon.ended(id).is_complete());
    assert_eq!(content(&mut disk, last), Content::Zeros);

    agent.choose = refuse;
    let id = daemon.begin(to(BLOCKS - 1));
    agent.read();
    agent.run_until(Driver::is_quiet);
    let ended = daemon.ended(id);
    assert_eq!((ended.end.as_str(), ended.withheld), ("declined", true));
}

#[test]
fn its_socket_is_as_private_as_the_others_and_goes_with_the_daemon() {
    let (site, daemon, _log) = start();
    let agent = site.path("agent.sock");
    for socket in [&agent, &site.path("vm1.sock")] {
        let mode = std::fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    assert_eq!(daemon.vssd().agent.unwrap().socket, agent.to_str().unwrap());
    assert!(daemon.terminate().success());
    assert!(!agent.exists());
}

#[test]
fn a_status_says_who_is_there_and_by_what() {
    let (site, daemon, _log) = start();
    let text = || String::from_utf8(site.vssdctl(&["status"]).stdout).unwrap();
    assert!(text().contains("1 request queue; agent at "), "{}", text());
    assert!(text().contains(": not connected"), "{}", text());
    let _disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
    let stream = port(&site.path("agent.sock"));
    let state = |daemon: &Daemon, wanted| {
        daemon.wait_until(|v| v.agent.as_ref().is_some_and(|a| a.connection == wanted))
    };
    let seen = state(&daemon, AgentConnection::Port);
    assert_eq!((seen.guest(), seen.driver), ("plain", false));
    assert_eq!(seen.agent.unwrap().peer_pid, Some(std::process::id()));
    assert!(text().contains("no agent has opened it"), "{}", text());
    let mut agent = Agent::on(stream, 1);
    agent.run_until(Driver::is_quiet);
    let seen = daemon.wait_until(|v| v.agreed);
    assert_eq!(seen.guest(), "agent");
    assert!(text().contains(": an agent answers"), "{}", text());
    drop(agent);
    let seen = state(&daemon, AgentConnection::None);
    assert_eq!((seen.guest(), seen.driver), ("plain", false));
    let json = site.vssdctl(&["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let vssd = &json["vssds"][0];
    assert_eq!(
        (&vssd["transport"], &vssd["agent"]["connection"]),
        (&"stream".into(), &"none".into())
    );
}

/// The frontend's socket stays open when the agent dies: its half frame is on the line, and the
/// answers to it are before those to the next agent.
#[test]
fn an_agent_that_dies_within_a_frame_is_replaced_by_the_next() {
    let (site, daemon, _log) = start();
    let (_disk, mut first) = boot(&site, 1);
    let id = daemon.begin(to(BLOCKS - 500));
    first.choose = support::guest::scattered;
    // It gives the blocks up, as far as the middle of the command.
    while !first.step() {
        first.read();
    }
    while first.driver().leaving().is_none() {
        first.write();
        first.read();
        first.step();
    }
    let output = first.end.output();
    first.stream.write_all(&output[..output.len() / 2]).unwrap();
    let mut second = first.restart(2);
    second.settle_at(BLOCKS - 500);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    // The piece was read, and is no frame.
    assert_eq!(daemon.vssd().counters.bad_frames, 1);
}

/// Opening again would take the channel from the agent that replaced it.
#[test]
fn an_agent_that_was_replaced_is_told_and_stays_away() {
    let (site, daemon, log) = start();
    let (_disk, mut first) = boot(&site, 1);
    let mut second = Agent::on(first.stream.try_clone().unwrap(), 2);
    second.run_until(Driver::is_quiet);
    // By the same connection; what the first one reads from now on is its own.
    first.end.send(&vssd::driver::command_buffer()[..24]);
    assert_eq!(first.wait_closed(), Closed::Replaced);
    log.wait_for("an agent was refused: another agent has opened the channel");
    assert!(!first.step());
    let id = daemon.begin(to(BLOCKS - 7));
    second.settle_at(BLOCKS - 7);
    assert!(daemon.ended(id).is_complete());
}

#[test]
fn a_second_connection_is_refused_until_the_first_has_gone() {
    let (site, daemon, log) = start();
    let path = site.path("agent.sock");
    let mut first = Agent::boot(&path, 1);
    let mut second = Agent::on(port(&path), 2);
    assert_eq!(second.wait_closed(), Closed::Busy);
    assert_eq!(second.stream.read(&mut [0]).unwrap(), 0, "it was hung up");
    log.wait_for("a second agent connected and was refused");
    let id = daemon.begin(to(BLOCKS - 9));
    first.settle_at(BLOCKS - 9);
    assert!(daemon.ended(id).is_complete());
    drop(first);
    let third = Agent::boot(&path, 3);
    assert_eq!(third.driver().held().len(), BLOCKS - 9);
}

#[test]
fn garbage_changes_nothing_and_is_counted() {
    let (site, daemon, log) = start();
    let (mut disk, agent) = boot(&site, 1);
    let mut garbage = vec![0xff; 3 << 20];
    garbage.extend((0..=255).cycle().take(4096));
    (&agent.stream).write_all(&garbage).unwrap();
    // Intact, and not for a device.
    let event = frame(Header::new(Kind::Event, 1), &[7; 32]);
    (&agent.stream).write_all(&event).unwrap();
    log.wait_for("bytes on the agent's channel are no frame");
    assert_eq!(disk.write_at(0, &own(0)), OK);
    let mut agent = agent.restart(2);
    agent.run_until(Driver::is_quiet);
    assert_eq!(agent.driver().held().len(), BLOCKS);
    // One overlong, one for each of the zeros in the rest but the first, and the event.
    assert!(daemon.vssd().counters.bad_frames > 10);
}

#[test]
fn half_a_frame_and_a_disconnect_leave_nothing_behind() {
    let (site, daemon, _log) = start();
    let open = frame(Header::new(Kind::Open, 5), &[]);
    for len in 0..open.len() {
        let mut stream = UnixStream::connect(site.path("agent.sock")).unwrap();
        stream.write_all(&open[..len]).unwrap();
    }
    let agent = Agent::boot(&site.path("agent.sock"), 1);
    assert_eq!(agent.driver().held().len(), BLOCKS);
    assert_eq!(daemon.status().panics, 0);
}

#[test]
fn an_agent_of_another_version_is_told_which() {
    let (site, _daemon, log) = start();
    let mut stream = port(&site.path("agent.sock"));
    let header = Header {
        version: 9,
        ..Header::new(Kind::Open, 77)
    };
    stream.write_all(&frame(header, &[])).unwrap();
    let wanted = Header::new(Kind::Closed, 77);
    let wanted = frame(wanted, &Closed::Version(1).encode());
    let mut seen = Vec::new();
    while !seen.ends_with(&wanted) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    log.wait_for("an agent was refused");
    // The same port is not spoilt by it.
    Agent::on(stream, 1).run_until(Driver::is_quiet);
}

/// It costs the daemon one frame in each direction, and others no time.
#[test]
fn an_agent_that_never_reads_blocks_no_other() {
    let site = Site::new();
    let specs = [spec(&site), site.spec("vm2", "size=4MiB")];
    let daemon = site.start(&specs);
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
    let stream = port(&site.path("agent.sock"));
    stream.set_nonblocking(true).unwrap();
    // Each of these is answered, as long as anybody reads.
    let open = frame(Header::new(Kind::Open, 5), &[]);
    let mut sent = 0_u64;
    let full = loop {
        match (&stream).write(&open) {
            Ok(count) => sent += count as u64,
            Err(error) => break error,
        }
        assert!(sent < 64 << 20, "the daemon reads on");
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    let mut other = Frontend::connect(&site.path("vm2.sock"));
    assert_eq!(other.write_at(0, &own(0)), OK);
    assert_eq!(disk.write_at(0, &own(0)), OK);
    // It opened the channel, and that is all that it did.
    let mut resize = to(BLOCKS / 2);
    let said = daemon
        .client()
        .call(&Request::Resize(resize.clone()))
        .unwrap_err();
    assert!(said.to_string().contains("no agent answers"), "{said}");
    (resize.force, resize.deadline_ms) = (true, 20);
    let ended = daemon.ended(daemon.begin(resize));
    assert_eq!((ended.is_complete(), ended.revoked), (true, BLOCKS / 2));
    drop(stream);
    Agent::boot(&site.path("agent.sock"), 1);
}

/// With force the deadline takes the blocks of an agent that hangs, as those of a driver; without
/// it they stay.
#[test]
fn an_agent_that_hangs_loses_its_blocks_by_force_only() {
    let (site, daemon, _log) = start();
    let (mut disk, mut agent) = boot(&site, 1);
    let mut resize = to(BLOCKS / 2);
    resize.deadline_ms = 20;
    let ended = daemon.ended(daemon.begin(resize.clone()));
    assert_eq!(
        (ended.end.as_str(), ended.revoked, ended.withheld),
        ("deadline", 0, true)
    );
    let said = site.vssdctl(&["shrink", "vm1", "1MiB", "--deadline", "20ms"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(3), "{text}");
    for words in ["mounted file system", "ext4", "--force"] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(daemon.vssd().held, BLOCKS);
    for pick in [HostPick::Uniform, HostPick::Sequential] {
        resize.pick = Pick::Host(pick);
        let said = daemon
            .client()
            .call(&Request::Resize(resize.clone()))
            .unwrap_err();
        for words in ["agent was not asked", "mounted file system", "--force"] {
            assert!(said.to_string().contains(words), "{said}");
        }
    }
    resize.pick = Pick::Guest;
    resize.force = true;
    let ended = daemon.ended(daemon.begin(resize));
    assert_eq!((ended.is_complete(), ended.revoked), (true, BLOCKS / 2));
    // It wakes up, and learns what it has lost.
    agent.settle_at(BLOCKS / 2);
    daemon.wait_until(|v| v.agreed);
    let lost = (0..BLOCKS).find(|block| !agent.driver().held().contains(*block));
    assert_eq!(content(&mut disk, lost.unwrap()), Content::Refused);
}

#[test]
fn a_shrink_is_cancelled_while_the_agent_thinks() {
    let (site, daemon, _log) = start();
    let (_disk, mut agent) = boot(&site, 1);
    let id = daemon.begin(to(BLOCKS / 2));
    daemon
        .client()
        .call(&Request::Cancel {
            vssd: "vm1".to_owned(),
        })
        .unwrap();
    agent.settle_at(BLOCKS);
    let ended = daemon.ended(id);
    assert_eq!(
        (ended.end.as_str(), ended.held, ended.withheld),
        ("cancelled", BLOCKS, false)
    );
}

/// The agent notices by the first frame of the next backend, without a clock.
#[test]
fn an_agent_goes_on_with_the_next_backend() {
    let site = Site::new();
    let daemon = site.start(&[spec(&site)]);
    let mut agent = Agent::boot(&site.path("agent.sock"), 1);
    let id = daemon.begin(to(BLOCKS - 100));
    agent.settle_at(BLOCKS - 100);
    daemon.ended(id);
    daemon.kill();
    let daemon = site.start(&[spec(&site)]);
    // As QEMU does behind the agent's back.
    agent.stream = port(&site.path("agent.sock"));
    agent.read();
    assert!(!agent.end.is_open(), "the new backend announces itself");
    agent.settle_at(BLOCKS - 100);
    let id = daemon.begin(to(BLOCKS));
    agent.settle_at(BLOCKS);
    assert!(daemon.ended(id).is_complete());
}

/// Its port does not show that the guest was reset; its disk does.
#[test]
fn a_guest_that_is_reset_has_no_agent_until_one_speaks() {
    let (site, daemon, _log) = start();
    let (mut disk, mut agent) = boot(&site, 1);
    daemon.wait_until(|v| v.driver);
    disk.reset_rings();
    daemon.wait_until(|v| !v.driver);
    // It was only stopped: it confirms its list, unasked by anybody but the device.
    agent.read();
    agent.run_until(Driver::is_quiet);
    daemon.wait_until(|v| v.driver && v.agreed);
}

#[test]
fn its_socket_is_its_own() {
    let site = Site::new();
    let (vm1, agent) = (site.path("vm1.sock"), site.path("agent.sock"));
    for (socket, words) in [
        (
            vm1,
            "vSSD vm1 and the agent of vSSD vm1 have the same socket",
        ),
        (
            site.path("control.sock"),
            "(--control) and the agent of vSSD vm1",
        ),
        (site.path("folder/a.sock"), "folder does not exist"),
    ] {
        let spec = site.spec("vm1", &format!("size=1MiB,agent={}", socket.display()));
        let said = site.refused(&[spec], &["--create"]);
        assert!(said.contains(words), "{said}");
    }
    let daemon = site.start(&[spec(&site)]);
    let second = site.spec(
        "vm2",
        &format!("size=1MiB,create=true,agent={}", agent.display()),
    );
    let said = daemon
        .client()
        .call(&Request::Add { spec: second })
        .unwrap_err();
    assert!(
        said.to_string().contains("the agent of vSSD vm1 and"),
        "{said}"
    );
    // A vSSD that is removed takes its channel along.
    let mut present = Agent::boot(&agent, 1);
    let vssd = "vm1".to_owned();
    daemon
        .client()
        .call(&Request::Remove {
            vssd,
            delete: false,
        })
        .unwrap();
    assert_eq!(present.stream.read(&mut [0; 4096]).unwrap_or(0), 0);
    assert!(!agent.exists());
}

/// An agent finds its disk by the serial number, as no other mark of a vSSD shows in a Linux guest.
#[test]
fn the_channel_names_its_disk() {
    let (site, _daemon, _log) = start();
    let agent = Agent::boot(&site.path("agent.sock"), 1);
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
    let data = support::frontend::SCRATCH + 0x1000;
    let buffer = support::frontend::writable(data, 20);
    assert_eq!(disk.request(support::frontend::GET_ID, 0, &[buffer]), OK);
    let serial = disk.read(data, 20);
    let name = agent.identity.clone().unwrap().name;
    assert!(serial.starts_with(name.as_bytes()), "{serial:?}");
}
