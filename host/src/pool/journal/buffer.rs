//! Memory for reads and writes of the journal.

use std::io;

use vm_memory::VolatileSlice;

use super::layout::PAGE;
use crate::backing::Backing;

/// A buffer at a multiple of [`PAGE`] in memory, as direct I/O wants it.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
}

impl AlignedBuffer {
    /// The first `len` bytes, with anything in them.
    pub fn get(&mut self, len: usize) -> &mut [u8] {
        let page = PAGE as usize;
        if self.bytes.len() < len + page {
            self.bytes = vec![0; len.next_power_of_two() + page];
        }
        let skip = self.bytes.as_ptr().align_offset(page);
        &mut self.bytes[skip..skip + len]
    }

    /// Fills the first `len` bytes from `offset` of a backing.
    pub fn read(&mut self, backing: &dyn Backing, offset: u64, len: usize) -> io::Result<&[u8]> {
        let bytes = self.get(len);
        backing.read(offset, &[VolatileSlice::from(&mut *bytes)])?;
        Ok(bytes)
    }

    /// Stores the first `len` bytes at `offset` of a backing.
    pub fn write(&mut self, backing: &dyn Backing, offset: u64, len: usize) -> io::Result<()> {
        backing.write(offset, &[VolatileSlice::from(self.get(len))])
    }
}
