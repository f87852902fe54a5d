//! The control socket against clients that are faulty, slow or gone.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use support::PATIENCE;
use support::daemon::{Daemon, Site};
use vssd_host::control::Client;
use vssd_host::control::client::ClientError;
use vssd_host::control::protocol::{Change, MAX_LINE, Reply, Request, Resize};
use vssd_host::size::Amount;

fn start() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    (site, daemon)
}

fn raw(daemon: &Daemon) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(daemon.control()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn answer(stream: &mut BufReader<UnixStream>) -> Option<Reply> {
    let mut line = String::new();
    match stream.read_line(&mut line).unwrap() {
        0 => None,
        _ => Some(serde_json::from_str(&line).unwrap()),
    }
}

#[test]
fn garbage_is_answered_and_the_client_goes_on() {
    let (_site, daemon) = start();
    let mut stream = raw(&daemon);
    for line in [
        &b"\n"[..],
        b"hello\n",
        b"{}\n",
        b"[[[[[[\n",
        b"{\"op\":\"fly\"}\n",
        b"\xff\xfe\x00\n",
        b"{\"op\":\"cancel\"}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm1\",\"change\":{\"to\":\"-5\"}}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm1\",\"change\":{\"to\":\"5B\"}}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm1\",\"change\":{\"to\":\"8MiB\"}}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm1\",\"change\":{\"grow\":\"99999999\"}}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm1\",\"change\":{\"shrink\":\"1025\"}}\n",
        b"{\"op\":\"resize\",\"vssd\":\"vm9\",\"change\":{\"to\":\"1MiB\"}}\n",
    ] {
        stream.get_mut().write_all(line).unwrap();
        let reply = answer(&mut stream).unwrap();
        let text = String::from_utf8_lossy(line);
        assert!(matches!(reply, Reply::Error { .. }), "{text}: {reply:?}");
    }
    stream.get_mut().write_all(b"{\"op\":\"ping\"}\n").unwrap();
    assert_eq!(answer(&mut stream), Some(Reply::Ok));
    assert_eq!(daemon.vssd().held, 1024);
}

#[test]
fn requests_may_come_in_pieces_or_together() {
    let (_site, daemon) = start();
    let mut stream = raw(&daemon);
    for piece in ["{\"op\"", ":\"pi", "ng\"}", "\n{\"op\":\"ping\"}\n"] {
        stream.get_mut().write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(answer(&mut stream), Some(Reply::Ok));
    assert_eq!(answer(&mut stream), Some(Reply::Ok));
    // The last one without its newline.
    stream.get_mut().write_all(b"{\"op\":\"ping\"}").unwrap();
    stream.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut stream), Some(Reply::Ok));
    assert_eq!(answer(&mut stream), None);
}

#[test]
fn a_line_without_end_is_cut_off() {
    let (_site, daemon) = start();
    let mut stream = raw(&daemon);
    // The backend may disconnect before it has read all of it.
    let _ = stream.get_mut().write_all(&vec![b'x'; MAX_LINE + 1]);
    let reply = answer(&mut stream).unwrap();
    assert!(matches!(reply, Reply::Error { .. }), "{reply:?}");
    assert_eq!(answer(&mut stream), None);
    assert_eq!(daemon.vssd().held, 1024);
}

#[test]
fn clients_may_leave_at_any_time() {
    let (_site, daemon) = start();
    for line in [
        "",
        "{\"op\"",
        "{\"op\":\"status\"}\n",
        "{\"op\":\"watch\"}\n",
    ] {
        let mut stream = UnixStream::connect(daemon.control()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        drop(stream);
    }
    assert_eq!(daemon.vssd().held, 1024);
}

/// More clients than are allowed: they are refused, and the others stay.
#[test]
fn too_many_clients_are_refused_with_an_answer() {
    let (_site, daemon) = start();
    let mut seated = Vec::new();
    let refusal = loop {
        let mut stream = raw(&daemon);
        stream.get_mut().write_all(b"{\"op\":\"ping\"}\n").unwrap();
        match answer(&mut stream).unwrap() {
            Reply::Ok => seated.push(stream),
            Reply::Error { message } => break message,
            other => panic!("{other:?}"),
        }
        assert!(seated.len() < 1000, "no bound");
    };
    assert!(refusal.contains("too many"), "{refusal}");
    for stream in &mut seated {
        stream.get_mut().write_all(b"{\"op\":\"ping\"}\n").unwrap();
        assert_eq!(answer(stream), Some(Reply::Ok));
    }
    drop(seated.pop());
    // A place is free again once the thread of its client has ended.
    let mut left = raw(&daemon);
    left.get_mut().write_all(b"{\"op\":\"ping\"}\n").unwrap();
    while answer(&mut left) != Some(Reply::Ok) {
        left = raw(&daemon);
        left.get_mut().write_all(b"{\"op\":\"ping\"}\n").unwrap();
    }
}

#[test]
fn a_client_that_never_reads_blocks_no_other() {
    let (_site, daemon) = start();
    let mut deaf = UnixStream::connect(daemon.control()).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let requests = "{\"op\":\"status\"}\n".repeat(1000);
    // Until neither side has room left.
    while deaf.write(requests.as_bytes()).is_ok() {}
    for _ in 0..10 {
        assert_eq!(daemon.vssd().held, 1024);
    }
    drop(deaf);
}

#[test]
fn a_waiting_client_gets_an_error_when_its_vssd_is_removed() {
    let (_site, daemon) = start();
    let mut resize = Resize::new("vm1", Change::Shrink(Amount::Blocks(24)));
    resize.deadline_ms = 20;
    resize.force = true;
    let ended = daemon.client().resize(resize).unwrap();
    assert!(ended.is_complete(), "{ended:?}");
    assert_eq!((ended.from, ended.held, ended.revoked), (1024, 1000, 24));
    assert_eq!(daemon.vssd().counters.resizes, 1);
}

#[test]
fn watchers_see_every_change() {
    let (_site, daemon) = start();
    let mut watcher = daemon.client();
    watcher.send(&Request::Watch {}).unwrap();
    let Reply::Status(first) = watcher.receive().unwrap() else {
        panic!("no status");
    };
    assert_eq!(first.vssds[0].held, 1024);
    let control = daemon.control().to_owned();
    let resizer = thread::spawn(move || {
        let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(512)));
        resize.deadline_ms = 20;
        resize.force = true;
        let mut client = Client::connect(&control, Some(PATIENCE)).unwrap();
        client.resize(resize).unwrap()
    });
    loop {
        let Reply::Status(status) = watcher.receive().unwrap() else {
            panic!("no status");
        };
        if status.vssds[0].held == 512 && status.vssds[0].resize.is_none() {
            break;
        }
    }
    assert!(resizer.join().unwrap().is_complete());
}

#[test]
fn shutdown_ends_the_backend() {
    let (site, mut daemon) = start();
    let mut stream = raw(&daemon);
    stream
        .get_mut()
        .write_all(b"{\"op\":\"shutdown\"}\n")
        .unwrap();
    assert_eq!(answer(&mut stream), Some(Reply::Ok));
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!site.path("control.sock").exists());
    assert!(!site.path("vm1.sock").exists());
    let gone = Client::connect(&site.path("control.sock"), Some(PATIENCE)).unwrap_err();
    assert!(matches!(gone, ClientError::Connect { .. }));
    assert!(gone.to_string().contains("start vssd-host"), "{gone}");
}
