//! Any bytes: no panic, an end, and an error with its position.

use proptest::prelude::*;
use workloads::trace::{Beyond, Format, Options, Reader, Record, TimeOrder};
use workloads::trace_disk::Header;

use crate::compressed::PACKERS;
use crate::vscsi_v1;

const FORMATS: [Option<Format>; 8] = [
    None,
    Some(Format::Vscsi),
    Some(Format::OracleGeneral),
    Some(Format::Spc),
    Some(Format::Msr),
    Some(Format::Lis),
    Some(Format::Csv),
    Some(Format::TraceDisk),
];

/// Reads `bytes` as every format, in every way. A record takes at least 5 bytes
/// of any format, which bounds how many there can be.
fn survives(bytes: &[u8]) {
    gives_at_most(bytes, bytes.len() / 5 + 1);
}

fn gives_at_most(bytes: &[u8], most: usize) {
    let orders = [
        TimeOrder::Reject,
        TimeOrder::Clamp,
        TimeOrder::Sort { window: 3 },
    ];
    for format in FORMATS {
        for order in orders {
            let options = Options {
                format,
                order,
                disk_bytes: Some(1 << 40),
                beyond: Beyond::Skip,
                ..Options::default()
            };
            let Ok(mut reader) = Reader::new("t", std::io::Cursor::new(bytes.to_vec()), options)
            else {
                continue;
            };
            let mut last_ns = 0;
            let mut blocks = 0;
            for (given, next) in (&mut reader).enumerate() {
                assert!(given <= most, "{format:?} does not end");
                let Ok(record) = next else { continue };
                let record: Record = record;
                assert!(record.time_ns() >= last_ns);
                last_ns = record.time_ns();
                blocks += record.blocks().count();
            }
            assert!(blocks <= most * 16_385);
            assert!(reader.next().is_none(), "{format:?} goes on after its end");
        }
    }
}

/// Text that is nearly a trace.
fn near_text() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        "[0-9]{1,21}",
        Just("r".to_owned()),
        Just("Write".to_owned()),
        "[0-9]{1,3}\\.[0-9]{0,12}",
        "[ -~]{0,6}",
    ];
    let separator = prop::sample::select(vec![",", " "]);
    let line = (prop::collection::vec(field, 0..8), separator)
        .prop_map(|(fields, separator)| fields.join(separator));
    let header = prop_oneof![
        Just("time_ns,op,block,blocks".to_owned()),
        Just("op,time_s,offset_bytes,sectors".to_owned()),
        Just(String::new()),
    ];
    (header, prop::collection::vec(line, 0..9))
        .prop_map(|(header, lines)| format!("{header}\n{}", lines.join("\n")))
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes);
    }

    #[test]
    fn random_bytes_that_claim_compression(
        magic in prop_oneof![
            Just(&[0x1f, 0x8b, 8, 0][..]),
            Just(&[0x28, 0xb5, 0x2f, 0xfd][..]),
            Just(&[0x51, 0x2a, 0x4d, 0x18][..]),
            Just(&b"BZh9"[..]),
            Just(&b"BZh91AY&SY"[..]),
            Just(&b"\xfd7zXZ\0"[..]),
            Just(&b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01"[..]),
        ],
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        // What claims it may be it: a few bytes of a real stream say many records.
        gives_at_most(&[magic, &bytes].concat(), 1 << 20);
    }

    #[test]
    fn random_text(text in near_text()) {
        survives(text.as_bytes());
    }

    #[test]
    fn damaged_vscsi(
        records in prop::collection::vec((0u64..1 << 40, 0u32..1 << 26, any::<u32>()), 1..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        packer in prop::option::of(prop::sample::select(PACKERS.to_vec())),
    ) {
        let one = |r: &(u64, u32, u32)| vscsi_v1(0x28, r.0, r.1, u64::from(r.2));
        let mut bytes: Vec<u8> = records.iter().flat_map(one).collect();
        if let Some((_, pack)) = packer {
            bytes = pack(&bytes);
        }
        for (place, byte) in damage {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        // Unlike plain bytes, a few compressed ones can say many records.
        match packer {
            Some(_) => ends(&bytes),
            None => survives(&bytes),
        }
    }
}

proptest! {
    #[test]
    fn damaged_trace_disk(
        announced: u64,
        records: Vec<u8>,
        damage in prop::option::of((0usize..4096, any::<u8>())),
    ) {
        let mut bytes = Header { accesses: announced }.encode().to_vec();
        if let Some((at, byte)) = damage {
            bytes[at] = byte;
        }
        survives(&[bytes, records].concat());
    }
}

/// Reads `bytes` as a vSCSI trace to its end.
fn ends(bytes: &[u8]) {
    let options = Options {
        format: Some(Format::Vscsi),
        order: TimeOrder::Clamp,
        ..Options::default()
    };
    if let Ok(reader) = Reader::new("t", std::io::Cursor::new(bytes.to_vec()), options) {
        assert!(reader.count() <= 1 << 20);
    }
}
