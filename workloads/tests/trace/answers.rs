//! What a reader answers to each thing that can be wrong with a trace: the
//! table of `workloads::trace`.

use std::io::Write;
use std::num::NonZeroU64;

use workloads::trace::{
    Accesses, Beyond, Format, LINE_BYTES_MAX, Op, Options, Overlap, Position, Problem, Reader,
    Record, TimeOrder, TraceError,
};
use workloads::trace_disk::{AccessRecord, Header};

use crate::{addresses, counts, named, problem, read, record, vscsi_v1};

const READ: u16 = 0x28;

fn csv(lines: &str) -> Vec<u8> {
    format!("time_ns,op,offset_bytes,length_bytes\n{lines}").into_bytes()
}

fn times(records: &[Record]) -> Vec<u64> {
    records.iter().map(Record::time_ns).collect()
}

#[test]
fn a_cut_last_record_comes_after_all_whole_ones() {
    let bytes = [vscsi_v1(READ, 8, 512, 1), vscsi_v1(READ, 9, 512, 2)].concat();
    for cut in 33..64 {
        let (records, error) = read(&bytes[..cut], Options::default());
        assert_eq!(records.len(), 1, "{cut}");
        let TraceError {
            position, problem, ..
        } = error.unwrap();
        assert_eq!(position, Position::Byte(32));
        let found = cut - 32;
        assert!(
            matches!(problem, Problem::CutRecord { found_bytes, record_bytes: 32 } if found_bytes == found),
            "{problem}"
        );
    }
}

#[test]
fn a_cut_compressed_file_is_an_error_after_what_there_is() {
    let bytes: Vec<u8> = (0..1000u64)
        .flat_map(|i| vscsi_v1(READ, i * 7919 % 1000, 512, i))
        .collect();
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(&bytes).unwrap();
    let gzip = writer.finish().unwrap();
    let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
    for whole in [gzip, zstd] {
        assert_eq!(read(&whole, named(Format::Vscsi)).0.len(), 1000);
        for cut in [5, whole.len() / 2, whole.len() - 1] {
            let (records, error) = read(&whole[..cut], named(Format::Vscsi));
            let error = error.unwrap_or_else(|| panic!("{cut}: {}", records.len()));
            assert!(
                matches!(error.problem, Problem::Damaged { .. }),
                "{cut}: {error}"
            );
            assert!(error.to_string().contains("ends early"), "{cut}: {error}");
        }
    }
}

#[test]
fn a_last_line_needs_no_newline_but_all_its_fields() {
    assert_eq!(
        read(&csv("0,r,0,1\n1,w,0,1"), Options::default()).0.len(),
        2
    );
    let (records, error) = read(&csv("0,r,0,1\n1,w,0"), Options::default());
    assert_eq!(records.len(), 1);
    let text = error.unwrap().to_string();
    assert_eq!(
        text,
        "trace, line 3: the line \"1,w,0\" ends before its length: complete or remove the line"
    );
}

#[test]
fn a_request_of_zero_bytes_covers_no_block() {
    let bytes = csv("0,r,8192,0\n1,w,8192,1\n");
    assert_eq!(read(&bytes, Options::default()).0.len(), 2);
    let reader = Reader::new("trace", std::io::Cursor::new(bytes), Options::default()).unwrap();
    let blocks: Vec<u64> = Accesses::new(reader).map(|a| a.unwrap().block).collect();
    assert_eq!(blocks, [2]);
}

#[test]
fn requests_past_the_disk_are_refused_or_skipped() {
    let bytes = csv("0,r,0,4096\n1,r,4095,4097\n2,r,8191,2\n3,r,9000,0\n4,r,4096,1\n");
    let with = |beyond| Options {
        disk_bytes: Some(8192),
        beyond,
        ..Options::default()
    };
    let (records, error) = read(&bytes, with(Beyond::Reject));
    assert_eq!(records.len(), 2);
    let text = error.unwrap().to_string();
    assert!(text.starts_with("trace, line 4: the request ends at byte 8193 of a disk of 8KiB: "));
    assert_eq!(times(&read(&bytes, with(Beyond::Skip)).0), [0, 1, 4]);
    assert_eq!(counts(&bytes, with(Beyond::Skip)).beyond_disk, 2);
    // To leave everything out is an answer, not an empty file.
    let none = Options {
        disk_bytes: Some(0),
        ..with(Beyond::Skip)
    };
    assert_eq!(counts(&bytes, none).beyond_disk, 5);
}

