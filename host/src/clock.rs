//! The clock of a vSSD's deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A clock that counts nanoseconds from some moment before its first use.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The monotonic clock of the system.
    Monotonic(Instant),
    /// A number that its caller advances, so that runs are repeatable.
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    /// The clock of the system, from now on.
    pub fn monotonic() -> Self {
        Self::Monotonic(Instant::now())
    }

    /// The time, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        match self {
            Self::Monotonic(epoch) => epoch.elapsed().as_nanos() as u64,
            Self::Virtual(now) => now.load(Ordering::Relaxed),
        }
    }
}
