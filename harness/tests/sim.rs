//! `harness sim` as a person uses it: what comes out, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::sim::replay::Row;

fn sim(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).arg("sim").args(arguments);
    command.output().unwrap()
}

/// The one sentence on standard error.
fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = sim(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    if code == 1 {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(!folder.join("out").exists(), "{arguments:?} left results");
    text
}

fn rows(folder: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder.join("out/sim.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// A trace of lines `time_ns,op,offset,length`.
fn trace(folder: &Path, requests: &[(u64, char, u64, u64)]) -> PathBuf {
    let mut text = String::from("time_ns,op,offset_bytes,length_bytes\n");
    for (time, op, offset, length) in requests {
        text += &format!("{time},{op},{offset},{length}\n");
    }
    let path = folder.join("trace.csv");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_trace_is_counted_block_by_block() {
    let place = tempfile::tempdir().unwrap();
    // Blocks 0 1, then 1, then nothing, then 0: a write, in a cache of one and of two.
    let requests = [
        (0, 'r', 0, 8192),
        (5, 'r', 4096, 512),
        (5, 'r', 0, 0),
        (9, 'w', 100, 10),
    ];
    trace(place.path(), &requests);
    let arguments = [
        "--trace",
        "trace.csv",
        "--policy",
        "lru,belady,lru",
        "--size",
        "2,1,0%,100%",
        "--out",
        "out",
    ];
    let output = sim(place.path(), &arguments);
    assert!(output.status.success(), "{output:?}");
    let counts: Vec<_> = rows(place.path())
        .into_iter()
        .map(|row| {
            let reads = (row.reads, row.read_misses);
            (
                row.policy,
                row.cache_blocks,
                reads,
                (row.writes, row.write_misses),
            )
        })
        .collect();
    let row = |policy: &str, blocks, read_misses, write_misses| {
        (
            policy.to_owned(),
            blocks,
            (3, read_misses),
            (1, write_misses),
        )
    };
    let wanted = [
        row("lru", 0, 3, 1),
        row("lru", 1, 2, 1),
        row("lru", 2, 2, 0),
        row("belady", 0, 3, 1),
        row("belady", 1, 2, 1),
        row("belady", 2, 2, 0),
    ];
    assert_eq!(counts, wanted);
    for file in [
        "mrc.csv",
        "mrc_methods.csv",
        "sim.png",
        "mrc.svg",
        "report.md",
        "report.html",
    ] {
        assert!(place.path().join("out").join(file).exists(), "{file}");
    }
}

#[test]
fn a_workload_comes_out_the_same_again() {
    let place = tempfile::tempdir().unwrap();
    let run = |out: &str| {
        let arguments = [
            "--workload",
            "zipf:0.9",
            "--blocks",
            "3000",
            "--requests",
            "20000",
            "--policy",
            "all",
            "--size",
            "5%,300",
            "--warmup",
            "10%",
            "--out",
            out,
            "--json",
        ];
        let output = sim(place.path(), &arguments);
        assert!(output.status.success(), "{output:?}");
        let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict["folder"], out);
        let mut reader = csv::Reader::from_path(place.path().join(out).join("sim.csv")).unwrap();
        let rows = reader.deserialize::<Row>().map(Result::unwrap);
        rows.map(|row| {
            (
                row.policy.clone(),
                row.cache_blocks,
                row.reads,
                row.misses(),
            )
        })
        .collect::<Vec<_>>()
    };
    let first = run("first");
    assert_eq!(first.len(), 22);
    assert!(first.iter().all(|(.., reads, _)| *reads == 18_000));
    assert_eq!(run("second"), first);
}

#[test]
fn what_cannot_be_simulated_is_one_sentence() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    trace(here, &[(7, 'r', 0, 4096), (3, 'r', 1 << 30, 4096)]);
    fs::write(here.join("empty.csv"), "").unwrap();
    fs::write(here.join("cut.vscsi"), [0u8; 40]).unwrap();
    trace_of_nothing(here);
    for (arguments, word) in [
        (vec![], "--trace FILE"),
        (vec!["--trace", "nowhere.csv"], "nowhere.csv"),
        (vec!["--trace", "empty.csv"], "empty.csv"),
        (vec!["--trace", "trace.csv"], "trace.csv"),
        (
            vec!["--trace", "cut.vscsi", "--format", "vscsi"],
            "cut.vscsi",
        ),
        (vec!["--trace", "nothing.csv"], "no block"),
        (
            vec!["--trace", "trace.csv", "--times", "clamp", "--disk", "1GiB"],
            "trace.csv",
        ),
        (vec!["--workload", "zipf:0.9", "--policy", "mru"], "mru"),
        (
            vec!["--workload", "zipf:0.9", "--mrc", "shards:2"],
            "sampling",
        ),
        (
            vec!["--workload", "zipf:0.9", "--requests", "0"],
            "--requests",
        ),
        (vec!["--workload", "zipf:0.9", "--blocks", "0"], "--blocks"),
        (
            vec![
                "--workload",
                "zipf:0.9",
                "--requests",
                "10",
                "--size",
                "1TiB",
            ],
            "--size",
        ),
    ] {
        let arguments: Vec<&str> = arguments.into_iter().chain(["--out", "out"]).collect();
        let text = refused(here, &arguments, 1);
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    for (arguments, word) in [
        (vec!["--workload", "zipf", "--out", "out"], "zipf:EXPONENT"),
        (
            vec!["--workload", "uniform", "--size", "101%", "--out", "out"],
            "101%",
        ),
        (
            vec!["--workload", "uniform", "--trace", "x", "--out", "out"],
            "--trace",
        ),
    ] {
        let text = refused(here, &arguments, 2);
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    // What was refused above is taken when told how.
    let arguments = [
        "--trace",
        "trace.csv",
        "--times",
        "clamp",
        "--disk",
        "1GiB",
        "--beyond",
        "skip",
        "--policy",
        "fifo",
        "--size",
        "1",
        "--mrc",
        "none",
        "--out",
        "out",
    ];
    let output = sim(here, &arguments);
    assert!(output.status.success(), "{output:?}");
    let report = fs::read_to_string(here.join("out/report.md")).unwrap();
    assert!(report.contains("1 requests end past"), "{report}");
}

/// A trace whose one request moves nothing.
fn trace_of_nothing(folder: &Path) {
    let before = fs::read(folder.join("trace.csv")).unwrap();
    let path = trace(folder, &[(0, 'w', 4096, 0)]);
    fs::rename(path, folder.join("nothing.csv")).unwrap();
    fs::write(folder.join("trace.csv"), before).unwrap();
}

#[test]
fn a_bench_without_its_peer_says_what_to_install() {
    let place = tempfile::tempdir().unwrap();
    // A Python that can import nothing, and a program that is none.
    for python in ["false", "/nonexistent/python3"] {
        let arguments = [
            "bench",
            "cache",
            "--requests",
            "10",
            "--python",
            python,
            "--out",
            "out",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        let output = command.current_dir(place.path()).args(arguments).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("pip install libcachesim"), "{text}");
    }
    assert!(!place.path().join("out").exists());
}
