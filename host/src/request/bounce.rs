//! The aligned buffer through which the data of slow requests go.

use vm_memory::VolatileSlice;

use super::slot::Clip;
use crate::backing::Alignment;

/// Bytes that go through the buffer at a time, at least one block.
const BOUNCE_LEN: usize = 64 << 10;

/// An aligned buffer, allocated when it is first needed.
#[derive(Default)]
pub(super) struct Bounce {
    bytes: Vec<u8>,
    /// Bytes that it can hold.
    pub(super) len: usize,
    alignment: Alignment,
}

impl Bounce {
    pub(super) fn new(block_size: u32, alignment: Alignment) -> Self {
        Self {
            bytes: Vec::new(),
            len: BOUNCE_LEN.max(block_size as usize),
            alignment,
        }
    }

    /// The first `len` bytes.
    pub(super) fn front(&mut self, len: usize) -> VolatileSlice<'_> {
        let address = self.alignment.address;
        if self.bytes.is_empty() {
            self.bytes = vec![0; self.len + address];
        }
        let skip = self.bytes.as_ptr().align_offset(address);
        VolatileSlice::from(&mut self.bytes[skip..skip + len])
    }

    /// The aligned range that contains `clip`: its start within the blocks, its bytes before
    /// `clip`, and its length.
    pub(super) fn cover(&self, clip: Clip) -> (u64, usize, usize) {
        let len = self.alignment.len as u64;
        let begin = clip.within / len * len;
        let end = (clip.within + clip.len as u64).next_multiple_of(len);
        (
            begin,
            (clip.within - begin) as usize,
            (end - begin) as usize,
        )
    }
}
