//! A vhost-user frontend with rings of its own, in place of QEMU and guest.
//!
//! The rings are written by hand, so that a test can put anything there. The
//! memory outlives connections, as a guest's does when its backend is killed.

use std::cell::Cell;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend as Connection, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vssd::wire::MAX_MESSAGE;

use super::PATIENCE;

pub const REQUESTS: usize = 0;
pub const EVENTS: usize = 1;
pub const COMMANDS: usize = 2;
pub const QUEUES: usize = 3;

/// Entries of every ring.
pub const RING_SIZE: u16 = 128;

/// Where tests may put what they like.
pub const SCRATCH: u64 = 0x10_0000;
/// Where a command is, and the response to it.
const COMMAND: u64 = 0x40_0000;
const RESPONSE: u64 = 0x80_0000;
/// Bytes of guest memory.
pub const MEMORY: u64 = 0x100_0000;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

pub const OK: u8 = 0;
pub const IOERR: u8 = 1;
pub const UNSUPP: u8 = 2;
/// In the status byte before a request: nothing that a device would write.
pub const UNANSWERED: u8 = 0xee;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

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
    base: u64,
    pub next_avail: u16,
    next_used: u16,
    /// How often the device was told of something.
    pub kicks: Cell<u64>,
    pub kick: EventFd,
    pub call: EventFd,
}

impl Ring {
    fn new(index: usize) -> Self {
        Self {
            base: 0x1_0000 * (index as u64 + 1),
            next_avail: 0,
            next_used: 0,
            kicks: Cell::default(),
            // As that of some frontends does, it blocks whoever reads it in vain.
            kick: EventFd::new(0).unwrap(),
            call: EventFd::new(EFD_NONBLOCK).unwrap(),
        }
    }

    fn avail(&self) -> u64 {
        self.base + 0x1000
    }

    fn used(&self) -> u64 {
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

    /// Makes the chain at `head` available without telling the device.
    pub fn publish(&mut self, memory: &GuestMemoryMmap, head: u16) {
        let slot = self.avail() + 4 + 2 * u64::from(self.next_avail % RING_SIZE);
        memory.write_obj(head, GuestAddress(slot)).unwrap();
        self.claim(memory, self.next_avail.wrapping_add(1));
    }

    /// Says that everything before `index` is available, true or not.
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

    /// Whether the device asked to be told of the chain that was published last, the
    /// only one since it was asked before. For a frontend with EVENT_IDX.
    pub fn wants_kick(&self, memory: &GuestMemoryMmap) -> bool {
        self.kicked_by(memory) == self.next_avail.wrapping_sub(1)
    }

    /// Whether the device asked to be told of the next chain that will be published.
    pub fn will_want_kick(&self, memory: &GuestMemoryMmap) -> bool {
        self.kicked_by(memory) == self.next_avail
    }

    /// Index of the chain that the device asked to be told of.
    fn kicked_by(&self, memory: &GuestMemoryMmap) -> u16 {
        fence(Ordering::SeqCst);
        let event = self.used() + 4 + 8 * u64::from(RING_SIZE);
        memory.load(GuestAddress(event), Ordering::Relaxed).unwrap()
    }

    /// Asks the device to tell of the `more`-th used entry from here on, and no earlier. Without
    /// EVENT_IDX it looks at nothing of it.
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

    /// Waits for the next used entry, as an interrupt tells of it.
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

/// Connects and gets the first answer. The `vhost` crate waits for that for
/// ever, and a backend whose worker hangs accepts nobody: hence the thread.
fn greet(socket: &Path) -> (Connection, u64) {
    let backend = Connection::connect(socket, QUEUES as u64).unwrap();
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        let features = backend.get_features().unwrap();
        // The test may have given up.
        let _ = sender.send((backend, features));
    });
    answers
        .recv_timeout(PATIENCE)
        .expect("the backend accepts and answers")
}

/// A kick that is always due and can never be read: a socket that somebody connected to, who is
/// the second of these.
pub fn unreadable_kick() -> (EventFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // SAFETY: the descriptor is the listener's, which has given it away.
    let kick = unsafe { EventFd::from_raw_fd(listener.into_raw_fd()) };
    (kick, client)
}

/// Guest memory with three rings, connected to a backend or not.
pub struct Frontend {
    pub memory: GuestMemoryMmap,
    pub rings: [Ring; QUEUES],
    connection: Option<Connection>,
    /// What the backend offered.
    pub features: u64,
    /// What of it is not accepted.
    pub declined: u64,
    pub config: Vec<u8>,
}

/// Notifications by the index of an entry (virtio 1.2, 2.7.7 and 2.7.10).
pub const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

impl Frontend {
    /// Guest memory that is not connected yet.
    pub fn unplugged() -> Self {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(MEMORY).unwrap();
        Self::unplugged_on(file)
    }

    /// The same on a file, whatever its length.
    pub fn unplugged_on(file: File) -> Self {
        let range = (
            GuestAddress(0),
            MEMORY as usize,
            Some(FileOffset::new(file, 0)),
        );
        Self {
            memory: GuestMemoryMmap::from_ranges_with_files([range]).unwrap(),
            rings: std::array::from_fn(Ring::new),
            connection: None,
            features: 0,
            declined: 0,
            config: Vec::new(),
        }
    }

