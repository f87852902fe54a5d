//! Waiting for the requests of a volume that may still use blocks which were
//! just taken from it.
//!
//! Requests are checked without a lock. So whoever takes blocks first makes
//! them invalid, then waits until every request that was checked before has
//! ended; later ones see that the blocks are gone (the grace period of
//! read-copy-update). One thread at a time serves the requests of a volume. It
//! checks and starts them in *turns*, and ends them in the order in which they began.
//!
//! ```text
//!  server:  turn = odd ▸ fence ▸ check, start, end requests ▸ begun, ended ▸ turn = even
//!  taker:   make invalid ▸ fence ▸ wait for the turn's end ▸ b = begun ▸ wait for ended ≥ b
//! ```
//!
//! Either the taker sees the turn, and waits for what it started, or the turn
//! began after the taker's fence, and sees what the taker made invalid.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::thread::{Timespec, futex};

use crate::bell::Bell;

/// A taker that waits longer than this is a change that others are to hear of.
const LONG: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug, Default)]
pub struct Turns {
    /// Odd while requests are checked and started.
    turn: AtomicU64,
    /// Requests that were started.
    begun: AtomicU64,
    /// The number of requests that have ended, all that began before them included.
    ended: AtomicU64,
    /// Takers that wait.
    takers: AtomicU32,
    /// Counts the ends of turns that a taker waited for. No lock goes with it: a server
    /// would have to wait for a taker that holds it.
    moved: AtomicU32,
    /// Rung when a taker has waited for [`LONG`].
    bell: OnceLock<Arc<Bell>>,
}

impl Turns {
    /// Begins a turn.
    pub fn begin(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        debug_assert!(turn.is_multiple_of(2), "one server at a time");
        self.turn.store(turn + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends a turn in which `begun` requests were started and `ended` ended.
    pub fn end(&self, begun: u64, ended: u64) {
        let add = |count: &AtomicU64, more| {
            let before = count.load(Ordering::Relaxed);
            count.store(before + more, Ordering::Release);
        };
        add(&self.begun, begun);
        add(&self.ended, ended);
        add(&self.turn, 1);
        self.wake_takers();
    }

    /// The server is gone between two turns, and nothing that it began is at work any more.
    pub fn end_all(&self) {
        let begun = self.begun.load(Ordering::Relaxed);
        self.ended.store(begun, Ordering::Release);
        self.wake_takers();
    }

    fn wake_takers(&self) {
        fence(Ordering::SeqCst);
        if self.takers.load(Ordering::Relaxed) > 0 {
            self.moved.fetch_add(1, Ordering::Release);
            // It fails for addresses that are none.
            let _ = futex::wake(&self.moved, futex::Flags::PRIVATE, u32::MAX >> 1);
        }
    }

    /// Has `bell` rung when a taker waits for long.
    pub fn announce(&self, bell: &Arc<Bell>) {
        // All vSSDs of a backend share one.
        let _ = self.bell.set(bell.clone());
    }

    /// Whether a taker waits.
    pub fn is_waited_for(&self) -> bool {
        self.takers.load(Ordering::Relaxed) > 0
    }

    /// Waits until every request has ended that may have been checked before
    /// this call.
    pub fn wait(&self) {
        fence(Ordering::SeqCst);
        let turn = self.turn.load(Ordering::Acquire);
        if !turn.is_multiple_of(2) {
            self.wait_until(|| self.turn.load(Ordering::Acquire) != turn);
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
        // Turns may end all the time while what the taker waits for does not.
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
                if let Some(bell) = self.bell.get() {
                    bell.ring();
                }
            }
            let at_most = Timespec {
                tv_sec: 0,
                tv_nsec: left.subsec_nanos().into(),
            };
            let at_most = (!announced).then_some(&at_most);
            // Interrupted, too long, or no longer that number: it is looked again.
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
    fn nobody_works_on_what_was_taken() {
        let turns = Arc::new(Turns::default());
        let valid = Arc::new(AtomicBool::new(true));
        let working = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let server = {
            let (turns, valid) = (turns.clone(), valid.clone());
            let (working, stop) = (working.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    turns.begin();
                    let started = valid.load(Ordering::Relaxed);
                    if started {
                        working.store(1, Ordering::Relaxed);
                    }
                    turns.end(u64::from(started), 0);
                    // The request ends in a later turn, as from a medium.
                    std::hint::spin_loop();
                    turns.begin();
                    working.store(0, Ordering::Relaxed);
                    turns.end(0, u64::from(started));
                }
            })
        };
        for _ in 0..20_000 {
            valid.store(false, Ordering::Relaxed);
            turns.wait();
            assert_eq!(working.load(Ordering::Relaxed), 0);
            valid.store(true, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
    }

    #[test]
    fn a_taker_that_waits_for_long_is_announced() {
        let (turns, bell) = (Arc::new(Turns::default()), Arc::new(Bell::default()));
        turns.announce(&bell);
        turns.begin();
        turns.end(1, 0);
        let taker = {
            let turns = turns.clone();
            thread::spawn(move || turns.wait())
        };
        bell.wait(0, Duration::from_secs(20));
        assert_eq!((bell.rings(), turns.is_waited_for()), (1, true));
        turns.end_all();
        taker.join().unwrap();
        assert!(!turns.is_waited_for());
    }

    /// Also when other requests end meanwhile, again and again.
    #[test]
    fn a_taker_that_is_woken_all_the_time_is_announced() {
        let (turns, bell) = (Arc::new(Turns::default()), Arc::new(Bell::default()));
        turns.announce(&bell);
        turns.begin();
        turns.end(1, 0);
        let taker = {
            let turns = turns.clone();
            thread::spawn(move || turns.wait())
        };
        let begin = Instant::now();
        while bell.rings() == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "it is not");
            turns.begin();
            turns.end(0, 0);
            // Shorter than what is long.
            thread::sleep(Duration::from_millis(1));
        }
        turns.end_all();
        taker.join().unwrap();
    }

    #[test]
    fn without_a_server_nobody_waits() {
        Turns::default().wait();
    }
}
