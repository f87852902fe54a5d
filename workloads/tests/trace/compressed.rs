//! Traces in whatever they were packed with.

use std::io::Write;
use std::iter;

use workloads::trace::{Compression, Format, Options, Position, Problem, Record};

use crate::{counts, named, read, vscsi_v1};

/// `0,8,512,r,0.5` with a newline, by bzip2(1) 1.0.8, gzip(1) 1.12 and xz(1) 5.4.1.
const LINE: &[u8] = b"0,8,512,r,0.5\n";
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x33\xd0\xb1\xd0\x31\x35\x34\xd2\x29\xd2\x31\xd0\x33\xe5\x02\x00\xbe\xde\xa8\x77\x0e\x00\x00\x00";
const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x14\x08\x0c\xb5\x00\x00\x03\x58\x80\x00\x10\x00\x05\x72\x40\x10\x00\x20\x00\x31\x06\x4c\x41\x4c\x1e\xa7\xa8\x28\xc6\x02\xd7\xf8\x5d\xc9\x14\xe1\x42\x40\x50\x20\x32\xd4";
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x0d\x30\x2c\x38\x2c\x35\x31\x32\x2c\x72\x2c\x30\x2e\x35\x0a\x00\x00\x00\x23\x15\x80\x8f\xc8\x98\x9d\x39\x00\x01\x26\x0e\x08\x1b\xe0\x04\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

const READ: u16 = 0x28;

/// A way to compress, and what does.
pub type Packer = (Compression, fn(&[u8]) -> Vec<u8>);

pub const PACKERS: [Packer; 4] = [
    (Compression::Gzip, gzip),
    (Compression::Zstd, |bytes| {
        zstd::encode_all(bytes, 1).unwrap()
    }),
    (Compression::Bzip2, bzip2),
    (Compression::Xz, xz),
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn trace(records: u64) -> Vec<u8> {
    let record = |at: u64| vscsi_v1(READ, at * 7919 % 100_003, 512, at);
    (0..records).flat_map(record).collect()
}

/// All requests of a good trace.
fn requests(bytes: &[u8]) -> Vec<Record> {
    let (records, error) = read(bytes, Options::default());
    assert!(error.is_none(), "{error:?}");
    records
}

#[test]
fn what_the_usual_programs_write_is_read() {
    let wanted = requests(LINE);
    assert_eq!(wanted.len(), 1);
    for bytes in [GZIP, BZIP2, XZ] {
        assert_eq!(requests(bytes), wanted);
    }
}

#[test]
fn streams_read_on_one_after_the_other() {
    // Larger than all buffers, cut where no record begins.
    let bytes = trace(20_000);
    let wanted = requests(&bytes);
    for (compression, pack) in PACKERS {
        let (head, tail) = bytes.split_at(300_007);
        let whole = [pack(head), pack(b""), pack(tail)].concat();
        assert_eq!(requests(&whole), wanted, "{compression}");
        // Zeros between and behind, as xz pads and tapes do.
        let padded = [pack(head), vec![0; 8], pack(tail), vec![0; 70_000]].concat();
        assert_eq!(requests(&padded), wanted, "{compression}");
        assert_eq!(counts(&padded, Options::default()).trailing, None);
    }
}

#[test]
fn bytes_behind_the_data_are_left_out_and_noted() {
    let bytes = trace(5000);
    let wanted = requests(&bytes);
    for (compression, pack) in PACKERS {
        for garbage in [&b"g"[..], b"\0\0garbage", b"\x1f", &bytes, LINE] {
            let file = [&pack(&bytes)[..], garbage].concat();
            assert_eq!(requests(&file), wanted, "{compression}");
            let noted = counts(&file, Options::default()).trailing;
            assert_eq!(noted, Some(compression));
        }
        assert_eq!(counts(&pack(&bytes), Options::default()).trailing, None);
    }
    // Of plain content there is nothing behind.
    assert_eq!(counts(&bytes, Options::default()).trailing, None);
}

#[test]
fn data_that_is_cut_or_damaged_is_named_after_what_there_is() {
    let bytes = trace(20_000);
    for (compression, pack) in PACKERS {
        let whole = pack(&bytes);
        for cut in [whole.len() / 2, whole.len() - 1] {
            let (records, error) = read(&whole[..cut], named(Format::Vscsi));
            let error = error.unwrap();
            // Blocks of bzip2 and chunks of xz are all or nothing; the others give what there is.
            let all_or_nothing = matches!(compression, Compression::Bzip2 | Compression::Xz);
            let there = all_or_nothing || !records.is_empty();
            assert!(there, "{compression} cut to {cut}: {error}");
            let text = error.to_string();
            assert!(
                text.contains(&format!("its {compression} data ends early")),
                "{text}"
            );
            assert!(std::error::Error::source(&error).is_some());
        }
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 64]
            .iter_mut()
            .for_each(|byte| *byte = !*byte);
        let (_, error) = read(&damaged, named(Format::Vscsi));
        let error = error.unwrap();
        let known = matches!(
            error.problem,
            Problem::Damaged { compression: of, .. } if of == compression
        );
        // What was damaged may also come out as other bytes, before the sum shows it.
        assert!(
            known
                || matches!(
                    error.problem,
                    Problem::Record { .. } | Problem::TimeGoesBack { .. }
                ),
            "{error}"
        );
    }
}

