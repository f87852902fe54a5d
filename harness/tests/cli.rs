//! Correct and wrong use of the command line.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::experiments::ALL;
use results::manifest::{Manifest, State};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn harness(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    harness(arguments).output().unwrap()
}

/// The exit code, and the text on standard error.
fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = output(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn wrong_arguments_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for (arguments, code, word) in [
        (vec!["run", "gravity"], 2, "gravity"),
        (vec!["run", "eviction", "--set", "raeds=1"], 1, "raeds"),
        (
            vec!["run", "eviction", "--set", "shrink_percent=100"],
            1,
            "shrink_percent",
        ),
        (
            vec!["run", "overhead", "--params", "/nonexistent"],
            1,
            "/nonexistent",
        ),
        (
            vec!["run", "overhead", "--qemu", "/nonexistent"],
            1,
            "./setup",
        ),
        (
            vec!["run", "latency", "--transport", "twin"],
            1,
            "measures times",
        ),
        (
            vec![
                "run",
                "correctness",
                "--transport",
                "twin",
                "--set",
                "size=1PiB",
            ],
            1,
            "size",
        ),
        (vec!["report", "/nonexistent"], 1, "no run"),
        (vec!["plot", "/nonexistent"], 1, "no run"),
    ] {
        let mut arguments = arguments;
        if arguments[0] == "run" {
            arguments.extend(["--out", out]);
        }
        let (found, text) = refusal(&arguments);
        assert_eq!(found, code, "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
        assert!(!Path::new(out).exists(), "{arguments:?} left a folder");
    }
}

#[test]
fn a_folder_with_other_content_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("precious.csv"), "1").unwrap();
    let out = folder.path().to_str().unwrap();
    let (code, text) = refusal(&["run", "correctness", "--out", out]);
    assert_eq!(code, 1);
    assert!(text.contains("not empty"), "{text}");
}

#[test]
fn list_shows_all_experiments() {
    let output = output(&["list", "--json"]);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["experiment"])
        .collect();
    assert_eq!(names, ALL.iter().map(|of| of.name()).collect::<Vec<_>>());
}

const SMALL: [&str; 8] = [
    "run",
    "correctness",
    "--set",
    "size=16MiB",
    "--accel",
    "tcg",
    "--set",
    "random_steps=1",
];

#[test]
fn a_run_can_be_judged_and_drawn_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let first = output(&[&SMALL[..], &["--out", out]].concat());
    assert!(first.status.success(), "{first:?}");
    let report = Path::new(out).join("report.md");
    let written = fs::read_to_string(&report).unwrap();
    assert!(written.contains("holds"));
    fs::remove_file(&report).unwrap();
    assert!(output(&["report", out]).status.success());
    assert_eq!(fs::read_to_string(&report).unwrap(), written);
    let figure = Path::new(out).join("correctness.svg");
    fs::remove_file(&figure).unwrap();
    assert!(output(&["plot", out]).status.success());
    assert!(figure.exists());

    // A damaged row is reported and excluded; a wrong one is judged.
    let rows = Path::new(out).join("correctness.csv");
    let csv = fs::read_to_string(&rows).unwrap();
    fs::write(&rows, csv.replace("walk,random", "walk,random,extra")).unwrap();
    let output = self::output(&["report", out]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("correctness.csv, line 2"), "{text}");
    for page in ["report.md", "report.html"] {
        let text = fs::read_to_string(Path::new(out).join(page)).unwrap();
        assert!(text.contains("correctness.csv, line 2"), "{page}");
    }
    fs::write(&rows, csv.replace("true", "false")).unwrap();
    let output = self::output(&["report", out]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn without_qemu_a_run_uses_twins_and_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = ["run", "correctness", "--set", "size=16MiB", "--out"];
    let arguments = [&small[..], &[out.to_str().unwrap()]].concat();
    let output = harness(&arguments).env("PATH", "").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.contains("twins") && first.contains("not installed"),
        "{first}"
    );
    let manifest = Manifest::read(&out).unwrap();
    assert_eq!((manifest.transport.as_str(), manifest.qemu), ("twin", None));
    assert!(manifest.transport_reason.contains("not installed"));
    assert!(manifest.reproduce.contains("--transport twin"));
    // An explicit --transport qemu does not fall back to twins.
    let output = harness(&["run", "correctness", "--transport", "qemu"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("./setup"));
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // "pid (name) state ppid …"; the name ends at the last ')'.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ppid = after.split_whitespace().nth(1).and_then(|p| p.parse().ok());
        if ppid == Some(parent) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// Timeout.
const PATIENCE: Duration = Duration::from_secs(600);

/// Starts a long run and waits until it has a backend and a guest.
fn long_run(out: &str) -> (Child, Vec<Pid>) {
    let child = harness(&["run", "overhead", "--full", "--accel", "tcg", "--out", out])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let rows = Path::new(out).join("overhead.csv");
    while !rows.exists() {
        assert!(started.elapsed() < PATIENCE, "no row was written");
        thread::yield_now();
    }
    let children = children(child.id());
    assert_eq!(children.len(), 2, "a backend and a QEMU");
    (child, children)
}

fn assert_gone(children: &[Pid]) {
    let started = Instant::now();
    while children.iter().any(|pid| test_kill_process(*pid).is_ok()) {
        assert!(started.elapsed() < PATIENCE, "a child still runs");
        thread::yield_now();
    }
}

#[test]
fn an_interrupted_run_keeps_its_rows_and_leaves_no_children() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut child, children) = long_run(out.to_str().unwrap());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_gone(&children);
    let manifest = Manifest::read(&out).unwrap();
    assert_eq!(manifest.status, State::Failed("interrupted".to_owned()));
    let rows = fs::read_to_string(out.join("overhead.csv")).unwrap();
    assert!(rows.lines().count() > 1);
    // The claims of an incomplete run do not hold.
    assert_eq!(
        output(&["report", out.to_str().unwrap()]).status.code(),
        Some(3)
    );
}

#[test]
fn a_killed_harness_leaves_no_children() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut child, children) = long_run(out.to_str().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&children);
}