#[test]
fn times_that_go_back_are_refused_clamped_or_sorted() {
    let bytes = csv("20,r,0,1\n40,r,1,1\n39,r,2,1\n40,r,3,1\n10,r,4,1\n50,r,5,1\n");
    let with = |order| Options {
        order,
        ..Options::default()
    };
    let (records, error) = read(&bytes, with(TimeOrder::Reject));
    assert_eq!(times(&records), [0, 20]);
    let text = error.unwrap().to_string();
    assert!(
        text.starts_with("trace, line 4: the record is 1 ns earlier"),
        "{text}"
    );

    let (records, error) = read(&bytes, with(TimeOrder::Clamp));
    assert!(error.is_none());
    assert_eq!(times(&records), [0, 20, 20, 20, 20, 30]);
    assert_eq!(counts(&bytes, with(TimeOrder::Clamp)).clamped, 2);

    // The fifth record is four places late.
    for window in [4, 5, 6, 1000, usize::MAX] {
        let (records, error) = read(&bytes, with(TimeOrder::Sort { window }));
        assert!(error.is_none(), "{window}: {error:?}");
        assert_eq!(times(&records), [0, 10, 29, 30, 30, 40], "{window}");
        // Records of one time stay as they were.
        let places: Vec<u64> = records.iter().map(Record::offset_bytes).collect();
        assert_eq!(places, [4, 0, 2, 1, 3, 5], "{window}");
    }
    for window in [0, 1, 2, 3] {
        let (_, error) = read(&bytes, with(TimeOrder::Sort { window }));
        let error = error.unwrap();
        assert!(
            matches!(error.problem, Problem::TimeGoesBack { .. }),
            "{window}: {error}"
        );
    }
}

#[test]
fn records_that_wait_to_be_sorted_come_before_an_error() {
    let options = Options {
        order: TimeOrder::Sort { window: 100 },
        ..Options::default()
    };
    let (records, error) = read(&csv("2,r,0,1\n1,r,0,1\nx,r,0,1\n0,r,0,1\n"), options);
    assert_eq!(times(&records), [0, 1]);
    assert_eq!(error.unwrap().position, Position::Line(4));
}

#[test]
fn numbers_past_64_bits_are_refused() {
    let last_sector = u64::MAX / 512;
    let vscsi = |sector, length, time| vscsi_v1(READ, sector, length, time);
    assert_eq!(
        read(&vscsi(last_sector, 511, 0), Options::default())
            .0
            .len(),
        1
    );
    for bytes in [
        vscsi(last_sector, 512, 0),
        vscsi(last_sector + 1, 0, 0),
        vscsi(u64::MAX, 512, 0),
        vscsi(0, 512, u64::MAX / 1000 + 1),
    ] {
        let problem = problem(&bytes, Options::default());
        assert!(matches!(problem, Problem::Overflow(_)), "{problem}");
    }
    let mut hash = [0xee; 24];
    hash[12..16].copy_from_slice(&[1, 0, 0, 0]);
    let found = problem(&hash, addresses(512, Overlap::Allow));
    assert!(matches!(found, Problem::Overflow(_)), "{found}");
    for line in ["18446744073709551616,r,0,1", "0,r,18446744073709551615,1"] {
        let found = problem(&csv(line), Options::default());
        assert!(matches!(found, Problem::Overflow(_)), "{found}");
    }
}

#[test]
fn absurd_lengths_are_refused() {
    let limit = 64 << 20;
    assert_eq!(
        read(&vscsi_v1(READ, 0, limit, 0), Options::default())
            .0
            .len(),
        1
    );
    for length in [limit + 1, 1 << 30, u32::MAX] {
        let found = problem(&vscsi_v1(READ, 0, length, 0), Options::default());
        assert!(matches!(found, Problem::TooLong { .. }), "{found}");
    }
    // The limit is the caller's, up to the cap.
    let options = Options {
        length_bytes_max: u32::MAX,
        ..Options::default()
    };
    let cap = vscsi_v1(READ, 0, Record::LENGTH_BYTES_CAP, 0);
    assert_eq!(read(&cap, options.clone()).0.len(), 1);
    let longer = vscsi_v1(READ, 0, Record::LENGTH_BYTES_CAP + 1, 0);
    assert!(matches!(problem(&longer, options), Problem::TooLong { .. }));
    let found = problem(&csv("0,r,0,4294967297"), Options::default());
    assert!(matches!(found, Problem::TooLong { .. }), "{found}");
}

