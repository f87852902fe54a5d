//! Metrics over HTTP: every line is sound, and says what the status says.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use support::PATIENCE;
use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, OK};
use vssd_host::control::protocol::{Change, EvictName, Resize};
use vssd_host::size::Amount;

fn start() -> (Site, Daemon, String) {
    let site = Site::new();
    let log = site.path("daemon.log");
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=2MiB")];
    let more = ["--create", "--metrics", "127.0.0.1:0"];
    let daemon = site.start_logged(&specs, &more, File::create(&log).unwrap());
    let until = Instant::now() + PATIENCE;
    let address = loop {
        // The log is written beside everything else, so that its line may come later.
        let text = fs::read_to_string(&log).unwrap();
        let url = text.split("http://").nth(1);
        if let Some((address, _)) = url.and_then(|url| url.split_once('/')) {
            break address.to_owned();
        }
        assert!(Instant::now() < until, "no address in the log: {text}");
        thread::yield_now();
    };
    (site, daemon, address)
}

/// The answer to some bytes: status line and body.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut text = String::new();
    // One that is turned away hears nothing.
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (
        head.lines().next().unwrap_or("").to_owned(),
        body.to_owned(),
    )
}

fn get(address: &str, path: &str) -> (String, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Samples by name and labels.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics");
    assert!(status.contains("200"), "{status}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

#[test]
fn metrics_say_what_the_status_says() {
    let (site, daemon, address) = start();
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for block in 0..10 {
        assert_eq!(guest.write_at(8 * block, &[1; 4096]), OK);
    }
    assert_eq!(guest.read_at(0, 8192).unwrap(), [1; 8192]);
    let mut resize = Resize::new("vm1", Change::Shrink(Amount::Blocks(56)));
    resize.evict = EvictName::Sequential;
    let id = daemon.begin(resize);
    assert!(daemon.ended(id).is_complete());
    assert!(guest.write_at(8 * 255, &[1; 4096]) != OK);
    let samples = scrape(&address);
    for (name, value) in [
        (r#"vssd_requests_total{vssd="vm1",op="write"}"#, 10.0),
        (r#"vssd_requests_total{vssd="vm2",op="write"}"#, 0.0),
        (r#"vssd_moved_bytes_total{vssd="vm1",op="read"}"#, 8192.0),
        (r#"vssd_rejects_total{vssd="vm1",reason="not-held"}"#, 1.0),
        (r#"vssd_resizes_total{vssd="vm1",end="complete"}"#, 1.0),
        (
            r#"vssd_blocks_moved_total{vssd="vm1",way="surrendered"}"#,
            56.0,
        ),
        (r#"vssd_blocks{vssd="vm1",state="held"}"#, 200.0),
        (r#"vssd_blocks{vssd="vm1",state="written"}"#, 10.0),
        (r#"vssd_blocks{vssd="vm2",state="capacity"}"#, 512.0),
        (r#"vssd_connected{vssd="vm1",kind="frontend"}"#, 1.0),
        (r#"vssd_service_seconds_count{vssd="vm1",op="write"}"#, 10.0),
        (
            r#"vssd_service_seconds_bucket{le="+Inf",vssd="vm1",op="read"}"#,
            1.0,
        ),
        (r#"vssd_service_seconds_count{vssd="vm1",op="flush"}"#, 0.0),
        (r#"vssd_pool_blocks{state="places"}"#, 768.0),
        (r#"vssd_pool_blocks{state="free"}"#, 758.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
    let status = daemon.status().pool;
    assert!(samples["vssd_pool_commits_total"] <= status.commits as f64);
    assert!(samples["vssd_pool_commits_total"] > 0.0);
}

#[test]
fn strange_clients_get_an_answer_and_block_nobody() {
    let (_site, _daemon, address) = start();
    // These say nothing, or never stop. Others are served beside them, and in
    // their place when they have had their time.
    let idle: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let mut endless = TcpStream::connect(&address).unwrap();
    // It may be turned away while it goes on.
    let _ = endless
        .write_all(format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(100_000)).as_bytes());
    let began = Instant::now();
    while get(&address, "/").0.is_empty() {
        assert!(began.elapsed() < PATIENCE, "nobody is served any more");
    }
    assert!(get(&address, "/").0.contains("404"));
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(ask(&address, post).0.contains("405"));
    scrape(&address);
    assert!(ask(&address, "garbage\r\n\r\n").0.contains("400"));
    drop((idle, endless));
}

#[test]
fn other_machines_are_not_served() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    for address in ["0.0.0.0:0", "192.0.2.1:9100"] {
        let said = site.refused(&specs, &["--create", "--metrics", address]);
        assert!(said.contains("127.0.0.1"), "{said}");
    }
}
