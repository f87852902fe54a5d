//! Text traces as people have them: saved by a spreadsheet, annotated, cut out of others,
//! and almost right.

use workloads::trace::{Format, Options, Problem, Record};

use crate::{counts, named, problem, read, read_called};

const SPC: [&str; 3] = ["0,8,512,r,0.5", "1,16,1024,W,0.75", "0,24,512,R,1"];
const MSR: [&str; 3] = [
    "128166372003061629,hm,0,Read,4096,4096,5",
    "128166372003061639,hm,1,Write,0,512,5",
    "128166372003061649,hm,0,Read,8192,512,5",
];
const LIS: [&str; 3] = ["230027 8 0 0", "1842745\t64 0 1", "7  1 0 1"];
const CSV: [&str; 4] = [
    "time_us,op,block,blocks",
    "0,read,17,1",
    "250,write,4,8",
    "251,r,0,1",
];

/// Each text format with a trace of three requests, and columns' names where they are no
/// part of it.
fn traces() -> [(Format, &'static [&'static str], Option<&'static str>); 4] {
    let spc = "ASU,LBA,Size,Opcode,Timestamp";
    let msr = "Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime";
    [
        (Format::Spc, &SPC, Some(spc)),
        (Format::Msr, &MSR, Some(msr)),
        (Format::Lis, &LIS, None),
        (Format::Csv, &CSV, None),
    ]
}

/// Reads `bytes` as whatever they are, which must be `format`, named or not.
fn all(bytes: &[u8], format: Format) -> Vec<Record> {
    let shown = String::from_utf8_lossy(bytes);
    let (found, error) = read(bytes, named(format));
    assert!(error.is_none(), "{error:?} of {shown:?}");
    let (guessed, error) = read(bytes, Options::default());
    assert!(error.is_none(), "{error:?} of {shown:?}");
    assert_eq!(guessed, found, "{shown:?}");
    found
}

#[test]
fn marks_comments_and_blank_lines_do_not_count() {
    for (format, lines, header) in traces() {
        let plain = all(lines.join("\n").as_bytes(), format);
        assert_eq!(plain.len(), 3, "{format}");
        let comments = ["# made by hand", "", "  \t", " #,#,#,r,#,#"];
        let long = format!("# {}", "word ".repeat(700));
        let license = vec![long.as_str(); 12];
        for end in ["\n", "\r\n", "\r"] {
            for before in [&[][..], &comments, &license] {
                let inner = [&comments, &lines[1..]].concat();
                let all_lines = [before, &lines[..1], &inner].concat();
                let text = all_lines.join(end);
                for mark in ["", "\u{feff}"] {
                    let text = format!("{mark}{text}{end}");
                    assert_eq!(all(text.as_bytes(), format), plain, "{format}");
                }
            }
            let Some(header) = header else { continue };
            let text = [&["# by its columns", header], lines].concat().join(end);
            assert_eq!(all(text.as_bytes(), format), plain, "{format}");
            let counted = counts(text.as_bytes(), Options::default());
            assert_eq!(counted.header_line, Some(2), "{format}");
            // Columns are named once, and first.
            let text = [lines, &[header]].concat().join(end);
            let (records, error) = read(text.as_bytes(), Options::default());
            assert_eq!(records.len(), 3, "{format}");
            let error = error.unwrap().to_string();
            assert!(
                error.contains("line 4") && error.contains(header),
                "{error}"
            );
        }
    }
}

/// Files that were joined of several, or saved by one program after another.
#[test]
fn lines_may_end_in_more_than_one_way() {
    for (format, lines, header) in traces() {
        let plain = all(lines.join("\n").as_bytes(), format);
        let ends = ["\n", "\r\n", "\r"];
        for (first, rest) in ends.iter().flat_map(|a| ends.map(|b| (a, b))) {
            let text = format!("{}{first}{}", lines[0], lines[1..].join(rest));
            assert_eq!(all(text.as_bytes(), format), plain, "{format}: {text:?}");
            for before in header.iter().copied().chain(["# a comment"]) {
                let text = format!("{before}{first}{}{rest}", lines.join(rest));
                assert_eq!(all(text.as_bytes(), format), plain, "{format}: {text:?}");
            }
        }
        // Lines are counted as an editor does.
        let text = format!("{}\r\n\r\n{}\r{}\n?", lines[0], lines[1], lines[2]);
        let (records, error) = read(text.as_bytes(), named(format));
        let error = error.unwrap().to_string();
        assert!(error.contains("line 5"), "{error}");
        assert_eq!(records, all(lines[..3].join("\n").as_bytes(), format));
    }
}

#[test]
fn columns_that_are_not_used_are_not_judged() {
    let wanted = all(MSR.join("\n").as_bytes(), Format::Msr);
    for response in ["-1", "", "0.25", "1e-3", "n/a", "caf\u{e9}", "5,6,7"] {
        let lines = MSR.map(|line| format!("{},{response}", line.trim_end_matches(",5")));
        let text = lines.join("\n");
        assert_eq!(
            read(text.as_bytes(), named(Format::Msr)).0,
            wanted,
            "{response}"
        );
    }
    // None at all, which still tells MSR from SPC.
    let lines = MSR.map(|line| line.trim_end_matches(",5").to_owned());
    assert_eq!(all(lines.join("\n").as_bytes(), Format::Msr), wanted);
    // Latin-1: a byte that is no UTF-8.
    let latin = |lines: &[&str]| {
        let text = lines.join("\n");
        let bytes = text
            .bytes()
            .map(|byte| if byte == b'~' { 0xe9 } else { byte });
        bytes.collect::<Vec<u8>>()
    };
    let msr = MSR.map(|line| format!("{line}~"));
    let msr = latin(&msr.each_ref().map(String::as_str));
    assert_eq!(read(&msr, named(Format::Msr)).0, wanted);
    let spc = SPC.map(|line| format!("{line},~"));
    let spc = latin(&spc.each_ref().map(String::as_str));
    assert_eq!(
        all(&spc, Format::Spc),
        all(SPC.join("\n").as_bytes(), Format::Spc)
    );
    let csv = CSV.map(|line| format!("caf~,{line}"));
    let csv = latin(&csv.each_ref().map(String::as_str));
    assert_eq!(
        all(&csv, Format::Csv),
        all(CSV.join("\n").as_bytes(), Format::Csv)
    );
    // A host's name is used, as bytes: two that differ in one are two volumes.
    let hosts = latin(&["1,a~,0,Read,0,512,1", "2,a,0,Read,0,512,1"]);
    let places: Vec<u64> = all(&hosts, Format::Msr)
        .iter()
        .map(Record::offset_bytes)
        .collect();
    assert_eq!(places, [0, 1 << 40]);
}

