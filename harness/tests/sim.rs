//! `harness sim`: results and errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::experiments::sim::rows::SimRow as Row;

fn harness(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command
        .current_dir(folder)
        .args(arguments.split_whitespace());
    command
}

fn sim(folder: &Path, arguments: &str) -> Output {
    harness(folder, &format!("sim {arguments}"))
        .output()
        .unwrap()
}

/// The error message of a command that must fail: one line, except for usage errors.
fn refused(folder: &Path, arguments: &str, code: i32) -> String {
    let output = sim(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments}: {text}");
    if code == 1 {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(!folder.join("out").exists(), "{arguments} left results");
    text
}

fn rows(folder: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder.join("out/sim.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// A CSV trace of lines `time_ns,op,offset,length`.
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
    // Reads of blocks 0 and 1, of 1, and of 0 bytes; a write of 0. Caches of one and two blocks.
    let requests = [
        (0, 'r', 0, 8192),
        (5, 'r', 4096, 512),
        (5, 'r', 0, 0),
        (9, 'w', 100, 10),
    ];
    trace(place.path(), &requests);
    let arguments = "--trace trace.csv --policy lru,belady,lru --size 2,1,0%,100% --out out";
    let output = sim(place.path(), arguments);
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
        "sim.svg",
        "mrc.svg",
        "report.md",
        "report.html",
    ] {
        assert!(place.path().join("out").join(file).exists(), "{file}");
    }
}

#[test]
fn simulations_of_a_workload_are_deterministic() {
    let place = tempfile::tempdir().unwrap();
    let run = |out: &str| {
        let arguments = format!(
            "--workload zipf:0.9 --blocks 3000 --requests 20000 --policy all --size 5%,300 \
             --warmup 10% --out {out} --json"
        );
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

/// The finalizer of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// 8000 requests for up to 600 objects of 1 to 20,000 bytes, with hashes as ids; one in fifty has
/// 0 bytes.
fn objects() -> Vec<u8> {
    let request = |at: u64| {
        let [a, b, c] = [1, 2, 3].map(|of| mix(3 * at + of));
        let id = mix((a % 600).min(b % 600) + 1);
        let size = if c.is_multiple_of(50) {
            0
        } else {
            1 + (c >> 8) % 20_000
        };
        let time = (at / 100) as u32;
        let fields: [&[u8]; 4] = [
            &time.to_le_bytes(),
            &id.to_le_bytes(),
            &(size as u32).to_le_bytes(),
            &(-1i64).to_le_bytes(),
        ];
        fields.concat()
    };
    (0..8000).flat_map(request).collect()
}

/// Misses of libCacheSim 0.3.5 (PyPI) in caches of 60 and 240 objects, for the trace [`objects`] in
/// a file: `Policy(capacity).process_trace(TraceReader(file,
/// TraceType.ORACLE_GENERAL_TRACE, ReaderInitParam(ignore_obj_size=True)))`.
const LIBCACHESIM: [(&str, u64, u64); 8] = [
    ("fifo", 6845, 4100),
    ("clock", 6829, 3910),
    ("lru", 6839, 3991),
    ("sieve", 6702, 3594),
    ("s3-fifo", 6680, 3817),
    ("lfu", 6709, 3600),
    ("2q", 6754, 3977),
    ("arc", 6768, 3879),
];

#[test]
fn misses_of_objects_equal_those_of_libcachesim() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("keys.oracleGeneral"), objects()).unwrap();
    let names = LIBCACHESIM.map(|(name, ..)| name).join(",");
    let arguments = format!("--trace keys.oracleGeneral --policy {names} --size 60,240 --out out");
    let output = sim(place.path(), &arguments);
    assert!(output.status.success(), "{output:?}");
    let rows = rows(place.path());
    assert!(rows.iter().all(|row| row.reads == 7847));
    for (policy, small, large) in LIBCACHESIM {
        let of = rows.iter().filter(|row| row.policy == policy);
        let misses: Vec<u64> = of.map(Row::misses).collect();
        assert_eq!(misses, [small, large], "{policy}");
    }
}

#[test]
fn consecutive_keys_are_separate_blocks() {
    let place = tempfile::tempdir().unwrap();
    // 20 passes over 400 objects, with a cache of 100.
    let record = |id: u64| {
        let fields: [&[u8]; 4] = [
            &[0; 4],
            &id.to_le_bytes(),
            &512u32.to_le_bytes(),
            &[0xff; 8],
        ];
        fields.concat()
    };
    let bytes: Vec<u8> = (0..8000).flat_map(|at| record(at % 400)).collect();
    fs::write(place.path().join("keys.oracleGeneral"), bytes).unwrap();
    let misses = |more: &str, out: &str| {
        let first = "--trace keys.oracleGeneral --policy lru --size 100";
        let arguments = format!("{first} {more} --out {out}");
        let output = sim(place.path(), &arguments);
        assert!(output.status.success(), "{output:?}");
        let mut reader = csv::Reader::from_path(place.path().join(out).join("sim.csv")).unwrap();
        let row: Row = reader.deserialize().next().unwrap().unwrap();
        row.misses()
    };
    assert_eq!(misses("", "objects"), 8000);
    // As sectors they are 50 blocks, which fit in the cache.
    assert_eq!(misses("--ids addresses", "addresses"), 50);
}

#[test]
fn an_empty_sample_has_no_curve() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let requests: Vec<_> = (0..90).map(|at| (at, 'r', at % 3 * 4096, 4096)).collect();
    trace(here, &requests);
    let arguments = "--trace trace.csv --policy lru --size 1,2 \
                     --mrc exact,shards:0.000001,fixed:2 --out out --json";
    let output = sim(here, arguments);
    assert!(output.status.success(), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let curve = &said["curves"][1];
    assert_eq!(curve["method"], "shards:0.000001");
    assert_eq!(curve["sampled_blocks"], 0);
    assert!(curve["mean_absolute_error"].is_null(), "{curve}");
    assert_eq!(said["curves"][0]["mean_absolute_error"], 0.0);
    let findings = said["verdict"]["findings"].to_string();
    assert!(
        findings.contains("shards:0.000001: no block was sampled"),
        "{findings}"
    );
    assert!(
        findings.contains("fixed:2: only 2 of 3 blocks"),
        "{findings}"
    );
    let read = |name: &str| fs::read_to_string(here.join("out").join(name)).unwrap();
    let of_sample = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("shards"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of_sample(&read("mrc.csv")), ["shards:0.000001,,"]);
    let methods = of_sample(&read("mrc_methods.csv"));
    assert!(methods[0].starts_with("shards:0.000001,0,,"), "{methods:?}");
    for page in ["report.md", "report.html", "mrc.svg"] {
        assert!(read(page).contains("no block was sampled"), "{page}");
    }
    // Without any curve there is no figure.
    let arguments = "--trace trace.csv --policy lru --size 1 --mrc shards:0.000001 --out alone";
    let output = sim(here, arguments);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("no block was sampled"), "{text}");
    assert!(!here.join("alone/mrc.svg").exists());
}

