//! Epoch-based quiescence: waiting for the requests of a volume that may still use
//! blocks which were just taken from it.
//!
//! Requests are checked without a lock. So a thread that takes blocks first makes
//! them invalid, then waits until every request that was checked before has
//! ended; later ones see that the blocks are gone (the grace period of
//! read-copy-update). One thread at a time serves the requests of a volume. It
//! checks and starts them in *epochs*, and ends them in the order in which they began.
//!
//! ```text
//!  server:  epoch = odd ▸ fence ▸ check, start, end requests ▸ begun, ended ▸ epoch = even
//!  taker:   make invalid ▸ fence ▸ wait for the epoch to end ▸ b = begun ▸ wait for ended ≥ b
//! ```
//!
//! Either the taker sees the epoch, and waits for what it started, or the epoch
//! began after the taker's fence, and sees what the taker made invalid.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::thread::{Timespec, futex};

use crate::notifier::Notifier;

/// After this time, a waiting taker is reported as a change.
const LONG: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug, Default)]
pub struct Quiescence {
    /// Odd while requests are checked and started.
    epoch: AtomicU64,
    /// Requests that were started.
    begun: AtomicU64,
    /// The number of requests that have ended, all that began before them included.
    ended: AtomicU64,
    /// Takers that wait.
    takers: AtomicU32,
    /// Counts the ends of epochs that a taker waited for. There is no lock for it: a server would
    /// wait for a taker that holds the lock.
    moved: AtomicU32,
    /// Notified when a taker has waited for [`LONG`].
    notifier: OnceLock<Arc<Notifier>>,
}

impl Quiescence {
    /// Begins an epoch.
    pub fn begin(&self) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        debug_assert!(epoch.is_multiple_of(2), "one server at a time");
        self.epoch.store(epoch + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends an epoch in which `begun` requests were started and `ended` ended.
    pub fn end(&self, begun: u64, ended: u64) {
        let add = |count: &AtomicU64, more| {
            let before = count.load(Ordering::Relaxed);
            count.store(before + more, Ordering::Release);
        };
        add(&self.begun, begun);
        add(&self.ended, ended);
        add(&self.epoch, 1);
        self.wake_takers();
    }

    /// The server is gone between two epochs, and nothing that it began is at work any more.
    pub fn end_all(&self) {
        let begun = self.begun.load(Ordering::Relaxed);
        self.ended.store(begun, Ordering::Release);
        self.wake_takers();
    }

    fn wake_takers(&self) {
        fence(Ordering::SeqCst);
        if self.takers.load(Ordering::Relaxed) > 0 {
            self.moved.fetch_add(1, Ordering::Release);
            // It fails only for invalid addresses.
            let _ = futex::wake(&self.moved, futex::Flags::PRIVATE, u32::MAX >> 1);
        }
    }

    /// Notifies `notifier` when a taker waits for long.
    pub fn announce(&self, notifier: &Arc<Notifier>) {
        // All vSSDs of a backend share one.
        let _ = self.notifier.set(notifier.clone());
    }

    /// Whether a taker waits.
    pub fn is_waited_for(&self) -> bool {
        self.takers.load(Ordering::Relaxed) > 0
    }

    /// Waits until every request has ended that may have been checked before
    /// this call.
    pub fn wait(&self) {
        fence(Ordering::SeqCst);
        let epoch = self.epoch.load(Ordering::Acquire);
        if !epoch.is_multiple_of(2) {
            self.wait_until(|| self.epoch.load(Ordering::Acquire) != epoch);
        }
        let begun = self.begun.load(Ordering::Acquire);
        self.wait_until(|| self.ended.load(Ordering::Acquire) >= begun);
    }

    fn wait_until(&self, reached: impl Fn() -> bool) {
        if reached() {
            return;
        }
        self.takers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Epochs may end all the time while what the taker waits for does not.
        let begin = Instant::now();
        let mut announced = false;
        loop {
            let moved = self.moved.load(Ordering::Acquire);
            if reached() {
                break;
            }
            let left = LONG.saturating_sub(begin.elapsed());
            if !announced && left.is_zero() {
                announced = true;
                if let Some(notifier) = self.notifier.get() {
                    notifier.notify();
                }
            }
            let at_most = Timespec {
                tv_sec: 0,
                tv_nsec: left.subsec_nanos().into(),
            };
            let at_most = (!announced).then_some(&at_most);
            // Interrupted, too long, or no longer that number: the loop checks again.
            let _ = futex::wait(&self.moved, futex::Flags::PRIVATE, moved, at_most);
        }
        self.takers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// A server works on whatever is valid, as it was when a request began; a
    /// taker makes it invalid and, having waited, must find no request at work.
    #[test]
    fn no_request_works_on_what_was_taken() {
        let quiescence = Arc::new(Quiescence::default());
        let valid = Arc::new(AtomicBool::new(true));
        let working = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let server = {
            let (quiescence, valid) = (quiescence.clone(), valid.clone());
            let (working, stop) = (working.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    quiescence.begin();
                    let started = valid.load(Ordering::Relaxed);
                    if started {
                        working.store(1, Ordering::Relaxed);
                    }
                    quiescence.end(u64::from(started), 0);
                    // The request ends in a later epoch, as from a backing.
                    std::hint::spin_loop();
                    quiescence.begin();
                    working.store(0, Ordering::Relaxed);
                    quiescence.end(0, u64::from(started));
                }
            })
        };
        for _ in 0..20_000 {
            valid.store(false, Ordering::Relaxed);
            quiescence.wait();
            assert_eq!(working.load(Ordering::Relaxed), 0);
            valid.store(true, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
    }

    #[test]
    fn a_taker_that_waits_for_long_is_announced() {
        let (quiescence, notifier) = (
            Arc::new(Quiescence::default()),
            Arc::new(Notifier::default()),
        );
        quiescence.announce(&notifier);
        quiescence.begin();
        quiescence.end(1, 0);
        let taker = {
            let quiescence = quiescence.clone();
            thread::spawn(move || quiescence.wait())
        };
        notifier.wait(0, Duration::from_secs(20));
        assert_eq!(
            (notifier.generation(), quiescence.is_waited_for()),
            (1, true)
        );
        quiescence.end_all();
        taker.join().unwrap();
        assert!(!quiescence.is_waited_for());
    }

    /// Also when other requests end meanwhile, again and again.
    #[test]
    fn a_taker_that_is_woken_all_the_time_is_announced() {
        let (quiescence, notifier) = (
            Arc::new(Quiescence::default()),
            Arc::new(Notifier::default()),
        );
        quiescence.announce(&notifier);
        quiescence.begin();
        quiescence.end(1, 0);
        let taker = {
            let quiescence = quiescence.clone();
            thread::spawn(move || quiescence.wait())
        };
        let begin = Instant::now();
        while notifier.generation() == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "it is not");
            quiescence.begin();
            quiescence.end(0, 0);
            // Shorter than what is long.
            thread::sleep(Duration::from_millis(1));
        }
        quiescence.end_all();
        taker.join().unwrap();
    }

    #[test]
    fn without_a_server_no_taker_waits() {
        Quiescence::default().wait();
    }
}
