//! A medium that moves nothing, where only who may access what counts.

use std::io;
use std::ops::Range;

use vm_memory::VolatileSlice;

use super::Medium;

/// Takes every write and forgets it; a read leaves its buffers as they are.
#[derive(Clone, Copy, Debug)]
pub struct NullMedium {
    /// Bytes that it pretends to have.
    pub len: u64,
}

impl Medium for NullMedium {
    fn read(&self, _offset: u64, _buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn data(&self, _range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }

    fn len(&self) -> u64 {
        self.len
    }
}
