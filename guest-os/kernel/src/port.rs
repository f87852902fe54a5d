//! The three queues of a vSSD on virtio (vssd/SPEC.md, section 3).

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use guest_runtime::port::{BlkOp, BlkStatus, VssdPort};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use vssd::wire::{EVENT_LEN, MARK_LEN, MARK_OFFSET, MAX_MESSAGE, VERSION, marked_version};

use crate::dma::{self, BufferRing, Direction, DmaMemory};
use crate::memory::KernelHal;
use crate::transport::{OpenError, PciTransport};

/// VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE and VIRTIO_BLK_F_FLUSH
/// (virtio 1.2, 5.2.3). EVENT_IDX and INDIRECT_DESC stay off: `VirtQueue`'s
/// notification check by index is not safe when the index wraps, and chains of
/// three descriptors gain nothing from a table.
const FEATURES: u64 = 1 << 2 | 1 << 6 | 1 << 9;

/// `num_queues` in config space (virtio 1.2, 5.2.4), which QEMU fills in.
const NUM_QUEUES_OFFSET: usize = 34;

const REQUEST_QUEUE: u16 = 0;

/// Three descriptors for each of 32 slots fit the usual 128.
const REQUEST_QUEUE_LEN: usize = 128;
const SLOT_COUNT: usize = 32;
const SLOT_LEN: usize = 256 << 10;

/// One command at a time: a descriptor each way.
const COMMAND_QUEUE_LEN: usize = 2;

/// More events than a device has reason to send before the driver looks.
const EVENT_COUNT: usize = 64;

/// A request's header and status byte (virtio 1.2, 5.2.6), per slot.
const HEADER_LEN: usize = 16;
const STATUS_LEN: usize = 1;
const CONTROL_STRIDE: usize = 32;

const VIRTIO_BLK_T_IN: u32 = 0;
const VIRTIO_BLK_T_OUT: u32 = 1;
const VIRTIO_BLK_T_FLUSH: u32 = 4;
const VIRTIO_BLK_S_OK: u8 = 0;
const VIRTIO_BLK_S_UNSUPP: u8 = 2;
/// No status of the standard: a request that comes back with it has failed.
const STATUS_UNWRITTEN: u8 = 0xff;

/// A request that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    op: BlkOp,
    len: usize,
}

/// The ends of one vSSD's virtqueues.
pub struct Port {
    transport: PciTransport,
    requests: Requests,
    /// Absent when the device carries no mark: its other queues, if any, mean
    /// something else, and must not be touched.
    resizing: Option<Resizing>,
}

struct Requests {
    queue: VirtQueue<KernelHal, REQUEST_QUEUE_LEN>,
    data: Vec<DmaMemory>,
    control: DmaMemory,
    in_flight: [Option<InFlight>; SLOT_COUNT],
    /// For each head descriptor, its slot.
    slot_of: [usize; REQUEST_QUEUE_LEN],
    /// Something was submitted since the last kick.
    unannounced: bool,
}

struct Resizing {
    events: BufferRing<EVENT_COUNT>,
    commands: Commands,
}

struct Commands {
    queue: VirtQueue<KernelHal, COMMAND_QUEUE_LEN>,
    number: u16,
    request: DmaMemory,
    response: DmaMemory,
    /// Length of the command that the device has.
    in_flight: Option<usize>,
}

impl Port {
    /// Resets the device and sets its queues up.
    pub fn open(mut transport: PciTransport) -> Result<Self, OpenError> {
        transport.negotiate(FEATURES)?;
        let requests = Requests::open(&mut transport)?;
        let resizing = match resizing_queues(&transport) {
            Some((events, commands)) => Some(Resizing {
                events: BufferRing::open(&mut transport, events, Direction::FromDevice, EVENT_LEN)?,
                commands: Commands::open(&mut transport, commands)?,
            }),
            None => None,
        };
        transport.finish_init();
        let mut port = Self {
            transport,
            requests,
            resizing,
        };
        if let Some(resizing) = &mut port.resizing {
            resizing.events.lend_all();
            resizing.events.kick(&mut port.transport);
        }
        Ok(port)
    }

    /// True when the device is a vSSD.
    pub fn is_vssd(&self) -> bool {
        self.resizing.is_some()
    }

    /// Asks for interrupts from queue 0, or for none while somebody polls it.
    /// Returns true when a request has finished already, for which none comes.
    ///
    /// The other two queues always interrupt: they are quiet.
    pub fn interrupt(&mut self, wanted: bool) -> bool {
        self.requests.queue.set_dev_notify(wanted);
        // The flag must be visible before the used ring is looked at
        // (virtio 1.2, 2.7.7.1).
        fence(Ordering::SeqCst);
        self.requests.queue.can_pop()
    }

