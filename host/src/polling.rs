//! Whether a waiting thread busy-polls or sleeps.
//!
//! Sleeping and waking up takes as long as a request on a fast SSD, and an idle processor enters a
//! sleep state too. So while waits are short, a thread busy-polls instead, and yields the processor
//! between two polls. Polling is bounded, and an idle device does not poll:
//!
//! - A thread polls only after [`SHORT_WAITS`] short waits in a row, and no longer than a short
//!   wait lasts. With a slow backing, or few requests, it sleeps.
//! - Threads poll on at most half of the processors at a time.
//! - Where other threads want the processor, they return it late, and the poll finds its event
//!   late. The thread then stops polling for [`SHORTEST_BACKOFF_NS`], and for up to
//!   [`LONGEST_BACKOFF_NS`] where this repeats.
//!
//! Hypervisors wait for halted virtual processors in the same way ("The KVM halt polling
//! system", `halt-polling.rst` of the kernel's documentation).

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::stats::Polls;

/// A wait that is short, nanoseconds: several times what a flash disk takes for a block.
pub const SHORT_NS: u64 = 200_000;

/// Short waits in a row after which a thread polls, so that polls in vain are rare.
pub const SHORT_WAITS: u32 = 8;

/// How long other threads may have the processor between two polls, nanoseconds: less than
/// the time slice of a thread that does not sleep.
pub const LATE_NS: u64 = 500_000;

/// How long a thread does not poll after a late poll, nanoseconds; doubled when the next one
/// is late within that time.
pub const SHORTEST_BACKOFF_NS: u64 = 10_000_000;
/// Longest time without polling, nanoseconds.
pub const LONGEST_BACKOFF_NS: u64 = 1_280_000_000;

/// How many threads poll at a time.
#[derive(Debug)]
pub struct Polling {
    free: AtomicUsize,
}

impl Polling {
    /// At most `threads` poll at a time; 0: all sleep.
    pub fn at_most(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(threads),
        })
    }

    /// Threads poll on at most half of the processors that this process may use, and on one at
    /// least.
    pub fn on_half_of_the_processors() -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Self::at_most((processors / 2).max(1))
    }

    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let less_one = |free: usize| free.checked_sub(1);
        let order = Ordering::Relaxed;
        let taken = self.free.fetch_update(order, order, less_one);
        taken.is_ok().then(|| Seat(self.clone()))
    }
}

