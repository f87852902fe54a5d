//! A backing that stores nothing, for runs that check access only.

use std::io;

use vm_memory::VolatileSlice;

use super::Backing;

/// Discards every write; a read leaves its buffers unchanged.
#[derive(Clone, Copy, Debug)]
pub struct NullBacking {
    /// Its nominal length, bytes.
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
