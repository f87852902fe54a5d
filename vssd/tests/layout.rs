//! The bytes of SPEC.md, section 4, written down by hand, and the device's
//! requirements that show in a single exchange.

use vssd::advice::Advice;
use vssd::block_set::BlockSet;
use vssd::demand::{Demand, MAX_REPORT, Point};
use vssd::device::{Device, Ownership, PickedBy, ResizeRequest};
use vssd::encoding::{SetView, encode};
use vssd::error::Reject;
use vssd::stream::frame::{Header, Kind};
use vssd::stream::{Closed, DeviceEnd, Identity};
use vssd::units::Geometry;
use vssd::wire::{
    Confirm, Encoding, Event, GOAL_CONFIRM, Goal, HELLO_REQUEST_LEN, HelloRequest, HelloResponse,
    MAX_MESSAGE, MAX_PAYLOAD, Opcode, REQUEST_HEADER_LEN, RESPONSE_HEADER_LEN, Request, Response,
    Status, VERSION, mark, marked_block_size, marked_version,
};

/// Bytes written as in the specification.
fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

const GOAL: Goal = Goal {
    generation: 0x0102_0304_0506_0708,
    target: 0x11,
    revoked: 0x22,
    deadline_ms: 0x33,
    flags: GOAL_CONFIRM,
};
const GOAL_BYTES: &str =
    "08 07 06 05 04 03 02 01  11 00 00 00  22 00 00 00  33 00 00 00  01 00 00 00";

#[test]
fn the_mark() {
    for (block_size, bytes) in [
        (512, "76 53 53 44  02 00  09 00"),
        (4096, "76 53 53 44  02 00  0c 00"),
        (65536, "76 53 53 44  02 00  10 00"),
        (1 << 20, "76 53 53 44  02 00  14 00"),
    ] {
        let mark = mark(Geometry::new(block_size, 7).unwrap());
        assert_eq!(mark.to_vec(), hex(bytes), "{block_size}");
        assert_eq!(marked_version(&mark), Some(2));
        assert_eq!(marked_block_size(&mark), block_size);
    }
    assert_eq!(marked_version(&[0; 8]), None);
    // Exponents without a size, and that of version 1: no geometry takes any.
    for exponent in [0, 8, 21, 32, 255] {
        let mut mark = mark(Geometry::new(4096, 7).unwrap());
        mark[6] = exponent;
        assert!(
            Geometry::new(marked_block_size(&mark), 7).is_err(),
            "{exponent}"
        );
    }
}

#[test]
fn events() {
    let goal = hex(&format!("01 00  00 00 00 00 00 00  {GOAL_BYTES}"));
    assert_eq!(Event::Goal(GOAL).encode().to_vec(), goal);
    assert_eq!(Event::decode(&goal), Some(Event::Goal(GOAL)));
    let mut resync = vec![0; 32];
    resync[0] = 2;
    assert_eq!(Event::Resync.encode().to_vec(), resync);
    assert_eq!(Event::decode(&resync), Some(Event::Resync));
    // [DRV-3]
    assert_eq!(Event::decode(&resync[..31]), None);
    resync[0] = 3;
    assert_eq!(Event::decode(&resync), None);
}

