//! What the runtime asks of the machine below it.
//!
//! The kernel implements these traits on PCI, virtqueues and interrupts; an
//! in-process twin can implement them on queues in memory. Everything above
//! them is the same code in both.

use core::fmt;
use core::mem::offset_of;

use vssd::wire::{MARK_LEN, MARK_OFFSET};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A virtio-blk request type that the runtime uses (virtio 1.2, 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlkOp {
    /// VIRTIO_BLK_T_IN: the device fills the slot's buffer.
    Read,
    /// VIRTIO_BLK_T_OUT: the device stores the slot's buffer.
    Write,
    /// VIRTIO_BLK_T_FLUSH: earlier completed writes become durable.
    Flush,
    /// VIRTIO_BLK_T_DISCARD: the device may forget what is there.
    Discard,
}

/// The status byte of a finished virtio-blk request (virtio 1.2, 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlkStatus {
    /// VIRTIO_BLK_S_OK.
    Ok,
    /// VIRTIO_BLK_S_IOERR, and any value the device may not send.
    IoError,
    /// VIRTIO_BLK_S_UNSUPP.
    Unsupported,
}

/// Bytes in a sector, the unit in which virtio-blk counts (virtio 1.2, 5.2.4).
pub const SECTOR_LEN: usize = 512;

/// The front of a virtio-blk device's config space (virtio 1.2, 5.2.4), as far as this guest
/// reads it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlkConfig {
    /// Size of the disk, sectors.
    pub capacity: U64,
    /// Most bytes of a buffer, with VIRTIO_BLK_F_SIZE_MAX.
    pub size_max: U32,
    /// Most buffers of a request, with VIRTIO_BLK_F_SEG_MAX.
    pub seg_max: U32,
    /// Cylinders, heads and sectors, with VIRTIO_BLK_F_GEOMETRY.
    pub geometry: [u8; 4],
    /// Bytes of a logical block, with VIRTIO_BLK_F_BLK_SIZE.
    pub blk_size: U32,
    /// The topology, of which a vSSD makes its mark (SPEC.md, 4.1).
    pub mark: [u8; MARK_LEN],
    /// The mode of the disk's cache, with VIRTIO_BLK_F_CONFIG_WCE.
    pub writeback: u8,
    /// Reserved.
    pub unused: u8,
    /// Of a vSSD the number of queues that QEMU was given; of another disk valid only with
    /// VIRTIO_BLK_F_MQ.
    pub num_queues: U16,
}

const _: () = assert!(size_of::<BlkConfig>() == 36);
const _: () = assert!(offset_of!(BlkConfig, mark) == MARK_OFFSET);

/// Features of a virtio-blk device, as bits (virtio 1.2, 5.2.3).
pub mod feature {
    /// A buffer of a request has at most `size_max` bytes.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// A request has at most `seg_max` buffers.
    pub const SEG_MAX: u64 = 1 << 2;
    /// Writes are refused.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` is the logical block.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// The device takes VIRTIO_BLK_T_FLUSH. Without it, a write is durable when it ends.
    pub const FLUSH: u64 = 1 << 9;
    /// The device takes VIRTIO_BLK_T_DISCARD.
    pub const DISCARD: u64 = 1 << 13;
}

/// The one range of a discard, as its request carries it (virtio 1.2, 5.2.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiscardRange {
    /// The first sector.
    pub sector: U64,
    /// Number of sectors.
    pub sectors: U32,
    /// No flag is for discards.
    pub flags: U32,
}

const _: () = assert!(size_of::<DiscardRange>() == 16);

impl DiscardRange {
    /// The range of `len` bytes, whole sectors.
    pub fn new(sector: u64, len: usize) -> Self {
        Self {
            sector: sector.into(),
            sectors: ((len / SECTOR_LEN) as u32).into(),
            flags: U32::ZERO,
        }
    }

    /// Writes it to the front of a request's buffer. Returns how many bytes that are.
    pub fn write(&self, buffer: &mut [u8]) -> usize {
        let bytes = self.as_bytes();
        buffer[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }
}

/// The request queue of a virtio-blk disk, as its driver sees it: a set of *slots*,
/// each of which owns one DMA buffer and carries at most one request.
pub trait BlkPort {
    /// Copies `out.len()` bytes of the device's config space from `offset`.
    fn read_config(&mut self, offset: usize, out: &mut [u8]);

    /// The features that were negotiated, as bits.
    fn features(&self) -> u64;

    /// Number of slots on queue 0.
    fn slot_count(&self) -> usize;

    /// Bytes in each slot's buffer, all of which one request may move.
    fn slot_len(&self) -> usize;

    /// The buffer of a slot that has no request in flight.
    ///
    /// # Panics
    /// When the slot has a request in flight, or does not exist.
    fn buffer(&mut self, slot: usize) -> &mut [u8];

