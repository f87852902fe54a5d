//! Messages of `harness trace`, `sim` and `run` about traces that need options: the advice is
//! correct and is then tried.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{output, printed};

const SPC: &str = "0,8,512,r,0.5\n1,16,1024,W,0.75\n";
const MSR: &str =
    "128166372003061629,hm,0,Read,4096,4096,5\n128166372003061639,hm,1,Write,0,512,5\n";
const LIS: &str = "116655 1 0 0\n116656 8 0 1\n";
const CSV: &str = "time_us,op,block,blocks\n0,read,17,1\n250,write,4,8\n";

/// The standard error of a command that must fail: one line, except for usage errors.
fn refused(folder: &Path, arguments: &str) -> String {
    let output = output(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2)), "{arguments}: {text}");
    assert!(
        code == Some(2) || text.lines().count() == 1,
        "{arguments}: {text}"
    );
    assert!(output.stdout.is_empty(), "{arguments}");
    text
}

/// A record of the format oracle-general.
fn object(id: u64, size: u32) -> Vec<u8> {
    [
        &[0; 4],
        &id.to_le_bytes()[..],
        &size.to_le_bytes(),
        &[0xff; 8],
    ]
    .concat()
}

/// A folder with a trace of each format.
fn traces() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("t.spc", SPC.as_bytes());
    write("t.msr", MSR.as_bytes());
    write("t.lis", LIS.as_bytes());
    write("t.csv", CSV.as_bytes());
    let mut record = [0; 32];
    record[4..8].copy_from_slice(&512u32.to_le_bytes());
    record[12..16].copy_from_slice(&[0x28, 0, 0, 1]);
    write("t.vscsi", &record);
    write(
        "t.oracleGeneral",
        &[object(0, 4096), object(8, 512)].concat(),
    );
    printed(folder.path(), "trace convert t.csv t.trace");
    folder
}

#[test]
fn options_without_effect_on_a_format_are_rejected() {
    let folder = traces();
    let here = folder.path();
    let all = [
        "t.spc",
        "t.msr",
        "t.csv",
        "t.vscsi",
        "t.oracleGeneral",
        "t.lis",
        "t.trace",
    ];
    let oracle = "t.oracleGeneral";
    for (options, named, used_by) in [
        ("--ids objects", "--ids", &[oracle][..]),
        ("--ids addresses", "--ids", &[oracle]),
        ("--id-unit 512B", "--id-unit", &[oracle]),
        (
            "--ids addresses --overlap allow",
            "--ids and --overlap",
            &[oracle],
        ),
        (
            "--id-unit 1KiB --overlap refuse",
            "--id-unit and --overlap",
            &[oracle],
        ),
        ("--volume 1GiB", "--volume", &["t.spc", "t.msr"]),
        (
            "--max-request 1MiB",
            "--max-request",
            &["t.spc", "t.msr", "t.lis", "t.csv", "t.vscsi"],
        ),
        ("--times clamp", "--times", &all[..5]),
    ] {
        for trace in all {
            for line in [
                format!("trace info {trace} {options}"),
                format!("trace convert {trace} out {options}"),
                format!("sim --trace {trace} {options} --size 1 --policy lru --out out"),
            ] {
                if used_by.contains(&trace) {
                    printed(here, &line);
                    let out = here.join("out");
                    let _ = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
                    continue;
                }
                let text = refused(here, &line);
                let advice = format!("remove {named}, which ha");
                assert!(
                    text.contains(&advice) && text.contains("no effect"),
                    "{line}: {text}"
                );
                assert!(!here.join("out").join("sim.csv").exists() && !here.join("out").is_file());
            }
        }
    }
    // Lengths apply to addresses, not to objects.
    printed(
        here,
        "trace info t.oracleGeneral --ids addresses --max-request 1MiB",
    );
}

#[test]
fn ids_are_addresses_only_on_request() {
    let folder = traces();
    let here = folder.path();
    let text = refused(here, "trace info t.oracleGeneral --overlap allow");
    assert!(
        text.contains("add --ids addresses") && text.contains("--id-unit SIZE"),
        "{text}"
    );
    let text = printed(
        here,
        "trace info t.oracleGeneral --overlap allow --ids addresses",
    );
    assert!(
        text.contains("Ids are addresses in units of 512 bytes"),
        "{text}"
    );
    let text = printed(
        here,
        "trace info t.oracleGeneral --id-unit 1B --overlap allow",
    );
    assert!(text.contains("in units of 1 byte,"), "{text}");
}

#[test]
fn advice_about_an_overlap_is_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(
        here.join("t.oracleGeneral"),
        [object(1, 8192), object(2, 512)].concat(),
    )
    .unwrap();
    for given in [
        "--id-unit 4KiB",
        "--ids addresses --id-unit 4KiB --overlap refuse",
    ] {
        let text = refused(here, &format!("trace info t.oracleGeneral {given}"));
        let advice = format!("`--ids objects` instead of {given}, or");
        assert!(text.contains(&advice), "{text}");
        printed(here, "trace info t.oracleGeneral --ids objects");
        let allowed = given.replace(" --overlap refuse", "");
        printed(
            here,
            &format!("trace info t.oracleGeneral {allowed} --overlap allow"),
        );
    }
}