#[test]
fn what_both_formats_could_be_is_what_it_was() {
    let guess = |line: &str| {
        let reader = workloads::trace::Reader::new(
            "t",
            std::io::Cursor::new(line.as_bytes().to_vec()),
            Options::default(),
        );
        reader.unwrap().format()
    };
    assert_eq!(guess("1,8,4096,R,1,0,x\n"), Format::Spc);
    assert_eq!(guess("1,8,4096,R,1,0\n"), Format::Spc);
    assert_eq!(guess("1,8,4096,R,1,0,7\n"), Format::Msr);
    assert_eq!(guess("1,8,4096,R,1,0,-1\n"), Format::Msr);
    assert_eq!(guess("1,hm,4096,R,1,0\n"), Format::Msr);
    assert_eq!(guess("1,8,4096,R,1.5,0,7\n"), Format::Spc);
}

#[test]
fn what_is_no_trace_is_quoted_with_what_is_odd_in_it() {
    let refused = |name: &str, bytes: &[u8], options: Options| -> String {
        let (records, error) = read_called(name, bytes, options);
        assert!(records.is_empty());
        error.unwrap().to_string()
    };
    let unknown = |bytes: &[u8]| refused("t.csv", bytes, Options::default());
    assert_eq!(
        unknown(b"\n# by me\nwhen,what,where\n1,r,7\n"),
        "t.csv: neither its name nor its content identifies the format; line 3 is \
         \"when,what,where\", not csv as it has no column named time_ns, time_us, time_ms or time_s, \
         not msr as the timestamp is \"when\" and not a whole number of at least 0, \
         not spc as the ASU is \"when\" and not a whole number of at least 0, \
         not lis as the first block is \"when,what,where\" and not a whole number of at least 0: \
         name one of vscsi, oracle-general, spc, msr, lis, csv, trace-disk"
    );
    // Where the columns are named, the line behind says why it is none.
    let error = unknown(b"Timestamp,Hostname,DiskNumber,Type,Offset,Size\n7,hm,0,Read,-4096,1\n");
    for words in [
        "line 1 is \"Timestamp,",
        "line 2 is \"7,hm,0,Read,-4096,1\", not msr as the offset is \"-4096\" and not",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let error = unknown(b"0;8;512;r;0.5\n");
    assert!(
        error.contains("it has semicolons instead of commas"),
        "{error}"
    );
    let error = unknown(format!("x{}\n", "y".repeat(3000)).as_bytes());
    assert!(error.contains("y\"…") && error.len() < 700, "{error}");
    let error = unknown(b"caf\xe9 \"au lait\"\n");
    assert!(error.contains(r#""caf\xe9 \"au lait\"""#), "{error}");
    // No text: nothing to quote.
    let error = unknown(b"\x01\x02\x03\n");
    assert!(!error.contains("line"), "{error}");

    // A name that says what it should be.
    let error = refused("t.msr", SPC.join("\n").as_bytes(), Options::default());
    assert!(
        error.contains("named like msr, but its content looks like spc"),
        "{error}"
    );
    let error = refused("t.spc", b"ASU,LBA\n", Options::default());
    assert!(
        error.contains("line 1 is \"ASU,LBA\", not spc as the ASU is \"ASU\"")
            && !error.contains("not msr"),
        "{error}"
    );
    // A format that was named.
    for (format, line, words) in [
        (
            Format::Spc,
            "0;8;512;r;0.5",
            "line 1: the line \"0;8;512;r;0.5\" has semicolons instead of commas",
        ),
        (
            Format::Msr,
            "7\thm\t0",
            "line 1: the line \"7\\thm\\t0\" has tabs instead of commas",
        ),
        (
            Format::Csv,
            "time_us,op,where,blocks",
            "line 1: the header \"time_us,op,where,blocks\" has no column named offset_bytes, sector or block",
        ),
    ] {
        let error = refused("t", line.as_bytes(), named(format));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn encodings_of_two_bytes_are_named() {
    let text = SPC.join("\n");
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe", &wide[..]].concat();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let big = [b"\xfe\xff", &big[..]].concat();
    for bytes in [marked, big, wide] {
        for options in [Options::default(), named(Format::Spc)] {
            let (_, error) = read(&bytes, options);
            let error = error.unwrap().to_string();
            assert!(
                error.contains("UTF-16") && error.contains("iconv"),
                "{error}"
            );
        }
    }
    // Too short to be sure, and certainly no text of one byte each.
    let found = problem(b"0\0,\x001\0\n", named(Format::Spc));
    assert!(matches!(found, Problem::NotText), "{found}");
    assert!(found.remedy().unwrap().contains("UTF-16"));
}
