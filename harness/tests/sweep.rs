//! Sweeps from the command line and on a cluster, with real cells and kills.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const HARNESS: &str = env!("CARGO_BIN_EXE_harness");

const SWEEP: &str = r#"
title = "a small sweep"
[fixed]
size = "16MiB"
workload = "zipf"
warmup = 3000
sample = 2000
reads = 5000
repetitions = 10
pickers = ["guest-sample", "guest-lru", "host-uniform"]
[sweep]
exponent = [0.8, 0.99, 1.2]
shrink_percent = { from = 10, to = 80, step = 10 }
"#;
const CELLS: usize = 240;
const ROWS: usize = 3 * CELLS;

/// A folder with the sweep's file.
fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SWEEP).unwrap();
    folder
}

fn harness(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(HARNESS);
    command.current_dir(place).args(arguments);
    command
}

fn output(place: &Path, arguments: &[&str]) -> Output {
    harness(place, arguments).output().unwrap()
}

fn succeed(place: &Path, arguments: &[&str]) {
    let output = output(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn csv(path: PathBuf) -> String {
    fs::read_to_string(path.join("sweep.csv")).unwrap()
}

/// The table of an uninterrupted run.
fn whole(place: &Path) -> String {
    succeed(place, &["sweep", "small.toml", "--out", "expected"]);
    let expected = csv(place.join("expected"));
    assert_eq!(expected.lines().count(), 1 + ROWS);
    expected
}

/// Timeout.
const PATIENCE: Duration = Duration::from_secs(600);

/// Starts the sweep and waits until it has rows.
fn begin(place: &Path, out: &str) -> Child {
    let child = harness(place, &["sweep", "small.toml", "--jobs", "1", "--out", out])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let rows = place.join(out).join("sweep.csv");
    let started = Instant::now();
    while fs::read_to_string(&rows).map_or(0, |text| text.lines().count()) < 10 {
        assert!(started.elapsed() < PATIENCE, "no row was written");
        thread::yield_now();
    }
    child
}

#[test]
fn a_killed_or_interrupted_sweep_resumes_to_the_same_bytes() {
    let place = place();
    let place = place.path();
    let expected = whole(place);
    for (out, signal, code) in [
        ("killed", Signal::KILL, None),
        ("interrupted", Signal::INT, Some(130)),
    ] {
        // On a busy machine the sweep may complete before the signal.
        loop {
            let mut child = begin(place, out);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let status = child.wait().unwrap();
            if status.success() {
                fs::remove_dir_all(place.join(out)).unwrap();
                continue;
            }
            assert_eq!(status.code(), code);
            break;
        }
        let rows = csv(place.join(out)).lines().count();
        assert!(rows < 1 + ROWS, "the sweep ended before it was {out}");
        let failures = fs::read_to_string(place.join(out).join("failures.csv")).unwrap();
        assert_eq!(failures.lines().count(), 1, "{failures}");
        let output = output(place, &["sweep", "small.toml", "--out", out]);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains(" 0 of them already done"), "{said}");
        assert!(csv(place.join(out)) == expected, "{out}");
    }
}

#[test]
fn invalid_points_are_reported_with_exit_code_3() {
    let place = place();
    let place = place.path();
    let sets = ["--set", "repetitions=1", "--set", "sample=9000"];
    let output = output(
        place,
        &[&["sweep", "small.toml", "--out", "o"], &sets[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("point 23 (exponent = 1.2, shrink_percent = 80) is invalid: `sample`"),
        "{said}"
    );
    let failures = fs::read_to_string(place.join("o/failures.csv")).unwrap();
    assert_eq!(failures.lines().count(), 25);
}

#[test]
fn wrong_arguments_are_reported() {
    let place = place();
    let place = place.path();
    for (arguments, code, word) in [
        (vec!["sweep", "nonesuch"], 1, "built-in sweeps"),
        (
            vec!["sweep", "small.toml", "--set", "raeds=1"],
            1,
            "`raeds`",
        ),
        (vec!["sweep", "small.toml", "--shard", "3/2"], 2, "I/N"),
        (vec!["sweep", "small.toml", "--jobs", "0"], 2, "--jobs"),
        (vec!["merge", "nowhere"], 1, "--out"),
        (
            vec!["merge", "nowhere", "--out", "o"],
            1,
            "not the folder of a sweep",
        ),
    ] {
        let output = output(place, &arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert_eq!(fs::read_dir(place).unwrap().count(), 1, "{arguments:?}");
    }
    succeed(place, &["sweep"]);
}

/// A fake sbatch: runs jobs at once, from a copy of the script as Slurm does. The array task `FAIL`
/// does not run.
const SBATCH: &str = r#"#!/usr/bin/env bash
tasks= dependency=
while [[ $1 == --* ]]; do
    case $1 in
    --array=1-*) tasks=${1#--array=1-} ;;
    --dependency=*) dependency=${1#--dependency=} ;;
    esac
    shift
done
cp "$1" slurm_script && shift
if [[ -n $tasks ]]; then
    for ((i = 1; i <= tasks; i++)); do
        [[ $i == "${FAIL:-}" ]] && continue
        SLURM_ARRAY_TASK_ID=$i SLURM_CPUS_PER_TASK=2 bash slurm_script "$@" >&2
    done
    echo "42;cluster"
else
    [[ $dependency == afterany:42 ]] && bash slurm_script "$@"
fi
"#;

#[test]
fn the_slurm_script_runs_shards_and_merges_them() {
    let place = place();
    let place = place.path();
    let expected = whole(place);
    let sbatch = place.join("bin/sbatch");
    fs::create_dir(place.join("bin")).unwrap();
    fs::write(&sbatch, SBATCH).unwrap();
    fs::set_permissions(&sbatch, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let submit = |fail: &str| {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sweep.slurm"))
            .args(["small.toml", "out", "3"])
            .current_dir(place)
            .env("PATH", format!("{}:{path}", place.join("bin").display()))
            .env("HARNESS", HARNESS)
            .env("FAIL", fail)
            .output()
            .unwrap()
    };
    // A node fails: the merge reports the missing shard.
    let lost = submit("2");
    assert_eq!(lost.status.code(), Some(3), "{lost:?}");
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(said.contains("shard 2/3: 80 cells missing"), "{said}");
    // The same command runs the missing cells.
    let again = submit("");
    assert!(again.status.success(), "{again:?}");
    assert!(csv(place.join("out/whole")) == expected);
}

#[test]
fn a_sweep_can_be_reported_and_repeated() {
    let place = place();
    let place = place.path();
    let expected = whole(place);
    let folder = place.join("expected");
    let files = ["report.md", "report.html", "sweep.svg"];
    let first = files.map(|file| fs::read(folder.join(file)).unwrap());
    for file in files {
        fs::remove_file(folder.join(file)).unwrap();
    }
    succeed(place, &["report", "expected"]);
    let again = files.map(|file| fs::read(folder.join(file)).unwrap());
    assert!(first == again, "the rewritten report differs");
    fs::remove_file(folder.join("sweep.svg")).unwrap();
    succeed(place, &["plot", "expected"]);
    assert!(folder.join("sweep.svg").exists());
    succeed(place, &["sweep", "--like", "expected", "--out", "like"]);
    assert_eq!(csv(place.join("like")), expected);

    // A damaged row is reported and excluded.
    let damaged = expected.replacen("guest-lru", "guest-xyz", 1);
    fs::write(folder.join("sweep.csv"), damaged).unwrap();
    let output = output(place, &["report", "expected"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("line 3"), "{told}");
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("line 3") && page.contains("1 cells are missing"));
}

/// Small sweeps of experiments with several rows per cell: name, fixed parameters, an axis, and a
/// column of the rows.
const BY_ROWS: [(&str, &str, &str, &str); 5] = [
    (
        "blockcache",
        "policies = [\"lru\", \"arc\"]\nworkloads = [\"zipf:0.9\"]\nsizes = [\"1MiB\"]\naccesses = 500",
        "span = [\"2MiB\", \"4MiB\"]",
        "read_misses",
    ),
    (
        "shrinkcache",
        "warmup = 500\nbefore = 200\nshrunk = 200\ngrown = 200\nwindow = 100\nloss_accesses = 200",
        "keep_percent = [40, 60]",
        "hits",
    ),
    (
        "correctness",
        "size = \"1MiB\"\nrandom_steps = 2",
        "random_percent = [30, 50]",
        "read_errors",
    ),
    (
        "overhead",
        "size = \"64MiB\"\nsizes = [\"16MiB\"]\nrepetitions = 1\nlist_repetitions = 1",
        "block_size = [\"4KiB\", \"8KiB\"]",
        "shrink_message_bytes",
    ),
    (
        "knowledge",
        "conditions = \"memory\"\nsize = \"1MiB\"\nspan = \"2MiB\"\nwarmup = 500\nafter = 200\nwindow = 100\n\
         tuning_seeds = 1\nseeds = 1",
        "memory_percent = [10, 30]",
        "misses",
    ),
];

#[test]
fn experiments_are_swept_by_their_rows() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    for (name, fixed, axis, column) in BY_ROWS {
        let text = format!(
            "title = \"t\"\nexperiment = \"{name}\"\nseeds = 2\n[fixed]\n{fixed}\n[sweep]\n{axis}\n"
        );
        fs::write(place.join("by-rows.toml"), text).unwrap();
        let run = |more: &[&str]| {
            succeed(place, &[&["sweep", "by-rows.toml"], more].concat());
        };
        let out = |part: &str| format!("{name}-{part}");
        run(&["--out", &out("whole")]);
        let expected = csv(place.join(out("whole")));
        let header = expected.lines().next().unwrap();
        assert!(header.split(',').any(|of| of == column), "{header}");
        let report = fs::read_to_string(place.join(out("whole")).join("report.md")).unwrap();
        assert!(report.contains("The one requirement holds."), "{report}");
        assert!(report.contains("## Points"), "{report}");
        assert!(place.join(out("whole")).join("sweep.svg").exists());

        run(&["--shard", "1/2", "--out", &out("1")]);
        run(&["--shard", "2/2", "--out", &out("2")]);
        succeed(
            place,
            &["merge", &out("1"), &out("2"), "--out", &out("merged")],
        );
        assert!(csv(place.join(out("merged"))) == expected, "{name}, merged");

        // Truncated after the first row, before the last row, and within a row, as after a kill.
        let rows = place.join(out("whole")).join("sweep.csv");
        let second = expected.match_indices('\n').nth(1).unwrap().0 + 1;
        let last = expected[..expected.len() - 1].rfind('\n').unwrap() + 1;
        for length in [second, last, last + 5] {
            fs::write(&rows, &expected[..length]).unwrap();
            run(&["--out", &out("whole")]);
            assert!(
                csv(place.join(out("whole"))) == expected,
                "{name}, {length}"
            );
        }
    }
}

#[test]
fn experiments_without_sweeps_are_rejected() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    for (text, word) in [
        (
            "experiment = \"latency\"",
            "expected one of correctness, eviction",
        ),
        ("experiment = 5", "invalid `experiment` 5"),
        ("seeds = 0", "invalid `seeds` 0"),
        // Eviction has its own parameter for the number of seeds.
        ("seeds = 2", "`seeds`"),
    ] {
        let text = format!("title = \"t\"\n{text}\n[sweep]\nsd = [1.0]\n");
        fs::write(place.join("wrong.toml"), text).unwrap();
        let output = output(place, &["sweep", "wrong.toml", "--out", "out"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word), "{said}");
        assert!(!place.join("out").exists());
    }
}
