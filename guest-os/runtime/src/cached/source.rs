//! Where the accesses of a replay come from.

use alloc::string::String;

use rand::RngExt;
use workloads::pattern::{Rng, Stream};

use super::trace::TraceReader;
use crate::hardware::Hardware;
use crate::port::Machine;

/// One block, read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The block of the origin disk.
    pub block: u32,
    /// Whether it is written.
    pub is_write: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This access.
    Access(Access),
    /// One that is yet to be read.
    Later,
    /// None.
    End,
    /// None, for this reason.
    Failed(String),
}

/// A source of accesses.
pub enum Source {
    /// A workload, of whose accesses so many in a hundred are writes, as `rng` draws.
    Workload {
        /// The blocks.
        stream: Stream,
        /// Which of them are written.
        rng: Rng,
        /// Writes in a hundred.
        writes: u32,
    },
    /// The trace disk.
    Trace(TraceReader),
    /// One that has been read to its end.
    Over,
}

impl Source {
    /// The next access.
    pub fn next<M: Machine>(&mut self, hw: &mut Hardware<'_, M>) -> Next {
        match self {
            Self::Workload {
                stream,
                rng,
                writes,
            } => Next::Access(Access {
                block: stream.next_block(),
                is_write: *writes > 0 && rng.random_range(0..100) < *writes,
            }),
            Self::Trace(reader) => reader.next(hw),
            Self::Over => Next::End,
        }
    }
}