    /// Puts a request on queue 0 (a flush only where the device takes one, and else it has
    /// succeeded), using the first `len` bytes of the slot's
    /// buffer (0 for a flush). A discard, which only a device with [`feature::DISCARD`] takes, is
    /// of `len` bytes of the disk, and its range is written to the buffer. The device may not
    /// see a request before [`kick`].
    ///
    /// # Panics
    /// When the slot has a request in flight, does not exist or is shorter
    /// than `len`.
    ///
    /// [`kick`]: Self::kick
    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize);

    /// Rings the doorbell for what was submitted since the last call, if the
    /// device asked to be notified.
    fn kick(&mut self);

    /// The next finished request: its slot, free again, and its status.
    fn completion(&mut self) -> Option<(usize, BlkStatus)>;

    /// The disk's size, sectors (virtio 1.2, 5.2.4).
    fn capacity_sectors(&mut self) -> u64 {
        let mut sectors = U64::ZERO;
        self.read_config(offset_of!(BlkConfig, capacity), sectors.as_mut_bytes());
        sectors.get()
    }

    /// Bytes of a logical block, of which requests are multiples: a sector unless the device
    /// says otherwise (virtio 1.2, 5.2.4).
    fn logical_block(&mut self) -> u32 {
        const SECTOR: u32 = SECTOR_LEN as u32;
        if self.features() & feature::BLK_SIZE == 0 {
            return SECTOR;
        }
        let mut block = U32::ZERO;
        self.read_config(offset_of!(BlkConfig, blk_size), block.as_mut_bytes());
        block.get().max(SECTOR)
    }

    /// Whether the device refuses writes.
    fn is_read_only(&self) -> bool {
        self.features() & feature::RO != 0
    }
}

/// The queues of a vSSD, as the driver sees them.
///
/// Queue 0 is a disk's like any other, and the only one of a disk whose size is fixed: of
/// such a disk only [`queue_count`](Self::queue_count) may be called. The command queue has
/// one request in flight at a time, in one buffer that the port owns. The port keeps the event queue filled with
/// buffers by itself.
pub trait VssdPort: BlkPort {
    /// Number of queues that the device has.
    fn queue_count(&self) -> usize;

    /// Copies the next event of the event queue into `out`, gives the buffer
    /// back to the device and returns the number of bytes the device wrote.
    fn event(&mut self, out: &mut [u8; vssd::wire::EVENT_LEN]) -> Option<usize>;

    /// The buffer in which the next command is to be built, free whenever no
    /// command is in flight; at least [`vssd::wire::MAX_MESSAGE`] bytes.
    ///
    /// # Panics
    /// When a command is in flight.
    fn command_buffer(&mut self) -> &mut [u8];

    /// Sends the first `len` bytes of the command buffer and rings the
    /// doorbell. The response may be as long as [`vssd::wire::MAX_MESSAGE`].
    ///
    /// # Panics
    /// When a command is in flight.
    fn send_command(&mut self, len: usize);

    /// The response to the command in flight, once; `None` while it is out.
    /// The slice has the length that the device reported, bounded by the
    /// buffer.
    fn command_response(&mut self) -> Option<&[u8]>;
}

/// The machine around the vSSD: other disks, clock, idling, and two channels.
pub trait Machine {
    /// The queues of the vSSD, or of the disk in its place.
    type Port: VssdPort;
    /// A disk that is not a vSSD, or is used as a plain disk.
    type Disk: BlkPort;

    /// The vSSD: the first disk with its mark, or where none has one the first.
    fn port(&mut self) -> &mut Self::Port;

    /// The disk for which the vSSD can be a cache: the first of the others.
    fn origin(&mut self) -> Option<&mut Self::Disk>;

    /// The disk that a trace of accesses can be read from: the second of the others.
    fn trace(&mut self) -> Option<&mut Self::Disk>;

    /// Nanoseconds since some moment before the runtime started; monotonic.
    fn now_ns(&mut self) -> u64;

    /// Waits until an interrupt arrives or a timer of at most 10 ms fires.
    /// An interrupt since the caller's last poll ends the wait at once.
    fn idle(&mut self);

    /// Takes bytes that arrived on the command channel; 0 when none are there.
    fn read_channel(&mut self, out: &mut [u8]) -> usize;

    /// Sends bytes on the report channel, waiting for room as needed.
    fn write_channel(&mut self, bytes: &[u8]);

    /// True when commands and reports travel on their own channel (a
    /// virtio-console); false when they share the serial console with the log.
    fn has_own_channel(&self) -> bool;

    /// Prints one line on the serial console.
    fn log(&mut self, line: fmt::Arguments<'_>);
}

/// How a run of the guest ends: the value for QEMU's exit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All commands were carried out.
    Success,
    /// A command failed or there is no usable disk.
    Failure,
}
