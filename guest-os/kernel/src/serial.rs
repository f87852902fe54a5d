//! The serial console: a 16550 at COM1, for the log and, without a virtio-console, for commands and
//! reports.
//!
//! Access to a port leaves the guest, which on a software KVM takes about
//! 25 us; so a full FIFO of bytes is sent for each look at the line status.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::port::Port;

const COM1: u16 = 0x3f8;
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const RECEIVED_DATA_INTERRUPT: u8 = 1;
/// On, both emptied, interrupt from the first byte on.
const FIFO_ON: u8 = 0x07;
const FRAME_8N1: u8 = 0x03;
const DIVISOR_ACCESS: u8 = 0x80;
/// Ready, and OUT2, which on a PC lets the interrupt through.
const READY_AND_OUT2: u8 = 0x0b;
const DATA_READY: u8 = 0x01;
const TRANSMIT_EMPTY: u8 = 0x20;
const TRANSMIT_IDLE: u8 = 0x40;

/// Bytes that fit a 16550's transmit FIFO when it is empty.
const FIFO_LEN: usize = 16;

/// Set when the machine has the port: without one, reads give all ones, which
/// would look like an endless input.
static PRESENT: AtomicBool = AtomicBool::new(false);

fn read(register: u16) -> u8 {
    // SAFETY: COM1's registers; reading any of them harms nothing but the
    // input that `receive` is after.
    unsafe { Port::new(COM1 + register).read() }
}

fn write(register: u16, value: u8) {
    // SAFETY: COM1's registers, which only this module drives.
    unsafe { Port::new(COM1 + register).write(value) }
}

/// Sets the port up: 115200 baud, 8N1, FIFOs on, interrupt for input.
pub fn init() {
    const PROBE: u8 = 0x5a;
    write(SCRATCH, PROBE);
    if read(SCRATCH) != PROBE {
        return;
    }
    write(LINE_CONTROL, DIVISOR_ACCESS);
    write(DATA, 1);
    write(INTERRUPT_ENABLE, 0);
    write(LINE_CONTROL, FRAME_8N1);
    write(FIFO_CONTROL, FIFO_ON);
    write(MODEM_CONTROL, READY_AND_OUT2);
    write(INTERRUPT_ENABLE, RECEIVED_DATA_INTERRUPT);
    PRESENT.store(true, Ordering::Relaxed);
}

fn is_present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Sends bytes.
pub fn send(bytes: &[u8]) {
    if !is_present() {
        return;
    }
    for chunk in bytes.chunks(FIFO_LEN) {
        while read(LINE_STATUS) & TRANSMIT_EMPTY == 0 {
            core::hint::spin_loop();
        }
        for &byte in chunk {
            write(DATA, byte);
        }
    }
}

/// Takes bytes that have arrived.
pub fn receive(out: &mut [u8]) -> usize {
    let mut len = 0;
    while is_present() && len < out.len() && read(LINE_STATUS) & DATA_READY != 0 {
        out[len] = read(DATA);
        len += 1;
    }
    len
}

/// Waits until the last byte has left.
pub fn drain() {
    while is_present() && read(LINE_STATUS) & TRANSMIT_IDLE == 0 {
        core::hint::spin_loop();
    }
}

/// Prints one line.
pub fn log(line: fmt::Arguments<'_>) {
    let mut buffered = Buffered {
        bytes: [0; 128],
        len: 0,
    };
    // `Buffered` never fails; a failing `Display` cuts its line short.
    let _ = buffered.write_fmt(line);
    let _ = buffered.write_str("\n");
    buffered.flush();
}

/// Joins the fragments of a formatted line, so that each FIFO goes out full.
struct Buffered {
    bytes: [u8; 128],
    len: usize,
}

impl Buffered {
    fn flush(&mut self) {
        send(&self.bytes[..self.len]);
        self.len = 0;
    }
}

impl Write for Buffered {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}
