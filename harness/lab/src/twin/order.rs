//! What an experiment has the guest do, and what comes of it.

use guest_runtime::port::Exit;
use workloads::Report;

/// Until what the guest is to run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// It has reported something.
    Reported,
    /// The resize of that number has ended.
    Resized(u64),
    /// Its driver has confirmed its list.
    Agreed,
    /// It has looked at its channel so many times, or has nothing to do.
    Looks(u32),
}

/// What the guest is to do next.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) input: Vec<u8>,
    pub(super) until: Until,
    /// Virtual time at which it gives up waiting.
    pub(super) deadline_ns: u64,
}

/// Why the guest stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stopped {
    /// What it ran for has happened.
    Reached,
    /// It did not happen in time.
    TimedOut,
    /// The guest has ended.
    Ended(Exit),
}

/// What came of an order.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reports: Vec<Report>,
    pub(super) stopped: Stopped,
}
