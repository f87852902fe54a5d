//! The requirements of the stream transport that show in a few frames (SPEC.md, 10.6).

use vssd::error::Reject;
use vssd::stream::frame::{Header, Kind, MAX_FRAME, STREAM_VERSION};
use vssd::stream::{AgentEnd, Closed, DeviceEnd, Identity, Input, Message, busy};
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Event, Goal, Opcode, Request, Response, Status};

fn identity() -> Identity {
    Identity {
        geometry: Geometry::new(4096, 100).unwrap(),
        name: "vm1".to_owned(),
    }
}

/// A device's end whose READY is sent.
fn device() -> DeviceEnd {
    let mut end = DeviceEnd::new(identity());
    take(&mut end);
    end
}

/// What an end has to send.
fn take(end: &mut DeviceEnd) -> Vec<u8> {
    let bytes = end.output().to_vec();
    end.sent(bytes.len());
    bytes
}

fn take_agent(end: &mut AgentEnd) -> Vec<u8> {
    let bytes = end.output().to_vec();
    end.sent(bytes.len());
    bytes
}

/// An agent and a device that talk to each other.
fn opened() -> (AgentEnd, DeviceEnd) {
    let (mut agent, mut device) = (AgentEnd::open(1), device());
    let open = take_agent(&mut agent);
    assert!(matches!(
        device.receive(&mut &open[..]),
        Some(Input::Opened)
    ));
    let answer = take(&mut device);
    let message = agent.receive(&mut &answer[..]);
    assert_eq!(message, Some(Message::Opened(identity())));
    assert!(agent.is_open() && device.is_open());
    (agent, device)
}

fn command(sequence: u32) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    let request = Request {
        opcode: Opcode::Accept,
        flags: 0,
        session: 7,
        sequence,
        cursor: 0,
    };
    request.encode(0, &mut bytes);
    bytes
}

fn response(sequence: u32) -> Vec<u8> {
    let mut bytes = vec![0; 56];
    let header = Response {
        status: Status::Rejected(Reject::StaleSession),
        session: 7,
        sequence,
        cursor: 0,
        goal: Goal::default(),
    };
    header.encode(0, &mut bytes);
    bytes
}

/// The device answers the command in `line` by the response of `sequence`.
fn answer(device: &mut DeviceEnd, line: &[u8], sequence: u32) -> Vec<u8> {
    match device.receive(&mut &line[..]) {
        Some(Input::Command(_, reply)) => reply.send(&response(sequence)),
        other => panic!("{other:?}"),
    }
    take(device)
}

/// A frame on the line: an end of this crate would not send all of those that are tested.
fn line(header: Header, message: &[u8]) -> Vec<u8> {
    let frame = [&header.encode(message)[..], message].concat();
    let mut line = vec![0];
    for group in frame.split(|byte| *byte == 0) {
        assert!(group.len() < 254, "a longer one has several codes");
        line.push(group.len() as u8 + 1);
        line.extend(group);
    }
    line.push(0);
    line
}

#[test]
fn str_2_what_is_no_frame_for_this_end_is_discarded() {
    let (mut agent, mut device) = opened();
    let (mut expected, mut garbage) = (0, Vec::new());
    for (bytes, count) in [
        (vec![9; 30], 1),
        (vec![0; 30], 0),
        (vec![1; 2 * MAX_FRAME], 1),
        (line(Header::new(Kind::Response, 2), &response(0)), 1),
        (
            line(Header::new(Kind::Closed, 2), &Closed::Busy.encode()),
            1,
        ),
    ] {
        garbage.extend(bytes);
        garbage.push(0);
        expected += count;
    }
    assert!(device.receive(&mut &garbage[..]).is_none());
    assert_eq!(device.take_discarded(), expected);
    assert_eq!(device.take_discarded(), 0);
    agent.send(&command(1));
    let sent = take_agent(&mut agent);
    answer(&mut device, &sent, 1);
}

#[test]
fn str_3_another_version_is_told_and_discarded() {
    let (mut agent, mut device) = opened();
    for kind in [Kind::Open, Kind::Command] {
        let header = Header {
            version: 2,
            ..Header::new(kind, 9)
        };
        let refused = device
            .receive(&mut &line(header, &[])[..])
            .map(|input| match input {
                Input::Closed(reason) => reason,
                other => panic!("{other:?}"),
            });
        assert_eq!(refused, Some(Closed::Version(STREAM_VERSION)));
        let told = Header::new(Kind::Closed, 9);
        assert_eq!(take(&mut device), line(told, &Closed::Version(1).encode()));
    }
    let later = |kind| Header {
        version: 2,
        ..Header::new(kind, 2)
    };
    let event = line(later(Kind::Event), &Event::Resync.encode());
    assert_eq!(agent.receive(&mut &event[..]), None);
    let closed = line(later(Kind::Closed), &Closed::Version(2).encode());
    let message = agent.receive(&mut &closed[..]);
    assert_eq!(message, Some(Message::Closed(Closed::Version(2))));
    assert!(Closed::Version(2).to_string().contains("version 2"));
}

