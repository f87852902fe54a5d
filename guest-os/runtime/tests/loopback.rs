//! The whole guest above its hardware against the device's half of the
//! protocol, joined in memory: no QEMU, no thread, no clock but a counter.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use guest_runtime::phases::MAX_PHASES;
use guest_runtime::port::{BlkOp, BlkPort, BlkStatus, Exit, Machine, VssdPort};
use vssd::block_set::BlockSet;
use vssd::device::{Device, Evict, Ownership, ResizeRequest};
use vssd::encoding::SetView;
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Encoding, MARK_OFFSET, MAX_MESSAGE, Opcode, mark};
use workloads::Report;
use workloads::latency::total;
use workloads::report::PhaseKind;

const BLOCK: usize = 4096;
/// The status of a CONFIRM of another list (SPEC.md, 4.6).
const MISMATCH: u8 = 9;
const SLOTS: usize = 8;
const SLOT_LEN: usize = 16 * BLOCK;

/// The bytes behind the device; blocks that change hands become zeros.
struct Medium(Vec<u8>);

impl Ownership for Medium {
    type Error = Infallible;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), Infallible> {
        for run in blocks.runs() {
            self.0[run.start as usize * BLOCK..run.end() as usize * BLOCK].fill(0);
        }
        Ok(())
    }

    fn grant(&mut self, _blocks: &SetView<'_>) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Host {
    device: Device,
    medium: Medium,
    now_ns: u64,
}

struct Loopback {
    host: Rc<RefCell<Host>>,
    /// Answers every CONFIRM with a mismatch, whatever the lists are.
    contrary: bool,
    buffers: Vec<Vec<u8>>,
    finished: VecDeque<(usize, BlkStatus)>,
    /// Looks of the guest for a finished request.
    looks: u32,
    command: Vec<u8>,
    response: Option<Vec<u8>>,
}

impl BlkPort for Loopback {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        let geometry = self.host.borrow().device.geometry();
        let mut config = [0; 64];
        config[0..8].copy_from_slice(&geometry.capacity_sectors().to_le_bytes());
        config[20..24].copy_from_slice(&geometry.block_size().to_le_bytes());
        config[MARK_OFFSET..MARK_OFFSET + 8].copy_from_slice(&mark());
        out.copy_from_slice(&config[offset..offset + out.len()]);
    }

    fn slot_count(&self) -> usize {
        SLOTS
    }

    fn slot_len(&self) -> usize {
        SLOT_LEN
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        &mut self.buffers[slot]
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        let host = &mut *self.host.borrow_mut();
        let at = sector as usize * 512;
        let status = match op {
            BlkOp::Flush => BlkStatus::Ok,
            _ if host.device.check_io(sector, len as u64).is_err() => BlkStatus::IoError,
            BlkOp::Read => {
                self.buffers[slot][..len].copy_from_slice(&host.medium.0[at..at + len]);
                BlkStatus::Ok
            }
            BlkOp::Write => {
                host.medium.0[at..at + len].copy_from_slice(&self.buffers[slot][..len]);
                BlkStatus::Ok
            }
        };
        self.finished.push_back((slot, status));
    }

    fn kick(&mut self) {}

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        // One at a time, so that others are in flight while the guest turns
        // to its list.
        self.looks += 1;
        match self.looks.is_multiple_of(2) {
            true => None,
            false => self.finished.pop_front(),
        }
    }
}

impl VssdPort for Loopback {
    fn event(&mut self, out: &mut [u8; EVENT_LEN]) -> Option<usize> {
        let host = &mut *self.host.borrow_mut();
        *out = host.device.take_event(host.now_ns)?;
        Some(EVENT_LEN)
    }

    fn command_buffer(&mut self) -> &mut [u8] {
        &mut self.command
    }

    fn send_command(&mut self, len: usize) {
        let host = &mut *self.host.borrow_mut();
        let answer = host.device.command(
            &self.command[..len],
            MAX_MESSAGE,
            host.now_ns,
            &mut host.medium,
        );
        let mut response = answer.response.to_vec();
        if self.contrary && answer.result == Ok(Opcode::Confirm) {
            response[0] = MISMATCH;
        }
        self.response = Some(response);
    }

