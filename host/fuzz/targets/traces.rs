//! Trace files of every format, named or guessed: an end, or an error with a place.
#![no_main]

use std::io::Cursor;
use std::num::NonZero;

use libfuzzer_sys::fuzz_target;
use workloads::trace::{Format, Options, Reader};

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (format, has_disk, bytes) = input;
    let formats = [
        None,
        Some(Format::Vscsi),
        Some(Format::OracleGeneral),
        Some(Format::Spc),
        Some(Format::Msr),
        Some(Format::Lis),
        Some(Format::Csv),
        Some(Format::TraceDisk),
    ];
    let options = Options {
        format: formats[usize::from(format) % formats.len()],
        disk_bytes: has_disk.then_some(1 << 30),
        limit: NonZero::new(10_000),
        ..Options::default()
    };
    let Ok(reader) = Reader::new("trace", Cursor::new(bytes.to_vec()), options) else {
        return;
    };
    // A compressed file may be much longer than its bytes.
    for record in reader.take(20_000) {
        if let Err(error) = record {
            assert!(!error.to_string().is_empty());
        }
    }
});
