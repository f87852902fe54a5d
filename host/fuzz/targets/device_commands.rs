//! Commands of any driver, between resizes of the hypervisor: the list stays that of the record.
#![no_main]

use arbitrary::Arbitrary;
use fuzz::Ledger;
use libfuzzer_sys::fuzz_target;
use vssd::block_set::BlockSet;
use vssd::device::{Device, PickedBy, ResizeRequest};
use vssd::units::Geometry;
use vssd::wire::{Encoding, MAX_MESSAGE, Opcode, REQUEST_HEADER_LEN, Request};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Raw(&'a [u8]),
    /// A command of the session, most often in its order.
    Command {
        opcode: u8,
        flags: u16,
        ahead: u8,
        cursor: u32,
        payload: &'a [u8],
    },
    Resize {
        target: u8,
        by_host: bool,
        deadline: Option<u8>,
        revoke: bool,
        force: bool,
    },
    Cancel,
    Pass(u8),
    Disconnect,
    Reconnect,
    Event,
    Report,
}

const CAPACITY: u32 = 200;

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (is_of_2017, steps) = input;
    let geometry = Geometry::new(4096, CAPACITY.into()).expect("a valid shape");
    let encoding = if is_of_2017 {
        Encoding::List4096
    } else {
        Encoding::Compact
    };
    let mut device = Device::new(geometry, BlockSet::full(CAPACITY), encoding, 1);
    let mut ledger = Ledger(vec![true; CAPACITY as usize]);
    let (mut now_ns, mut session, mut sequence) = (0, 1, 0_u32);
    for step in steps {
        let mut command = Vec::new();
        match step {
            Step::Raw(bytes) => command.extend(bytes),
            Step::Command {
                opcode,
                flags,
                ahead,
                cursor,
                payload,
            } => {
                let (opcode, _) = Opcode::ALL[usize::from(opcode) % Opcode::ALL.len()];
                let is_hello = opcode == Opcode::Hello;
                let request = Request {
                    opcode,
                    flags,
                    session: if is_hello { 0 } else { session },
                    sequence: sequence.wrapping_add(u32::from(ahead % 3)),
                    cursor,
                };
                command.resize(REQUEST_HEADER_LEN, 0);
                request.encode(payload.len(), &mut command);
                command.extend(payload);
            }
            Step::Resize {
                target,
                by_host,
                deadline,
                revoke,
                force,
            } => {
                let request = ResizeRequest {
                    target: target.into(),
                    picked_by: if by_host {
                        PickedBy::Host
                    } else {
                        PickedBy::Guest
                    },
                    deadline_ns: deadline.map(|after| now_ns + u64::from(after) * 1_000_000_000),
                    revoke,
                    force,
                };
                let _ = device.resize(request, now_ns);
            }
            Step::Cancel => drop(device.cancel(now_ns)),
            Step::Pass(seconds) => now_ns += u64::from(seconds) * 1_000_000_000,
            Step::Disconnect => device.disconnected(),
            Step::Reconnect => device.reconnected(),
            Step::Event => drop(device.take_event(now_ns)),
            Step::Report => device.request_report(),
        }
        if !command.is_empty() {
            let answer = device.command(&command, MAX_MESSAGE, now_ns, &mut ledger);
            if let Some((response, _)) = vssd::wire::Response::decode(answer.response) {
                (session, sequence) = (response.session, response.sequence);
            }
        }
        let due = device.revocation_due(now_ns);
        if due > 0 {
            let mut picks = BlockSet::empty(CAPACITY);
            device
                .granted()
                .iter()
                .take(due as usize)
                .for_each(|block| {
                    picks.insert(block);
                });
            let Ok(()) = device.revoke(&picks, now_ns, &mut ledger);
        }
        if device.grant_due() > 0 {
            let Ok(()) = device.grant(now_ns, &mut ledger);
        }
        device.tick(now_ns);
        device.take_outcome();
        for (block, owned) in (0..).zip(&ledger.0) {
            assert_eq!(device.granted().contains(block), *owned, "block {block}");
        }
    }
});
