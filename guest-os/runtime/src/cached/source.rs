//! Where the accesses of a replay come from.

use workloads::replay::Replay;

use super::trace::{Next, TraceReader};
use crate::hardware::Hardware;
use crate::port::Machine;

/// A source of accesses.
pub enum Source {
    /// A workload.
    Workload(Replay),
    /// The trace disk.
    Trace(TraceReader),
    /// One that has been read to its end.
    Over,
}

impl Source {
    /// The next access.
    pub fn next<M: Machine>(&mut self, hw: &mut Hardware<'_, M>) -> Next {
        match self {
            Self::Workload(replay) => Next::Access(replay.next_access()),
            Self::Trace(reader) => reader.next(hw),
            Self::Over => Next::End,
        }
    }
}
