//! Waiting for a change of any vSSD.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes everybody who waits for a change of any vSSD.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Wakes the waiters.
    pub fn ring(&self) {
        *self.rings.lock() += 1;
        self.rung.notify_all();
    }

    /// How often it has rung: look at this before looking at what may change.
    pub fn rings(&self) -> u64 {
        *self.rings.lock()
    }

    /// Waits until it has rung more often than `seen`, or `at_most` has passed.
    pub fn wait(&self, seen: u64, at_most: Duration) {
        let mut rings = self.rings.lock();
        // A late wakeup makes the caller look once more, no more.
        let _ = self
            .rung
            .wait_while_for(&mut rings, |rings| *rings <= seen, at_most);
    }
}
