//! How long a thread looks for more to do before it sleeps.
//!
//! A wakeup takes a good part of the time that a fast SSD takes to read a block. So a
//! thread that would have been woken soon anyway looks a little longer, as the
//! halt-polling of KVM does (Linux, `Documentation/virt/kvm/halt-polling.rst`): the
//! *window* grows when a sleep turned out to be short, and shrinks when it was long. It is
//! never longer than a request takes in the medium: so looking at most doubles what a
//! request costs, and in memory, where there is nothing to win, there is next to none. An
//! idle vSSD sleeps, and of all vSSDs together only as many poll as leave half of the
//! processors to others.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The window that a first short sleep opens, nanoseconds.
const FIRST_NS: u64 = 25_000;

/// The widest window: a sleep that lasts longer costs little in comparison.
const WIDEST_NS: u64 = 200_000;

/// Those who may poll.
static SEATS: LazyLock<Arc<Seats>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Seats::new((cores / 2).max(1)))
});

/// How many threads poll, and may.
#[derive(Debug)]
struct Seats {
    taken: AtomicUsize,
    most: usize,
}

impl Seats {
    fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }

    fn take(&self) -> bool {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.taken.fetch_update(set, fetch, more).is_ok()
    }
}

/// The window of one thread.
#[derive(Debug)]
pub struct Polling {
    seats: Arc<Seats>,
    window_ns: u64,
    slept_at_ns: u64,
}

impl Default for Polling {
    fn default() -> Self {
        Self::among(SEATS.clone())
    }
}

/// A thread that is awake. Dropped when it goes to sleep.
#[derive(Debug)]
pub struct Awake<'a> {
    polling: &'a mut Polling,
    /// It has a seat among those that poll.
    seat: bool,
    idle_since_ns: u64,
}

impl Polling {
    fn among(seats: Arc<Seats>) -> Self {
        Self {
            seats,
            window_ns: 0,
            slept_at_ns: 0,
        }
    }

    /// The thread was woken.
    pub fn wake(&mut self, now_ns: u64) -> Awake<'_> {
        let slept_ns = now_ns.saturating_sub(self.slept_at_ns);
        self.window_ns = match slept_ns {
            0..=WIDEST_NS => (self.window_ns * 2).clamp(FIRST_NS, WIDEST_NS),
            _ => self.window_ns / 2,
        };
        if self.window_ns < FIRST_NS {
            self.window_ns = 0;
        }
        let seat = self.window_ns > 0 && self.seats.take();
        Awake {
            polling: self,
            seat,
            idle_since_ns: now_ns,
        }
    }
}

impl Awake<'_> {
    /// There was something to do.
    pub fn busy(&mut self, now_ns: u64) {
        self.idle_since_ns = now_ns;
        self.polling.slept_at_ns = now_ns;
    }

    /// There was nothing to do; true when it is time to sleep. A request takes
    /// `service_ns` in the medium.
    pub fn is_over(&mut self, now_ns: u64, service_ns: u64) -> bool {
        self.polling.slept_at_ns = now_ns;
        let window_ns = self.polling.window_ns.min(service_ns);
        !self.seat || now_ns.saturating_sub(self.idle_since_ns) >= window_ns
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        if self.seat {
            self.polling.seats.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wakes after each of these sleeps; the window that results.
    fn window(sleeps_ns: &[u64]) -> u64 {
        let mut polling = Polling::among(Arc::new(Seats::new(1)));
        let mut now_ns = 0;
        for sleep in sleeps_ns {
            now_ns += sleep;
            let mut awake = polling.wake(now_ns);
            while !awake.is_over(now_ns, u64::MAX) {
                now_ns += 1000;
            }
        }
        polling.window_ns
    }

    #[test]
    fn short_sleeps_open_the_window_and_long_ones_close_it() {
        let (short, long) = (WIDEST_NS / 2, 10 * WIDEST_NS);
        assert_eq!(window(&[long]), 0);
        assert_eq!(window(&[short]), FIRST_NS);
        assert_eq!(window(&[short; 10]), WIDEST_NS);
        assert_eq!(window(&[short, short, long, long]), 0);
    }

    #[test]
    fn nobody_looks_for_longer_than_a_request_takes() {
        let mut polling = Polling::among(Arc::new(Seats::new(1)));
        let mut awake = polling.wake(1);
        awake.busy(10);
        assert!(!awake.is_over(11, 5));
        assert!(awake.is_over(15, 5));
    }

    #[test]
    fn only_so_many_poll() {
        let seats = Arc::new(Seats::new(2));
        let mut threads: Vec<_> = (0..5).map(|_| Polling::among(seats.clone())).collect();
        let awake: Vec<_> = threads.iter_mut().map(|t| t.wake(1)).collect();
        assert_eq!(awake.iter().filter(|awake| awake.seat).count(), 2);
        drop(awake);
        assert!(Polling::among(seats).wake(1).seat);
    }
}
