//! Commands whose output cannot be written complete their work without a panic.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use results::manifest::{Manifest, State};
use tempfile::TempDir;

/// A broken destination of standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// A pipe without a reader.
    NoReader,
    FullDisk,
}

impl To {
    fn open(self) -> Stdio {
        match self {
            Self::NoReader => {
                let (reader, writer) = io::pipe().unwrap();
                drop(reader);
                writer.into()
            }
            Self::FullDisk => File::create("/dev/full").unwrap().into(),
        }
    }
}

fn harness(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const TRACE: &str = "time_ns,op,offset_bytes,length_bytes\n0,r,0,8192\n1,w,4096,1\n";

const SWEEP: &str = r#"
title = "two cells"
[fixed]
size = "16MiB"
warmup = 300
sample = 200
reads = 500
repetitions = 1
pickers = ["guest-sample", "host-uniform"]
[sweep]
shrink_percent = [10, 20]
"#;

const RUN: &str =
    "run correctness --transport twin --set size=16MiB --set random_steps=1 --out run";

/// A folder with a trace and a sweep.
fn place(trace: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("t.csv"), trace).unwrap();
    fs::write(place.path().join("two.toml"), SWEEP).unwrap();
    place
}

/// Commands in order, each with the file that it creates.
fn commands() -> Vec<(Vec<&'static str>, &'static str)> {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    [
        (words("list"), ""),
        (words("list --json"), ""),
        (words("image"), ""),
        (words("trace info t.csv"), ""),
        (words("trace info t.csv --json"), ""),
        (words("trace convert t.csv t.trace"), "t.trace"),
        (
            words("sim --trace t.csv --size 1 --policy lru --out sim"),
            "sim/report.html",
        ),
        (words(RUN), "run/report.html"),
        (words("report run"), "run/report.md"),
        (words("plot run"), "run/correctness.svg"),
        (words("sweep"), ""),
        (words("sweep two.toml --out sweep"), "sweep/report.html"),
        (words("merge sweep --out merged"), "merged/report.html"),
    ]
    .into()
}

#[test]
fn commands_complete_without_a_reader_of_their_output() {
    for to in [To::NoReader, To::FullDisk] {
        let place = place(TRACE);
        let here = place.path();
        for (arguments, left) in commands() {
            let output = harness(here, &arguments)
                .stdout(to.open())
                .output()
                .unwrap();
            let text = stderr(&output);
            assert!(!text.contains("panicked"), "{arguments:?}: {text}");
            match to {
                To::NoReader => {
                    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
                    assert!(!text.contains("standard output"), "{arguments:?}: {text}");
                }
                To::FullDisk => {
                    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
                    let error = "harness: write to standard output: No space left on device (os error 28)\n";
                    assert!(text.ends_with(error), "{arguments:?}: {text}");
                }
            }
            assert!(
                here.join(left).exists(),
                "{arguments:?} left no {left}: {text}"
            );
        }
        let manifest = Manifest::read(&here.join("run")).unwrap();
        assert_eq!(manifest.status, State::Complete);
    }
}

#[test]
fn exit_codes_do_not_depend_on_a_reader_of_the_output() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // Without QEMU in PATH, and with wrong arguments.
    let code = |arguments: &[&str]| {
        let mut command = harness(here, arguments);
        let output = command
            .env("PATH", "")
            .stdout(To::NoReader.open())
            .output()
            .unwrap();
        assert!(
            !stderr(&output).contains("panicked"),
            "{arguments:?}: {}",
            stderr(&output)
        );
        output.status.code()
    };
    assert_eq!(code(&["doctor"]), Some(3));
    assert_eq!(code(&["doctor", "--json"]), Some(3));
    assert_eq!(code(&["report", "nowhere"]), Some(1));
    assert_eq!(code(&["trace", "info", "nowhere"]), Some(1));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(
        code(&[
            "bench",
            "cache",
            "--python",
            "/nonexistent",
            "--requests",
            "9"
        ]),
        Some(1)
    );
}

#[test]
fn commands_complete_without_a_reader_of_their_errors() {
    for to in [To::NoReader, To::FullDisk] {
        let place = place(TRACE);
        let here = place.path();
        for (arguments, left) in commands() {
            let mut command = harness(here, &arguments);
            let status = command
                .stderr(to.open())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(0), "{arguments:?}");
            assert!(here.join(left).exists(), "{arguments:?} left no {left}");
        }
        let mut command = harness(here, &["trace", "info", "nowhere"]);
        let status = command
            .stderr(to.open())
            .stdout(To::NoReader.open())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
    }
}

#[test]
fn a_full_disk_is_an_error_and_damages_no_results() {
    let mut lines = String::from(TRACE);
    (0..9000).for_each(|at| lines += &format!("{},r,{},4096\n", at + 1, at * 4096));
    let place = place(&lines);
    let here = place.path();
    let words: Vec<_> = RUN.split(' ').collect();
    assert!(harness(here, &words).output().unwrap().status.success());
    let before = fs::read(here.join("run/report.html")).unwrap();
    // A file size limit, in units of 1024 bytes, has the effect of a full disk.
    for (limit, line) in [
        (8, "trace convert t.csv out.trace"),
        (1, "sim --trace t.csv --size 1 --out sim"),
        (8, "sim --trace t.csv --size 1 --out sim8"),
        (8, "report run"),
        (8, "plot run"),
        (
            1,
            "run correctness --transport twin --set size=16MiB --out other",
        ),
        (1, "sweep two.toml --out sweep"),
    ] {
        let program = env!("CARGO_BIN_EXE_harness");
        let output = Command::new("bash")
            .current_dir(here)
            .args(["-c", &format!("ulimit -f {limit}; exec {program} {line}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{line}: {:?} {text}",
            output.status
        );
        assert!(!text.contains("panicked"), "{line}: {text}");
        // The cause is reported once.
        assert_eq!(text.matches("File too large").count(), 1, "{line}: {text}");
    }
    assert!(!here.join("out.trace").exists());
    assert_eq!(fs::read(here.join("run/report.html")).unwrap(), before);
    let leftovers = |folder: &str| {
        let entries = fs::read_dir(here.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".new") || name.starts_with(".trace"))
            .count()
    };
    assert_eq!((leftovers("run"), leftovers(".")), (0, 0));
}

#[test]
fn a_run_completes_when_its_reader_exits() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let temporary = here.join("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = "run correctness --accel tcg --set size=16MiB --set random_steps=1 --out run";
    let words: Vec<_> = run.split(' ').collect();
    let mut child = harness(here, &words)
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // As `head -1` does.
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("tcg") || first.contains("twins"), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    let manifest = Manifest::read(&here.join("run")).unwrap();
    assert_eq!(manifest.status, State::Complete);
    assert!(here.join("run/report.html").exists());
    // Sockets, backing file and console log are removed, and the processes that used them exited.
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let path = temporary.to_str().unwrap();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(path), "still running: {line}");
    }
}
