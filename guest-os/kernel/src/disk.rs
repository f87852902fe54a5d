//! The request queue of a virtio-blk disk, a vSSD's or another's (virtio 1.2, 5.2).

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use guest_runtime::port::{BlkConfig, BlkOp, BlkPort, BlkStatus, DiscardRange, feature};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::dma::{self, DmaMemory};
use crate::pages::KernelHal;
use crate::transport::{OpenError, PciTransport};

/// The features about a disk's limits. EVENT_IDX and INDIRECT_DESC stay off: `VirtQueue`'s
/// notification check by index is not safe when the index wraps, and chains of three descriptors
/// gain nothing from a table.
const FEATURES: u64 = feature::SIZE_MAX
    | feature::SEG_MAX
    | feature::RO
    | feature::BLK_SIZE
    | feature::FLUSH
    | feature::DISCARD;

/// Bytes that a buffer must be able to have: a block of a cache or of a trace.
const SIZE_MAX_LEAST: usize = 4096;

const REQUEST_QUEUE: u16 = 0;

/// Three descriptors for each of 32 slots fit the usual 128.
const REQUEST_QUEUE_LEN: usize = 128;

/// Slots of a queue at most, and those of a disk on which work is done.
pub const SLOTS_MAX: usize = 32;

/// Slots of a disk that is read sequentially: enough to read ahead while one piece is processed.
pub const SLOTS_OF_STREAM: usize = 4;

const SLOT_LEN: usize = 256 << 10;

/// A request's header (virtio 1.2, 5.2.6).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RequestHeader {
    kind: U32,
    reserved: U32,
    sector: U64,
}

const _: () = assert!(HEADER_LEN == 16);

/// A request's header and status byte, per slot.
const HEADER_LEN: usize = size_of::<RequestHeader>();
const STATUS_LEN: usize = 1;
const CONTROL_STRIDE: usize = 32;

const VIRTIO_BLK_T_IN: u32 = 0;
const VIRTIO_BLK_T_OUT: u32 = 1;
const VIRTIO_BLK_T_FLUSH: u32 = 4;
const VIRTIO_BLK_T_DISCARD: u32 = 11;
const VIRTIO_BLK_S_OK: u8 = 0;
const VIRTIO_BLK_S_UNSUPP: u8 = 2;
/// Not a status of the standard: a request that returns with it has failed.
const STATUS_UNWRITTEN: u8 = 0xff;

/// A request that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    op: BlkOp,
    len: usize,
}

/// A virtio-blk disk and its first queue, the only one that is used here.
pub struct Disk {
    /// The device.
    pub transport: PciTransport,
    requests: Requests,
    features: u64,
}

struct Requests {
    queue: VirtQueue<KernelHal, REQUEST_QUEUE_LEN>,
    data: Vec<DmaMemory>,
    control: DmaMemory,
    in_flight: Vec<Option<InFlight>>,
    /// Bytes of a request at most.
    longest: usize,
    /// Whether the device takes flushes.
    has_flush: bool,
    /// Flushes that complete at once because the device needs none, in slots that have not been
    /// returned.
    flushed: VecDeque<usize>,
    /// For each head descriptor, its slot.
    slot_of: [usize; REQUEST_QUEUE_LEN],
    /// Something was submitted since the last kick.
    is_unannounced: bool,
}

impl Disk {
    /// Resets a device of which this queue is all that is used, and starts it.
    pub fn open(transport: PciTransport, slots: usize) -> Result<Self, OpenError> {
        let mut disk = Self::prepare(transport, slots)?;
        disk.transport.finish_init();
        Ok(disk)
    }

    /// Resets a device and sets this queue up. The device does not start before
    /// others may have been.
    pub fn prepare(mut transport: PciTransport, slots: usize) -> Result<Self, OpenError> {
        let features = transport.negotiate(FEATURES)?;
        let requests = Requests::open(&mut transport, slots, features)?;
        Ok(Self {
            transport,
            requests,
            features,
        })
    }

    /// Enables the interrupts of this queue, or disables them while it is polled.
    /// Returns true when a request has already finished without an interrupt.
    pub fn interrupt(&mut self, wanted: bool) -> bool {
        self.requests.queue.set_dev_notify(wanted);
        // The flag must be visible before the used ring is read (virtio 1.2, 2.7.7.1).
        fence(Ordering::SeqCst);
        self.requests.queue.can_pop() || !self.requests.flushed.is_empty()
    }
}

