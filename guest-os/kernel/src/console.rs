//! A virtio-console's first port (virtio 1.2, section 5.3): commands in,
//! reports out.

use crate::dma::{BufferRing, Direction};
use crate::interrupts;
use crate::transport::{OpenError, PciTransport};

use virtio_drivers::transport::Transport;

/// Without VIRTIO_CONSOLE_F_MULTIPORT there are these two queues (5.3.2).
const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;

/// A command line fits one buffer; more are for a host that sends ahead.
const RECEIVE_COUNT: usize = 8;
const RECEIVE_LEN: usize = 4 << 10;

/// Large enough that a report of some MiB costs a hundred doorbells, and four
/// so that the guest fills one while the host empties another.
const TRANSMIT_COUNT: usize = 4;
const TRANSMIT_LEN: usize = 32 << 10;

/// Both directions of the console.
pub struct Console {
    transport: PciTransport,
    receive: BufferRing<RECEIVE_COUNT>,
    transmit: BufferRing<TRANSMIT_COUNT>,
    /// A received buffer that is not read to its end.
    unread: Option<Unread>,
}

struct Unread {
    buffer: usize,
    at: usize,
    len: usize,
}

impl Console {
    /// Resets the device and sets its queues up.
    pub fn open(mut transport: PciTransport) -> Result<Self, OpenError> {
        transport.negotiate(0)?;
        let mut receive = BufferRing::open(
            &mut transport,
            RECEIVE_QUEUE,
            Direction::FromDevice,
            RECEIVE_LEN,
        )?;
        let mut transmit = BufferRing::open(
            &mut transport,
            TRANSMIT_QUEUE,
            Direction::ToDevice,
            TRANSMIT_LEN,
        )?;
        transport.finish_init();
        receive.lend_all();
        receive.kick(&mut transport);
        transmit.interrupt(false);
        Ok(Self {
            transport,
            receive,
            transmit,
            unread: None,
        })
    }

    /// Takes bytes that have arrived.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let mut copied = 0;
        while copied < out.len() {
            let unread = match self.unread.take() {
                Some(unread) => unread,
                None => match self.receive.take_back() {
                    Some((buffer, len)) => Unread { buffer, at: 0, len },
                    None => break,
                },
            };
            let end = unread.len.min(unread.at + out.len() - copied);
            let bytes = &self.receive.bytes(unread.buffer)[unread.at..end];
            out[copied..copied + bytes.len()].copy_from_slice(bytes);
            copied += bytes.len();
            if end < unread.len {
                self.unread = Some(Unread { at: end, ..unread });
            } else {
                self.receive.lend(unread.buffer, RECEIVE_LEN);
                self.receive.kick(&mut self.transport);
            }
        }
        copied
    }

    /// Sends bytes; returns when the last of them are in a buffer.
    pub fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(TRANSMIT_LEN) {
            let buffer = loop {
                while self.transmit.take_back().is_some() {}
                if let Some(buffer) = self.transmit.free_buffer() {
                    break buffer;
                }
                self.wait_for_host();
            };
            self.transmit.bytes(buffer)[..chunk.len()].copy_from_slice(chunk);
            self.transmit.lend(buffer, chunk.len());
            self.transmit.kick(&mut self.transport);
        }
    }

    /// Waits until the host has everything: what is in a buffer when QEMU ends
    /// is lost.
    pub fn drain(&mut self) {
        loop {
            while self.transmit.take_back().is_some() {}
            if self.transmit.is_idle() {
                return;
            }
            self.wait_for_host();
        }
    }

    /// Rests until something happens, the return of a buffer among it.
    fn wait_for_host(&mut self) {
        if !self.transmit.interrupt(true) {
            interrupts::wait();
        }
        self.transmit.interrupt(false);
    }
}