#[test]
fn advice_fits_the_content_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |name: &str, bytes: &[u8]| fs::write(here.join(name), bytes).unwrap();
    write(
        "junk.msr",
        format!("{MSR}disk failure, see log\nthe end of this log\n").as_bytes(),
    );
    write(
        "words.msr",
        format!("{MSR}the end of this log\n").as_bytes(),
    );
    write("blanks.spc", SPC.replace(',', " ").as_bytes());
    write("t.lis", LIS.as_bytes());
    write("cut.lis", format!("{LIS}116657 8\n").as_bytes());
    write("three.lis", b"116655 1 0\n");
    write("spc.lis", SPC.as_bytes());
    write("empty.csv", b"");
    write("comments.csv", b"# nothing\n\n# here\n");
    write("blank", b"\n\r\n  \n");
    write("long", "# only this\n".repeat(10_000).as_bytes());
    write("header.csv", b"time_us,op,where,blocks\n0,r,1,1\n");
    write("twice.csv", b"time_us,op,block,sector,blocks\n0,r,1,1,1\n");
    let lzma = [
        0x5d, 0, 0, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1,
    ];
    write("t.lzma", &lzma);
    for (name, second) in [("fast.z", 1), ("usual.z", 0x9c), ("best.z", 0xda)] {
        write(name, &[0x78, second, 0x4b, 0x4c, 0x4a, 6, 0]);
    }
    write("t.lz4", b"\x04\x22\x4d\x18\x64\x40\xa7");
    write("old.lz4", b"\x02\x21\x4c\x18\x08\0\0\0");
    write("t.7z", b"7z\xbc\xaf\x27\x1c\0\x04");
    write("t.lzo", b"\x89LZO\0\r\n\x1a\n");
    let commas = "put commas";
    for (arguments, has, has_not) in [
        (
            "junk.msr",
            "line 3: the timestamp is \"disk failure\"",
            commas,
        ),
        (
            "words.msr",
            "line 3: the timestamp is \"the end of this log\"",
            commas,
        ),
        (
            "blanks.spc --format spc",
            "blanks instead of commas: put commas",
            "remove the line",
        ),
        (
            "t.lis --format spc",
            "does not start like a trace of format spc; line 1 is \"116655 1 0 0\", not spc as the \
             ASU is \"116655 1 0 0\" and not a whole number of at least 0: set another with `--format`",
            commas,
        ),
        (
            "cut.lis",
            "line 3: the line \"116657 8\" ends before its third number: complete or remove",
            commas,
        ),
        (
            "three.lis",
            "not lis as it ends before the request number: set another with `--format`",
            commas,
        ),
        (
            "spc.lis",
            "is named like lis, but its content looks like spc: set it with `--format`",
            commas,
        ),
        (
            "spc.lis --format lis",
            "does not start like a trace of format lis",
            commas,
        ),
        (
            "t.lis --times clamp",
            "a trace of format lis has no times: remove --times",
            "--format",
        ),
        (
            "empty.csv",
            "the file is empty: check that it was copied completely",
            "--format",
        ),
        ("empty.csv --format spc", "the file is empty", "--format"),
        ("comments.csv", "only comments and blank lines", "--format"),
        (
            "comments.csv --format msr",
            "only comments and blank lines",
            "--format",
        ),
        (
            "comments.csv --format csv",
            "only comments and blank lines",
            "--format",
        ),
        ("blank", "only comments and blank lines", "--format"),
        (
            "long --format spc",
            "only comments and blank lines",
            "--format",
        ),
        (
            "long --format csv",
            "only comments and blank lines",
            "--format",
        ),
        (
            "header.csv --format csv",
            "has no column named offset_bytes, sector or block",
            "0 columns",
        ),
        (
            "twice.csv",
            "it has 2 columns named offset_bytes, sector or block, where one is needed",
            "0 columns",
        ),
        ("t.lzma", "compressed in the .lzma format", "--format"),
        (
            "t.lzma --format csv",
            "compressed in the .lzma format",
            commas,
        ),
        ("fast.z", "is a zlib stream", "--format"),
        ("usual.z", "is a zlib stream", "--format"),
        ("best.z --format spc", "is a zlib stream", commas),
        ("t.lz4", "compressed by lz4", "--format"),
        ("old.lz4", "compressed by lz4", "--format"),
        ("t.7z", "a 7z archive", "--format"),
        ("t.lzo", "compressed by lzop", "--format"),
        (
            "t.csv --limit 0",
            "the limit must be at least 1 request",
            "non-zero type",
        ),
        (
            "t.csv --limit x",
            "expected a number of requests",
            "non-zero type",
        ),
    ] {
        let text = refused(here, &format!("trace info {arguments}"));
        assert!(text.contains(has), "{arguments}: {text}");
        assert!(!text.contains(has_not), "{arguments}: {text}");
    }
    // A binary trace that starts like a compressed file is read as a trace.
    let time = |bytes: [u8; 4]| [&bytes[..], &object(7, 4096)[4..]].concat();
    for bytes in [[0x78, 0x9c, 0, 0], [0x5d, 0, 0, 0]] {
        write("t.oracleGeneral", &time(bytes));
        printed(here, "trace info t.oracleGeneral");
    }
}