impl Requests {
    fn open(transport: &mut PciTransport, slots: usize, features: u64) -> Result<Self, OpenError> {
        assert!(
            slots <= SLOTS_MAX,
            "{slots} slots, the maximum is {SLOTS_MAX}"
        );
        let longest = match features & feature::SIZE_MAX {
            0 => SLOT_LEN,
            _ => longest(transport)?,
        };
        Ok(Self {
            queue: dma::open_queue(transport, REQUEST_QUEUE)?,
            data: (0..slots).map(|_| DmaMemory::new(SLOT_LEN)).collect(),
            control: DmaMemory::new(slots * CONTROL_STRIDE),
            in_flight: vec![None; slots],
            longest,
            has_flush: features & feature::FLUSH != 0,
            flushed: VecDeque::with_capacity(slots),
            slot_of: [0; REQUEST_QUEUE_LEN],
            is_unannounced: false,
        })
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.in_flight[slot].is_none(), "slot {slot} is in flight");
        let range = self.data[slot].range(0, self.longest);
        // SAFETY: the device does not have the slot, by the assertion, and the
        // borrow keeps it from being submitted while the reference lives.
        unsafe { &mut *range }
    }

    fn submit(&mut self, slot: usize, request: InFlight, sector: u64) {
        assert!(self.in_flight[slot].is_none(), "slot {slot} is in flight");
        let has_data = request.op != BlkOp::Flush;
        assert!(
            has_data == (request.len > 0) && request.len <= self.longest,
            "{:?} of {} bytes",
            request.op,
            request.len
        );
        if request.op == BlkOp::Flush && !self.has_flush {
            self.in_flight[slot] = Some(request);
            self.flushed.push_back(slot);
            return;
        }
        let kind = match request.op {
            BlkOp::Read => VIRTIO_BLK_T_IN,
            BlkOp::Write => VIRTIO_BLK_T_OUT,
            BlkOp::Flush => VIRTIO_BLK_T_FLUSH,
            BlkOp::Discard => VIRTIO_BLK_T_DISCARD,
        };
        let control = self.control.range(slot * CONTROL_STRIDE, CONTROL_STRIDE);
        // SAFETY: the slot's part of the control memory, which the device does
        // not have, by the assertion; the reference ends before `add`.
        let bytes = unsafe { &mut *control };
        let header = RequestHeader {
            kind: kind.into(),
            reserved: 0.into(),
            sector: sector.into(),
        };
        header.write_to_prefix(bytes).expect("room for a header");
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
        self.is_unannounced = true;
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        if let Some(slot) = self.flushed.pop_front() {
            self.in_flight[slot] = None;
            return Some((slot, BlkStatus::Ok));
        }
        let head = self.queue.peek_used()?;
        let slot = self.slot_of[usize::from(head)];
        let request =
            self.in_flight[slot].expect("the device finished a request that it was not given");
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
            BlkOp::Write | BlkOp::Discard => action(queue, &[header, data], &mut [status]),
            BlkOp::Flush => action(queue, &[header], &mut [status]),
        }
    }
}

/// The longest request of a device that bounds its buffers, of which a request has one: whole
/// pages, whatever the bound is.
fn longest(transport: &PciTransport) -> Result<usize, OpenError> {
    let mut size_max = U32::ZERO;
    transport.read_config(offset_of!(BlkConfig, size_max), size_max.as_mut_bytes());
    match (size_max.get() as usize).min(SLOT_LEN) {
        short @ ..SIZE_MAX_LEAST => Err(OpenError::ShortBuffers(short, SIZE_MAX_LEAST)),
        longest => Ok(longest - longest % SIZE_MAX_LEAST),
    }
}

impl BlkPort for Disk {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        self.transport.read_config(offset, out);
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn slot_count(&self) -> usize {
        self.requests.in_flight.len()
    }

    fn slot_len(&self) -> usize {
        self.requests.longest
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.requests.buffer(slot)
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        if op != BlkOp::Discard {
            return self.requests.submit(slot, InFlight { op, len }, sector);
        }
        assert!(
            self.features & feature::DISCARD != 0,
            "a discard for a disk that takes none"
        );
        let len = DiscardRange::new(sector, len).write(self.requests.buffer(slot));
        // The sector of the header is of no use to a discard (virtio 1.2, 5.2.6).
        self.requests.submit(slot, InFlight { op, len }, 0);
    }

    fn kick(&mut self) {
        if core::mem::take(&mut self.requests.is_unannounced) {
            dma::kick(&self.requests.queue, REQUEST_QUEUE, &mut self.transport);
        }
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        self.requests.completion()
    }
}
