//! The buffers of a queue's slots.

use std::io;

use memmap2::MmapMut;

/// As in the guest kernel's port.
pub(super) const SLOTS: usize = 32;

/// Bytes in a slot's buffer, as in the kernel.
pub(super) const SLOT_LEN: usize = 256 << 10;

/// Distance between the buffers of two slots: a page more than a buffer. At a power of two, the
/// starts of all buffers would map to the same few cache sets.
const SLOT_STRIDE: usize = SLOT_LEN + 4096;

/// A buffer for each slot. A mapping of its own takes memory only where it was written, and gives it back when the
/// twin is dropped; the heap clears what it hands out again.
pub(super) struct Buffers(MmapMut);

impl Buffers {
    /// Buffers of zeros.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn new() -> io::Result<Self> {
        MmapMut::map_anon(SLOTS * SLOT_STRIDE).map(Self)
    }

    /// The first `len` bytes of a slot's buffer.
    pub(super) fn slot(&mut self, slot: usize, len: usize) -> &mut [u8] {
        &mut self.0[slot * SLOT_STRIDE..][..len]
    }
}
