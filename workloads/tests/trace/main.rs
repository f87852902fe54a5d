//! Trace readers, compared with bytes written by hand, against writers kept
//! here, and against garbage.

mod answers;
mod compressed;
mod garbage;
mod golden;
mod objects;
mod people;
mod round_trips;

use std::io::Cursor;

use workloads::trace::{
    Counts, Format, Ids, Op, Options, Overlap, Problem, Reader, Record, TraceError,
};

/// A record, briefly.
fn record(time_ns: u64, op: Op, offset_bytes: u64, length_bytes: u64) -> Record {
    Record::new(time_ns, op, offset_bytes, length_bytes).expect("a record of the test")
}

fn named(format: Format) -> Options {
    Options {
        format: Some(format),
        ..Options::default()
    }
}

/// An oracleGeneral trace whose ids are addresses.
fn addresses(unit_bytes: u64, overlap: Overlap) -> Options {
    Options {
        ids: Ids::Addresses {
            unit_bytes: unit_bytes.try_into().expect("a unit of the test"),
            overlap,
        },
        ..named(Format::OracleGeneral)
    }
}

/// What a reader did with all of a trace, which must be good.
fn counts(bytes: &[u8], options: Options) -> Counts {
    let mut reader = Reader::new("trace", Cursor::new(bytes.to_vec()), options).unwrap();
    for next in &mut reader {
        next.unwrap();
    }
    reader.counts()
}

/// All that a trace gives, and the error that it ends with, if it does.
fn read(bytes: &[u8], options: Options) -> (Vec<Record>, Option<TraceError>) {
    read_called("trace", bytes, options)
}

fn read_called(name: &str, bytes: &[u8], options: Options) -> (Vec<Record>, Option<TraceError>) {
    let mut records = Vec::new();
    let reader = match Reader::new(name, Cursor::new(bytes.to_vec()), options) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    for next in reader {
        match next {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

/// What a trace ends with, which must be an error.
fn problem(bytes: &[u8], options: Options) -> Problem {
    read(bytes, options).1.expect("an error").problem
}

/// An oracleGeneral record.
fn oracle(time_s: u32, id: u64, size_bytes: u32) -> [u8; 24] {
    let mut bytes = [0xff; 24];
    bytes[..4].copy_from_slice(&time_s.to_le_bytes());
    bytes[4..12].copy_from_slice(&id.to_le_bytes());
    bytes[12..16].copy_from_slice(&size_bytes.to_le_bytes());
    bytes
}

/// A vSCSI record of version 1.
fn vscsi_v1(command: u16, sector: u64, length_bytes: u32, time_us: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[4..8].copy_from_slice(&length_bytes.to_le_bytes());
    bytes[12..14].copy_from_slice(&command.to_le_bytes());
    bytes[14..16].copy_from_slice(&0x100u16.to_le_bytes());
    bytes[16..24].copy_from_slice(&sector.to_le_bytes());
    bytes[24..].copy_from_slice(&time_us.to_le_bytes());
    bytes
}