    fn command_response(&mut self) -> Option<&[u8]> {
        let response = self.response.take()?;
        self.command[..response.len()].copy_from_slice(&response);
        Some(&self.command[..response.len()])
    }
}

type Action = Box<dyn FnMut(&mut Host)>;

/// What the hypervisor does after `turns` looks of the guest at its channel.
struct Plan {
    turns: u32,
    action: Action,
}

struct Twin {
    port: Loopback,
    host: Rc<RefCell<Host>>,
    plans: VecDeque<Plan>,
    turns: u32,
    script_after: Option<&'static str>,
    reports: Vec<Report>,
    idle: u32,
}

impl Machine for Twin {
    type Port = Loopback;
    type Disk = Loopback;

    fn port(&mut self) -> &mut Loopback {
        &mut self.port
    }

    fn origin(&mut self) -> Option<&mut Loopback> {
        None
    }

    fn trace(&mut self) -> Option<&mut Loopback> {
        None
    }

    fn now_ns(&mut self) -> u64 {
        let host = &mut *self.host.borrow_mut();
        host.now_ns += 1;
        host.now_ns
    }

    fn idle(&mut self) {
        self.idle += 1;
        assert!(self.idle < 100_000, "the guest waits for ever");
    }

    fn read_channel(&mut self, out: &mut [u8]) -> usize {
        self.turns += 1;
        if self
            .plans
            .front()
            .is_some_and(|plan| plan.turns <= self.turns)
        {
            let mut plan = self.plans.pop_front().unwrap();
            (plan.action)(&mut self.host.borrow_mut());
        }
        if self.plans.is_empty()
            && self.host.borrow().device.resize_under_way().is_none()
            && let Some(script) = self.script_after.take()
        {
            out[..script.len()].copy_from_slice(script.as_bytes());
            return script.len();
        }
        let host = &mut *self.host.borrow_mut();
        host.device.tick(host.now_ns);
        0
    }

    fn write_channel(&mut self, bytes: &[u8]) {
        let line = std::str::from_utf8(bytes).unwrap();
        self.reports.push(Report::from_line(line).unwrap());
    }

    fn has_own_channel(&self) -> bool {
        true
    }