#[test]
fn command_headers() {
    let request = Request {
        opcode: Opcode::Surrender,
        flags: 1,
        session: 0x0102_0304_0506_0708,
        sequence: 9,
        cursor: 5,
    };
    let bytes =
        hex("03 00  01 00  02 00 00 00  08 07 06 05 04 03 02 01  09 00 00 00  05 00 00 00  aa bb");
    let mut out = [0; REQUEST_HEADER_LEN];
    request.encode(2, &mut out);
    assert_eq!(out.to_vec(), bytes[..24]);
    assert_eq!(Request::decode(&bytes), Ok((request, &[0xaa, 0xbb][..])));
    assert_eq!(Request::decode(&bytes[..25]), Err(Reject::Malformed));
    assert_eq!(Request::decode(&bytes[..23]), Err(Reject::Malformed));
    for (opcode, code) in Opcode::ALL {
        Request { opcode, ..request }.encode(0, &mut out);
        assert_eq!(out[0], code as u8);
    }
    assert_eq!(Opcode::ALL.map(|(_, code)| code), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn response_headers() {
    let response = Response {
        status: Status::Rejected(Reject::NotHeld),
        session: 7,
        sequence: 9,
        cursor: 4,
        goal: GOAL,
    };
    let bytes = hex(&format!(
        "07 00  00 00  01 00 00 00  07 00 00 00 00 00 00 00  09 00 00 00  04 00 00 00 {GOAL_BYTES} \
         00 00 00 00 00 00 00 00  cc"
    ));
    let mut out = [0; RESPONSE_HEADER_LEN];
    response.encode(1, &mut out);
    assert_eq!(out.to_vec(), bytes[..56]);
    assert_eq!(Response::decode(&bytes), Some((response, &[0xcc][..])));
    assert_eq!(Response::decode(&bytes[..56]), None);
    let codes: Vec<u16> = Reject::ALL.iter().map(|reject| reject.code()).collect();
    assert_eq!(codes, (1..=10).collect::<Vec<_>>());
}

#[test]
fn hello_and_confirm() {
    let hello = HelloRequest {
        version: 2,
        max_payload: 0x1000,
    };
    let bytes = hex("02 00 00 00  00 10 00 00  00 00 00 00 00 00 00 00");
    assert_eq!(hello.encode().to_vec(), bytes);
    assert_eq!(HelloRequest::decode(&bytes), Ok(hello));
    let answer = HelloResponse {
        version: 2,
        encoding: Encoding::List4096,
        block_size: 4096,
        capacity: 0x40000,
        max_payload: 0x10_1000,
    };
    let bytes = hex("02 00 02 00  00 10 00 00  00 00 04 00  00 10 10 00 \
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    assert_eq!(answer.encode().to_vec(), bytes);
    assert_eq!(HelloResponse::decode(&bytes), Some(answer));
    let confirm = Confirm {
        digest: 0x0102_0304_0506_0708,
        held: 3,
    };
    let bytes = hex("08 07 06 05 04 03 02 01  03 00 00 00  00 00 00 00");
    assert_eq!(confirm.encode().to_vec(), bytes);
    assert_eq!(Confirm::decode(&bytes), Ok(confirm));
}

#[test]
fn reports() {
    let demand = Demand {
        accesses: 1000,
        hits: 600,
        writes: 10,
        curve: vec![Point {
            blocks: 64,
            misses: 0x3fff_ffff,
        }],
        reads: vec![],
    };
    let bytes = hex(
        "e8 03 00 00 00 00 00 00  58 02 00 00 00 00 00 00  0a 00 00 00 00 00 00 00 \
         01 00 00 00  00 00 00 00  40 00 00 00  ff ff ff 3f",
    );
    let mut out = [0; MAX_REPORT];
    let len = demand.encode(&mut out);
    assert_eq!(out[..len], bytes);
    assert_eq!(Demand::decode(&bytes), Ok(Some(demand)));
}

fn geometry() -> Geometry {
    Geometry::new(4096, 100_000).unwrap()
}

fn set(blocks: impl IntoIterator<Item = u32>) -> BlockSet {
    let mut set = BlockSet::empty(geometry().capacity());
    blocks.into_iter().for_each(|block| {
        set.insert(block);
    });
    set
}

fn encoded(set: &BlockSet, encoding: Encoding) -> Vec<u8> {
    let mut out = vec![0; MAX_PAYLOAD];
    let len = encode(set, 0, u32::MAX, encoding, geometry(), &mut out).len;
    out.truncate(len);
    out
}

#[test]
fn block_sets() {
    let extents = hex(
        "01 00 00 00  02 00 00 00  00 00 00 00  03 00 00 00  03 00 00 00  02 00 00 00 \
         09 00 00 00  01 00 00 00",
    );
    assert_eq!(encoded(&set([3, 4, 9]), Encoding::Compact), extents);
    let mut list = hex("03 00 00 00  10 00 00 00  00 00 00 00  02 00 00 00");
    for sector in (0x18..0x20).chain(0x48..0x50) {
        list.extend([sector, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(encoded(&set([3, 9]), Encoding::List4096), list);
    let bitmap = encoded(&set((4096..8192).step_by(2)), Encoding::Compact);
    assert_eq!(
        bitmap[..24],
        hex("02 00 00 00  40 00 00 00  00 10 00 00  00 08 00 00  55 55 55 55 55 55 55 55")
    );
    assert_eq!(bitmap.len(), 16 + 512);
    for (bytes, blocks) in [(extents, 3), (list, 2), (bitmap, 2048)] {
        assert_eq!(SetView::parse(&bytes, geometry()).unwrap().len(), blocks);
    }
}

#[test]
fn the_digest() {
    // c = 3, one word: rotl((3 ^ 5) * 0x9e3779b97f4a7c15 mod 2^64, 29), by hand.
    let mut set = BlockSet::empty(3);
    set.insert(0);
    set.insert(2);
    let product = 0x9e37_79b9_7f4a_7c15_u128 * 6 % (1 << 64);
    let rotated = (product << 29 | product >> 35) % (1 << 64);
    assert_eq!(u128::from(set.digest()), rotated);
}

/// A record of ownership that can be told to fail.
#[derive(Default)]
struct Record {
    full: bool,
    changes: u32,
}

impl Ownership for Record {
    type Error = &'static str;

    fn release(&mut self, _: &SetView<'_>) -> Result<(), Self::Error> {
        self.changes += 1;
        if self.full { Err("full") } else { Ok(()) }
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.release(blocks)
    }
}

struct Fixture {
    device: Device,
    record: Record,
    session: u64,
    sequence: u32,
}

/// A device of 100 blocks, all granted, with a session.
fn fixture() -> Fixture {
    let geometry = Geometry::new(4096, 100).unwrap();
    let device = Device::new(geometry, BlockSet::full(100), Encoding::Compact, 7);
    let mut fixture = Fixture {
        device,
        record: Record::default(),
        session: 0,
        sequence: 0,
    };
    fixture.hello();
    fixture
}

impl Fixture {
    fn send(&mut self, opcode: Opcode, sequence: u32, payload: &[u8]) -> (Response, Vec<u8>) {
        let request = Request {
            opcode,
            flags: 0,
            session: self.session,
            sequence,
            cursor: 0,
        };
        let mut bytes = vec![0; REQUEST_HEADER_LEN];
        request.encode(payload.len(), &mut bytes);
        bytes.extend(payload);
        let answer = self
            .device
            .command(&bytes, MAX_MESSAGE, 0, &mut self.record);
        let (response, payload) = Response::decode(answer.response).unwrap();
        (response, payload.to_vec())
    }

    fn hello(&mut self) {
        let hello = HelloRequest {
            version: VERSION,
            max_payload: MAX_PAYLOAD as u32,
        };
        self.session = 0;
        let (response, _) = self.send(Opcode::Hello, 0, &hello.encode());
        self.session = response.session;
        self.sequence = 0;
    }

    fn next(&mut self, opcode: Opcode, payload: &[u8]) -> (Response, Vec<u8>) {
        self.sequence += 1;
        self.send(opcode, self.sequence, payload)
    }

    fn surrender(&mut self, blocks: &[u32]) -> Status {
        let mut bytes = Vec::new();
        for (field, &block) in blocks.iter().enumerate() {
            if field == 0 {
                bytes.extend(
                    [1, blocks.len() as u32, 0, blocks.len() as u32]
                        .map(u32::to_le_bytes)
                        .concat(),
                );
            }
            bytes.extend([block, 1].map(u32::to_le_bytes).concat());
        }
        self.next(Opcode::Surrender, &bytes).0.status
    }

    fn resize(&mut self, target: u32) {
        let request = ResizeRequest {
            target,
            picked_by: PickedBy::Guest,
            deadline_ns: Some(1000),
            revoke: true,
            force: false,
        };
        self.device.resize(request, 0).unwrap();
    }

    fn confirm(&mut self) -> Status {
        let confirm = Confirm {
            digest: self.device.granted().digest(),
            held: self.device.granted().len(),
        };
        self.next(Opcode::Confirm, &confirm.encode()).0.status
    }
}

fn refused(reject: Reject) -> Status {
    Status::Rejected(reject)
}

#[test]
fn dev_1_requests_to_blocks_not_granted_are_refused() {
    let mut fixture = fixture();
    fixture.resize(99);
    assert_eq!(fixture.surrender(&[50]), Status::Ok);
    assert_eq!(fixture.device.check_io(49 * 8, 4096), Ok((49, 1)));
    for (sector, bytes) in [(50 * 8, 512), (49 * 8, 8192), (0, 100 * 4096)] {
        assert_eq!(fixture.device.check_io(sector, bytes), Err(Reject::NotHeld));
    }
    assert_eq!(fixture.device.check_io(800, 512), Err(Reject::OutOfRange));
}

#[test]
fn dev_2_bad_commands_change_nothing() {
    let mut fixture = fixture();
    fixture.resize(50);
    let before = fixture.device.granted().clone();
    for bytes in [vec![], vec![0; 24], vec![0xff; 4000]] {
        let answer = fixture
            .device
            .command(&bytes, MAX_MESSAGE, 0, &mut fixture.record);
        assert!(answer.result.is_err());
    }
    assert_eq!(
        (&before, fixture.record.changes),
        (fixture.device.granted(), 0)
    );
    assert_eq!(fixture.surrender(&[1]), Status::Ok);
}

#[test]
fn dev_5_commands_are_carried_out_at_most_once() {
    let mut fixture = fixture();
    fixture.resize(98);
    assert_eq!(fixture.surrender(&[1]), Status::Ok);
    let granted = fixture.device.granted().clone();
    // The same command once more: the same answer, and no second change.
    fixture.sequence -= 1;
    assert_eq!(fixture.surrender(&[1]), Status::Ok);
    assert_eq!(
        (fixture.device.granted(), fixture.record.changes),
        (&granted, 1)
    );
    let (ahead, _) = fixture.send(Opcode::Accept, 9, &[]);
    assert_eq!(ahead.status, refused(Reject::BadSequence));
    // A HELLO that is refused leaves the last response to be asked for again.
    for version in 0..VERSION as u8 {
        let mut older = [0; HELLO_REQUEST_LEN];
        older[0] = version;
        let (hello, _) = fixture.send(Opcode::Hello, 0, &older);
        assert_eq!(hello.status, refused(Reject::Unsupported), "{version}");
    }
    fixture.sequence -= 1;
    assert_eq!(fixture.surrender(&[1]), Status::Ok);
    assert_eq!(fixture.record.changes, 1);
    fixture.session += 1;
    let (stale, _) = fixture.send(Opcode::Accept, 2, &[]);
    assert_eq!(stale.status, refused(Reject::StaleSession));
}

#[test]
fn dev_6_hello_starts_from_the_truth() {
    let mut fixture = fixture();
    fixture.resize(90);
    let mut picks = BlockSet::empty(100);
    picks.insert_range(0, 10);
    fixture
        .device
        .revoke(&picks, 1000, &mut fixture.record)
        .unwrap();
    let before = fixture.session;
    fixture.hello();
    assert_ne!(fixture.session, before);
    let (response, list) = fixture.next(Opcode::List, &[]);
    assert_eq!((response.goal.revoked, response.cursor >= 100), (0, true));
    let geometry = Geometry::new(4096, 100).unwrap();
    assert_eq!(SetView::parse(&list, geometry).unwrap().len(), 90);
}

#[test]
fn dev_7_unheld_surrender_is_rejected() {
    let mut fixture = fixture();
    fixture.resize(95);
    assert_eq!(fixture.surrender(&[3]), Status::Ok);
    for (blocks, reject) in [
        (&[2, 3][..], Reject::NotHeld),
        (&[5, 5], Reject::Unordered),
        (&[6, 5], Reject::Unordered),
        (&[100], Reject::OutOfRange),
        (&[10, 11, 12, 13, 14], Reject::TooMany),
    ] {
        assert_eq!(fixture.surrender(blocks), refused(reject), "{blocks:?}");
    }
    assert_eq!(
        (fixture.device.granted().len(), fixture.record.changes),
        (99, 1)
    );
}

#[test]
fn dev_8_nothing_is_granted_before_a_loss_is_reported() {
    let mut fixture = fixture();
    fixture.resize(90);
    let mut picks = BlockSet::empty(100);
    picks.insert_range(0, 10);
    fixture
        .device
        .revoke(&picks, 1000, &mut fixture.record)
        .unwrap();
    fixture.device.tick(u64::MAX);
    fixture.resize(100);
    assert!(fixture.next(Opcode::Accept, &[]).1.is_empty());
    assert!(!fixture.next(Opcode::Revoked, &[]).1.is_empty());
    assert!(!fixture.next(Opcode::Accept, &[]).1.is_empty());
    assert_eq!(fixture.device.granted().len(), 100);
}

#[test]
fn dev_9_every_revoked_block_is_reported() {
    let mut fixture = fixture();
    fixture.resize(90);
    let mut picks = BlockSet::empty(100);
    picks.insert_range(20, 10);
    fixture
        .device
        .revoke(&picks, 1000, &mut fixture.record)
        .unwrap();
    let (response, told) = fixture.next(Opcode::Revoked, &[]);
    assert_eq!(response.goal.revoked, 0);
    let geometry = Geometry::new(4096, 100).unwrap();
    let told = SetView::parse(&told, geometry).unwrap();
    assert!(picks.contains_view(&told) && told.len() == 10);
}

#[test]
fn dev_10_only_the_true_list_is_confirmed() {
    let mut fixture = fixture();
    let wrong = Confirm {
        digest: 1,
        held: 100,
    };
    let (response, _) = fixture.next(Opcode::Confirm, &wrong.encode());
    assert_eq!(response.status, refused(Reject::Mismatch));
    assert!(!fixture.device.is_agreed());
    assert_eq!(fixture.confirm(), Status::Ok);
    assert!(fixture.device.is_agreed());
    fixture.resize(99);
    assert_eq!(fixture.surrender(&[0]), Status::Ok);
    assert!(!fixture.device.is_agreed(), "agreed on a list that changed");
}

#[test]
fn dev_17_a_report_is_taken_once_for_each_request_and_changes_nothing() {
    let mut fixture = fixture();
    let demand = |accesses| Demand {
        accesses,
        ..Demand::default()
    };
    let mut payload = [0; MAX_REPORT];
    let len = demand(5).encode(&mut payload);
    let before = fixture.device.granted().clone();
    // One that was not requested.
    let (response, _) = fixture.next(Opcode::Report, &payload[..len]);
    assert_eq!(
        (response.status, response.goal.wants_report()),
        (Status::Ok, false)
    );
    assert_eq!(fixture.device.last_report(), (0, None));
    fixture.device.request_report();
    assert!(fixture.device.has_event());
    // A bad one leaves the request as it is.
    let (response, _) = fixture.next(Opcode::Report, &payload[..len - 1]);
    assert_eq!(response.status, refused(Reject::Malformed));
    assert!(response.goal.wants_report());
    let (response, _) = fixture.next(Opcode::Report, &payload[..len]);
    assert_eq!(
        (response.status, response.goal.wants_report()),
        (Status::Ok, false)
    );
    assert_eq!(fixture.device.last_report(), (1, Some(&demand(5))));
    fixture.device.request_report();
    let (response, _) = fixture.next(Opcode::Report, &[]);
    assert_eq!(
        (response.status, response.goal.wants_report()),
        (Status::Ok, false)
    );
    assert_eq!(fixture.device.last_report(), (2, None));
    assert_eq!(fixture.device.granted(), &before);
}

#[test]
fn dev_18_advice_is_in_every_goal_until_it_changes_and_changes_nothing_else() {
    let mut fixture = fixture();
    let advices = [
        (false, false, 0),
        (true, false, 4),
        (false, true, 8),
        (true, true, 12),
    ];
    let before = fixture.device.granted().clone();
    let mut last = 0;
    for (bypass_writes, admit_reused, flags) in advices.into_iter().rev() {
        let advice = Advice {
            bypass_writes,
            admit_reused,
        };
        fixture.device.advise(advice);
        assert!(fixture.device.has_event());
        let event = fixture.device.take_event(0).unwrap();
        let Some(Event::Goal(goal)) = Event::decode(&event) else {
            panic!("{event:?}");
        };
        assert_eq!((goal.flags & 12, goal.advice()), (flags, advice));
        assert!(goal.generation > last, "{goal:?}");
        fixture.device.advise(advice);
        assert!(!fixture.device.has_event(), "the same advice is no change");
        fixture.hello();
        let (response, _) = fixture.next(Opcode::List, &[]);
        assert_eq!(response.goal.advice(), advice, "in a new session");
        assert_eq!(fixture.confirm(), Status::Ok);
        last = fixture.next(Opcode::List, &[]).0.goal.generation;
    }
    assert_eq!(fixture.device.granted(), &before);
}

#[test]
fn dev_11_nothing_is_revoked_before_the_deadline() {
    let mut fixture = fixture();
    fixture.resize(90);
    assert_eq!(fixture.device.revocation_due(999), 0);
    assert_eq!(fixture.device.revocation_due(1000), 10);
    assert_eq!(fixture.surrender(&[1, 2, 3]), Status::Ok);
    assert_eq!(fixture.device.revocation_due(1000), 7);
}

#[test]
fn dev_13_what_cannot_be_recorded_does_not_happen() {
    let mut fixture = fixture();
    fixture.resize(90);
    fixture.record.full = true;
    assert_eq!(fixture.surrender(&[1]), refused(Reject::Storage));
    assert_eq!(fixture.device.granted().len(), 100);
}

/// An EVENT with the message `aa 00 bb`; the checksum is by zlib.
const FRAME: &str = "76 53 74 72  01 00  06 00  08 07 06 05 04 03 02 01 \
                     03 00 00 00  b2 78 c7 e8  aa 00 bb";

/// A READY of the device, between its delimiters.
const READY: &str =
    "00 06 76 53 74 72 01 02 03 01 01 01 01 01 01 01 01 01 01 01 01 05 1a b0 af 32 00";

/// [STR-1] Section 10 by hand: a frame as it is on the line, and before it is stuffed.
#[test]
fn frames() {
    let identity = Identity {
        geometry: Geometry::new(4096, 0x2000).unwrap(),
        name: "vm1".to_owned(),
    };
    let opened = hex(
        "00 10 00 00  00 20 00 00  76 6d 31 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  \
         00 00 00 00",
    );
    assert_eq!(identity.encode().to_vec(), opened);
    assert_eq!(Identity::decode(&opened), Some(identity));
    for (reason, bytes) in [
        (Closed::Unopened, "01 00  01 00  00 00 00 00"),
        (Closed::Replaced, "02 00  01 00  00 00 00 00"),
        (Closed::Version(7), "03 00  07 00  00 00 00 00"),
        (Closed::Busy, "04 00  01 00  00 00 00 00"),
    ] {
        assert_eq!(reason.encode().to_vec(), hex(bytes));
        assert_eq!(Closed::decode(&hex(bytes)), Some(reason));
    }
    assert_eq!(Closed::decode(&[5, 0, 1, 0, 0, 0, 0, 0]), None);
    for (number, (kind, code)) in (1..).zip(Kind::ALL) {
        assert_eq!(code, number);
        assert_eq!(Header::new(kind, 1).encode(&[])[6..8], [number as u8, 0]);
    }
    let header = Header::new(Kind::Event, 0x0102_0304_0506_0708);
    let message = [0xaa, 0, 0xbb];
    let frame = [&header.encode(&message)[..], &message].concat();
    assert_eq!(frame, hex(FRAME), "{frame:02x?}");
    assert_eq!(Header::decode(&frame), Some((header, &message[..])));
    for end in 0..frame.len() {
        assert_eq!(Header::decode(&frame[..end]), None, "{end}");
    }
    // The first frame of a device on the line.
    let identity = Identity {
        geometry: Geometry::new(4096, 1).unwrap(),
        name: "vm1".to_owned(),
    };
    let ready = DeviceEnd::new(identity).output().to_vec();
    assert_eq!(ready, hex(READY), "{ready:02x?}");
}
