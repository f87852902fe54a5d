//! A guest's machine in memory, and the hypervisor's side of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use guest_runtime::port::{BlkOp, BlkPort, BlkStatus, Exit, Machine, VssdPort, feature};
use vssd::block_set::BlockSet;
use vssd::device::{Device, Ownership, PickedBy, ResizeRequest};
use vssd::encoding::SetView;
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Encoding, MARK_OFFSET, MAX_MESSAGE, Opcode, mark};
use workloads::Report;

pub const BLOCK: usize = 4096;
/// How far the clock moves while the guest rests.
const REST_NS: u64 = 1_000_000;
/// The status of a CONFIRM of another list (SPEC.md, 4.6).
const MISMATCH: u8 = 9;
pub const SLOTS: usize = 8;
const SLOT_LEN: usize = 16 * BLOCK;

/// The bytes behind the device; blocks that change hands become zeros.
pub struct Medium(Vec<u8>);

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

pub struct Host {
    pub device: Device,
    medium: Medium,
    now_ns: u64,
    /// Discards that the guest has made.
    pub discards: u64,
}

pub struct Loopback {
    host: Rc<RefCell<Host>>,
    /// Answers every CONFIRM with a mismatch, whatever the lists are.
    pub contrary: bool,
    /// Its events do not arrive.
    pub silent: bool,
    /// Queues that the device has.
    pub queues: u16,
    pub features: u64,
    /// What else its config space has, from offset 24 on, and what capacity, sectors.
    pub mark: [u8; 8],
    pub sectors: u64,
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
        config[0..8].copy_from_slice(&self.sectors.to_le_bytes());
        config[20..24].copy_from_slice(&geometry.logical_block_size().to_le_bytes());
        config[MARK_OFFSET..MARK_OFFSET + 8].copy_from_slice(&self.mark);
        config[34..36].copy_from_slice(&self.queues.to_le_bytes());
        out.copy_from_slice(&config[offset..offset + out.len()]);
    }

    fn features(&self) -> u64 {
        self.features
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
            BlkOp::Write if self.features & feature::RO != 0 => BlkStatus::IoError,
            BlkOp::Read => {
                self.buffers[slot][..len].copy_from_slice(&host.medium.0[at..at + len]);
                BlkStatus::Ok
            }
            BlkOp::Write => {
                host.medium.0[at..at + len].copy_from_slice(&self.buffers[slot][..len]);
                BlkStatus::Ok
            }
            BlkOp::Discard => {
                host.medium.0[at..at + len].fill(0);
                host.discards += 1;
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
        if self.looks.is_multiple_of(2) {
            None
        } else {
            self.finished.pop_front()
        }
    }
}

impl Loopback {
    fn assert_resizable(&self) {
        assert!(self.queues >= 3, "a queue that is not there");
    }
}

impl VssdPort for Loopback {
    fn queue_count(&self) -> usize {
        self.queues.into()
    }

    fn event(&mut self, out: &mut [u8; EVENT_LEN]) -> Option<usize> {
        self.assert_resizable();
        if self.silent {
            return None;
        }
        let host = &mut *self.host.borrow_mut();
        *out = host.device.take_event(host.now_ns)?;
        Some(EVENT_LEN)
    }

    fn command_buffer(&mut self) -> &mut [u8] {
        self.assert_resizable();
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

/// Bytes that outlive the guest whose disk they are.
pub type Bytes = Rc<RefCell<Vec<u8>>>;

/// An ordinary disk, of which each sector can fail.
pub struct MemoryDisk {
    bytes: Bytes,
    /// Sectors whose requests fail.
    pub bad: std::ops::Range<u64>,
    pub features: u64,
    /// Bytes of which requests must be multiples.
    pub logical: u32,
    buffers: Vec<Vec<u8>>,
    finished: VecDeque<(usize, BlkStatus)>,
    looks: u32,
}

impl MemoryDisk {
    pub fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            bad: 0..0,
            features: feature::FLUSH | feature::BLK_SIZE,
            logical: 512,
            buffers: vec![vec![0; SLOT_LEN]; SLOTS],
            finished: VecDeque::new(),
            looks: 0,
        }
    }
}

