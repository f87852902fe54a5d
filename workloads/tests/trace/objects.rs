//! What the ids of oracleGeneral are.

use workloads::trace::{Format, Ids, Options, Overlap, Problem, Reader, Record};

use crate::{addresses, counts, named, oracle, problem, read};

fn trace(requests: &[(u64, u32)]) -> Vec<u8> {
    let records = requests.iter().zip(0..);
    records
        .flat_map(|((id, size), time)| oracle(time, *id, *size))
        .collect()
}

fn first_blocks(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.blocks().start).collect()
}

#[test]
fn each_id_is_one_block_whatever_it_is() {
    let requests = [
        (u64::MAX, 1),
        (0, 4096),
        (1, 4097),
        (u64::MAX, 1 << 30),
        (0, 1),
        (7, 0),
        (1 << 52, 9),
    ];
    let bytes = trace(&requests);
    let (records, error) = read(&bytes, named(Format::OracleGeneral));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(first_blocks(&records), [0, 1, 2, 0, 1, 0, 3]);
    let lengths: Vec<u64> = records.iter().map(|r| r.blocks().count() as u64).collect();
    assert_eq!(lengths, [1, 1, 1, 1, 1, 0, 1]);
    assert_eq!(
        counts(&bytes, named(Format::OracleGeneral)).larger_objects,
        2
    );
}

#[test]
fn addresses_that_overlap_are_refused_with_both_ids() {
    // A unit apart and as long as a unit, then one byte longer.
    assert!(
        read(
            &trace(&[(3, 512), (4, 512), (3, 9), (2, 512)]),
            addresses(512, Overlap::Reject)
        )
        .1
        .is_none()
    );
    let bytes = trace(&[(4, 512), (3, 513)]);
    let (records, error) = read(&bytes, addresses(512, Overlap::Reject));
    assert_eq!(records.len(), 1);
    assert_eq!(
        error.unwrap().to_string(),
        "trace, byte 24: the objects 3 and 4, taken as addresses, overlap: the one ends at byte 2049 and the other \
         begins at byte 2048: take ids as objects, or let addresses overlap"
    );
    let (records, error) = read(&bytes, addresses(512, Overlap::Allow));
    assert!(error.is_none(), "{error:?}");
    let places: Vec<_> = records
        .iter()
        .map(|r| (r.offset_bytes(), r.length_bytes()))
        .collect();
    assert_eq!(places, [(2048, 512), (1536, 513)]);
    // An object that grows into its neighbour.
    let bytes = trace(&[(3, 100), (4, 100), (3, 512), (3, 600)]);
    let found = problem(&bytes, addresses(512, Overlap::Reject));
    assert!(
        matches!(
            found,
            Problem::Overlap {
                first: 3,
                first_end_bytes: 2136,
                second: 4,
                second_begin_bytes: 2048
            }
        ),
        "{found}"
    );
}

#[test]
fn what_was_assumed_is_said() {
    let said = |options: Options| {
        let mut reader = Reader::new("t", std::io::Cursor::new(trace(&[(3, 1)])), options).unwrap();
        assert!(reader.next().unwrap().is_ok());
        reader.assumptions().join(" ")
    };
    let objects = said(named(Format::OracleGeneral));
    assert!(
        objects.contains("one block") && objects.contains("ignore_obj_size"),
        "{objects}"
    );
    assert!(objects.contains("reads"), "{objects}");
    let refuse = said(addresses(4096, Overlap::Reject));
    assert!(
        refuse.contains("units of 4096 bytes") && refuse.contains("do not overlap"),
        "{refuse}"
    );
    assert!(said(addresses(1, Overlap::Allow)).contains("may overlap"));
    assert_eq!(Ids::default(), Ids::Objects);

    let lines = b"0,0,512,r,0\n5,0,512,r,0\n9,0,512,r,0\n";
    let mut reader = Reader::new("t", &lines[..], Options::default()).unwrap();
    assert!(reader.by_ref().all(|next| next.is_ok()));
    let said = reader.assumptions().join(" ");
    assert!(
        said.contains("3 volumes") && said.contains("1TiB apart"),
        "{said}"
    );
    assert_eq!(reader.counts().volumes, 3);
}