/// The right to poll.
struct Seat(Arc<Polling>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// How one thread waits.
pub struct Poller {
    polling: Arc<Polling>,
    /// Held from one poll in vain to the next.
    seat: Option<Seat>,
    /// When it last found something.
    found_ns: u64,
    short_waits: u32,
    /// When it may poll again after it was late, and the length of that backoff.
    backoff_until_ns: u64,
    backoff_ns: u64,
    polls: Polls,
}

impl Poller {
    /// For a thread that has not waited yet.
    pub fn new(polling: Arc<Polling>) -> Self {
        Self {
            polling,
            seat: None,
            found_ns: 0,
            short_waits: 0,
            backoff_until_ns: 0,
            backoff_ns: 0,
            polls: Polls::default(),
        }
    }

    /// The thread has found something: its wait is over, slept through or not.
    pub fn found(&mut self, now_ns: u64) {
        self.polls.found += u64::from(self.seat.take().is_some());
        self.short_waits = match now_ns - self.found_ns {
            ..=SHORT_NS => self.short_waits.saturating_add(1),
            _ => 0,
        };
        self.found_ns = now_ns;
    }

    /// The thread has found nothing: whether to poll again after a yield; if not, to sleep.
    pub fn should_poll(&mut self, now_ns: u64) -> bool {
        let quick = self.short_waits >= SHORT_WAITS && now_ns - self.found_ns < SHORT_NS;
        if !quick || now_ns < self.backoff_until_ns {
            self.polls.vain += u64::from(self.seat.take().is_some());
            return false;
        }
        if self.seat.is_none() {
            self.seat = self.polling.seat();
        }
        self.seat.is_some()
    }

    /// Waits in which it polled, since the last call.
    pub fn take_polls(&mut self) -> Polls {
        std::mem::take(&mut self.polls)
    }

    /// Others have had the processor since `since_ns`.
    pub fn let_others_run(&mut self, since_ns: u64, now_ns: u64) {
        if now_ns - since_ns <= LATE_NS {
            return;
        }
        self.backoff_ns = if now_ns < self.backoff_until_ns + self.backoff_ns {
            LONGEST_BACKOFF_NS.min(2 * self.backoff_ns)
        } else {
            SHORTEST_BACKOFF_NS
        };
        self.backoff_until_ns = now_ns + self.backoff_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A poller that has just had `waits` waits of `each_ns`, and when that was.
    fn after(polling: &Arc<Polling>, waits: u32, each_ns: u64) -> (Poller, u64) {
        let mut poller = Poller::new(polling.clone());
        let mut now_ns = 10 * SHORT_NS;
        poller.found(now_ns);
        for _ in 0..waits {
            now_ns += each_ns;
            poller.found(now_ns);
        }
        (poller, now_ns)
    }

    #[test]
    fn a_thread_polls_after_short_waits_only() {
        let polling = Polling::at_most(1);
        for (waits, each_ns, looks) in [
            (SHORT_WAITS, SHORT_NS, true),
            (SHORT_WAITS, SHORT_NS + 1, false),
            (SHORT_WAITS - 1, 0, false),
            (0, 0, false),
        ] {
            let (mut poller, now_ns) = after(&polling, waits, each_ns);
            assert_eq!(poller.should_poll(now_ns), looks, "{waits} of {each_ns}");
        }
    }

    #[test]
    fn polling_lasts_no_longer_than_a_short_wait() {
        let polling = Polling::at_most(1);
        let (mut poller, now_ns) = after(&polling, SHORT_WAITS, 0);
        assert!(poller.should_poll(now_ns + SHORT_NS - 1));
        assert!(!poller.should_poll(now_ns + SHORT_NS));
        poller.found(now_ns + SHORT_NS + 1);
        assert!(!poller.should_poll(now_ns + SHORT_NS + 1), "it was in vain");
    }

    /// Finds things until it polls again; returns when.
    fn back_off(poller: &mut Poller, mut now_ns: u64) -> u64 {
        loop {
            poller.found(now_ns);
            if poller.should_poll(now_ns) {
                return now_ns;
            }
            now_ns += SHORT_NS / 2;
        }
    }

    #[test]
    fn a_late_poll_backs_off_longer_each_time() {
        let polling = Polling::at_most(1);
        let (mut poller, mut now_ns) = after(&polling, SHORT_WAITS, 0);
        poller.let_others_run(now_ns - LATE_NS, now_ns);
        assert!(poller.should_poll(now_ns), "that is not late");
        let late_ns = LATE_NS + 1;
        let rests = (0..9).map(|_| {
            poller.let_others_run(now_ns - late_ns, now_ns);
            let began_ns = now_ns;
            now_ns = back_off(&mut poller, now_ns);
            (now_ns - began_ns) / 1_000_000
        });
        let rests: Vec<_> = rests.collect();
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1280, 1280]);
        now_ns += LONGEST_BACKOFF_NS;
        poller.let_others_run(now_ns - late_ns, now_ns);
        assert_eq!(back_off(&mut poller, now_ns) - now_ns, SHORTEST_BACKOFF_NS);
    }

    #[test]
    fn no_more_threads_poll_than_allowed() {
        let polling = Polling::at_most(2);
        let mut pollers: Vec<_> = (0..3).map(|_| after(&polling, SHORT_WAITS, 0)).collect();
        let looks = |(poller, now_ns): &mut (Poller, u64)| poller.should_poll(*now_ns);
        let all: Vec<_> = pollers.iter_mut().map(looks).collect();
        assert_eq!(all, [true, true, false]);
        assert!(looks(&mut pollers[0]), "it has the right still");
        // One finds something, one is too late, one is gone: each leaves its seat.
        let (poller, now_ns) = &mut pollers[0];
        poller.found(*now_ns);
        assert!(looks(&mut pollers[2]));
        let (poller, now_ns) = &mut pollers[1];
        assert!(!poller.should_poll(*now_ns + SHORT_NS));
        assert!(looks(&mut pollers[0]));
        drop(pollers.pop());
        assert!(looks(&mut pollers[1]));
        let polls = |found, vain| Polls { found, vain };
        assert_eq!(pollers[0].0.take_polls(), polls(1, 0));
        assert_eq!(pollers[0].0.take_polls(), polls(0, 0));
        assert_eq!(pollers[1].0.take_polls(), polls(0, 1));
        let (mut poller, now_ns) = after(&Polling::at_most(0), SHORT_WAITS, 0);
        assert!(!poller.should_poll(now_ns));
    }
}