    pub fn connect(socket: &Path) -> Self {
        let mut frontend = Self::unplugged();
        frontend.plug(socket);
        frontend
    }

    /// Connects and sets everything up the way QEMU does, going on behind the
    /// last used entry of every ring.
    pub fn plug(&mut self, socket: &Path) {
        self.share_memory(socket);
        self.start_rings();
    }

    /// Connects, agrees on features and shares the memory.
    pub fn share_memory(&mut self, socket: &Path) {
        let (mut backend, features) = greet(socket);
        self.features = features;
        backend.set_owner().unwrap();
        let offered = backend.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG;
        assert!(offered.contains(wanted), "{offered:?}");
        backend.set_protocol_features(wanted).unwrap();
        assert!(backend.get_queue_num().unwrap() >= QUEUES as u64);
        let (_, config) = backend
            .get_config(0, 60, VhostUserConfigFlags::empty(), &[0; 60])
            .unwrap();
        self.config = config;
        let accepted = self.features & !self.declined;
        assert_ne!(
            accepted & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
            0
        );
        backend.set_features(accepted).unwrap();
        let regions: Vec<_> = self
            .memory
            .iter()
            .map(|region| VhostUserMemoryRegionInfo::from_guest_region(region).unwrap())
            .collect();
        backend.set_mem_table(&regions).unwrap();
        self.connection = Some(backend);
    }

    /// Waits until the backend hangs up.
    pub fn wait_hung_up(&self) {
        let connection = self.connection.as_ref().expect("connected");
        // SAFETY: the descriptor is open as long as the connection lives, which is longer
        // than this borrow.
        let socket = unsafe { BorrowedFd::borrow_raw(connection.as_raw_fd()) };
        let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
        let patience = Timespec::try_from(PATIENCE).unwrap();
        poll(&mut polled, Some(&patience)).unwrap();
        let hung_up = polled[0].revents().contains(PollFlags::HUP);
        assert!(hung_up, "the backend keeps the connection");
    }