#[test]
fn str_4_frames_of_other_lives_are_discarded() {
    let (mut agent, mut device) = opened();
    agent.send(&command(4));
    let sent = take_agent(&mut agent);
    let good = answer(&mut device, &sent, 4);
    let stale = answer(&mut device, &sent, 3);
    assert_eq!(agent.receive(&mut &stale[..]), None, "of another command");
    let expected = response(4);
    let message = agent.receive(&mut &good[..]);
    assert_eq!(message, Some(Message::Response(&expected)));
    assert_eq!(agent.receive(&mut &good[..]), None, "none is in flight");
    let other = line(Header::new(Kind::Event, 99), &Event::Resync.encode());
    assert_eq!(
        agent.receive(&mut &other[..]),
        None,
        "of another conversation"
    );
    // A refusal of the connection concerns whoever is there.
    let busy = busy();
    assert_eq!(
        agent.receive(&mut &busy[..]),
        Some(Message::Closed(Closed::Busy))
    );
    agent.send(&command(5));
    assert!(agent.output().is_empty(), "it was closed");
}

#[test]
fn str_6_an_agent_that_was_replaced_waits_for_another_device() {
    let (mut first, mut device) = opened();
    let mut second = AgentEnd::open(77);
    let open = take_agent(&mut second);
    assert!(matches!(
        device.receive(&mut &open[..]),
        Some(Input::Opened)
    ));
    take(&mut device);
    first.send(&command(1));
    let sent = take_agent(&mut first);
    assert!(matches!(
        device.receive(&mut &sent[..]),
        Some(Input::Closed(Closed::Replaced))
    ));
    let told = take(&mut device);
    assert_eq!(
        second.receive(&mut &told[..]),
        None,
        "it is not for this one"
    );
    assert_eq!(
        first.receive(&mut &told[..]),
        Some(Message::Closed(Closed::Replaced))
    );
    assert!(first.output().is_empty());
    let ready = DeviceEnd::new(identity()).output().to_vec();
    assert_eq!(first.receive(&mut &ready[..]), None);
    assert!(!first.output().is_empty(), "another device may be its own");
}

#[test]
fn str_7_ready_and_unopened_open_again() {
    let ready = DeviceEnd::new(identity()).output().to_vec();
    // Not answered yet: the same once more.
    let mut agent = AgentEnd::open(5);
    let open = take_agent(&mut agent);
    assert_eq!(agent.receive(&mut &ready[..]), None);
    assert_eq!(take_agent(&mut agent), open);
    // Open: another one, and what was not sent is dropped.
    let (mut agent, _) = opened();
    agent.send(&command(1));
    assert_eq!(agent.receive(&mut &ready[..]), None);
    assert!(!agent.is_open());
    let mut device = device();
    let open = take_agent(&mut agent);
    assert!(matches!(
        device.receive(&mut &open[..]),
        Some(Input::Opened)
    ));
    assert!(device.receive(&mut &[][..]).is_none());
    // A command that is faster than READY.
    let (mut agent, _) = opened();
    let mut device = self::device();
    agent.send(&command(1));
    let sent = take_agent(&mut agent);
    assert!(matches!(
        device.receive(&mut &sent[..]),
        Some(Input::Closed(Closed::Unopened))
    ));
    let told = take(&mut device);
    assert_eq!(agent.receive(&mut &told[..]), None);
    let open = take_agent(&mut agent);
    assert!(matches!(
        device.receive(&mut &open[..]),
        Some(Input::Opened)
    ));
}

#[test]
fn str_9_a_repeated_open_changes_nothing() {
    let mut device = device();
    let open = line(Header::new(Kind::Open, 3), &[]);
    assert!(matches!(
        device.receive(&mut &open[..]),
        Some(Input::Opened)
    ));
    let answer = take(&mut device);
    assert!(device.receive(&mut &open[..]).is_none());
    assert_eq!(take(&mut device), answer);
}

#[test]
fn str_11_nothing_is_taken_while_something_is_not_sent() {
    let (mut agent, mut device) = opened();
    agent.send(&command(1));
    let sent = take_agent(&mut agent);
    let twice = [&sent[..], &sent[..]].concat();
    let mut input = &twice[..];
    match device.receive(&mut input) {
        Some(Input::Command(_, reply)) => reply.send(&response(1)),
        other => panic!("{other:?}"),
    }
    assert!(!device.wants_event());
    device.sent(1);
    assert!(device.receive(&mut input).is_none());
    assert_eq!(input.len(), sent.len(), "it was taken");
    take(&mut device);
    assert!(matches!(
        device.receive(&mut input),
        Some(Input::Command(..))
    ));
    assert!(device.wants_event());
    device.send_event(&[0; EVENT_LEN]);
    assert!(!device.wants_event());
    // Without an agent no events are sent.
    assert!(!self::device().wants_event());
}