#[test]
fn lines_end_or_are_refused() {
    let line = |length: usize| csv(&format!("0,r,0,{:0>1$}\n", 1, length - 6));
    assert_eq!(read(&line(LINE_BYTES_MAX), Options::default()).0.len(), 1);
    for length in [LINE_BYTES_MAX + 1, 3 * LINE_BYTES_MAX] {
        let found = problem(&line(length), Options::default());
        assert!(matches!(found, Problem::LineTooLong), "{found}");
    }
    // One that never ends: the reader gives up after one line's worth.
    let endless = Reader::new("trace", std::io::repeat(b'7'), named(Format::Spc)).unwrap();
    let mut errors = endless.map(|next| next.unwrap_err());
    assert!(matches!(
        errors.next().unwrap().problem,
        Problem::LineTooLong
    ));
    assert!(errors.next().is_none());
}

#[test]
fn bytes_that_are_no_record_are_refused_where_they_are() {
    let mut bytes = [vscsi_v1(READ, 8, 512, 1); 20].concat();
    bytes[19 * 32..].fill(0x5a);
    let (records, error) = read(&bytes, Options::default());
    assert_eq!(records.len(), 19);
    let text = error.unwrap().to_string();
    assert_eq!(
        text,
        "trace, byte 608: version 0x5a5a with command 0x5a5a is not a record of this trace: \
         name another format, or cut the file to this byte"
    );
    let found = problem(b"0\0,\x001\0\n", named(Format::Spc));
    assert!(matches!(found, Problem::NotText), "{found}");
    let text = problem(b"0,1,512,x,0.5\n", named(Format::Spc)).to_string();
    assert_eq!(
        text,
        "the opcode is \"x\", which is not read or write, in \"0,1,512,x,0.5\""
    );
    let found = problem(b"\x1f\x8b\x08\0garbage", named(Format::Vscsi));
    assert!(matches!(found, Problem::Damaged { .. }), "{found}");
}

#[test]
fn lines_of_lis_are_four_numbers_in_bounds() {
    for (line, expected) in [
        (
            "1 x 0 3",
            "the number of blocks is \"x\", which is not a whole number",
        ),
        (
            "1 -2 0 3",
            "the number of blocks is \"-2\", which is not a whole number",
        ),
        (
            "1 2 r 3",
            "the third number is \"r\", which is not a whole number",
        ),
        (
            "1 2 0 3a",
            "the request number is \"3a\", which is not a whole number",
        ),
        (
            "\"1\" 2 0 3",
            "the first block is \"\\\"1\\\"\", which is not a whole number",
        ),
        ("1\t2\tr\t3", "the third number is \"r\""),
        ("1,2,0,3", "the first block is \"1,2,0,3\""),
        (
            "1",
            "the line \"1\" ends before its number of blocks: complete or remove",
        ),
        ("1 2 0", "the line \"1 2 0\" ends before its request number"),
        (
            "1 2 0 3 4",
            "the fifth field is \"4\", which is not the end of the line",
        ),
        ("18446744073709551616 1 0 3", "first block exceeds 64 bits"),
        ("36028797018963968 1 0 3", "first block exceeds 64 bits"),
        (
            "36028797018963967 1 0 3",
            "the end of the request exceeds 64 bits",
        ),
        (
            "0 2097153 0 3",
            "a request of 1073742336 bytes exceeds the limit of 1GiB",
        ),
        (
            "0 131073 0 3",
            "a request of 67109376 bytes exceeds the limit of 64MiB",
        ),
        (
            "0 1 0 18446744073709551616",
            "request number exceeds 64 bits",
        ),
    ] {
        let text = format!("5 1 0 0\n# one more\n{line}\n5 1 0 1\n");
        for options in [Options::default(), named(Format::Lis)] {
            let (records, error) = read(text.as_bytes(), options);
            assert_eq!(records.len(), 1, "{line}");
            let error = error.unwrap().to_string();
            let start = format!("trace, line 3: {expected}");
            assert!(error.starts_with(&start), "{error}");
        }
    }
    let last = format!("{} 1 0 3", u64::MAX / 512 - 1);
    assert_eq!(read(last.as_bytes(), Options::default()).0.len(), 1);
    let longest = read(b"0 131072 0 0", Options::default()).0;
    assert_eq!(longest[0].length_bytes(), 64 << 20);
}

#[test]
fn a_file_of_lis_is_of_no_other_format_on_request() {
    for format in [
        Format::Vscsi,
        Format::Spc,
        Format::Msr,
        Format::Csv,
        Format::TraceDisk,
    ] {
        let found = problem(b"5 1 0 0\n", named(format));
        assert!(matches!(found, Problem::NotThisFormat(of, _) if of == format));
    }
    for bytes in [
        &csv("0,r,0,1\n")[..],
        b"0,8,512,r,0.5\n",
        &vscsi_v1(READ, 0, 512, 0),
    ] {
        let found = problem(bytes, named(Format::Lis));
        assert!(matches!(found, Problem::NotThisFormat(Format::Lis, _)));
    }
}

