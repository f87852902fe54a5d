//! `harness trace` as a person uses it: the disk that comes out, what is said of a trace,
//! and what is refused.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use simulate::input::Input;
use simulate::trace::trace_image;
use terminal::progress::Progress;
use workloads::trace::{Beyond, Options, TimeOrder};
use workloads::trace_disk::{AccessRecord, BLOCK_BYTES, Header, Place};

const HIDDEN: Progress = Progress { shown: false };

fn harness(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).args(arguments.split(' '));
    command
}

fn output(folder: &Path, arguments: &str) -> Output {
    harness(folder, arguments).output().unwrap()
}

/// What a command prints that succeeds.
fn printed(folder: &Path, arguments: &str) -> String {
    let output = output(folder, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, arguments: &str) -> serde_json::Value {
    serde_json::from_str(&printed(folder, arguments)).unwrap()
}

/// A trace of lines `time_ns,op,offset,length`.
fn csv(lines: &str) -> String {
    format!("time_ns,op,offset_bytes,length_bytes\n{lines}")
}

/// The accesses of an image, as whoever has only the layout reads them.
fn accesses(image: &Path) -> Vec<AccessRecord> {
    let bytes = fs::read(image).unwrap();
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    assert!(
        rest.is_empty(),
        "{} is no whole number of blocks",
        image.display()
    );
    let header = Header::decode(&blocks[0], bytes.len() as u64).unwrap();
    assert_eq!(header.disk_blocks(), blocks.len() as u64);
    let at = |number: u64| {
        let place = Place::of(number);
        let block = &blocks[place.block as usize];
        AccessRecord::decode(block[place.bytes()].try_into().unwrap())
    };
    let after = Place::of(header.accesses);
    if let Some(last) = blocks.get(after.block as usize) {
        assert!(last[after.bytes().start..].iter().all(|byte| *byte == 0));
    }
    (0..header.accesses).map(at).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_request_becomes_an_access_to_each_of_its_blocks() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // Two blocks and a half, nothing, a part of one.
    let lines = "5,r,4096,10240\n5,w,0,0\n9,W,8191,1\n";
    fs::write(here.join("t.csv"), csv(lines)).unwrap();
    let text = printed(here, "trace convert t.csv t.trace");
    for word in [
        "3: 1 reads",
        "1 of nothing",
        "4 to blocks",
        "3 different",
        "8192 bytes",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let wanted = [
        AccessRecord::new(1, false, 0),
        AccessRecord::new(2, false, 0),
        AccessRecord::new(3, false, 0),
        AccessRecord::new(1, true, 2),
    ];
    assert_eq!(accesses(&here.join("t.trace")), wanted);
    assert_eq!(names(here), ["t.csv", "t.trace"]);
    let mode = |name: &str| fs::metadata(here.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("t.trace"), mode("t.csv"));
}

#[test]
fn a_block_that_records_fill_is_followed_by_none() {
    let place = tempfile::tempdir().unwrap();
    for (requests, blocks) in [(511, 2), (512, 2), (513, 3)] {
        let lines: String = (0..requests)
            .map(|at| format!("{at},r,{},4096\n", 4096 * at))
            .collect();
        let path = place.path().join("t.csv");
        fs::write(&path, csv(&lines)).unwrap();
        let (image, made) = trace_image(&path, Options::default(), place.path(), HIDDEN).unwrap();
        assert_eq!(made.image_bytes, blocks * 4096);
        let all = accesses(&image);
        assert_eq!(all.len(), requests);
        assert!(all.iter().zip(0..).all(|(access, at)| access.block == at));
    }
    assert_eq!(names(place.path()), ["t.csv"], "images go with their paths");
}

#[test]
fn guest_and_simulator_get_the_same_accesses() {
    let place = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for at in 0u64..3000 {
        let op = if at.is_multiple_of(3) { "w" } else { "r" };
        let offset = at * at * 7919 % (1 << 30);
        lines += &format!(
            "{},{op},{offset},{}\n",
            30 + at - 3 * (at % 7),
            at % 5 * 3000
        );
    }
    let path = place.path().join("t.csv");
    fs::write(&path, csv(&lines)).unwrap();
    let options = Options {
        disk_bytes: Some(1 << 29),
        beyond: Beyond::Skip,
        order: TimeOrder::Sort { window: 64 },
        limit: 1000.try_into().ok(),
        ..Options::default()
    };
    let of_trace = Input::from_trace(&path, options.clone(), HIDDEN).unwrap();
    let (image, made) = trace_image(&path, options, place.path(), HIDDEN).unwrap();
    let of_image = Input::from_trace(&image, Options::default(), HIDDEN).unwrap();
    assert_eq!(made.summary.requests(), 1000);
    assert!(made.summary.counts.beyond_disk > 0);
    assert_eq!(of_image.blocks, of_trace.blocks);
    assert_eq!(of_image.writes, of_trace.writes);
    assert_eq!(of_image.distinct, of_trace.distinct);
    assert_eq!(made.distinct.blocks, u64::from(of_trace.distinct));
    assert!(made.distinct.exact);
    // The blocks have the numbers that they have on the disk.
    let all = accesses(&image);
    assert_eq!(all.len(), of_trace.len());
    let end = all.iter().map(|access| u64::from(access.block) + 1).max();
    assert_eq!(end, Some(made.summary.end_block));
    // Records of one request, and no others, follow each other under one number.
    assert!(all.is_sorted_by_key(|access| access.request));
}

#[test]
fn compressed_traces_convert_alike() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let lines = csv("0,r,4096,4096\n1,w,8192,8192\n");
    fs::write(here.join("plain"), &lines).unwrap();
    let gzip = Command::new("gzip")
        .arg("-k")
        .arg(here.join("plain"))
        .status();
    assert!(gzip.unwrap().success());
    printed(here, "trace convert plain a");
    printed(here, "trace convert plain.gz b --format csv");
    assert_eq!(
        fs::read(here.join("a")).unwrap(),
        fs::read(here.join("b")).unwrap()
    );
}

#[test]
fn info_says_what_is_in_a_trace() {
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
        "notes": ["1 record was earlier than the one before; it counts as of the same time."],
    });
    assert_eq!(all, wanted);
    let text = printed(
        here,
        "trace info t.csv --times sort:2 --disk 1GiB --beyond skip",
    );
    for word in [
        "a disk of 12288 bytes (12.0 KiB)",
        "2 different ones, 8.0 KiB",
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
fn bad_traces_are_refused_where_they_are_bad() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let write = |name: &str, bytes: &[u8]| fs::write(here.join(name), bytes).unwrap();
    let mut vscsi = [0; 32];
    vscsi[4..8].copy_from_slice(&512u32.to_le_bytes());
    vscsi[12..16].copy_from_slice(&[0x28, 0, 0, 1]);
    write("cut.vscsi", &[&vscsi[..], &vscsi[..20]].concat());
    write("empty", b"");
    write("header.csv", csv("").as_bytes());
    write("nothing.csv", csv("0,r,4096,0\n1,w,0,0\n").as_bytes());
    write("back.csv", csv("7,r,0,1\n3,r,0,1\n").as_bytes());
    write("far.csv", csv("0,r,0,1\n1,r,17592186044415,2\n").as_bytes());
    write("field.csv", csv("0,r,0,1\n1,x,0,1\n").as_bytes());
    write("what", b"\x01\x02\x03");
    write("here", b"precious");
    write("t.zip", b"PK\x03\x04\x14\0\0\0");
    write("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
    let header = Header { accesses: 2 }.encode();
    write("half.trace", &[&header[..], &[0; 8]].concat());
    write("short.trace", &header[..100]);
    let before = names(here);
    for (arguments, words) in [
        (
            "cut.vscsi",
            "cut.vscsi, byte 32: the file ends after 20 of the 32 bytes",
        ),
        ("empty", "empty: the file is empty: "),
        ("header.csv", "header.csv: has no read and no write request"),
        (
            "nothing.csv",
            "nothing.csv: its requests access no block at all",
        ),
        ("far.csv --disk 4KiB --beyond skip --limit 0", "--limit"),
        ("back.csv", "back.csv, line 3: the record is 4 ns earlier"),
        (
            "far.csv --disk 1GiB",
            "far.csv, line 3: the request ends at byte 17592186044417 of a disk of 1GiB: ",
        ),
        (
            "nothing.csv --disk 0 --beyond skip",
            "(1 ends past the end of the disk, and was left out)",
        ),
        ("field.csv", "field.csv, line 3: the operation is \"x\""),
        (
            "what",
            "what: neither its name nor its content identifies the format",
        ),
        (
            "back.csv --format vscsi",
            "back.csv: does not start like a trace of format vscsi",
        ),
        (
            "half.trace",
            "half.trace, byte 4104: the file ends after 0 of the 8 bytes",
        ),
        (
            "short.trace",
            "short.trace, byte 0: the file ends after 100 of the 4096 bytes",
        ),
        (
            "nowhere.csv",
            "nowhere.csv: cannot be read: No such file or directory (os error 2)\n",
        ),
        (".", ".: cannot be read: Is a directory (os error 21)\n"),
        ("field.csv --id-unit 0B", "at least 1B"),
        ("field.csv --volume 0B", "at least 1B"),
        (
            "field.csv --max-request 2GiB",
            "no request is longer than 1GiB",
        ),
        (
            "field.csv --ids objects --id-unit 4KiB",
            "--ids objects makes no addresses",
        ),
        (
            "t.zip",
            "t.zip: is a zip archive, which is not supported: unpack it",
        ),
        ("cut.gz --format csv", "cut.gz: its gzip data ends early: "),
        ("back.csv --beyond skip", "--disk"),
        ("back.csv --times sort:0", "sort:RECORDS"),
        ("back.csv --format vhs", "oracle-general"),
    ] {
        let (file, options) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let lines = [
            format!("trace convert {file} out {options}"),
            format!("trace info {file} {options}"),
        ];
        for line in lines {
            let output = output(here, line.trim());
            let text = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code().unwrap();
            assert!(code == 1 || code == 2, "{line}: {code}");
            assert!(code == 2 || text.lines().count() == 1, "{line}: {text}");
            assert!(text.contains(words), "{line}: {text}");
            assert!(output.stdout.is_empty(), "{line}");
            assert_eq!(names(here), before, "{line} left something");
        }
    }
    // What only an image cannot do.
    for (arguments, words) in [
        (
            "far.csv out",
            "far.csv, line 3: the request ends at byte 17592186044417 of a disk of 16TiB: `--disk 16TiB --beyond skip` \
             leaves out 1 of 2 requests (50.0 %)",
        ),
        ("far.csv out --disk 17TiB", "16TiB"),
        ("back.csv here --times clamp", "here exists already"),
        ("back.csv no/where --times clamp", "in no: "),
    ] {
        let output = output(here, &format!("trace convert {arguments}"));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
        assert_eq!(names(here), before, "{arguments} left something");
    }
    assert_eq!(fs::read(here.join("here")).unwrap(), b"precious");
}

/// A bound on hanging.
const PATIENCE: Duration = Duration::from_secs(600);

/// The words between backticks of a refusal, each an advice.
fn advice(folder: &Path, arguments: &str) -> Vec<String> {
    let output = output(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let advice: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(!advice.is_empty(), "{arguments}: {text}");
    assert!(
        advice.iter().all(|option| option.starts_with("--")),
        "{text}"
    );
    advice
}

#[test]
fn what_is_advised_is_taken() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let write = |name: &str, text: &str| fs::write(here.join(name), text).unwrap();
    // 24 units of up to 500 GiB, of which a default of 1 TiB each leaves 16 on a disk.
    let mut units = String::new();
    for at in 0..240u64 {
        let lba = at * 7919 * 131_072 % (500 << 21);
        units += &format!("{},{lba},4096,r,{at}.5\n", at % 24);
    }
    write("units.spc", &units);
    let mut times = String::new();
    for at in 0..500u64 {
        times += &format!("{},r,{},4096\n", 100 + at - at % 7 * (at % 3), at * 4096);
    }
    write("late.csv", &csv(&times));
    write(
        "long.csv",
        &csv("0,r,0,4096\n1,r,0,67108865\n2,w,4096,123456789\n"),
    );
    write(
        "far.csv",
        &csv("0,r,0,4096\n1,r,5368709120,4096\n2,r,7516192768,1\n"),
    );
    write(
        "volumes.msr",
        "1,a,0,Read,0,4096,1\n2,b,0,Read,1500000000000,4096,1\n",
    );
    let ids: Vec<u8> = [(7u64, 4096u32), (9, 4096), (1 << 60, 1)]
        .iter()
        .flat_map(|(id, size)| {
            let size = size.to_le_bytes();
            [&[0; 4], &id.to_le_bytes()[..], &size, &[0xff; 8]].concat()
        })
        .collect();
    fs::write(here.join("keys.oracleGeneral"), ids).unwrap();
    for (arguments, advised) in [
        (
            "units.spc",
            &["--volume 512GiB", "--disk 16TiB --beyond skip"][..],
        ),
        (
            "units.spc --disk 1TiB",
            &["--volume 512GiB --disk 12TiB", "--beyond skip"],
        ),
        ("units.spc --volume 1GiB", &["--volume 512GiB"]),
        (
            "units.spc --volume 1GiB --disk 2TiB",
            &["--volume 512GiB --disk 12TiB"],
        ),
        ("late.csv", &["--times sort:", "--times clamp"]),
        (
            "late.csv --times sort:1",
            &["--times sort:", "--times clamp"],
        ),
        ("long.csv", &["--max-request 118MiB"]),
        ("far.csv --disk 1GiB", &["--disk 7169MiB", "--beyond skip"]),
        ("volumes.msr", &["--volume 2TiB"]),
        (
            "keys.oracleGeneral --ids addresses",
            &["--ids objects", "--overlap allow"],
        ),
        (
            "keys.oracleGeneral --ids addresses --overlap allow",
            &["--ids objects", "--id-unit"],
        ),
    ] {
        let (file, options) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let found = advice(here, format!("trace convert {file} out {options}").trim());
        assert_eq!(found.len(), advised.len(), "{arguments}: {found:?}");
        for (found, advised) in found.iter().zip(advised) {
            assert!(
                found.starts_with(advised),
                "{arguments}: {found}, not {advised}"
            );
            // The unit of an address is the user's to know.
            if found == "--id-unit" {
                continue;
            }
            // What an advice names again it puts in the place of what was given.
            let mut kept: Vec<&str> = Vec::new();
            let pairs: Vec<&str> = options.split_whitespace().collect();
            for pair in pairs.chunks(2) {
                let is_of_ids = pair[0] == "--overlap" && found.starts_with("--ids");
                if !found.contains(pair[0]) && !is_of_ids {
                    kept.extend(pair);
                }
            }
            let line = format!("trace convert {file} out {} {found}", kept.join(" "));
            let words: Vec<&str> = line.split_whitespace().collect();
            // Keys that are no addresses in this unit do not become some by overlapping.
            if found == "--overlap allow" {
                let error = advice(here, &words.join(" "));
                assert!(error.contains(&"--ids objects".to_owned()), "{error:?}");
                continue;
            }
            let text = printed(here, &words.join(" "));
            let all = fs::read_to_string(here.join(file)).map_or(3, |text| text.lines().count());
            let requests = all - usize::from(file.ends_with(".csv"));
            let skipped = found.contains("skip");
            assert_eq!(
                text.contains(&format!("requests   {requests}:")),
                !skipped,
                "{line}: {text}"
            );
            fs::remove_file(here.join("out")).unwrap();
        }
        // The other commands say the same where they refuse it too.
        let info = output(here, format!("trace info {arguments}").trim());
        if info.status.code() == Some(1) {
            let info = String::from_utf8(info.stderr).unwrap();
            let sim = output(here, &format!("sim --trace {arguments} --out none"));
            let sim = String::from_utf8(sim.stderr).unwrap();
            assert_eq!(sim, info);
        }
    }
}

#[test]
fn what_was_assumed_of_a_trace_is_said() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    let record = |id: u64, size: u32| {
        let fields: [&[u8]; 4] = [&[0; 4], &id.to_le_bytes(), &size.to_le_bytes(), &[0xff; 8]];
        fields.concat()
    };
    // Keys, of which one is a hash.
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
        notes.contains("Other bytes come after the gzip data"),
        "{notes}"
    );
    assert_eq!(info["requests"], 4);
}

#[test]
fn a_run_says_how_it_read_its_trace() {
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
    // Nine volumes a TiB apart, of which the origin disk of 40 GiB has one.
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
    // Options that a run does not have are not named as its own.
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

#[test]
fn ctrl_c_leaves_no_half_of_an_image() {
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    // A trace that goes on until somebody ends it: a pipe.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        here.join("pipe.csv"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut child = harness(here, "trace convert pipe.csv out")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = fs::OpenOptions::new()
        .write(true)
        .open(here.join("pipe.csv"))
        .unwrap();
    let writer = thread::spawn(move || {
        let _ = pipe.write_all(csv("").as_bytes());
        while pipe.write_all(b"1,r,0,4096000\n").is_ok() {}
    });
    let began = Instant::now();
    while names(here).len() < 2 {
        assert!(began.elapsed() < PATIENCE, "no image is made");
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    writer.join().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(names(here), ["pipe.csv"]);
}