#[test]
fn errors_are_one_line() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    trace(here, &[(7, 'r', 0, 4096), (3, 'r', 1 << 30, 4096)]);
    fs::write(here.join("empty.csv"), "").unwrap();
    fs::write(here.join("cut.vscsi"), [0u8; 40]).unwrap();
    trace_of_nothing(here);
    for (arguments, word) in [
        ("", "--trace FILE"),
        ("--trace nowhere.csv", "nowhere.csv"),
        ("--trace empty.csv", "empty.csv"),
        ("--trace trace.csv", "trace.csv"),
        ("--trace cut.vscsi --format vscsi", "cut.vscsi"),
        ("--trace nothing.csv", "no request accesses a block"),
        ("--trace trace.csv --times clamp --disk 1GiB", "trace.csv"),
        ("--workload zipf:0.9 --policy mru", "mru"),
        ("--workload zipf:0.9 --mrc shards:2", "sampling"),
        ("--workload zipf:0.9 --requests 0", "--requests"),
        ("--workload zipf:0.9 --blocks 0", "--blocks"),
        ("--workload zipf:0.9 --requests 10 --size 1TiB", "--size"),
    ] {
        let text = refused(here, &format!("{arguments} --out out"), 1);
        assert!(text.contains(word), "{arguments}: {text}");
    }
    for (arguments, word) in [
        ("--workload zipf --out out", "zipf:EXPONENT"),
        ("--workload uniform --size 101% --out out", "101%"),
        ("--workload uniform --trace x --out out", "--trace"),
    ] {
        let text = refused(here, arguments, 2);
        assert!(text.contains(word), "{arguments}: {text}");
    }
    // A trace rejected above is accepted with the right options.
    let arguments = "--trace trace.csv --times clamp --disk 1GiB --beyond skip --policy fifo \
                     --size 1 --mrc none --out out";
    let output = sim(here, arguments);
    assert!(output.status.success(), "{output:?}");
    let report = fs::read_to_string(here.join("out/report.md")).unwrap();
    assert!(report.contains("1 request ends past"), "{report}");
}

/// A trace with a single request, of 0 bytes.
fn trace_of_nothing(folder: &Path) {
    let before = fs::read(folder.join("trace.csv")).unwrap();
    let path = trace(folder, &[(0, 'w', 4096, 0)]);
    fs::rename(path, folder.join("nothing.csv")).unwrap();
    fs::write(folder.join("trace.csv"), before).unwrap();
}

#[test]
fn a_bench_without_its_peer_names_the_package() {
    let place = tempfile::tempdir().unwrap();
    // A program that cannot import, and one that does not exist.
    for python in ["false", "/nonexistent/python3"] {
        let arguments = format!("bench cache --requests 10 --python {python} --out out");
        let output = harness(place.path(), &arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("pip install libcachesim"), "{text}");
    }
    assert!(!place.path().join("out").exists());
}

#[test]
fn simulations_of_the_same_second_go_to_different_folders() {
    let place = tempfile::tempdir().unwrap();
    let arguments = "sim --workload uniform --blocks 10 --requests 10 --size 1 --mrc none";
    let started: Vec<_> = (0..4)
        .map(|_| {
            harness(place.path(), arguments)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    let folders = fs::read_dir(place.path().join("results")).unwrap();
    let complete = folders.filter(|folder| {
        let folder = folder.as_ref().unwrap().path();
        folder.join("sim.csv").exists() && folder.join("report.md").exists()
    });
    assert_eq!(complete.count(), 4);
}