#[test]
fn a_header_names_each_thing_once() {
    for (header, found) in [
        ("time_ns,op,block\n", 0),
        ("time_ns,op,block,sectors,blocks\n", 2),
        ("time_ns,time_s,op,block,blocks\n", 2),
        ("op,block,blocks\n", 0),
    ] {
        match problem(header.as_bytes(), named(Format::Csv)) {
            Problem::Column { found: columns, .. } => assert_eq!(columns, found, "{header}"),
            other => panic!("{header}: {other}"),
        }
    }
}

#[test]
fn a_trace_without_requests_is_refused() {
    let header = csv("");
    let flushes = [vscsi_v1(0x35, 0, 0, 0); 3].concat();
    for bytes in [&b""[..], b"\n\n", &header, &flushes] {
        for format in [
            Format::Csv,
            Format::Spc,
            Format::Msr,
            Format::Lis,
            Format::Vscsi,
        ] {
            let (records, error) = read(bytes, named(format));
            assert!(records.is_empty() && error.is_some(), "{format}");
        }
    }
    let found = |bytes: &[u8], format: Option<Format>| {
        let options = Options {
            format,
            ..Options::default()
        };
        problem(bytes, options)
    };
    for format in [None, Some(Format::OracleGeneral), Some(Format::Csv)] {
        let empty = found(b"", format);
        assert!(matches!(empty, Problem::Empty), "{empty}");
    }
    // Of any length: a reader looks at the first 64 KiB to recognise a format.
    let long = b"# comment\n".repeat(10_000);
    for bytes in [&b"\n\n"[..], b"# a comment", &long] {
        for format in [Format::Msr, Format::Spc, Format::Lis, Format::Csv] {
            let comments = found(bytes, Some(format));
            assert!(matches!(comments, Problem::OnlyComments), "{comments}");
        }
    }
    for bytes in [&header, &flushes] {
        let none = found(bytes, None);
        assert!(matches!(none, Problem::NoRequests), "{none}");
    }
}

#[test]
fn commands_that_move_nothing_are_counted() {
    let bytes = [
        vscsi_v1(READ, 0, 512, 5),
        vscsi_v1(0x35, 0, 0, 3),
        vscsi_v1(0x12, u64::MAX, 36, 6),
        vscsi_v1(0x2a, 8, 512, 7),
    ]
    .concat();
    let (records, error) = read(&bytes, Options::default());
    assert!(error.is_none());
    let expected = [
        record(0, Op::Read, 0, 512),
        record(2_000, Op::Write, 4096, 512),
    ];
    assert_eq!(records, expected);
    assert_eq!(counts(&bytes, Options::default()).other_commands, 2);
}

#[test]
fn volumes_keep_to_their_room_and_number() {
    let options = Options {
        volume_bytes: 4096,
        ..Options::default()
    };
    let found = problem(b"0,7,512,r,0\n0,7,513,r,0\n", options);
    assert!(
        matches!(
            found,
            Problem::BeyondVolume {
                end_bytes: 4097,
                volume_bytes: 4096
            }
        ),
        "{found}"
    );
    let many: String = (0..2000).map(|asu| format!("{asu},0,1,r,0\n")).collect();
    let (records, error) = read(many.as_bytes(), Options::default());
    assert_eq!(records.len(), 1024);
    assert!(matches!(
        error.unwrap().problem,
        Problem::TooManyVolumes(1024)
    ));
    let wide = Options {
        volume_bytes: u64::MAX,
        ..Options::default()
    };
    let found = problem(b"0,0,1,r,0\n1,0,1,r,0\n2,0,1,r,0\n", wide);
    assert!(matches!(found, Problem::Overflow(_)), "{found}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Reader::open("no/such.vscsi", Options::default())
        .err()
        .unwrap();
    let text = error.to_string();
    // What the system says comes once: as the source.
    assert_eq!(text, "no/such.vscsi: cannot be read");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("No such file"), "{source}");
}