    /// Sets up and enables the rings, going on behind the last used entries.
    fn start_rings(&mut self) {
        let backend = self.connection.as_mut().expect("connected");
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let host = |addr: u64| {
                let pointer = self.memory.get_host_address(GuestAddress(addr));
                pointer.unwrap() as u64
            };
            let used: u16 = self
                .memory
                .load(GuestAddress(ring.used() + 2), Ordering::Acquire)
                .unwrap();
            backend.set_vring_num(index, RING_SIZE).unwrap();
            backend.set_vring_base(index, used).unwrap();
            let addresses = VringConfigData {
                queue_max_size: RING_SIZE,
                queue_size: RING_SIZE,
                flags: 0,
                desc_table_addr: host(ring.base),
                used_ring_addr: host(ring.used()),
                avail_ring_addr: host(ring.avail()),
                log_addr: None,
            };
            backend.set_vring_addr(index, &addresses).unwrap();
            backend.set_vring_kick(index, &ring.kick).unwrap();
            backend.set_vring_call(index, &ring.call).unwrap();
            backend.set_vring_enable(index, true).unwrap();
        }
    }

    /// Stops the rings and starts empty ones, as when a guest reboots.
    pub fn reset_rings(&mut self) {
        let backend = self.connection.as_mut().expect("connected");
        for (index, ring) in self.rings.iter_mut().enumerate() {
            // Disabled first, as by QEMU: a ring that starts with its kick alone could answer
            // before it has its call.
            backend.set_vring_enable(index, false).unwrap();
            backend.get_vring_base(index).unwrap();
            *ring = Ring::new(index);
            self.memory
                .write_slice(&[0; 0x3000], GuestAddress(ring.base))
                .unwrap();
        }
        self.start_rings();
    }

    /// Has the device look at `kick` from now on to hear of what a ring makes available.
    pub fn kick_by(&mut self, ring: usize, kick: &EventFd) {
        let backend = self.connection.as_mut().expect("connected");
        backend.set_vring_enable(ring, false).unwrap();
        backend.set_vring_kick(ring, kick).unwrap();
        backend.set_vring_enable(ring, true).unwrap();
    }

    /// Has a ring stopped, and does not wait for the answer, which may never come. The connection
    /// is gone after that.
    pub fn stop_ring_and_go(&mut self, ring: usize) {
        let backend = self.connection.take().expect("connected");
        thread::spawn(move || backend.get_vring_base(ring));
    }

    /// Leaves as a killed QEMU does: without a word.
    pub fn unplug(&mut self) {
        self.connection = None;
    }

    pub fn write(&self, addr: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(addr)).unwrap();
    }

    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(addr))
            .unwrap();
        bytes
    }

    /// Puts a request's header and status byte into scratch memory and returns
    /// the two buffers.
    pub fn envelope(&self, kind: u32, sector: u64) -> (Buffer, Buffer) {
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        self.write(SCRATCH, &header);
        self.write(SCRATCH + 16, &[UNANSWERED]);
        (readable(SCRATCH, 16), writable(SCRATCH + 16, 1))
    }

    /// Sends a chain and waits until it is used; returns the length. Tells the device of
    /// it only where that asked for it.
    pub fn exchange(&mut self, ring: usize, buffers: &[Buffer]) -> u32 {
        let by_index = self.features & !self.declined & EVENT_IDX != 0;
        let ring = &mut self.rings[ring];
        ring.chain(&self.memory, 0, buffers);
        ring.publish(&self.memory, 0);
        if !by_index || ring.wants_kick(&self.memory) {
            ring.kick();
        }
        let (head, len) = ring.wait_used(&self.memory);
        assert_eq!(head, 0);
        len
    }

    /// A request whose data, of `len` bytes, is at `SCRATCH + 0x1000`; returns
    /// its status.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
        let (header, status) = self.envelope(kind, sector);
        let buffers: Vec<_> = [header]
            .into_iter()
            .chain(data.iter().copied())
            .chain([status])
            .collect();
        self.exchange(REQUESTS, &buffers);
        self.read(SCRATCH + 16, 1)[0]
    }

    /// A request whose buffers are in an indirect table; returns its status.
    pub fn request_indirect(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
        const TABLE: u64 = SCRATCH + 0x8_0000;
        let (header, status) = self.envelope(kind, sector);
        let count = data.len() + 2;
        let chain = [header].into_iter().chain(data.iter().copied());
        for (i, buffer) in chain.chain([status]).enumerate() {
            let flags = if i + 1 < count { NEXT } else { 0 };
            let bytes = encode_descriptor(buffer, flags, i as u16 + 1);
            self.write(TABLE + 16 * i as u64, &bytes);
        }
        let table = readable(TABLE, 16 * count as u32);
        let ring = &mut self.rings[REQUESTS];
        ring.descriptor(&self.memory, 0, table, INDIRECT, 0);
        ring.publish(&self.memory, 0);
        ring.kick();
        assert_eq!(ring.wait_used(&self.memory).0, 0);
        self.read(SCRATCH + 16, 1)[0]
    }

    /// Where [`write_at`](Self::write_at) and others keep their data.
    const DATA: u64 = SCRATCH + 0x1000;

    pub fn write_at(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.write(Self::DATA, bytes);
        self.request(OUT, sector, &[readable(Self::DATA, bytes.len() as u32)])
    }

    pub fn read_at(&mut self, sector: u64, len: usize) -> Result<Vec<u8>, u8> {
        self.write(Self::DATA, &vec![0x5a; len]);
        match self.request(IN, sector, &[writable(Self::DATA, len as u32)]) {
            OK => Ok(self.read(Self::DATA, len)),
            status => Err(status),
        }
    }

    pub fn flush(&mut self) -> u8 {
        self.request(FLUSH, 0, &[])
    }

    /// Discards or zeroes; the range goes out as the standard has it.
    pub fn range(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
        let mut bytes = sector.to_le_bytes().to_vec();
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        self.write(Self::DATA, &bytes);
        self.request(kind, 0, &[readable(Self::DATA, 16)])
    }

    /// Sends a command of the contract, and does not wait for the response.
    pub fn post_command(&mut self, bytes: &[u8]) {
        self.write(COMMAND, bytes);
        let ring = &mut self.rings[COMMANDS];
        let buffers = [
            readable(COMMAND, bytes.len() as u32),
            writable(RESPONSE, MAX_MESSAGE as u32),
        ];
        ring.chain(&self.memory, 0, &buffers);
        ring.publish(&self.memory, 0);
        ring.kick();
    }

    /// Makes `count` reads of `len` bytes from the first sector on available, all into the
    /// buffer at `address`.
    pub fn begin_reads(&mut self, count: u16, len: u32, address: u64) {
        let (header, status) = self.envelope(IN, 0);
        for head in 0..count {
            let ring = &mut self.rings[REQUESTS];
            let chain = [header, writable(address, len), status];
            ring.chain(&self.memory, 3 * head, &chain);
            ring.publish(&self.memory, 3 * head);
        }
        self.rings[REQUESTS].kick();
    }

    /// Waits until the device has taken all requests. For a frontend with EVENT_IDX.
    pub fn wait_taken(&self) {
        let until = Instant::now() + PATIENCE;
        // Nothing tells of it but the index of the entry that the device waits for.
        let ring = &self.rings[REQUESTS];
        while !ring.wants_kick(&self.memory) && !ring.will_want_kick(&self.memory) {
            assert!(Instant::now() < until, "the device takes no requests");
            thread::yield_now();
        }
    }

    /// Sends a command of the contract and returns the response.
    pub fn command(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.write(COMMAND, bytes);
        let len = self.exchange(
            COMMANDS,
            &[
                readable(COMMAND, bytes.len() as u32),
                writable(RESPONSE, MAX_MESSAGE as u32),
            ],
        );
        self.read(RESPONSE, len as usize)
    }
}
