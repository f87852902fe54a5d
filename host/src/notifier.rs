//! Waiting for a change of any vSSD.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes all threads that wait for a change of any vSSD.
#[derive(Debug, Default)]
pub struct Notifier {
    generation: Mutex<u64>,
    notified: Condvar,
}

impl Notifier {
    /// Wakes the waiters.
    pub fn notify(&self) {
        *self.generation.lock() += 1;
        self.notified.notify_all();
    }

    /// How often it has notified: read this before what may change.
    pub fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    /// Waits until it has notified more often than `seen`, or `at_most` has passed.
    pub fn wait(&self, seen: u64, at_most: Duration) {
        let mut generation = self.generation.lock();
        // A late wakeup makes the caller look once more, no more.
        let _ = self.notified.wait_while_for(
            &mut generation,
            |generation| *generation <= seen,
            at_most,
        );
    }
}