    fn commands(&mut self) -> &mut Commands {
        let resizing = self.resizing.as_mut();
        &mut resizing
            .expect("a command for a disk without the mark")
            .commands
    }
}

/// The numbers of the event and the command queue: the last two of those that
/// QEMU was told to give the device. `None` when it is not a vSSD of this
/// version or has too few.
fn resizing_queues(transport: &PciTransport) -> Option<(u16, u16)> {
    let mut mark = [0; MARK_LEN];
    transport.read_config(MARK_OFFSET, &mut mark);
    let mut count = [0; 2];
    transport.read_config(NUM_QUEUES_OFFSET, &mut count);
    let count = u16::from_le_bytes(count);
    let usable = marked_version(&mark) == Some(VERSION)
        && count >= 3
        && usize::from(count) <= transport.queue_count();
    usable.then(|| (count - 2, count - 1))
}

impl Requests {
    fn open(transport: &mut PciTransport) -> Result<Self, OpenError> {
        Ok(Self {
            queue: dma::open_queue(transport, REQUEST_QUEUE)?,
            data: (0..SLOT_COUNT).map(|_| DmaMemory::new(SLOT_LEN)).collect(),
            control: DmaMemory::new(SLOT_COUNT * CONTROL_STRIDE),
            in_flight: [None; SLOT_COUNT],
            slot_of: [0; REQUEST_QUEUE_LEN],
            unannounced: false,
        })
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.in_flight[slot].is_none(), "slot {slot} is in flight");
        let range = self.data[slot].range(0, SLOT_LEN);
        // SAFETY: the device does not have the slot, by the assertion, and the
        // borrow keeps it from being submitted while the reference lives.
        unsafe { &mut *range }
    }

    fn submit(&mut self, slot: usize, request: InFlight, sector: u64) {
        assert!(self.in_flight[slot].is_none(), "slot {slot} is in flight");
        let has_data = request.op != BlkOp::Flush;
        assert!(
            has_data == (request.len > 0) && request.len <= SLOT_LEN,
            "{:?} of {} bytes",
            request.op,
            request.len
        );
        let kind = match request.op {
            BlkOp::Read => VIRTIO_BLK_T_IN,
            BlkOp::Write => VIRTIO_BLK_T_OUT,
            BlkOp::Flush => VIRTIO_BLK_T_FLUSH,
        };
        let control = self.control.range(slot * CONTROL_STRIDE, CONTROL_STRIDE);
        // SAFETY: the slot's part of the control memory, which the device does
        // not have, by the assertion; the reference ends before `add`.
        let bytes = unsafe { &mut *control };
        bytes[0..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].fill(0);
        bytes[8..16].copy_from_slice(&sector.to_le_bytes());
        bytes[HEADER_LEN] = STATUS_UNWRITTEN;

        // SAFETY: the chain's memory is the slot's alone and stays lent until
        // `completion` pops it; `buffer` and `submit` refuse the slot till then.
        let head = unsafe {
            self.with_chain(slot, request, |queue, readable, writable| {
                queue.add(readable, writable)
            })
        };
        let head = head.expect("the queue has three descriptors for each slot");
        self.slot_of[usize::from(head)] = slot;
        self.in_flight[slot] = Some(request);
        self.unannounced = true;
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        let head = self.queue.peek_used()?;
        let slot = self.slot_of[usize::from(head)];
        let request = self.in_flight[slot].expect("the device finished a request that it has not");
        // SAFETY: the chain is the one that `submit` added under this head.
        let popped = unsafe {
            self.with_chain(slot, request, |queue, readable, writable| {
                queue.pop_used(head, readable, writable)
            })
        };
        popped.expect("the head was seen in the used ring");
        self.in_flight[slot] = None;
        let status = self
            .control
            .range(slot * CONTROL_STRIDE + HEADER_LEN, STATUS_LEN);
        // SAFETY: the slot's status byte; the device has given it back.
        let status = match unsafe { (*status)[0] } {
            VIRTIO_BLK_S_OK => BlkStatus::Ok,
            VIRTIO_BLK_S_UNSUPP => BlkStatus::Unsupported,
            _ => BlkStatus::IoError,
        };
        Some((slot, status))
    }

    /// Calls `action` with the queue and the buffers of a slot's request, those
    /// that the device reads and those that it writes (virtio 1.2, 5.2.6).
    ///
    /// # Safety
    /// No reference to the slot's memory may exist, and the device must not
    /// have it except for `action` to take it back.
    unsafe fn with_chain<R>(
        &mut self,
        slot: usize,
        request: InFlight,
        action: impl for<'a> FnOnce(
            &mut VirtQueue<KernelHal, REQUEST_QUEUE_LEN>,
            &'a [&'a [u8]],
            &'a mut [&'a mut [u8]],
        ) -> R,
    ) -> R {
        let header = self.control.range(slot * CONTROL_STRIDE, HEADER_LEN);
        let status = self
            .control
            .range(slot * CONTROL_STRIDE + HEADER_LEN, STATUS_LEN);
        let data = self.data[slot].range(0, request.len);
        // SAFETY: three disjoint ranges, valid by `range`, unshared by contract.
        let (header, data, status) = unsafe { (&*header, &mut *data, &mut *status) };
        let queue = &mut self.queue;
        match request.op {
            BlkOp::Read => action(queue, &[header], &mut [data, status]),
            BlkOp::Write => action(queue, &[header, data], &mut [status]),
            BlkOp::Flush => action(queue, &[header], &mut [status]),
        }
    }
}

