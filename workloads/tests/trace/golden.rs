//! Traces written out byte for byte, as their formats say.

use std::io::Write;

use workloads::trace::{Accesses, Format, Op, Options, Overlap, Reader, TimedAccess};

use crate::{addresses, named, read, read_called, record};

const VSCSI_V1: [u8; 64] = [
    0xf4, 0x00, 0x00, 0x80, // serial number
    0x00, 0x02, 0x00, 0x00, // 512 bytes
    0x01, 0x00, 0x00, 0x00, // one entry
    0x2a, 0x00, 0x00, 0x01, // WRITE(10), version 1
    0x09, 0x1a, 0x8f, 0x02, 0x00, 0x00, 0x00, 0x00, // sector 42,932,745
    0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 1000 us
    0xf5, 0x00, 0x00, 0x80, //
    0x00, 0x20, 0x00, 0x00, // 8192 bytes
    0x02, 0x00, 0x00, 0x00, //
    0x88, 0x00, 0x00, 0x01, // READ(16), version 1
    0x08, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // sector 2^32 + 8
    0xeb, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 1003 us
];

const VSCSI_V2: [u8; 80] = [
    0x28, 0x00, 0x00, 0x02, // READ(10), version 2
    0x01, 0x00, 0x00, 0x00, // serial number
    0x00, 0x10, 0x00, 0x00, // 4096 bytes
    0x01, 0x00, 0x00, 0x00, // one entry
    0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // sector 16
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 5 us
    0x63, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // took 99 us
    0x0a, 0x00, 0x00, 0x02, // WRITE(6), version 2
    0x02, 0x00, 0x00, 0x00, //
    0x00, 0x02, 0x00, 0x00, // 512 bytes
    0x01, 0x00, 0x00, 0x00, //
    0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // sector 17
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 7 us
    0x63, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, //
];

const ORACLE: [u8; 48] = [
    0x02, 0x00, 0x00, 0x00, // 2 s
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // id 3
    0x00, 0x10, 0x00, 0x00, // 4096 bytes
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next at 1
    0x05, 0x00, 0x00, 0x00, // 5 s
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // id 3
    0x00, 0x02, 0x00, 0x00, // 512 bytes
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // never again
];

const SPC: &str = "1,20941264,8192,W,0.551706\r\n0, 7 ,512,r,0.551708\n\n1,8,4096,R,1.5,0,x\n";

const MSR: &str = "\
128166372003061629,hm,1,Read,9056039424,4096,113736
128166372003061630,hm,1,Write,512,512,5
128166372013061630,hm,0,write,0,1024,5
";

const LIS: &str = "230027 8 0 0\r\n1842745\t64 0  1\n\n 216082 0 7 5 \n7 1 0 5";

const CSV: &str = "\
note,Blocks,OP,time_ms,block
x,1,read,10.5,17
,8,W,11,4
";

#[test]
fn vscsi_version_1() {
    let expected = [
        record(0, Op::Write, 42_932_745 * 512, 512),
        record(3_000, Op::Read, ((1 << 32) + 8) * 512, 8192),
    ];
    let (records, error) = read(&VSCSI_V1, Options::default());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records, expected);
}

#[test]
fn vscsi_version_2() {
    let expected = [
        record(0, Op::Read, 16 * 512, 4096),
        record(2_000, Op::Write, 17 * 512, 512),
    ];
    let (records, error) = read(&VSCSI_V2, Options::default());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records, expected);
}

#[test]
fn oracle_general() {
    // One object, of which the first request has the number of its block.
    let (records, error) = read(&ORACLE, named(Format::OracleGeneral));
    assert!(error.is_none(), "{error:?}");
    let expected = [
        record(0, Op::Read, 0, 4096),
        record(3_000_000_000, Op::Read, 0, 4096),
    ];
    assert_eq!(records, expected);
    let (records, error) = read(&ORACLE, addresses(512, Overlap::Reject));
    assert!(error.is_none(), "{error:?}");
    let expected = [
        record(0, Op::Read, 1536, 4096),
        record(3_000_000_000, Op::Read, 1536, 512),
    ];
    assert_eq!(records, expected);
    let records = read(&ORACLE, addresses(4096, Overlap::Reject)).0;
    assert_eq!(records[0].offset_bytes(), 3 * 4096);
}

#[test]
fn spc_units_lie_side_by_side() {
    let options = Options {
        volume_bytes: 1 << 36,
        ..Options::default()
    };
    let (records, error) = read(SPC.as_bytes(), options);
    assert!(error.is_none(), "{error:?}");
    // ASU 1 comes first, so it begins at 0.
    let expected = [
        record(0, Op::Write, 20_941_264 * 512, 8192),
        record(2_000, Op::Read, (1 << 36) + 7 * 512, 512),
        record(948_294_000, Op::Read, 8 * 512, 4096),
    ];
    assert_eq!(records, expected);
}

#[test]
fn msr_volumes_lie_side_by_side() {
    let (records, error) = read(MSR.as_bytes(), Options::default());
    assert!(error.is_none(), "{error:?}");
    let expected = [
        record(0, Op::Read, 9_056_039_424, 4096),
        record(100, Op::Write, 512, 512),
        record(1_000_000_100, Op::Write, 1 << 40, 1024),
    ];
    assert_eq!(records, expected);
}

