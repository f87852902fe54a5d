//! Faults seeded in the protocol's rules, each of which the model checker has to find.
//!
//! A copy of this crate gets all faults at once, each behind a switch, and is compiled once; then its
//! model tests run with one fault switched on after the other. It takes a minute or two, so it runs
//! by name only: `cargo test -p vssd --test seeded_faults`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A rule, and how it is broken.
struct Fault {
    rule: &'static str,
    file: &'static str,
    /// An expression, statement or arm of a match; where it stands there first it is broken.
    right: &'static str,
    wrong: &'static str,
    /// The test that finds it, and with what budget: `RESIZES,MISHAPS,REPEATS,DOUBTS`.
    test: &'static str,
    budget: &'static str,
}

const QUEUES: &str = "every_state_over_virtqueues";
const STREAM: &str = "every_state_over_a_stream";

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    Fault { rule: "DEV-4", file: "device/mod.rs", test: QUEUES, budget: "1,1,0,0",
        right: "self.is_event_due = self.session.is_some();", wrong: "" },
    Fault { rule: "DEV-5", file: "device/mod.rs", test: QUEUES, budget: "1,1,0,0",
        right: "request.sequence == session.sequence && self.response_len <= room", wrong: "false" },
    Fault { rule: "DEV-7: no more than wanted", file: "device/commands.rs", test: QUEUES, budget: "1,0,0,0",
        right: "blocks.len() > excess", wrong: "false" },
    Fault { rule: "DEV-7: held blocks only", file: "device/commands.rs", test: QUEUES, budget: "2,0,0,0",
        right: "!self.granted.contains_view(&blocks)", wrong: "false" },
    Fault { rule: "DEV-8", file: "device/commands.rs", test: QUEUES, budget: "3,0,0,0",
        right: "!self.revoked.is_empty()", wrong: "false" },
    Fault { rule: "DEV-9", file: "device/commands.rs", test: QUEUES, budget: "1,0,0,0",
        right: "self.revoked.remove_view(&blocks);", wrong: "" },
    Fault { rule: "DEV-10", file: "device/commands.rs", test: QUEUES, budget: "1,0,0,0",
        right: "!self.revoked.is_empty() || !self.unaccepted.is_empty()", wrong: "false" },
    Fault { rule: "DEV-11", file: "device/resize.rs", test: QUEUES, budget: "1,0,0,0",
        right: "self.revoked.insert_view(blocks);", wrong: "" },
    Fault { rule: "DEV-15", file: "device/resize.rs", test: QUEUES, budget: "1,1,0,0",
        right: "request.force || self.has_session()", wrong: "true" },
    Fault { rule: "DEV-16", file: "device/resize.rs", test: QUEUES, budget: "1,1,0,0",
        right: "self.unaccepted.insert_view(&blocks);", wrong: "" },
    Fault { rule: "deadline", file: "device/resize.rs", test: QUEUES, budget: "1,0,0,0",
        right: "resize.request.deadline_ns.is_some_and(|at| now_ns >= at)",
        wrong: "resize.request.deadline_ns.is_some_and(|at| now_ns > at)" },
    Fault { rule: "ownership is recorded first", file: "device/commands.rs", test: QUEUES, budget: "1,1,0,0",
        right: "ownership.release(&blocks).is_err()", wrong: "ownership.release(&blocks).is_err() && false" },
    Fault { rule: "DRV-4", file: "driver/incoming.rs", test: QUEUES, budget: "1,0,0,0",
        right: "self.adopt(goal);", wrong: "self.goal = goal;" },
    Fault { rule: "DRV-6", file: "driver/incoming.rs", test: QUEUES, budget: "2,0,0,0",
        right: "opcode == Opcode::Surrender && self.goal.revoked > 0", wrong: "false" },
    Fault { rule: "DRV-10", file: "driver.rs", test: QUEUES, budget: "1,0,0,0",
        right: "self.goal.revoked > 0 || self.asked < self.doubts", wrong: "false" },
    Fault { rule: "DRV-11", file: "driver/incoming.rs", test: QUEUES, budget: "1,0,0,0",
        right: "leaving.blocks.remove_view(&blocks);", wrong: "" },
    Fault { rule: "doubts", file: "driver/incoming.rs", test: QUEUES, budget: "2,0,0,1",
        right: "self.resolved = self.asked;", wrong: "self.resolved = self.doubts;" },
    Fault { rule: "STR-4", file: "stream/agent.rs", test: STREAM, budget: "1,0,1,0",
        right: "response.is_none_or(|(found, _)| found.sequence == sequence)", wrong: "true" },
    Fault { rule: "STR-7", file: "stream/agent.rs", test: STREAM, budget: "0,1,0,0",
        right: "(Kind::Ready, State::Open | State::Closed) => self.reopen(),",
        wrong: "(Kind::Ready, State::Open | State::Closed) => {}" },
];

