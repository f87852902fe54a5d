//! Events and responses of any device: the driver holds only blocks of its disk, and goes on.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vssd::block_set::BlockSet;
use vssd::driver::{Driver, Step as Next, command_buffer};
use vssd::units::Geometry;
use vssd::wire::{
    Encoding, Goal, HelloResponse, Opcode, RESPONSE_HEADER_LEN, Request, Response, Status, VERSION,
};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    RawEvent(&'a [u8]),
    RawResponse(&'a [u8]),
    /// A response to the command in flight, with any goal and payload.
    Response {
        session: u64,
        cursor: u32,
        generation: u64,
        target: u32,
        revoked: u32,
        flags: u32,
        payload: &'a [u8],
    },
    Doubt,
    Reconsider,
    Decline,
}

const CAPACITY: u32 = 200;

fuzz_target!(|steps: Vec<Step>| {
    let geometry = Geometry::new(4096, CAPACITY.into()).expect("a valid shape");
    let mut driver = Driver::new(geometry);
    let mut buffer = command_buffer();
    let mut in_flight = None;
    for step in steps {
        match step {
            Step::RawEvent(bytes) => driver.on_event(bytes),
            Step::RawResponse(bytes) => drop(driver.on_response(bytes)),
            Step::Response {
                session,
                cursor,
                generation,
                target,
                revoked,
                flags,
                payload,
            } => {
                let Some((opcode, sequence)) = in_flight.take() else {
                    continue;
                };
                let hello = HelloResponse {
                    version: VERSION,
                    encoding: Encoding::Compact,
                    block_size: 4096,
                    capacity: CAPACITY,
                    max_payload: 1 << 20,
                };
                let hello = hello.encode();
                let payload = if opcode == Opcode::Hello {
                    &hello[..]
                } else {
                    payload
                };
                let response = Response {
                    status: Status::Ok,
                    session,
                    sequence,
                    cursor,
                    goal: Goal {
                        generation,
                        target: target % (CAPACITY + 1),
                        revoked,
                        deadline_ms: 0,
                        flags,
                    },
                };
                let mut bytes = vec![0; RESPONSE_HEADER_LEN];
                response.encode(payload.len(), &mut bytes);
                bytes.extend(payload);
                let _ = driver.on_response(&bytes);
            }
            Step::Doubt => drop(driver.doubt()),
            Step::Reconsider => driver.reconsider(),
            Step::Decline => {
                if let Next::Choose { .. } = driver.poll(&mut buffer) {
                    driver.surrender(BlockSet::empty(CAPACITY));
                }
            }
        }
        match driver.poll(&mut buffer) {
            Next::Send { len } => {
                let (request, _) = Request::decode(&buffer[..len]).expect("own command");
                in_flight = Some((request.opcode, request.sequence));
            }
            Next::Choose { count } => {
                let mut chosen = BlockSet::empty(CAPACITY);
                driver.held().iter().take(count as usize).for_each(|block| {
                    chosen.insert(block);
                });
                if driver.excess() >= chosen.len() {
                    driver.surrender(chosen);
                }
            }
            Next::Report => driver.report(None),
            Next::Drain => driver.drained(),
            Next::Wait => {}
        }
        assert_eq!(driver.held().len(), driver.held().recount());
    }
});
