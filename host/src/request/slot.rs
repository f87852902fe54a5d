//! A request under way, and its state.

use std::io;

use smallvec::SmallVec;
use vm_memory::VolatileSlice;
use vssd::units::SECTOR_SIZE;

use super::chain::{Buffers, MemoryGuard, Origin};
use super::parse::Request;
use crate::pool::PendingCommit;
use crate::pool::volume::Extent;

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Other requests have its blocks.
    Parked,
    /// Blocks from `next` on are still to be submitted: when there is room, or when the commit has
    /// freed `physical_blocks`.
    Moving {
        next: u32,
        physical_blocks: Option<PendingCommit>,
    },
    /// Its changes are being committed to the log.
    Recording(PendingCommit),
    /// Its status is known.
    Ended { status: u32, len: u32 },
}

/// Why a request fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// The backing failed, or its changes could not be recorded.
    Backing(io::Error),
    /// The pool has no physical block left for what it writes.
    NoSpace,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Backing(error)
    }
}

/// A request under way.
pub(super) struct Slot {
    pub(super) origin: Origin,
    pub(super) request: Request,
    /// Its blocks.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Its data.
    pub(super) data: Buffers<'static>,
    /// Where its status goes: a byte. Without one there is no answer.
    pub(super) status: Option<VolatileSlice<'static>>,
    /// Keeps the buffers mapped.
    pub(super) _memory: Option<MemoryGuard>,
    pub(super) step: Step,
    /// Transfers in flight.
    pub(super) transfers: u32,
    /// Why it fails.
    pub(super) failure: Option<Failure>,
    /// No other request may be in flight on its blocks.
    pub(super) exclusive: bool,
    /// Physical blocks for first writes that are in flight.
    pub(super) fresh: SmallVec<[Extent; 1]>,
    /// Its changes are to be recorded.
    pub(super) changed: bool,
    pub(super) began_ns: u64,
}

// SAFETY: the pointers in a slot are to buffers that are valid whatever thread
// uses them, by the contract of `Pass::push`.
#[allow(unsafe_code)]
unsafe impl Send for Slot {}

impl Slot {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }

    pub(super) fn is_moving(&self) -> bool {
        matches!(self.step, Step::Moving { .. })
    }

    /// Where the bytes of `blocks` (first and count) lie in its data: the
    /// bytes before them, and their number. Ranges in bytes of the device.
    pub(super) fn clip(&self, (first, count): (u32, u32), block_size: u32) -> Clip {
        let block_size = u64::from(block_size);
        let begin = self.request.sector * u64::from(SECTOR_SIZE);
        let end = begin + self.request.bytes;
        let first = u64::from(first) * block_size;
        let from = first.max(begin);
        let to = (first + u64::from(count) * block_size).min(end);
        Clip {
            skip: (from - begin) as usize,
            len: (to - from) as usize,
            within: from - first,
        }
    }
}

/// The part of some blocks that a request covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clip {
    /// Bytes of the request before it.
    pub(super) skip: usize,
    /// Its bytes.
    pub(super) len: usize,
    /// Bytes of the blocks before it.
    pub(super) within: u64,
}

/// Fills a buffer with zeros.
pub(super) fn clear(slice: VolatileSlice<'_>) {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = 0;
    while at < slice.len() {
        let Ok(rest) = slice.offset(at) else { return };
        let len = rest.len().min(ZEROS.len());
        rest.copy_from(&ZEROS[..len]);
        at += len;
    }
}