/// A frame that needs a window of 2^`log` bytes and more than half of one, of `byte`s.
fn frame(log: u32, mut content: impl std::io::Read) -> Vec<u8> {
    let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    writer.window_log(log).unwrap();
    writer.long_distance_matching(true).unwrap();
    std::io::copy(&mut content, &mut writer).unwrap();
    writer.finish().unwrap()
}

#[test]
fn long_windows_of_zstd_are_read() {
    let wanted = requests(&trace(1000));
    for log in [27, 28, 31] {
        let bytes = frame(log, &trace(1000)[..]);
        // The descriptor of the window, so that the test is about what it says.
        assert_eq!(bytes[5], ((log - 10) << 3) as u8);
        assert_eq!(requests(&bytes), wanted, "{log}");
    }
    // One more than any program writes.
    let mut bytes = frame(31, &trace(1000)[..]);
    bytes[5] = (32 - 10) << 3;
    let (records, error) = read(&bytes, named(Format::Vscsi));
    assert!(records.is_empty());
    let error = error.unwrap();
    assert!(
        matches!(error.problem, Problem::Window(Compression::Zstd)),
        "{error}"
    );
    assert_eq!(error.position, Position::File);
    let text = error.to_string();
    assert!(
        text.contains("more than 2 GiB") && text.contains("zstd --long=31"),
        "{text}"
    );
}

#[test]
fn what_is_not_read_is_named() {
    let tar: Vec<u8> = iter::repeat_n(b't', 257)
        .chain(*b"ustar\x0000")
        .chain([0; 300])
        .collect();
    let tar = &tar[..];
    for (bytes, what) in [
        (&b"PK\x03\x04\x14\0\0\0\x08\0"[..], "a zip archive"),
        (b"PK\x05\x06\0\0", "zip"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
        (b"\x04\x22\x4d\x18\x64\x40", "compressed by lz4"),
        (b"\x1f\x9d\x90ab", "compress(1)"),
        (tar, "a tar archive"),
    ] {
        for (name, file) in [("plain", bytes.to_vec()), ("gzip", gzip(bytes))] {
            for options in [Options::default(), named(Format::Spc)] {
                let (records, error) = read(&file, options);
                assert!(records.is_empty(), "{what} in {name}");
                let error = error.unwrap();
                let text = error.to_string();
                assert!(matches!(error.problem, Problem::NotRead(_)), "{text}");
                assert!(text.contains(what) && text.contains("it"), "{text}");
            }
        }
    }
    // The first number of a vSCSI trace is not a magic one.
    let mut bytes = trace(20);
    bytes[..4].copy_from_slice(b"\x1f\x9d\0\0");
    assert_eq!(requests(&bytes).len(), 20);
}
