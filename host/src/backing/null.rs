//! A backing that moves nothing, where only who may access what counts.

use std::io;

use vm_memory::VolatileSlice;

use super::Backing;

/// Takes every write and forgets it; a read leaves its buffers as they are.
#[derive(Clone, Copy, Debug)]
pub struct NullBacking {
    /// Bytes that it pretends to have.
    pub len: u64,
}

impl Backing for NullBacking {
    fn read(&self, _offset: u64, _buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn keeps_data(&self) -> bool {
        false
    }
}