    fn log(&mut self, _line: fmt::Arguments<'_>) {}
}

fn shrink_to(target: u32, evict: Evict) -> Action {
    Box::new(move |host| {
        let request = ResizeRequest {
            target,
            evict,
            deadline_ns: None,
            revoke: false,
        };
        host.device.resize(request, host.now_ns).unwrap();
        let due = host.device.revocation_due(host.now_ns);
        if due > 0 {
            let mut picks = BlockSet::empty(host.device.granted().capacity());
            let granted: Vec<u32> = host.device.granted().iter().collect();
            for block in granted.iter().step_by(3).take(due as usize) {
                picks.insert(*block);
            }
            host.device
                .revoke(&picks, host.now_ns, &mut host.medium)
                .unwrap();
        }
    })
}

/// Runs `first`, lets the hypervisor act while it runs or after, then `then`.
fn run(
    blocks: u32,
    encoding: Encoding,
    first: &str,
    plans: Vec<(u32, Action)>,
    then: &'static str,
) -> (Exit, Vec<Report>) {
    let mut twin = twin(blocks, encoding, plans, then);
    let exit = guest_runtime::run(&mut twin, first);
    (exit, twin.reports)
}

/// A guest that runs `then` after the hypervisor has acted.
fn twin(blocks: u32, encoding: Encoding, plans: Vec<(u32, Action)>, then: &'static str) -> Twin {
    let geometry = Geometry::new(BLOCK as u32, blocks.into()).unwrap();
    let host = Rc::new(RefCell::new(Host {
        device: Device::new(geometry, BlockSet::full(blocks), encoding, 1),
        medium: Medium(vec![0; blocks as usize * BLOCK]),
        now_ns: 0,
    }));
    Twin {
        port: Loopback {
            host: host.clone(),
            contrary: false,
            buffers: vec![vec![0; SLOT_LEN]; SLOTS],
            finished: VecDeque::new(),
            looks: 0,
            command: vec![0; MAX_MESSAGE],
            response: None,
        },
        host,
        plans: plans
            .into_iter()
            .map(|(turns, action)| Plan { turns, action })
            .collect(),
        turns: 0,
        script_after: Some(then),
        reports: Vec::new(),
        idle: 0,
    }
}

/// The last `verify` of a run: ok, zeros, corrupt, errors, unexpected.
fn last_verify(reports: &[Report]) -> [u32; 5] {
    let found = reports.iter().rev().find_map(|report| match report {
        Report::Verified {
            ok,
            zeros,
            corrupt,
            errors,
            unexpected,
            ..
        } => Some([*ok, *zeros, *corrupt, *errors, *unexpected]),
        _ => None,
    });
    found.expect("a verify ran")
}

#[test]
fn surrendered_blocks_fail_and_regranted_ones_are_zeros() {
    for encoding in [Encoding::Compact, Encoding::List4096] {
        for pick in ["random", "scattered", "highest", "sample"] {
            let script = format!("fill seed=9; policy pick={pick}");
            let shrink = || shrink_to(300, Evict::Guest);
            let (exit, reports) = run(
                1000,
                encoding,
                &script,
                vec![(500, shrink())],
                "verify enforce=device; exit\n",
            );
            assert_eq!(exit, Exit::Success);
            assert_eq!(last_verify(&reports), [300, 0, 0, 700, 0], "{pick}");

            let (_, reports) = run(
                1000,
                encoding,
                &script,
                vec![(500, shrink()), (1500, shrink_to(1000, Evict::Guest))],
                "verify; exit\n",
            );
            assert_eq!(last_verify(&reports), [300, 700, 0, 0, 0], "{pick}");
        }
    }
}

#[test]
fn blocks_change_hands_while_requests_are_in_flight() {
    let plans: Vec<(u32, Action)> = (0..40)
        .map(|i| {
            let evict = if i % 3 == 0 {
                Evict::Host
            } else {
                Evict::Guest
            };
            let target = if i % 2 == 0 { 400 + 10 * i } else { 1000 };
            (1000 * (i + 1), shrink_to(target, evict))
        })
        .collect();
    let (exit, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=60000 depth=8",
        plans,
        "verify; exit\n",
    );
    assert_eq!(exit, Exit::Success);
    let stressed = reports.iter().find_map(|report| match report {
        Report::Stressed {
            reads,
            writes,
            errors,
            corrupt,
            ..
        } => Some((*reads > 0, *writes > 0, *errors, *corrupt)),
        _ => None,
    });
    assert_eq!(stressed, Some((true, true, 0, 0)));
    let [_, _, corrupt, errors, unexpected] = last_verify(&reports);
    assert_eq!([corrupt, errors, unexpected], [0, 0, 0]);
}

#[test]
fn reads_count_every_draw_as_a_hit_or_a_miss() {
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; policy pick=highest",
        vec![(500, shrink_to(500, Evict::Guest))],
        "read workload=uniform count=5000 per-block=true; exit\n",
    );
    let (mut hits, mut misses) = (0, 0);
    for report in &reports {
        if let Report::Counts { counts } = report {
            for &(block, h, m) in counts {
                assert!(if block < 500 { m == 0 } else { h == 0 });
                hits += u64::from(h);
                misses += u64::from(m);
            }
        }
    }
    assert_eq!(hits + misses, 5000);
    let found = reports.iter().find_map(|report| match report {
        Report::Read {
            hits,
            misses,
            errors,
            ..
        } => Some((*hits, *misses, *errors)),
        _ => None,
    });
    assert_eq!(found, Some((hits, misses, 0)));
    assert!(misses.abs_diff(2500) < 300, "{misses} misses");
}

#[test]
fn a_device_that_never_agrees_is_given_up() {
    let mut twin = twin(10, Encoding::Compact, vec![], "exit\n");
    twin.port.contrary = true;
    assert_eq!(guest_runtime::run(&mut twin, ""), Exit::Failure);
    let gave_up = |report: &Report| matches!(report, Report::Failed { reason, .. } if reason.contains("gave up"));
    assert!(twin.reports.iter().any(gave_up), "{:?}", twin.reports);
}