#[test]
fn lis_has_reads_without_times() {
    let (records, error) = read(LIS.as_bytes(), Options::default());
    assert!(error.is_none(), "{error:?}");
    let expected = [
        record(0, Op::Read, 230_027 * 512, 8 * 512),
        record(0, Op::Read, 1_842_745 * 512, 64 * 512),
        record(0, Op::Read, 216_082 * 512, 0),
        record(0, Op::Read, 7 * 512, 512),
    ];
    assert_eq!(records, expected);
    let reader = Reader::new("t", LIS.as_bytes(), Options::default()).unwrap();
    assert_eq!(
        reader.assumptions(),
        [
            "Addresses and lengths count blocks of 512 bytes.",
            "The trace has no times: all requests are at time 0.",
            "The trace does not tell reads from writes: all requests are reads.",
        ]
    );
}

#[test]
fn csv_columns_are_found_by_name() {
    let (records, error) = read(CSV.as_bytes(), Options::default());
    assert!(error.is_none(), "{error:?}");
    let expected = [
        record(0, Op::Read, 17 * 4096, 4096),
        record(500_000, Op::Write, 4 * 4096, 8 * 4096),
    ];
    assert_eq!(records, expected);
}

#[test]
fn requests_come_apart_into_blocks() {
    let reader = Reader::new("trace", CSV.as_bytes(), Options::default()).unwrap();
    let accesses: Vec<TimedAccess> = Accesses::new(reader).collect::<Result<_, _>>().unwrap();
    let write = (4..12).map(|block| (500_000, Op::Write, block));
    let expected: Vec<_> = [(0, Op::Read, 17)].into_iter().chain(write).collect();
    let found = accesses.iter().map(|a| (a.time_ns, a.op, a.block));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn compression_is_seen_by_its_magic_bytes() {
    let (expected, _) = read(&VSCSI_V1, Options::default());
    let (head, tail) = VSCSI_V1.split_at(32);
    let members = [gzip(head), gzip(tail)].concat();
    let frames = [
        // A skippable frame of three bytes, then two frames.
        b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(),
        zstd::encode_all(head, 1).unwrap(),
        zstd::encode_all(tail, 1).unwrap(),
    ]
    .concat();
    for (name, bytes) in [("members", members), ("frames", frames)] {
        let (records, error) = read(&bytes, Options::default());
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(records, expected, "{name}");
    }
}

#[test]
fn formats_are_guessed_only_where_that_is_certain() {
    let guess = |name: &str, bytes: &[u8]| {
        let reader = Reader::new(
            name,
            std::io::Cursor::new(bytes.to_vec()),
            Options::default(),
        );
        reader
            .map(|reader| reader.format())
            .map_err(|e| e.to_string())
    };
    assert_eq!(guess("a.VSCSI", &VSCSI_V1), Ok(Format::Vscsi));
    assert_eq!(guess("a.bin", &VSCSI_V2), Ok(Format::Vscsi));
    assert_eq!(guess("a", SPC.as_bytes()), Ok(Format::Spc));
    assert_eq!(guess("a.csv.gz", &gzip(MSR.as_bytes())), Ok(Format::Msr));
    assert_eq!(guess("a.csv", CSV.as_bytes()), Ok(Format::Csv));
    for name in ["a", "a.LIS", "a.txt"] {
        assert_eq!(guess(name, LIS.as_bytes()), Ok(Format::Lis));
    }
    let packed = zstd::encode_all(LIS.as_bytes(), 1).unwrap();
    assert_eq!(guess("a.lis.zst", &packed), Ok(Format::Lis));
    // Three numbers, five, one with a sign, one with a point, one too large.
    for line in [
        "1 2 0",
        "1 2 0 3 4",
        "1 -2 0 3",
        "1 2.0 0 3",
        "99999999999999999999 2 0 3",
    ] {
        let error = guess("a", line.as_bytes()).unwrap_err();
        assert!(error.contains("not lis as"), "{error}");
    }
    let oracle = Ok(Format::OracleGeneral);
    for packed in ["zst", "gz", "bz2", "xz"] {
        let name = format!("a.oracleGeneral.bin.{packed}");
        assert_eq!(guess(&name, &ORACLE), oracle);
    }
    for (name, bytes, expected) in [
        ("a.bin", &ORACLE[..], "name one of vscsi, oracle-general"),
        ("a.csv", b"time,op\n", "name one of vscsi, oracle-general"),
        (
            "a.spc",
            MSR.as_bytes(),
            "named like spc, but its content looks like msr",
        ),
        (
            "a.lis",
            SPC.as_bytes(),
            "named like lis, but its content looks like spc",
        ),
        (
            "a.spc",
            LIS.as_bytes(),
            "named like spc, but its content looks like lis",
        ),
        (
            "a.lis",
            b"7 8 0\n",
            "line 1 is \"7 8 0\", not lis as it ends before the request number",
        ),
        (
            "a.oracleGeneral",
            &VSCSI_V1,
            "but its content looks like vscsi",
        ),
        (
            "a.vscsi",
            &ORACLE,
            "does not start like a trace of format vscsi",
        ),
    ] {
        let error = guess(name, bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn format_names_read_back() {
    for name in Format::names().split(", ") {
        assert_eq!(name.parse::<Format>().unwrap().name(), name);
    }
    let error = "vscsi2".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("\"vscsi2\"") && error.contains("oracle-general"));
}

#[test]
fn a_named_format_is_not_guessed() {
    let (records, _) = read_called("a.vscsi", SPC.as_bytes(), named(Format::Spc));
    assert_eq!(records.len(), 3);
}
