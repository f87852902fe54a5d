//! A vhost-user frontend with rings of its own, in place of QEMU and guest.
//!
//! The rings are written by hand, so that a test can put anything there. The
//! memory outlives connections, as a guest's does when its backend is killed.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::path::Path;
use std::sync::atomic::Ordering;
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
use vmm_sys_util::eventfd::EventFd;
use vssd::wire::MAX_MESSAGE;

use super::PATIENCE;
pub use super::ring::{Buffer, RING_SIZE, Ring, encode_descriptor, readable, writable};
use super::ring::{INDIRECT, NEXT};

pub const REQUESTS: usize = 0;
pub const EVENTS: usize = 1;
pub const COMMANDS: usize = 2;
pub const QUEUES: usize = 3;

/// Scratch memory for tests.
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

/// Connects and gets the first answer. The `vhost` crate waits for that forever, and a backend
/// whose worker hangs accepts no client: hence the thread.
fn greet(socket: &Path, queues: usize) -> (Connection, u64) {
    let backend = Connection::connect(socket, queues as u64).unwrap();
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

/// A kick that is always due and can never be read: a listening socket with a waiting client, which
/// is the second of these.
pub fn unreadable_kick() -> (EventFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // SAFETY: the descriptor is the listener's, which has given it away.
    let kick = unsafe { EventFd::from_raw_fd(listener.into_raw_fd()) };
    (kick, client)
}

/// Guest memory with rings, three unless the test says otherwise, connected to a backend or not.
pub struct Frontend {
    pub memory: GuestMemoryMmap,
    pub rings: Vec<Ring>,
    connection: Option<Connection>,
    /// What the backend offered.
    pub features: u64,
    /// What of it is not accepted.
    pub declined: u64,
    pub config: Vec<u8>,
    /// Queues of the backend at most.
    pub queue_num: u64,
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
            rings: (0..QUEUES).map(Ring::new).collect(),
            connection: None,
            features: 0,
            declined: 0,
            config: Vec::new(),
            queue_num: 0,
        }
    }

    pub fn connect(socket: &Path) -> Self {
        let mut frontend = Self::unplugged();
        frontend.plug(socket);
        frontend
    }

    /// The same with so many rings, as QEMU's `num-queues` has it.
    pub fn connect_with(socket: &Path, rings: usize) -> Self {
        let mut frontend = Self::unplugged();
        frontend.rings = (0..rings).map(Ring::new).collect();
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
        let (mut backend, features) = greet(socket, self.rings.len());
        self.features = features;
        backend.set_owner().unwrap();
        let offered = backend.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG;
        assert!(offered.contains(wanted), "{offered:?}");
        backend.set_protocol_features(wanted).unwrap();
        self.queue_num = backend.get_queue_num().unwrap();
        assert!(self.queue_num >= self.rings.len() as u64);
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

    /// Waits until the backend disconnects.
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

    /// Makes `kick` the notification of a ring from now on.
    pub fn kick_by(&mut self, ring: usize, kick: &EventFd) {
        let backend = self.connection.as_mut().expect("connected");
        backend.set_vring_enable(ring, false).unwrap();
        backend.set_vring_kick(ring, kick).unwrap();
        backend.set_vring_enable(ring, true).unwrap();
    }

    /// Stops a ring without waiting for the answer, which may never come. The connection is
    /// unusable after that.
    pub fn stop_ring_and_go(&mut self, ring: usize) {
        let backend = self.connection.take().expect("connected");
        thread::spawn(move || backend.get_vring_base(ring));
    }

    /// Disconnects as a killed QEMU does, without a message.
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

    /// Sends a chain and waits until it is used; returns the length. Notifies the device only if it
    /// asked for that.
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
        // The only sign of it is the index of the entry that the device waits for.
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
