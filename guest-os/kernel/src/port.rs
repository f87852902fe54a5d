//! The queues of a vSSD on virtio (vssd/SPEC.md, section 3), or of a disk in its place.

use guest_runtime::port::{BlkConfig, BlkOp, BlkPort, BlkStatus, VssdPort};
use guest_runtime::shape::{self, DiskKind};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use vssd::wire::{EVENT_LEN, MAX_MESSAGE};
use zerocopy::{FromZeros, IntoBytes};

use crate::disk::{Disk, SLOTS_MAX};
use crate::dma::{self, BufferRing, Direction, DmaMemory};
use crate::pages::KernelHal;
use crate::transport::{OpenError, PciTransport};

/// One command at a time: a descriptor each way.
const COMMAND_QUEUE_LEN: usize = 2;

/// More events than a device has reason to send before the driver looks.
const EVENT_COUNT: usize = 64;

/// The ends of one vSSD's virtqueues.
pub struct Port {
    disk: Disk,
    /// Absent of a disk of fixed size: its other queues, if any, mean something else, and
    /// must not be touched.
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
        let (config, queues) = (config(transport), transport.queue_count());
        let resizing = match shape::resizing_queues(&config, queues) {
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

    /// What the device is.
    pub fn kind(&self) -> DiskKind {
        kind(&self.disk.transport)
    }

    /// As [`Disk::interrupt`]. The other two queues always interrupt: they are quiet.
    pub fn interrupt(&mut self, wanted: bool) -> bool {
        self.disk.interrupt(wanted)
    }

    fn commands(&mut self) -> &mut Commands {
        let resizing = self.resizing.as_mut();
        &mut resizing
            .expect("a command for a disk of fixed size")
            .commands
    }
}

fn config(transport: &PciTransport) -> BlkConfig {
    let mut config = BlkConfig::new_zeroed();
    transport.read_config(0, config.as_mut_bytes());
    config
}

/// What a device is.
pub fn kind(transport: &PciTransport) -> DiskKind {
    shape::kind(&config(transport), transport.queue_count())
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

    fn features(&self) -> u64 {
        self.disk.features()
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
    fn queue_count(&self) -> usize {
        self.disk.transport.queue_count()
    }

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
            .expect("a command for a disk of fixed size")
            .commands;
        commands.send(len, &mut self.disk.transport);
    }

    fn command_response(&mut self) -> Option<&[u8]> {
        self.resizing.as_mut()?.commands.response()
    }
}
