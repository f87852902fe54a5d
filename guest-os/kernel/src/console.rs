//! A port of a virtio-console device (virtio 1.2, section 5.3): commands in,
//! reports out.
//!
//! The port may be a `virtserialport` of QEMU or a `virtconsole`. Reports
//! should go through the former: of a `virtconsole`, QEMU drops what its
//! character device does not take at once, where it makes a `virtserialport`
//! wait. A `virtserialport` is port 1 at least, hence the control queues.

use virtio_drivers::transport::Transport;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::dma::{BufferRing, Direction};
use crate::interrupts;
use crate::transport::{OpenError, PciTransport};

/// VIRTIO_CONSOLE_F_MULTIPORT (5.3.3).
const F_MULTIPORT: u64 = 1 << 1;

/// A command line fits one buffer; the others are for a host that sends ahead.
const RECEIVE_COUNT: usize = 8;
const RECEIVE_LEN: usize = 4 << 10;

/// Large enough that a report of some MiB costs a hundred doorbells, and four
/// so that the guest fills one while the host empties another.
const TRANSMIT_COUNT: usize = 4;
const TRANSMIT_LEN: usize = 32 << 10;

/// A message on a control queue (5.3.6.2).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ControlMessage {
    port: U32,
    event: U16,
    value: U16,
}

const _: () = assert!(CONTROL_LEN == 8);

/// The control queues (5.3.2) and their messages.
const CONTROL_RECEIVE_QUEUE: u16 = 2;
const CONTROL_TRANSMIT_QUEUE: u16 = 3;
const CONTROL_COUNT: usize = 16;
const CONTROL_LEN: usize = size_of::<ControlMessage>();
const CONTROL_BUFFER_LEN: usize = 64;
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
/// The whole device, where a port is to be named.
const NO_PORT: u32 = 0;

/// Ports whose queues are set up: a `virtconsole`, and the first
/// `virtserialport`.
const PORT_COUNT: u16 = 2;

/// Waits, of at most 10 ms each, in which the device must add a port.
const PORT_WAIT_RESTS: usize = 100;

/// Both directions of one port.
pub struct Console {
    transport: PciTransport,
    queues: Queues,
    /// A received buffer that is not read to its end.
    unread: Option<Unread>,
    /// A buffer to send that is not full.
    unsent: Option<Unsent>,
}

struct Queues {
    receive: BufferRing<RECEIVE_COUNT>,
    transmit: BufferRing<TRANSMIT_COUNT>,
}

struct Unread {
    buffer: usize,
    at: usize,
    len: usize,
}

struct Unsent {
    buffer: usize,
    len: usize,
}

impl Queues {
    /// Port 0 has the first two queues, the others follow the control queues.
    fn open(transport: &mut PciTransport, port: u16) -> Result<Self, OpenError> {
        let first = if port == 0 { 0 } else { 2 * port + 2 };
        Ok(Self {
            receive: BufferRing::open(transport, first, Direction::FromDevice, RECEIVE_LEN)?,
            transmit: BufferRing::open(transport, first + 1, Direction::ToDevice, TRANSMIT_LEN)?,
        })
    }
}

impl Console {
    /// Resets the device and opens its first port.
    pub fn open(mut transport: PciTransport) -> Result<Self, OpenError> {
        let features = transport.negotiate(F_MULTIPORT)?;
        let mut queues = if features & F_MULTIPORT == 0 {
            let queues = Queues::open(&mut transport, 0)?;
            transport.finish_init();
            queues
        } else {
            let mut ports = [
                Some(Queues::open(&mut transport, 0)?),
                Some(Queues::open(&mut transport, 1)?),
            ];
            let mut control = Control::open(&mut transport)?;
            transport.finish_init();
            let port = control.open_first_port(&mut transport)?;
            ports[usize::from(port)]
                .take()
                .expect("ports are taken once")
        };
        queues.receive.lend_all();
        queues.receive.kick(&mut transport);
        queues.transmit.interrupt(false);
        Ok(Self {
            transport,
            queues,
            unread: None,
            unsent: None,
        })
    }

