//! Messages between the experiment and the guest's thread.

use guest_runtime::port::Exit;
use workloads::Report;

/// The condition at which the guest stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// The guest has sent a report.
    Reported,
    /// The resize with this number has finished.
    Resized(u64),
    /// The driver has confirmed its list.
    Agreed,
    /// The guest has polled its channel so often, or is idle.
    Polls(u32),
}

/// Input for the guest, and how long it may run.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) input: Vec<u8>,
    pub(super) until: Until,
    /// Virtual time of the timeout.
    pub(super) deadline_ns: u64,
}

/// Why the guest stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stopped {
    /// The condition holds.
    Reached,
    TimedOut,
    /// The guest has exited.
    Exited(Exit),
}

/// The reply to an order.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reports: Vec<Report>,
    pub(super) stopped: Stopped,
}