#[test]
fn what_is_no_command_is_reported() {
    let (_, reports) = run(10, Encoding::Compact, "fly; info", vec![], "exit\n");
    assert!(matches!(&reports[1], Report::Failed { command, .. } if command == "fly"));
    assert!(matches!(&reports[2], Report::Info { held: 10, .. }));
}

/// What a `stress latency=true` measured: kind, requests, length, longest
/// stall of each phase, and requests in all.
fn phases(reports: &[Report]) -> (Vec<(PhaseKind, u64, u64, u64)>, u64) {
    let phases = reports.iter().filter_map(|report| match report {
        Report::Latency {
            phase,
            phase_ns,
            longest_stall_ns,
            buckets,
        } => Some((*phase, total(buckets), *phase_ns, *longest_stall_ns)),
        _ => None,
    });
    let requests = reports.iter().find_map(|report| match report {
        Report::Stressed {
            reads,
            writes,
            lost_race,
            errors: 0,
            corrupt: 0,
        } => Some(reads + writes + lost_race),
        _ => None,
    });
    (phases.collect(), requests.expect("a sound stress ran"))
}

#[test]
fn latencies_are_sorted_by_what_the_list_did() {
    for encoding in [Encoding::Compact, Encoding::List4096] {
        let (exit, reports) = run(
            1000,
            encoding,
            "fill; policy pick=scattered; stress count=20000 depth=8 latency=true",
            vec![
                (1000, shrink_to(400, Evict::Guest)),
                (2000, shrink_to(1000, Evict::Guest)),
            ],
            "exit\n",
        );
        assert_eq!(exit, Exit::Success);
        let (phases, requests) = phases(&reports);
        let kinds: Vec<PhaseKind> = phases.iter().map(|phase| phase.0).collect();
        use PhaseKind::{Grow, Quiet, Shrink};
        assert_eq!(kinds, [Quiet, Shrink, Quiet, Grow, Quiet], "{encoding:?}");
        assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
        for (kind, requests, phase_ns, stall_ns) in phases {
            // A request that was in flight when a resize began belongs to it.
            assert!(requests > 0, "{encoding:?}: {kind} without a request");
            assert!(stall_ns > 0, "{encoding:?}: {kind} without a wait");
            let is_quiet = kind == Quiet;
            assert!(!is_quiet || requests > 500, "{kind}: {requests} requests");
            assert!(!is_quiet || stall_ns < phase_ns, "{kind}: {stall_ns} ns");
        }
    }
}

/// A revocation takes requests in flight with it; they were measured too.
#[test]
fn blocks_that_the_host_takes_are_a_shrink() {
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=20000 depth=8 latency=true",
        vec![(1000, shrink_to(400, Evict::Host))],
        "exit\n",
    );
    let (phases, requests) = phases(&reports);
    let kinds: Vec<PhaseKind> = phases.iter().map(|phase| phase.0).collect();
    use PhaseKind::{Quiet, Shrink};
    assert_eq!(kinds, [Quiet, Shrink, Quiet]);
    assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
}

#[test]
fn phases_beyond_those_told_apart_are_one() {
    let plans = (1..=40)
        .map(|i| {
            let target = if i % 2 == 0 { 1000 } else { 900 };
            (500 * i, shrink_to(target, Evict::Guest))
        })
        .collect();
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=100000 depth=8 latency=true",
        plans,
        "exit\n",
    );
    let (phases, requests) = phases(&reports);
    assert_eq!(phases.len(), MAX_PHASES);
    assert_eq!(phases.last().unwrap().0, PhaseKind::Rest);
    assert!(phases.last().unwrap().1 > 1000);
    assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
}

#[test]
fn nothing_is_measured_that_was_not_asked_for() {
    let (_, reports) = run(100, Encoding::Compact, "stress count=100", vec![], "exit\n");
    assert_eq!(phases(&reports), (vec![], 100));
}
