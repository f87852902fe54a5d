//! A split virtqueue, written by hand, as the driver's side of it.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::PATIENCE;

/// Entries of every ring.
pub const RING_SIZE: u16 = 128;

/// Flags of a descriptor.
pub const NEXT: u16 = 1;
const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A buffer of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub addr: u64,
    pub len: u32,
    pub writable: bool,
}

pub fn readable(addr: u64, len: u32) -> Buffer {
    Buffer {
        addr,
        len,
        writable: false,
    }
}

pub fn writable(addr: u64, len: u32) -> Buffer {
    Buffer {
        addr,
        len,
        writable: true,
    }
}

/// A descriptor's 16 bytes.
pub fn encode_descriptor(buffer: Buffer, flags: u16, next: u16) -> [u8; 16] {
    let kind = if buffer.writable { WRITE } else { 0 };
    let mut bytes = [0; 16];
    bytes[0..8].copy_from_slice(&buffer.addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&buffer.len.to_le_bytes());
    bytes[12..14].copy_from_slice(&(kind | flags).to_le_bytes());
    bytes[14..16].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// A ring in guest memory: descriptors, available ring and used ring.
pub struct Ring {
    pub base: u64,
    pub next_avail: u16,
    next_used: u16,
    /// Kicks so far.
    pub kicks: Cell<u64>,
    pub kick: EventFd,
    pub call: EventFd,
}

impl Ring {
    pub fn new(index: usize) -> Self {
        Self {
            base: 0x1_0000 * (index as u64 + 1),
            next_avail: 0,
            next_used: 0,
            kicks: Cell::default(),
            // As that of some frontends, it blocks a reader that finds nothing.
            kick: EventFd::new(0).unwrap(),
            call: EventFd::new(EFD_NONBLOCK).unwrap(),
        }
    }

    pub fn avail(&self) -> u64 {
        self.base + 0x1000
    }

    pub fn used(&self) -> u64 {
        self.base + 0x2000
    }

    /// Writes one descriptor as it stands.
    pub fn descriptor(
        &self,
        memory: &GuestMemoryMmap,
        at: u16,
        buffer: Buffer,
        flags: u16,
        next: u16,
    ) {
        let addr = self.base + 16 * u64::from(at);
        let bytes = encode_descriptor(buffer, flags, next);
        memory.write_slice(&bytes, GuestAddress(addr)).unwrap();
    }

    /// Writes a chain into the descriptors from `head` on.
    pub fn chain(&self, memory: &GuestMemoryMmap, head: u16, buffers: &[Buffer]) {
        for (i, buffer) in buffers.iter().enumerate() {
            let at = head + i as u16;
            let flags = if i + 1 < buffers.len() { NEXT } else { 0 };
            self.descriptor(memory, at, *buffer, flags, at + 1);
        }
    }

    /// Makes the chain at `head` available without a notification.
    pub fn publish(&mut self, memory: &GuestMemoryMmap, head: u16) {
        let slot = self.avail() + 4 + 2 * u64::from(self.next_avail % RING_SIZE);
        memory.write_obj(head, GuestAddress(slot)).unwrap();
        self.claim(memory, self.next_avail.wrapping_add(1));
    }

    /// Claims that everything before `index` is available, true or not.
    pub fn claim(&mut self, memory: &GuestMemoryMmap, index: u16) {
        self.next_avail = index;
        memory
            .store(index, GuestAddress(self.avail() + 2), Ordering::Release)
            .unwrap();
    }

    pub fn kick(&self) {
        self.kicks.update(|kicks| kicks + 1);
        self.kick.write(1).unwrap();
    }

    /// Waits until the device has read the last kick.
    pub fn wait_kick_read(&self) {
        let until = Instant::now() + PATIENCE;
        // SAFETY: the descriptor is open as long as `self.kick` lives, which is longer than
        // this borrow.
        let kick = unsafe { BorrowedFd::borrow_raw(self.kick.as_raw_fd()) };
        let unread = || {
            let mut kick = [PollFd::from_borrowed_fd(kick, PollFlags::IN)];
            poll(&mut kick, Some(&Timespec::default())).unwrap() > 0
        };
        while unread() {
            assert!(Instant::now() < until, "the device does not read its kick");
            // A reader of the counter is not notified of other reads.
            thread::yield_now();
        }
    }

    /// Whether the device requested a notification for the chain that was published last, the only
    /// one since the last call. For a frontend with EVENT_IDX.
    pub fn wants_kick(&self, memory: &GuestMemoryMmap) -> bool {
        self.kicked_by(memory) == self.next_avail.wrapping_sub(1)
    }

    /// Whether the device requested a notification for the next chain that will be published.
    pub fn will_want_kick(&self, memory: &GuestMemoryMmap) -> bool {
        self.kicked_by(memory) == self.next_avail
    }

    /// Index of the chain for which the device requested a notification.
    fn kicked_by(&self, memory: &GuestMemoryMmap) -> u16 {
        fence(Ordering::SeqCst);
        let event = self.used() + 4 + 8 * u64::from(RING_SIZE);
        memory.load(GuestAddress(event), Ordering::Relaxed).unwrap()
    }

    /// Requests a notification for the `more`-th used entry from here on, and no earlier. Without
    /// EVENT_IDX it has no effect.
    pub fn ask_for_call(&self, memory: &GuestMemoryMmap, more: u16) {
        let event = self.avail() + 4 + 2 * u64::from(RING_SIZE);
        let at = self.next_used.wrapping_add(more - 1);
        memory
            .store(at, GuestAddress(event), Ordering::Relaxed)
            .unwrap();
        fence(Ordering::SeqCst);
    }

    /// Has the device's index say that so many entries are used.
    pub fn put_used(&self, memory: &GuestMemoryMmap, index: u16) {
        let at = GuestAddress(self.used() + 2);
        memory.store(index, at, Ordering::Release).unwrap();
    }

    /// The next used entry, if there is one: head and length.
    pub fn used_entry(&mut self, memory: &GuestMemoryMmap) -> Option<(u32, u32)> {
        let index: u16 = memory
            .load(GuestAddress(self.used() + 2), Ordering::Acquire)
            .unwrap();
        if index == self.next_used {
            return None;
        }
        let slot = self.used() + 4 + 8 * u64::from(self.next_used % RING_SIZE);
        self.next_used = self.next_used.wrapping_add(1);
        let id: u32 = memory.read_obj(GuestAddress(slot)).unwrap();
        let len: u32 = memory.read_obj(GuestAddress(slot + 4)).unwrap();
        Some((id, len))
    }

    /// Waits for the next used entry, by its interrupt.
    pub fn wait_used(&mut self, memory: &GuestMemoryMmap) -> (u32, u32) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(entry) = self.used_entry(memory) {
                return entry;
            }
            self.ask_for_call(memory, 1);
            if let Some(entry) = self.used_entry(memory) {
                return entry;
            }
            assert!(Instant::now() < until, "the device does not answer");
            self.calls();
        }
    }

    /// Waits for the device's call; returns how often it called since this was asked before,
    /// 0 when it does not.
    pub fn calls(&self) -> u64 {
        let patience = Timespec::try_from(PATIENCE).unwrap();
        // SAFETY: the descriptor is open as long as `self.call` lives,
        // which is longer than this borrow.
        let call = unsafe { BorrowedFd::borrow_raw(self.call.as_raw_fd()) };
        poll(
            &mut [PollFd::from_borrowed_fd(call, PollFlags::IN)],
            Some(&patience),
        )
        .unwrap();
        self.call.read().unwrap_or(0)
    }
}