impl BlkPort for MemoryDisk {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        let mut config = [0; 64];
        config[0..8].copy_from_slice(&(self.bytes.borrow().len() as u64 / 512).to_le_bytes());
        config[20..24].copy_from_slice(&self.logical.to_le_bytes());
        out.copy_from_slice(&config[offset..offset + out.len()]);
    }

    fn features(&self) -> u64 {
        self.features
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
        let at = sector as usize * 512;
        let logical = self.logical as usize;
        assert!(at.is_multiple_of(logical) && len.is_multiple_of(logical));
        let bytes = &mut self.bytes.borrow_mut()[..];
        let sectors = sector..sector + len as u64 / 512;
        let is_bad = sectors.start < self.bad.end && self.bad.start < sectors.end;
        let status = match op {
            _ if is_bad => BlkStatus::IoError,
            BlkOp::Write if self.features & feature::RO != 0 => BlkStatus::IoError,
            BlkOp::Flush => BlkStatus::Ok,
            BlkOp::Read => {
                self.buffers[slot][..len].copy_from_slice(&bytes[at..at + len]);
                BlkStatus::Ok
            }
            BlkOp::Write => {
                bytes[at..at + len].copy_from_slice(&self.buffers[slot][..len]);
                BlkStatus::Ok
            }
            BlkOp::Discard => panic!("a discard of a block of the origin disk"),
        };
        self.finished.push_back((slot, status));
    }

    fn kick(&mut self) {}

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        // Slower than the vSSD, and from both ends, so that nothing ends in order.
        self.looks += 1;
        match self.looks % 6 {
            0 => self.finished.pop_back(),
            3 => self.finished.pop_front(),
            _ => None,
        }
    }
}

pub type Action = Box<dyn FnMut(&mut Host)>;

/// What the hypervisor does after `turns` looks of the guest at its channel.
pub struct Plan {
    turns: u32,
    action: Action,
}

pub struct Twin {
    pub port: Loopback,
    pub origin: Option<MemoryDisk>,
    pub trace: Option<MemoryDisk>,
    pub host: Rc<RefCell<Host>>,
    plans: VecDeque<Plan>,
    turns: u32,
    script_after: Option<&'static str>,
    pub reports: Vec<Report>,
    /// Rests since the guest last said anything.
    idle: u32,
}

impl Machine for Twin {
    type Port = Loopback;
    type Disk = MemoryDisk;

    fn port(&mut self) -> &mut Loopback {
        &mut self.port
    }

    fn origin(&mut self) -> Option<&mut MemoryDisk> {
        self.origin.as_mut()
    }

    fn trace(&mut self) -> Option<&mut MemoryDisk> {
        self.trace.as_mut()
    }

    fn now_ns(&mut self) -> u64 {
        let host = &mut *self.host.borrow_mut();
        host.now_ns += 1;
        host.now_ns
    }

    fn idle(&mut self) {
        self.idle += 1;
        assert!(self.idle < 100_000, "the guest waits forever");
        self.host.borrow_mut().now_ns += REST_NS;
    }

    fn read_channel(&mut self, out: &mut [u8]) -> usize {
        self.turns += 1;
        let is_due = |plan: &Plan| plan.turns <= self.turns;
        let is_settled = self.host.borrow().device.resize_under_way().is_none();
        if is_settled && self.plans.front().is_some_and(is_due) {
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
        self.idle = 0;
        self.reports.push(Report::from_line(line).unwrap());
    }

    fn has_own_channel(&self) -> bool {
        true
    }

    fn log(&mut self, _line: fmt::Arguments<'_>) {}
}

pub fn shrink_to(target: u32, picked_by: PickedBy) -> Action {
    Box::new(move |host| {
        let request = ResizeRequest {
            target,
            picked_by,
            deadline_ns: None,
            revoke: false,
            force: false,
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
pub fn run(
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
pub fn twin(
    blocks: u32,
    encoding: Encoding,
    plans: Vec<(u32, Action)>,
    then: &'static str,
) -> Twin {
    let geometry = Geometry::new(BLOCK as u32, blocks.into()).unwrap();
    let host = Rc::new(RefCell::new(Host {
        device: Device::new(geometry, BlockSet::full(blocks), encoding, 1),
        medium: Medium(vec![0; blocks as usize * BLOCK]),
        now_ns: 0,
        discards: 0,
    }));
    twin_of(host, plans, then)
}

/// Such a guest on a vSSD that there is already.
pub fn twin_of(host: Rc<RefCell<Host>>, plans: Vec<(u32, Action)>, then: &'static str) -> Twin {
    let geometry = host.borrow().device.geometry();
    Twin {
        origin: None,
        trace: None,
        port: Loopback {
            host: host.clone(),
            contrary: false,
            silent: false,
            queues: 3,
            features: feature::FLUSH | feature::BLK_SIZE | feature::DISCARD,
            mark: mark(geometry),
            sectors: geometry.capacity_sectors(),
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
