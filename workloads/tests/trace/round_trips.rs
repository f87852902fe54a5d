//! What a writer writes, a reader reads. The writers are here, made from the
//! description of the formats and not from the readers.

use std::fmt::Write;

use proptest::prelude::*;
use workloads::trace::{Op, Options, Overlap, Record};

use crate::{addresses, read, record, vscsi_v1};

/// Requests in units that each format can say: ascending times from 0, sectors.
#[derive(Clone, Copy, Debug)]
struct Request {
    time: u64,
    op: Op,
    sector: u64,
    length_bytes: u32,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let op = prop_oneof![Just(Op::Read), Just(Op::Write)];
    let one = (0u64..1 << 20, op, 0u64..1 << 30, 0u32..=64 << 20);
    prop::collection::vec(one, 1..50).prop_map(|all| {
        let mut time = 0;
        all.into_iter()
            .enumerate()
            .map(|(index, (step, op, sector, length_bytes))| {
                time += if index == 0 { 0 } else { step };
                Request {
                    time,
                    op,
                    sector,
                    length_bytes,
                }
            })
            .collect()
    })
}

/// What is to be read when `time` counts units of `unit_ns`.
fn expected(requests: &[Request], unit_ns: u64) -> Vec<Record> {
    let one = |r: &Request| {
        let length = u64::from(r.length_bytes);
        record(r.time * unit_ns, r.op, r.sector * 512, length)
    };
    requests.iter().map(one).collect()
}

fn command(op: Op) -> u16 {
    match op {
        Op::Read => 0x28,
        Op::Write => 0x2a,
    }
}

fn vscsi_v2(command: u16, sector: u64, length_bytes: u32, time_us: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(command.to_le_bytes());
    bytes.extend(0x2ffu16.to_le_bytes());
    bytes.extend([0xab; 4]);
    bytes.extend(length_bytes.to_le_bytes());
    bytes.extend([0xab; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes.extend(time_us.to_le_bytes());
    bytes.extend([0xab; 8]);
    bytes
}

fn same(bytes: &[u8], options: Options, expected: &[Record]) -> Result<(), TestCaseError> {
    let (records, error) = read(bytes, options);
    prop_assert!(error.is_none(), "{:?}", error);
    prop_assert_eq!(records, expected);
    Ok(())
}

proptest! {
    #[test]
    fn vscsi(requests in requests(), since_us in 0u64..1 << 50) {
        let one = |r: &Request| vscsi_v1(command(r.op), r.sector, r.length_bytes, since_us + r.time);
        let bytes: Vec<u8> = requests.iter().flat_map(one).collect();
        same(&bytes, Options::default(), &expected(&requests, 1000))?;
        let one = |r: &Request| vscsi_v2(command(r.op), r.sector, r.length_bytes, since_us + r.time);
        let bytes: Vec<u8> = requests.iter().flat_map(one).collect();
        same(&bytes, Options::default(), &expected(&requests, 1000))?;
    }

    #[test]
    fn oracle_general(requests in requests(), next in any::<i64>()) {
        let mut bytes = Vec::new();
        let place = |request: &Request| match request.length_bytes {
            0 => 0,
            _ => request.sector,
        };
        for request in &requests {
            bytes.extend((request.time as u32).to_le_bytes());
            bytes.extend(request.sector.to_le_bytes());
            bytes.extend(request.length_bytes.to_le_bytes());
            bytes.extend(next.to_le_bytes());
        }
        let reads: Vec<Request> = requests
            .iter()
            .map(|request| Request { op: Op::Read, sector: place(request), ..*request })
            .collect();
        let options = addresses(512, Overlap::Allow);
        same(&bytes, options, &expected(&reads, 1_000_000_000))?;
    }

    #[test]
    fn spc(requests in requests(), asu in 0u32..100, since_us in 0u64..1 << 40) {
        let mut text = String::new();
        for Request { time, op, sector, length_bytes } in &requests {
            let time = since_us + time;
            let (seconds, us) = (time / 1_000_000, time % 1_000_000);
            let op = if *op == Op::Read { 'R' } else { 'w' };
            writeln!(text, "{asu},{sector},{length_bytes},{op},{seconds}.{us:06}").unwrap();
        }
        same(text.as_bytes(), Options::default(), &expected(&requests, 1000))?;
    }

    #[test]
    fn msr(requests in requests(), disk in 0u32..100, host in "[a-z]{1,9}") {
        let mut text = String::new();
        for Request { time, op, sector, length_bytes } in &requests {
            let (time, offset) = (128_166_372_003_061_629 + time, sector * 512);
            writeln!(text, "{time},{host},{disk},{op:?},{offset},{length_bytes},7").unwrap();
        }
        same(text.as_bytes(), Options::default(), &expected(&requests, 100))?;
    }

    #[test]
    fn lis(requests in requests(), blank in "[ \t]{1,3}", first in 0u64..1 << 40) {
        let mut text = String::new();
        let mut reads = Vec::new();
        for (number, Request { sector, length_bytes, .. }) in (first..).zip(&requests) {
            let sectors = length_bytes / 512;
            writeln!(text, "{sector}{blank}{sectors}{blank}0{blank}{number}").unwrap();
            reads.push(record(0, Op::Read, sector * 512, u64::from(sectors) * 512));
        }
        same(text.as_bytes(), Options::default(), &reads)?;
    }

    #[test]
    fn csv(requests in requests(), columns in Just(["time", "op", "place", "extra", "length"]).prop_shuffle(), sectors in any::<bool>()) {
        let mut lines = vec![columns.map(|column| match column {
            "time" => "time_us".to_owned(),
            "place" if sectors => "sector".to_owned(),
            "place" => "offset_bytes".to_owned(),
            "length" => "length_bytes".to_owned(),
            other => other.to_owned(),
        }).join(",")];
        for request in &requests {
            lines.push(columns.map(|column| match column {
                "time" => request.time.to_string(),
                "op" => format!("{:?}", request.op).to_lowercase(),
                "place" if sectors => request.sector.to_string(),
                "place" => (request.sector * 512).to_string(),
                "length" => request.length_bytes.to_string(),
                _ => "anything".to_owned(),
            }).join(", "));
        }
        same(lines.join("\r\n").as_bytes(), Options::default(), &expected(&requests, 1000))?;
    }
}
