//! Work on the blocks of the device, with many requests in flight.
//!
//! A [`Job`] says which request comes next and looks at what came back; the
//! loop that keeps the queue full, carries resizes on and otherwise idles
//! is the same for all of them, in [`crate::guest`].

mod doubtful;
mod fill;
mod flush;
mod latency;
mod read;
mod stress;
mod verify;

pub use fill::Fill;
pub use flush::Flush;
pub use read::{Read, ReadOptions};
pub use stress::Stress;
pub use verify::Verify;

use alloc::vec::Vec;

use vssd::units::Geometry;
use workloads::Report;

use crate::app::App;
use crate::disk::{BlockRequest, Completion, Disk};
use crate::phases::Phase;

/// What a job wants to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Submit this request; the job has filled the buffer of a write.
    Request(BlockRequest),
    /// Something was counted without a request; ask again.
    Counted,
    /// Nothing before a request in flight comes back.
    Later,
    /// The job is over once no request is in flight.
    End,
}

/// What a job can see while it says what comes next.
pub struct View<'a> {
    /// The driver.
    pub disk: &'a Disk,
    /// The shape of the device.
    pub geometry: Geometry,
    /// True when a further command waits.
    pub is_interrupted: bool,
}

/// Work on blocks.
pub trait Job {
    /// Requests in flight at most.
    fn depth(&self) -> usize {
        usize::MAX
    }

    /// Whether each request is to be timed, which costs a look at the clock
    /// whenever anything happens.
    fn is_timed(&self) -> bool {
        false
    }

    /// The next request. `buffer` is the one it will use, for a write to fill.
    fn next(&mut self, view: &View<'_>, app: &mut App, buffer: &mut [u8]) -> Next;

    /// Takes a request that came back; `buffer` is what it read.
    fn done(&mut self, done: &Completion, view: &View<'_>, app: &mut App, buffer: &[u8]);

    /// The last request is back; `started_ns` is from before the first was
    /// requested. A job that is timed gets the phases, another none.
    fn ended(&mut self, _started_ns: u64, _ended_ns: u64, _phases: &[Phase]) {}

    /// What to report once all is done and the list is quiet.
    fn reports(self, app: &App) -> Vec<Report>;
}