#[test]
fn quoted_fields_are_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |name: &str, text: &str| fs::write(here.join(name), text).unwrap();
    let quote = |text: &str| {
        let lines = text
            .lines()
            .map(|line| format!("\"{}\"\r\n", line.replace(',', "\", \"")));
        lines.collect::<String>()
    };
    for (name, plain) in [("msr", MSR), ("spc", SPC), ("csv", CSV)] {
        write("plain", plain);
        write("quoted", &quote(plain));
        let [plain, quoted] = ["plain", "quoted"].map(|file| {
            let text = printed(here, &format!("trace info {file}"));
            text.replace(file, "t")
        });
        assert_eq!(plain, quoted);
        assert!(plain.contains(&format!("({name})")), "{plain}");
    }
    // Column names, a comma and quotes within a field, and an unterminated quote.
    write(
        "names",
        &format!(
            "{}{}",
            quote("Timestamp,Host,Disk,Type,Offset,Size"),
            quote(MSR)
        ),
    );
    assert!(printed(here, "trace info names").contains("Line 1 names the columns"));
    write(
        "comma",
        "1,\"a, \"\"b\"\"\",0,Read,0,512,1\n2,\"a, \"\"c\"\"\",0,Read,0,512,1\n",
    );
    assert!(printed(here, "trace info comma").contains("Its 2 volumes"));
    write("open.msr", &format!("{MSR}3,hm,0,\"Read,0,512,1\n"));
    let text = refused(here, "trace info open.msr");
    assert!(text.contains("line 3: the type is \"\\\"Read\""), "{text}");
}

#[test]
fn the_error_for_a_long_request_names_limit_and_option() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |length: u64| {
        let text = format!("time_ns,op,offset_bytes,length_bytes\n0,r,0,{length}\n");
        fs::write(here.join("t.csv"), text).unwrap();
    };
    write(1 << 30);
    let text = refused(here, "trace info t.csv");
    for words in [
        "1073741824 bytes exceeds the limit of 64MiB",
        "`--max-request 1GiB`",
    ] {
        assert!(text.contains(words), "{text}");
    }
    printed(here, "trace info t.csv --max-request 1GiB");
    write((1 << 30) + 1);
    for options in ["", "--max-request 1GiB"] {
        let text = refused(here, &format!("trace info t.csv {options}"));
        for words in [
            "line 2: a request of 1073741825 bytes exceeds the limit of 1GiB",
            "--max-request allows at most 1GiB: split the request",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn a_run_names_the_options_that_place_volumes_closer() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // Three units, each used up to 20 MiB.
    let lines = (0..9).map(|at| format!("{},{},4096,r,{at}.5\n", at % 3, at * 5120));
    fs::write(here.join("t.spc"), lines.collect::<String>()).unwrap();
    let run = |options: &str, out: &str| {
        let line = format!(
            "run blockcache --transport twin --set workloads=[\"zipf:0.99\"] --set accesses=9 \
             --set span=4MiB --set sizes=[\"512KiB\"] --set policies=[\"lru\"] --out {out} {options}"
        );
        printed(here, &line);
        let rows = fs::read_to_string(here.join(out).join("blockcache_trace.csv")).unwrap();
        (
            rows,
            fs::read_to_string(here.join(out).join("report.md")).unwrap(),
        )
    };
    for (origin, more) in [("1GiB", ""), ("64MiB", " --set origin=96MiB")] {
        let options = format!("--set trace=t.spc --set origin={origin}");
        let (rows, report) = run(&options, &format!("apart-{origin}"));
        assert!(rows.contains("t.spc,spc,3,3,"), "{rows}");
        let advice = format!(
            "Its 3 volumes are too far apart for the `origin` of {origin}: `harness trace convert \
             t.spc OUT --volume 32MiB` lays them out closer, and `--set trace=OUT{more}` replays \
             all of them."
        );
        assert!(report.contains(&advice), "{report}");
        let image = format!("{origin}.trace");
        printed(here, &format!("trace convert t.spc {image} --volume 32MiB"));
        let options = format!("--set trace={image} --set origin={origin}{more}");
        let (rows, report) = run(&options, &format!("near-{origin}"));
        assert!(rows.contains(&format!("{image},trace-disk,9,9,")), "{rows}");
        assert!(!report.contains("too far apart"), "{report}");
    }
}
