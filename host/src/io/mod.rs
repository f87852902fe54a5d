//! Moving the bytes of requests between guest memory and the backing.
//!
//! An [`Engine`] takes transfers and reports later which have ended; it knows neither guests nor
//! pools. One belongs to one thread, and to the requests of one vSSD.
//!
//! - [`uring`]: asynchronous, by an io_uring of its own
//! - [`immediate`]: each transfer ends before it returns, by a [`Backing`]
//! - [`paced`]: as slow as an emulated medium, around one of these
//!
//! [`Backing`]: crate::backing::Backing

pub mod immediate;
pub mod paced;
pub mod uring;

use std::io;
use std::os::fd::RawFd;

use vm_memory::VolatileSlice;

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the backing to guest memory.
    Read,
    /// From guest memory to the backing.
    Write,
}

/// Moves bytes between guest memory and one backing.
pub trait Engine: Send {
    /// Transfers that can be submitted now. Never 0 when nothing is in flight.
    fn room(&self) -> usize;

    /// Starts to move all of `buffers` to or from `offset` of the backing. There must
    /// be [`room`](Self::room).
    ///
    /// # Safety
    /// The buffers stay valid memory until the transfer has ended.
    #[allow(unsafe_code)]
    unsafe fn submit(
        &mut self,
        token: u64,
        direction: Direction,
        offset: u64,
        buffers: &mut dyn Iterator<Item = VolatileSlice<'_>>,
    );

    /// Whether [`submit`](Self::submit) may wait for the backing.
    fn may_block(&self) -> bool;

    /// Makes sure that submitted transfers are under way.
    fn kick(&mut self);

    /// A transfer that has ended, by its token.
    fn ended(&mut self) -> Option<(u64, io::Result<()>)>;

    /// Waits until a transfer has ended that was under way.
    fn wait(&mut self);

    /// Makes [`park`](Self::park) wait for `other` as well, which stays open as long as the engine.
    /// Called once, before the first `park`.
    ///
    /// # Errors
    /// When the system refuses.
    fn watch(&mut self, other: RawFd) -> io::Result<()>;

    /// Makes sure that submitted transfers are under way, and waits until a transfer has ended:
    /// true; or until the watched descriptor is readable: false. An engine whose transfers never
    /// outlast their submission does not wait.
    fn park(&mut self) -> bool;
}

/// The engines, by name.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum EngineName {
    /// io_uring: many requests at once, few system calls.
    #[default]
    Uring,
    /// preadv and pwritev, one request at a time.
    Sync,
}

#[cfg(test)]
mod tests;
