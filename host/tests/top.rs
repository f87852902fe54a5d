//! `vssdctl top` on a running backend: a table, JSON, and a backend that dies and comes back.

mod support;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use support::PATIENCE;
use support::daemon::{Site, lines};
use support::frontend::{Frontend, OK};

const INTERVAL: [&str; 2] = ["--interval", "100ms"];

fn text(output: &std::process::Output) -> String {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    said + &String::from_utf8(output.stderr.clone()).unwrap()
}

/// A `vssdctl top --json` that runs until it is dropped.
struct Top {
    child: Child,
    lines: Receiver<String>,
}

impl Top {
    fn start(site: &Site) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vssdctl"))
            .arg("--control")
            .arg(site.path("control.sock"))
            .args(["top", "--json"])
            .args(INTERVAL)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for a document that is as wanted.
    fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap();
            let document = serde_json::from_str(&line).unwrap();
            if wanted(&document) {
                return document;
            }
        }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_table_or_an_object_is_printed_once() {
    let site = Site::new();
    let specs = [
        site.spec("vm1", "size=1MiB"),
        site.spec("vm2", "size=2MiB,quota=1MiB,held=1MiB"),
    ];
    let more = ["--create", "--arbiter", "policy=shares,period=1day"];
    let _daemon = site.start_with(&specs, &more);
    // Standard output is a file here, so both print a table.
    for once in [&["top", "--once"][..], &["top"]] {
        let output = site.vssdctl(&[once, &INTERVAL].concat());
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains("vSSDs: 2, connected: 0; up "), "{said}");
        assert!(
            lines[1].starts_with("arbiter: policy shares, period 1day"),
            "{said}"
        );
        assert!(lines[2].starts_with("NAME  "), "{said}");
        assert!(lines[3].starts_with("vm1  "), "{said}");
        let cells: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(cells[..6], ["vm2", "none", "1MiB", "-", "1MiB", "-"]);
        assert_eq!(lines.len(), 5, "{said}");
    }
    let sorted = [
        &["top", "--once", "--json", "--sort", "held"][..],
        &INTERVAL,
    ]
    .concat();
    let output = site.vssdctl(&sorted);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["reply"], "top");
    assert!(document["seconds"].as_f64().unwrap() >= 0.1, "{document}");
    assert_eq!(document["vssds"][1]["name"], "vm2");
    assert_eq!(document["vssds"][1]["rates"]["reads"]["requests"], 0.0);
}

#[test]
fn what_cannot_be_shown_is_refused_in_one_sentence() {
    let site = Site::new();
    let output = site.vssdctl(&["top", "--once"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("no backend answers at "), "{said}");
    assert!(said.contains("name its socket with --control"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for (args, wanted) in [
        (
            ["top", "--interval", "1ms"],
            "invalid interval `1ms`: expected 100ms to 1h, for example 1s",
        ),
        (["top", "--sort", "color"], "possible values: name, held"),
    ] {
        let output = site.vssdctl(&args);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
}

#[test]
fn rates_are_shown_and_a_backend_that_comes_back_is_found() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let daemon = site.start_with(&specs, &["--create"]);
    let top = Top::start(&site);
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut guest = Frontend::connect(&site.path("vm1.sock"));
            let until = Instant::now() + PATIENCE;
            while !is_enough.load(Ordering::Relaxed) && Instant::now() < until {
                assert_eq!(guest.write_at(0, &[1; 4096]), OK);
            }
        });
        let busy = top.wait_for(|document| {
            let writes = &document["vssds"][0]["rates"]["writes"];
            writes["requests"].as_f64().is_some_and(|rate| rate > 0.0)
        });
        is_enough.store(true, Ordering::Relaxed);
        let writes = &busy["vssds"][0]["rates"]["writes"];
        let number = |of: &Value| of.as_f64().unwrap();
        assert_eq!(
            number(&writes["bytes"]),
            4096.0 * number(&writes["requests"])
        );
        let latency = ["p50_ns", "p99_ns"].map(|of| number(&writes["latency"][of]));
        assert!(0.0 < latency[0] && latency[0] <= latency[1], "{latency:?}");
        assert_eq!(busy["vssds"][0]["rates"]["reads"]["latency"], Value::Null);
        assert_eq!(busy["vssds"][0]["guest"], "plain");
    });
    daemon.kill();
    let error = top.wait_for(|document| document["reply"] == "error");
    assert!(error["message"].is_string(), "{error}");
    let _daemon = site.start_with(&specs, &[]);
    let back = top.wait_for(|document| document["reply"] == "top");
    assert_eq!(
        (&back["restarts"], &back["seconds"]),
        (&Value::from(1), &Value::Null)
    );
    top.wait_for(|document| document["seconds"].is_number());
}