#[test]
fn the_model_checker_finds_each_seeded_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    seed(folder.path());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded-faults");
    let cargo = |arguments: &[&str], environment: &[(&str, String)]| {
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", &target);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).output().expect("cargo runs")
    };
    let built = cargo(&["test", "--lib", "--no-run"], &[]);
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(
        built.status.success(),
        "the copy does not compile:\n{errors}"
    );
    let run = |number: usize, fault: &Fault| {
        let test = format!("model::{}", fault.test);
        let environment = [
            ("VSSD_SEEDED_FAULT", number.to_string()),
            ("VSSD_MODEL", fault.budget.to_owned()),
        ];
        cargo(&["test", "--lib", "--", "--exact", &test], &environment)
    };
    let sound = run(FAULTS.len(), &FAULTS[0]);
    assert!(
        sound.status.success(),
        "without a fault it fails: {}",
        shown(&sound.stdout)
    );
    let mut missed = Vec::new();
    for (number, fault) in FAULTS.iter().enumerate() {
        let begun = Instant::now();
        let output = run(number, fault);
        let seconds = begun.elapsed().as_secs_f64();
        let output = shown(&output.stdout);
        let Some(found) = output.lines().find(|line| line.contains(" after [")) else {
            missed.push(fault.rule);
            continue;
        };
        println!("{} ({seconds:.1} s): {found}", fault.rule);
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a copy of this crate with all faults, as a workspace of its own.
fn seed(folder: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(&here.join("src"), &folder.join("vssd/src"));
    let put = |path: &str, text: &str| fs::write(folder.join(path), text).expect("written");
    let read = |path: &Path| fs::read_to_string(path).expect("readable");
    put(
        "vssd/Cargo.toml",
        &standalone(&read(&here.join("Cargo.toml"))),
    );
    put("Cargo.lock", &read(&here.join("../Cargo.lock")));
    put("Cargo.toml", &workspace(&read(&here.join("../Cargo.toml"))));
    for (number, fault) in FAULTS.iter().enumerate() {
        let path = folder.join("vssd/src").join(fault.file);
        let text = read(&path);
        let Fault {
            rule, right, wrong, ..
        } = fault;
        assert!(
            text.contains(right),
            "{rule}: {:?} has no {right:?}",
            fault.file
        );
        let seeded = format!("crate::is_seeded({number})");
        let both = if right.ends_with(';') {
            format!("if {seeded} {{ {wrong} }} else {{ {right} }}")
        } else if let Some((pattern, _)) = right.split_once(" => ") {
            format!("{pattern} if {seeded} => {{}}\n{right}")
        } else {
            format!("(if {seeded} {{ {wrong} }} else {{ {right} }})")
        };
        fs::write(&path, text.replacen(right, &both, 1)).expect("written");
    }
    let library = folder.join("vssd/src/lib.rs");
    let switch = "
/// Whether this fault is switched on.
fn is_seeded(number: usize) -> bool {
    extern crate std;
    static SEEDED: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var(\"VSSD_SEEDED_FAULT\").ok()?.parse().ok());
    *SEEDED == Some(number)
}
";
    fs::write(&library, read(&library) + switch).expect("written");
}

/// The manifest of the workspace, with this crate as its only member.
fn workspace(manifest: &str) -> String {
    let mut table: toml::Table = manifest.parse().expect("a manifest");
    let workspace = table["workspace"].as_table_mut().expect("a workspace");
    workspace.insert("members".into(), vec!["vssd"].into());
    workspace.remove("default-members");
    workspace.remove("lints");
    let profiles = table["profile"].as_table_mut().expect("profiles");
    let packages = profiles["dev"]["package"].as_table_mut().expect("packages");
    packages.retain(|name, _| name == "*" || name == "vssd");
    table.to_string()
}

/// The manifest of this crate, without what the workspace or a folder of tests has.
fn standalone(manifest: &str) -> String {
    let mut table: toml::Table = manifest.parse().expect("a manifest");
    table.remove("lints");
    table.remove("test");
    table.to_string()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
