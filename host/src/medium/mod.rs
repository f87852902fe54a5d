//! Where the bytes of vSSDs are kept.
//!
//! A medium knows offsets and nothing else: neither vSSDs nor who owns what.
//! Requests move straight between it and guest memory.

mod file;
mod memory;
mod null;

use std::io;
use std::ops::Range;

use vm_memory::VolatileSlice;

pub use file::{FileMedium, OpenError};
pub use memory::MemoryMedium;
pub use null::NullMedium;

/// Bytes at offsets. Calls block until the bytes are where they belong; all
/// but [`flush`](Self::flush) may leave them in a volatile cache.
pub trait Medium: Send + Sync {
    /// Fills all of `buffers` from `offset`.
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Stores all of `buffers` at `offset`.
    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Makes these bytes read as zeros and gives their space back.
    fn discard(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes what was written before this call durable.
    fn flush(&self) -> io::Result<()>;

    /// The parts of `range` that may read as something else than zeros.
    fn data(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>>;

    /// Bytes there are.
    fn len(&self) -> u64;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
