//! Bytes on an agent's channel, in both directions: memory is bounded, and what is answered is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vssd::stream::frame::MAX_FRAME;
use vssd::stream::{AgentEnd, DeviceEnd, Identity, Input};
use vssd::units::Geometry;

fuzz_target!(|input: (&[u8], &[u8])| {
    let geometry = Geometry::new(4096, 100).expect("a valid shape");
    let mut device = DeviceEnd::new(Identity {
        geometry,
        name: "vm1".into(),
    });
    let mut bytes = input.0;
    while !bytes.is_empty() {
        let before = bytes.len();
        let sent = device.output().len();
        assert!(sent <= 2 * MAX_FRAME);
        device.sent(sent);
        if let Some(Input::Command(command, reply)) = device.receive(&mut bytes) {
            reply.send(&command.to_vec());
        }
        assert!(
            bytes.len() < before || !device.output().is_empty(),
            "no progress"
        );
    }
    let mut agent = AgentEnd::open(1);
    let mut bytes = input.1;
    while !bytes.is_empty() {
        let before = bytes.len();
        let _ = agent.receive(&mut bytes);
        assert!(bytes.len() < before, "no progress");
        if agent.is_open() {
            agent.send(&[0; 24]);
        }
        assert!(agent.output().len() <= 2 * MAX_FRAME);
    }
});