    /// Takes bytes that have arrived.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        self.flush();
        let receive = &mut self.queues.receive;
        let mut copied = 0;
        while copied < out.len() {
            let unread = match self.unread.take() {
                Some(unread) => unread,
                None => match receive.take_back() {
                    Some((buffer, len)) => Unread { buffer, at: 0, len },
                    None => break,
                },
            };
            let end = unread.len.min(unread.at + out.len() - copied);
            let bytes = &receive.bytes(unread.buffer)[unread.at..end];
            out[copied..copied + bytes.len()].copy_from_slice(bytes);
            copied += bytes.len();
            if end < unread.len {
                self.unread = Some(Unread { at: end, ..unread });
            } else {
                receive.lend(unread.buffer, RECEIVE_LEN);
                receive.kick(&mut self.transport);
            }
        }
        copied
    }

    /// Sends bytes, those that fill a buffer at once and the rest with the next
    /// [`flush`](Self::flush): a report of thousands of lines rings few doorbells.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Unsent { buffer, len } = match self.unsent.take() {
                Some(unsent) => unsent,
                None => Unsent {
                    buffer: self.wait_for_buffer(),
                    len: 0,
                },
            };
            let room = &mut self.queues.transmit.bytes(buffer)[len..TRANSMIT_LEN];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            let len = len + now.len();
            self.unsent = Some(Unsent { buffer, len });
            if len == TRANSMIT_LEN {
                self.flush();
            }
            bytes = later;
        }
    }

    /// Sends what was written. To be called before the guest idles.
    pub fn flush(&mut self) {
        if let Some(Unsent { buffer, len }) = self.unsent.take() {
            self.queues.transmit.lend(buffer, len);
            self.queues.transmit.kick(&mut self.transport);
        }
    }

    fn wait_for_buffer(&mut self) -> usize {
        loop {
            while self.queues.transmit.take_back().is_some() {}
            if let Some(buffer) = self.queues.transmit.free_buffer() {
                return buffer;
            }
            self.wait_for_host();
        }
    }

    /// Waits until the host has taken everything: buffered data is lost when QEMU exits.
    pub fn drain(&mut self) {
        self.flush();
        loop {
            while self.queues.transmit.take_back().is_some() {}
            if self.queues.transmit.is_idle() {
                return;
            }
            self.wait_for_host();
        }
    }

    /// Waits for an interrupt, such as for the return of a buffer.
    fn wait_for_host(&mut self) {
        if !self.queues.transmit.interrupt(true) {
            interrupts::wait();
        }
        self.queues.transmit.interrupt(false);
    }
}

/// The control queues of a device with several ports. Later messages, that the host opened
/// or closed a port, change nothing here: QEMU returns buffers at once when the host has
/// closed the port.
struct Control {
    receive: BufferRing<CONTROL_COUNT>,
    transmit: BufferRing<CONTROL_COUNT>,
}

impl Control {
    fn open(transport: &mut PciTransport) -> Result<Self, OpenError> {
        Ok(Self {
            receive: BufferRing::open(
                transport,
                CONTROL_RECEIVE_QUEUE,
                Direction::FromDevice,
                CONTROL_BUFFER_LEN,
            )?,
            transmit: BufferRing::open(
                transport,
                CONTROL_TRANSMIT_QUEUE,
                Direction::ToDevice,
                CONTROL_BUFFER_LEN,
            )?,
        })
    }

    /// Waits for the device to add a port and opens it (5.3.5).
    fn open_first_port(&mut self, transport: &mut PciTransport) -> Result<u16, OpenError> {
        self.receive.lend_all();
        self.receive.kick(transport);
        self.send(transport, NO_PORT, DEVICE_READY);
        for _ in 0..PORT_WAIT_RESTS {
            while let Some((buffer, len)) = self.receive.take_back() {
                let added = added_port(&self.receive.bytes(buffer)[..len]);
                self.receive.lend(buffer, CONTROL_BUFFER_LEN);
                self.receive.kick(transport);
                if let Some(port) = added {
                    self.send(transport, port.into(), PORT_READY);
                    self.send(transport, port.into(), PORT_OPEN);
                    return Ok(port);
                }
            }
            interrupts::wait();
        }
        Err(OpenError::Lacks("port that this guest can use"))
    }

    /// Sends a message with value 1: yes.
    fn send(&mut self, transport: &mut PciTransport, port: u32, event: u16) {
        let buffer = self.transmit.free_buffer();
        let buffer = buffer.expect("three messages are sent in all");
        let message = ControlMessage {
            port: port.into(),
            event: event.into(),
            value: 1.into(),
        };
        let room = self.transmit.bytes(buffer);
        message.write_to_prefix(room).expect("room for a message");
        self.transmit.lend(buffer, CONTROL_LEN);
        self.transmit.kick(transport);
    }
}

/// The port that a message adds, if it is one of those that are set up.
fn added_port(message: &[u8]) -> Option<u16> {
    let (message, _) = ControlMessage::ref_from_prefix(message).ok()?;
    let port = u16::try_from(message.port.get()).ok()?;
    (message.event.get() == DEVICE_ADD && port < PORT_COUNT).then_some(port)
}
