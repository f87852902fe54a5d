//! Where the bytes of vSSDs are kept.
//!
//! A backing knows offsets only: neither vSSDs nor ownership. Requests move straight between it and
//! guest memory.

mod claim;
mod contents;
mod file;
mod holes;
mod id;
mod loops;
mod memory;
mod null;
mod room;
mod signatures;
#[cfg(test)]
pub mod trace;
mod users;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vm_memory::VolatileSlice;

pub use file::{FileBacking, FileOptions, OpenError};
pub use memory::MemoryBacking;
pub use null::NullBacking;
pub use room::{Made, Room, survive_size_limits, warn_of_size_limit};
pub use signatures::Found;

/// What offsets, lengths and buffers of a backing are multiples of, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Addresses of buffers.
    pub address: usize,
    /// Offsets on the backing and lengths of buffers.
    pub len: usize,
}

impl Default for Alignment {
    fn default() -> Self {
        Self { address: 1, len: 1 }
    }
}

/// Bytes at offsets. Calls block until the bytes are where they belong; all
/// but [`flush`](Self::flush) may leave them in a volatile cache.
pub trait Backing: Send + Sync {
    /// Fills all of `buffers` from `offset`.
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Stores all of `buffers` at `offset`.
    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Makes what was written before this call durable.
    fn flush(&self) -> io::Result<()>;

    /// Bytes there are.
    fn len(&self) -> u64;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The alignment that it needs of buffers and offsets.
    fn alignment(&self) -> Alignment {
        Alignment::default()
    }

    /// Whether it stores what is written. One that does not is for runs that check access only.
    fn keeps_data(&self) -> bool {
        true
    }

    /// Bytes of the unit, a power of two, in which [`punch`](Self::punch) frees space; `None` where
    /// it frees none.
    fn hole_unit(&self) -> Option<u64> {
        None
    }

    /// Frees the space of a range, whose contents are lost: it reads as zeros, as soon as that is
    /// flushed also after a loss of power.
    fn punch(&self, _range: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Its file, for engines that do I/O on the file itself.
    fn file(&self) -> Option<Arc<File>> {
        None
    }

    /// The descriptors that keep other backends off it. An engine whose transfers may outlast this
    /// process keeps them open until these have ended.
    fn claim(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