#[test]
fn a_limit_leaves_the_rest_of_the_file_unread() {
    // The third line is no request, and nobody gets that far.
    let bytes = csv("0,r,0,1\n1,w,0,0\nx,r,0,1\n");
    let with = |limit: u64, order| Options {
        limit: NonZeroU64::new(limit),
        order,
        ..Options::default()
    };
    for limit in [1, 2] {
        let (records, error) = read(&bytes, with(limit, TimeOrder::Reject));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(times(&records), [0, 1][..limit as usize]);
    }
    let (records, error) = read(&bytes, with(3, TimeOrder::Reject));
    assert_eq!(records.len(), 2);
    assert_eq!(error.unwrap().position, Position::Line(4));
    // Requests are counted as they are given, after sorting.
    let bytes = csv("5,r,0,1\n3,r,4096,1\n9,r,0,1\n");
    let (records, error) = read(&bytes, with(1, TimeOrder::Sort { window: 2 }));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records, [record(0, Op::Read, 4096, 1)]);
}

/// A trace disk of these accesses, whose header says `announced` of them.
fn trace_disk(accesses: &[AccessRecord], announced: u64) -> Vec<u8> {
    let header = Header {
        accesses: announced,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(accesses.iter().flat_map(|access| access.encode()));
    bytes
}

#[test]
fn a_trace_disk_gives_each_access_and_nothing_after_the_last() {
    let accesses = [
        AccessRecord::new(7, true, 0),
        AccessRecord::new(u32::MAX, false, 1),
        AccessRecord::new(8, false, 1),
    ];
    let end = u64::from(u32::MAX) * 4096;
    let expected = [
        record(0, Op::Write, 7 * 4096, 4096),
        record(0, Op::Read, end, 4096),
        record(0, Op::Read, 8 * 4096, 4096),
    ];
    let whole = trace_disk(&accesses, 3);
    let mut padded = trace_disk(&accesses, 2);
    padded.extend([0x5a; 999]);
    let packed = zstd::encode_all(&whole[..], 1).unwrap();
    for (bytes, count) in [(&whole, 3), (&padded, 2), (&packed, 3)] {
        let (records, error) = read(bytes, Options::default());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(records, expected[..count]);
    }
    let disk = Options {
        disk_bytes: Some(1 << 30),
        ..Options::default()
    };
    let (_, error) = read(&whole, disk);
    let text = error.unwrap().to_string();
    assert!(
        text.starts_with(
            "trace, byte 4104: the request ends at byte 17592186044416 of a disk of 1GiB"
        ),
        "{text}"
    );
}

#[test]
fn a_trace_disk_that_ends_early_is_cut() {
    let accesses = [AccessRecord::new(7, true, 0); 2];
    let whole = trace_disk(&accesses, 2);
    for cut in 4096..whole.len() {
        let (records, error) = read(&whole[..cut], Options::default());
        let (given, rest) = ((cut - 4096) / 8, cut % 8);
        assert_eq!(records.len(), given);
        let error = error.unwrap();
        assert_eq!(error.position, Position::Byte(4096 + 8 * given as u64));
        assert!(
            matches!(error.problem, Problem::CutRecord { found_bytes, .. } if found_bytes == rest),
            "{error}"
        );
    }
    // A header that is cut, that announces what nobody has, of nothing, or of another layout.
    let cut = problem(&whole[..4095], Options::default());
    assert!(matches!(cut, Problem::CutRecord { .. }), "{cut}");
    let (records, error) = read(&trace_disk(&accesses, 1 << 60), Options::default());
    assert_eq!((records.len(), error.is_some()), (2, true));
    let none = problem(&trace_disk(&[], 0), Options::default());
    assert!(matches!(none, Problem::NoRequests), "{none}");
    let mut other = whole.clone();
    other[17] = 2;
    let other = problem(&other, Options::default());
    assert!(
        matches!(other, Problem::NotThisFormat(Format::TraceDisk, _)),
        "{other}"
    );
    let named = problem(&csv("0,r,0,1\n"), named(Format::TraceDisk));
    assert!(matches!(named, Problem::CutRecord { .. }), "{named}");
}

#[test]
fn choices_read_back() {
    for text in ["refuse", "clamp", "sort:1", "sort:1048576"] {
        assert_eq!(text.parse::<TimeOrder>().unwrap().to_string(), text);
    }
    for text in ["", "sort", "sort:", "sort:0", "sort:1048577", "sort:-1"] {
        let error = text.parse::<TimeOrder>().unwrap_err();
        assert!(error.contains("sort:RECORDS"), "{error}");
    }
    for text in ["refuse", "allow"] {
        assert_eq!(text.parse::<Overlap>().unwrap().to_string(), text);
    }
    assert!("keep".parse::<TimeOrder>().is_err());
    assert!("skip".parse::<Overlap>().unwrap_err().contains("allow"));
    for text in ["refuse", "skip"] {
        assert_eq!(text.parse::<Beyond>().unwrap().to_string(), text);
    }
    assert!("wrap".parse::<Beyond>().unwrap_err().contains("skip"));
}