impl Commands {
    fn open(transport: &mut PciTransport, number: u16) -> Result<Self, OpenError> {
        Ok(Self {
            queue: dma::open_queue(transport, number)?,
            number,
            request: DmaMemory::new(MAX_MESSAGE),
            response: DmaMemory::new(MAX_MESSAGE),
            in_flight: None,
        })
    }

    fn buffer(&mut self) -> &mut [u8] {
        assert!(self.in_flight.is_none(), "a command is in flight");
        let range = self.request.range(0, MAX_MESSAGE);
        // SAFETY: the device does not have it, by the assertion, and the borrow
        // keeps it from being sent while the reference lives.
        unsafe { &mut *range }
    }

    fn send(&mut self, len: usize, transport: &mut PciTransport) {
        assert!(self.in_flight.is_none(), "a command is in flight");
        let request = self.request.range(0, len);
        let response = self.response.range(0, MAX_MESSAGE);
        // SAFETY: no reference to either exists, and `buffer` and `response`
        // give none until the chain is popped.
        unsafe { self.queue.add(&[&*request], &mut [&mut *response]) }
            .expect("the queue has two descriptors for its one command");
        self.in_flight = Some(len);
        dma::kick(&self.queue, self.number, transport);
    }

    fn response(&mut self) -> Option<&[u8]> {
        let len = self.in_flight?;
        let head = self.queue.peek_used()?;
        let request = self.request.range(0, len);
        let response = self.response.range(0, MAX_MESSAGE);
        // SAFETY: the buffers that `send` added, the only ones on this queue.
        let written = unsafe {
            self.queue
                .pop_used(head, &[&*request], &mut [&mut *response])
        };
        let written = written.expect("the head was seen in the used ring") as usize;
        self.in_flight = None;
        let response = self.response.range(0, written.min(MAX_MESSAGE));
        // SAFETY: the device has given the buffer back, and the borrow keeps it
        // from being sent again while the reference lives.
        Some(unsafe { &*response })
    }
}

impl VssdPort for Port {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        self.transport.read_config(offset, out);
    }

    fn slot_count(&self) -> usize {
        SLOT_COUNT
    }

    fn slot_len(&self) -> usize {
        SLOT_LEN
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.requests.buffer(slot)
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        self.requests.submit(slot, InFlight { op, len }, sector);
    }

    fn kick(&mut self) {
        if core::mem::take(&mut self.requests.unannounced) {
            dma::kick(&self.requests.queue, REQUEST_QUEUE, &mut self.transport);
        }
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        self.requests.completion()
    }

    fn event(&mut self, out: &mut [u8; EVENT_LEN]) -> Option<usize> {
        let events = &mut self.resizing.as_mut()?.events;
        let (buffer, len) = events.take_back()?;
        out.copy_from_slice(events.bytes(buffer));
        events.lend(buffer, EVENT_LEN);
        events.kick(&mut self.transport);
        Some(len)
    }

    fn command_buffer(&mut self) -> &mut [u8] {
        self.commands().buffer()
    }

    fn send_command(&mut self, len: usize) {
        let resizing = self.resizing.as_mut();
        let commands = &mut resizing
            .expect("a command for a disk without the mark")
            .commands;
        commands.send(len, &mut self.transport);
    }

    fn command_response(&mut self) -> Option<&[u8]> {
        self.resizing.as_mut()?.commands.response()
    }
}
