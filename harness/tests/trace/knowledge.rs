//! `harness run knowledge` with a recorded trace in place of a workload.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{csv as csv_of, output, printed};

/// A trace of `count` accesses to 512 blocks, some more often than others.
fn write_trace(here: &Path, count: u64) {
    let mut lines = String::new();
    for at in 0..count {
        let op = if at % 5 == 0 { 'w' } else { 'r' };
        let block = (at * at * 7 + at / 3) % 512;
        writeln!(lines, "{at},{op},{},4096", block * 4096).unwrap();
    }
    fs::write(here.join("t.csv"), csv_of(&lines)).unwrap();
}

const RUN: &str = "run knowledge --transport twin --out out --set trace=t.csv --set size=1MiB \
                   --set origin=16MiB --set warmup=1500 --set after=1000 --set seeds=2";

#[test]
fn each_shrink_begins_elsewhere_in_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_trace(here, 4000);
    let conditions = "--set conditions=[\"memory\",\"policy\"]";
    printed(here, &format!("{RUN} {conditions} --set memory_percent=20"));
    let rows = fs::read_to_string(here.join("out/knowledge.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(rows.as_bytes());
    let header = rows.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|of| of == name).unwrap();
    let [seed, condition, pick, memory, hits] =
        ["seed", "condition", "pick", "memory_hits", "hits"].map(column);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let with_memory = rows.iter().filter(|row| &row[condition] == "memory");
    assert!(with_memory.clone().count() > 0);
    for row in with_memory {
        assert_ne!(&row[memory], "0", "no page of the trace's working set");
    }
    // The same way with other seeds has other accesses.
    let mut counts: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| &row[condition] == "policy" && &row[pick] == "lru")
        .map(|row| (&row[seed], &row[hits]))
        .collect();
    counts.sort_unstable_by_key(|(_, hits)| *hits);
    counts.dedup_by_key(|(_, hits)| *hits);
    assert!(counts.len() > 1, "{counts:?}");
}

#[test]
fn what_a_trace_cannot_give_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_trace(here, 2000);
    for (options, words) in [
        (
            "",
            "the condition `files` needs deletions, which a trace does not have",
        ),
        (
            "--set conditions=[\"pinned\"]",
            "the condition `pinned` needs announcements, which a trace does not have",
        ),
        (
            "--set conditions=[\"policy\"]",
            "the trace t.csv has 2000 accesses, and a shrink needs 2500: set fewer `warmup` and `after`",
        ),
    ] {
        let output = output(here, &format!("{RUN} {options}"));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{text}");
    }
}
