//! Memory that a device reads and writes, and queues of such buffers.

use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering, fence};

use virtio_drivers::PAGE_SIZE;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use crate::pages::{self, KernelHal};
use crate::transport::{OpenError, PciTransport};

/// Contiguous memory that never moves. Its initial content is undefined.
///
/// It hands out raw ranges only: whether a reference may exist depends on
/// whether the device has the range, which its owner knows.
#[derive(Debug)]
pub struct DmaMemory {
    memory: NonNull<u8>,
    len: usize,
}

impl DmaMemory {
    /// At least `len` bytes.
    pub fn new(len: usize) -> Self {
        let count = len.div_ceil(PAGE_SIZE);
        Self {
            memory: pages::allocate(count),
            len: count * PAGE_SIZE,
        }
    }

    /// A range of it, valid for reads and writes while the device does not
    /// have it.
    ///
    /// # Panics
    /// When it reaches beyond the end.
    pub fn range(&self, offset: usize, len: usize) -> *mut [u8] {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} of a buffer of {}",
            self.len
        );
        ptr::slice_from_raw_parts_mut(self.memory.as_ptr().wrapping_add(offset), len)
    }
}

/// A queue, set up on the device without EVENT_IDX and indirect descriptors:
/// neither was negotiated.
pub fn open_queue<const N: usize>(
    transport: &mut PciTransport,
    number: u16,
) -> Result<VirtQueue<KernelHal, N>, OpenError> {
    let entries = transport.max_queue_size(number);
    if entries < N as u32 {
        return Err(OpenError::ShortQueue(number, entries, N));
    }
    VirtQueue::new(transport, number, false, false).map_err(|error| OpenError::Queue(number, error))
}

/// Rings the doorbell unless the device asked not to be notified.
pub fn kick<const N: usize>(
    queue: &VirtQueue<KernelHal, N>,
    number: u16,
    transport: &mut PciTransport,
) {
    // The new available index must be visible before the flag is read, or the device may go to rest
    // in between (virtio 1.2, 2.7.13.4.1).
    fence(Ordering::SeqCst);
    if queue.should_notify() {
        transport.notify(number);
    }
}

/// The direction of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device fills the buffers.
    FromDevice,
    /// The device takes what is in them.
    ToDevice,
}

/// A queue of `N` equal buffers, each a chain of one descriptor.
pub struct BufferRing<const N: usize> {
    queue: VirtQueue<KernelHal, N>,
    number: u16,
    direction: Direction,
    memory: DmaMemory,
    buffer_len: usize,
    /// For each buffer, how many bytes of it the device has; `None` = ours.
    lent: [Option<usize>; N],
    /// For each head descriptor, its buffer.
    buffer_of: [usize; N],
}

impl<const N: usize> BufferRing<N> {
    /// Sets the queue up; all buffers are ours.
    pub fn open(
        transport: &mut PciTransport,
        number: u16,
        direction: Direction,
        buffer_len: usize,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            queue: open_queue(transport, number)?,
            number,
            direction,
            memory: DmaMemory::new(N * buffer_len),
            buffer_len,
            lent: [None; N],
            buffer_of: [0; N],
        })
    }

    /// Lends every buffer to the device, whole.
    pub fn lend_all(&mut self) {
        for buffer in 0..N {
            self.lend(buffer, self.buffer_len);
        }
    }

    /// Lends the first `len` bytes of a buffer to the device.
    ///
    /// # Panics
    /// When the device has it already, or `len` is 0.
    pub fn lend(&mut self, buffer: usize, len: usize) {
        assert!(self.lent[buffer].is_none(), "buffer {buffer} is lent");
        let range = self.memory.range(buffer * self.buffer_len, len);
        // SAFETY: the buffer is ours, by the assertion, so no reference to it
        // exists: `bytes` borrows the ring. It is lent from here until
        // `take_back` pops it, and `bytes` refuses a lent one.
        let added = unsafe {
            match self.direction {
                Direction::FromDevice => self.queue.add(&[], &mut [&mut *range]),
                Direction::ToDevice => self.queue.add(&[&*range], &mut []),
            }
        };
        let head = added.expect("the queue has a descriptor for each buffer");
        self.buffer_of[usize::from(head)] = buffer;
        self.lent[buffer] = Some(len);
    }

    /// The next buffer that the device is done with, ours again, and the
    /// number of bytes that it wrote.
    pub fn take_back(&mut self) -> Option<(usize, usize)> {
        let head = self.queue.peek_used()?;
        let buffer = self.buffer_of[usize::from(head)];
        let len = self.lent[buffer].expect("the device returned a buffer that it was not given");
        let range = self.memory.range(buffer * self.buffer_len, len);
        // SAFETY: the range is the one that `lend` added under this head.
        let popped = unsafe {
            match self.direction {
                Direction::FromDevice => self.queue.pop_used(head, &[], &mut [&mut *range]),
                Direction::ToDevice => self.queue.pop_used(head, &[&*range], &mut []),
            }
        };
        let written = popped.expect("the head was seen in the used ring") as usize;
        self.lent[buffer] = None;
        Some((buffer, written.min(len)))
    }

    /// The bytes of a buffer.
    ///
    /// # Panics
    /// When the device has it.
    pub fn bytes(&mut self, buffer: usize) -> &mut [u8] {
        assert!(self.lent[buffer].is_none(), "buffer {buffer} is lent");
        let range = self.memory.range(buffer * self.buffer_len, self.buffer_len);
        // SAFETY: the device does not have it, and the borrow of the ring keeps
        // it from being lent while the reference lives.
        unsafe { &mut *range }
    }

    /// A buffer that is ours.
    pub fn free_buffer(&self) -> Option<usize> {
        self.lent.iter().position(Option::is_none)
    }

    /// True when the device has no buffer.
    pub fn is_idle(&self) -> bool {
        self.lent.iter().all(Option::is_none)
    }

    /// Tells the device of what was lent.
    pub fn kick(&self, transport: &mut PciTransport) {
        kick(&self.queue, self.number, transport);
    }

    /// Asks the device to interrupt when it is done with a buffer, or not to.
    /// Returns true when one is back already, for which none will come.
    pub fn interrupt(&mut self, wanted: bool) -> bool {
        self.queue.set_dev_notify(wanted);
        // The flag must be visible before the used ring is read (virtio 1.2, 2.7.7.1).
        fence(Ordering::SeqCst);
        self.queue.can_pop()
    }
}
