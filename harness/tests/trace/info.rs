//! Descriptions of traces, with assumptions and notes, by `trace info`, `sim` and `run`.

use std::fs;
use std::io::Write;
use std::process::Command;

use super::convert::accesses;
use super::{csv, json, output, printed};

#[test]
fn info_describes_a_trace() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let lines = "10,r,4096,8192\n40,w,4096,100\n20,r,0,0\n50,r,1073741824,4096\n";
    fs::write(here.join("t.csv"), csv(lines)).unwrap();
    let all = json(here, "trace info t.csv --times clamp --json");
    let wanted = serde_json::json!({
        "file": "t.csv", "format": "csv",
        "requests": 4, "reads": 3, "writes": 1, "empty_requests": 1,
        "read_bytes": 12288, "write_bytes": 100,
        "accesses": 4, "write_accesses": 1,
        "distinct_blocks": 3, "distinct_exact": true,
        "first_block": 1, "end_block": (1 << 18) + 1,
        "duration_ns": 40,
        "other_commands": 0, "beyond_disk": 0, "clamped": 1,
        "larger_objects": 0, "volumes": 0,
        "assumptions": [],
        "notes": ["1 record was earlier than its predecessor and got its time."],
    });
    assert_eq!(all, wanted);
    let text = printed(
        here,
        "trace info t.csv --times sort:2 --disk 1GiB --beyond skip",
    );
    for word in [
        "a disk of 12288 bytes (12.0 KiB)",
        "2 distinct, 8.0 KiB",
        "1 request ends past",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let one = json(here, "trace info t.csv --limit 1 --json");
    assert_eq!(
        (&one["requests"], &one["duration_ns"]),
        (&1.into(), &0.into())
    );

    let made = json(here, "trace convert t.csv t.trace --times clamp --json");
    assert_eq!(made["image_bytes"], 8192);
    assert_eq!(made["trace"], wanted);
    let back = json(here, "trace info t.trace --json");
    assert_eq!(back["format"], "trace-disk");
    for same in [
        "accesses",
        "write_accesses",
        "distinct_blocks",
        "first_block",
        "end_block",
    ] {
        assert_eq!(back[same], wanted[same], "{same}");
    }
}

#[test]
fn assumptions_are_reported() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let record = |id: u64, size: u32| {
        let fields: [&[u8]; 4] = [&[0; 4], &id.to_le_bytes(), &size.to_le_bytes(), &[0xff; 8]];
        fields.concat()
    };
    // Keys, one of them a hash.
    let keys = [
        record(1, 4097),
        record(u64::MAX, 1),
        record(2, 4096),
        record(1, 1),
    ]
    .concat();
    fs::write(here.join("t.oracleGeneral"), keys).unwrap();
    let info = json(here, "trace info t.oracleGeneral --json");
    assert_eq!(
        (&info["accesses"], &info["distinct_blocks"]),
        (&4.into(), &3.into())
    );
    assert_eq!(info["larger_objects"], 1);
    let assumed = info["assumptions"][0].as_str().unwrap();
    assert!(assumed.contains("one block of 4 KiB"), "{assumed}");
    let text = printed(here, "trace convert t.oracleGeneral t.trace");
    for words in [
        "assumed    Each id is an object",
        "note       1 request is for an object larger",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let blocks: Vec<u32> = accesses(&here.join("t.trace"))
        .iter()
        .map(|a| a.block)
        .collect();
    assert_eq!(blocks, [0, 1, 2, 0]);

    printed(
        here,
        "sim --trace t.oracleGeneral --size 1 --policy lru --out objects",
    );
    let report = fs::read_to_string(here.join("objects/report.md")).unwrap();
    assert!(report.contains("Assumed: Each id is an object"), "{report}");
    let gz = Command::new("gzip")
        .arg("-k")
        .arg(here.join("t.oracleGeneral"))
        .status();
    assert!(gz.unwrap().success());
    let mut packed = fs::OpenOptions::new()
        .append(true)
        .open(here.join("t.oracleGeneral.gz"))
        .unwrap();
    packed.write_all(b"and more").unwrap();
    let info = json(here, "trace info t.oracleGeneral.gz --json");
    let notes = info["notes"].to_string();
    assert!(
        notes.contains("Trailing bytes after the gzip data"),
        "{notes}"
    );
    assert_eq!(info["requests"], 4);
}

#[test]
fn a_run_reports_how_it_read_its_trace() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let run = |trace: &str, out: &str| {
        let line = format!(
            "run blockcache --transport twin --set trace={trace} --set workloads=[\"zipf:0.99\"] --set accesses=9 \
             --set sizes=[\"512KiB\"] --set policies=[\"lru\"] --out {out}"
        );
        output(here, &line)
    };
    let lines: Vec<String> = (0..9)
        .map(|at| format!("{at},{},4096,r,{at}.5", at << 20))
        .collect();
    fs::write(
        here.join("t.spc"),
        format!("ASU,LBA,Size,Opcode,When\n{}\n", lines.join("\n")),
    )
    .unwrap();
    // Nine volumes 1 TiB apart: only one is on the origin disk of 40 GiB.
    let out = run("t.spc", "out");
    assert!(out.status.success(), "{out:?}");
    let rows = fs::read_to_string(here.join("out/blockcache_trace.csv")).unwrap();
    assert!(rows.contains("t.spc,spc,1,1,1,8,"), "{rows}");
    let report = fs::read_to_string(here.join("out/report.md")).unwrap();
    for words in [
        "Its 9 volumes lie side by side, 1TiB apart.",
        "8 requests end past the end of the disk",
        "`harness trace convert t.spc OUT --volume 8GiB` lays them out closer, and `--set trace=OUT --set \
         origin=72GiB`",
        "Line 1 names the columns",
    ] {
        assert!(report.contains(words), "{report}");
    }
    // The message names no option that `run` does not have.
    fs::write(here.join("late.csv"), csv("9,r,0,1\n5,r,0,1\n")).unwrap();
    let refused = run("late.csv", "late");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("`harness trace convert FILE OUT` has options") && !text.contains("--"),
        "{text}"
    );
    printed(here, "trace convert late.csv late.trace --times clamp");
    let out = run("late.trace", "clamped");
    assert!(out.status.success(), "{out:?}");
}
