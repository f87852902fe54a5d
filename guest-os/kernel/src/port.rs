//! The three queues of a vSSD on virtio (vssd/SPEC.md, section 3).

use guest_runtime::port::{BlkOp, BlkPort, BlkStatus, VssdPort};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use vssd::wire::{EVENT_LEN, MARK_LEN, MARK_OFFSET, MAX_MESSAGE, VERSION, marked_version};

use crate::disk::{Disk, SLOTS_MAX};
use crate::dma::{self, BufferRing, Direction, DmaMemory};
use crate::memory::KernelHal;
use crate::transport::{OpenError, PciTransport};

/// `num_queues` in config space (virtio 1.2, 5.2.4), which QEMU fills in.
const NUM_QUEUES_OFFSET: usize = 34;

/// One command at a time: a descriptor each way.
const COMMAND_QUEUE_LEN: usize = 2;

/// More events than a device has reason to send before the driver looks.
const EVENT_COUNT: usize = 64;

/// The ends of one vSSD's virtqueues.
pub struct Port {
    disk: Disk,
    /// Absent when the device carries no mark: its other queues, if any, mean
    /// something else, and must not be touched.
    resizing: Option<Resizing>,
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
    pub fn open(transport: PciTransport) -> Result<Self, OpenError> {
        let mut disk = Disk::prepare(transport, SLOTS_MAX)?;
        let transport = &mut disk.transport;
        let resizing = match resizing_queues(transport) {
            Some((events, commands)) => Some(Resizing {
                events: BufferRing::open(transport, events, Direction::FromDevice, EVENT_LEN)?,
                commands: Commands::open(transport, commands)?,
            }),
            None => None,
        };
        disk.transport.finish_init();
        let mut port = Self { disk, resizing };
        if let Some(resizing) = &mut port.resizing {
            resizing.events.lend_all();
            resizing.events.kick(&mut port.disk.transport);
        }
        Ok(port)
    }

    /// True when the device is a vSSD.
    pub fn is_vssd(&self) -> bool {
        self.resizing.is_some()
    }

    /// As [`Disk::interrupt`]. The other two queues always interrupt: they are quiet.
    pub fn interrupt(&mut self, wanted: bool) -> bool {
        self.disk.interrupt(wanted)
    }

    fn commands(&mut self) -> &mut Commands {
        let resizing = self.resizing.as_mut();
        &mut resizing
            .expect("a command for a disk without the mark")
            .commands
    }
}

/// The version that a device's mark names; `None` of a disk that is no vSSD.
pub fn mark(transport: &PciTransport) -> Option<u16> {
    let mut mark = [0; MARK_LEN];
    transport.read_config(MARK_OFFSET, &mut mark);
    marked_version(&mark)
}

/// The numbers of the event and the command queue: the last two of those that
/// QEMU was told to give the device. `None` when it is not a vSSD of this
/// version or has too few.
fn resizing_queues(transport: &PciTransport) -> Option<(u16, u16)> {
    let mut count = [0; 2];
    transport.read_config(NUM_QUEUES_OFFSET, &mut count);
    let count = u16::from_le_bytes(count);
    let usable = mark(transport) == Some(VERSION)
        && count >= 3
        && usize::from(count) <= transport.queue_count();
    usable.then(|| (count - 2, count - 1))
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

impl BlkPort for Port {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        self.disk.read_config(offset, out);
    }

    fn slot_count(&self) -> usize {
        self.disk.slot_count()
    }

    fn slot_len(&self) -> usize {
        self.disk.slot_len()
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.disk.buffer(slot)
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        self.disk.submit(slot, op, sector, len);
    }

    fn kick(&mut self) {
        self.disk.kick();
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        self.disk.completion()
    }
}

impl VssdPort for Port {
    fn event(&mut self, out: &mut [u8; EVENT_LEN]) -> Option<usize> {
        let events = &mut self.resizing.as_mut()?.events;
        let (buffer, len) = events.take_back()?;
        out.copy_from_slice(events.bytes(buffer));
        events.lend(buffer, EVENT_LEN);
        events.kick(&mut self.disk.transport);
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
        commands.send(len, &mut self.disk.transport);
    }

    fn command_response(&mut self) -> Option<&[u8]> {
        self.resizing.as_mut()?.commands.response()
    }
}
