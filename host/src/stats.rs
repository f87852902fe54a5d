//! Statistics of the requests and resizes of a vSSD.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use vssd::error::Reject;

use crate::latency::Latency;
use crate::log_limit::{LogLimit, Unlogged};
use crate::notifier::Notifier;
use crate::pick::Tracker;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests that succeeded.
    pub requests: u64,
    /// Bytes that they moved.
    pub bytes: u64,
}

impl Tally {
    /// Counts a request.
    pub fn add(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes;
    }
}

/// Waits for requests in which the [poller](crate::polling) busy-polled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// In which it found something.
    pub found: u64,
    /// In which it found nothing, and the thread went to sleep.
    pub vain: u64,
}

/// What a vSSD has done since the backend started.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Reads.
    pub read: Tally,
    /// Writes.
    pub write: Tally,
    /// Discards and write-zeroes.
    pub zero: Tally,
    /// Flushes.
    pub flush: u64,
    /// Requests that the backing failed.
    pub io_errors: u64,
    /// Writes that found no free physical block in the pool.
    pub no_space: u64,
    /// Chains that were not a request.
    pub bad_chains: u64,
    /// Frames on the agent's channel that were not intact, or not for a device.
    pub bad_frames: u64,
    /// Requests and commands refused, by [`Reject::ALL`]'s order.
    pub rejects: [u64; Reject::ALL.len()],
    /// Resizes that ended.
    pub resizes: u64,
    /// The same by how they ended.
    pub resize_ends: BTreeMap<&'static str, u64>,
    /// Blocks given up or taken.
    pub surrendered: u64,
    /// Of these, blocks that were taken by force, in resizes that ended.
    pub revoked: u64,
    /// Blocks given back.
    pub granted: u64,
    /// Commands that were carried out.
    pub commands: u64,
    /// Waits in which the request thread busy-polled.
    pub polls: Polls,
}

impl Counters {
    /// Counts a refusal.
    pub fn reject(&mut self, reject: Reject) {
        let at = Reject::ALL.iter().position(|r| *r == reject);
        self.rejects[at.expect("ALL has all of them")] += 1;
    }

    /// Counts blocks that changed ownership.
    pub fn moved(&mut self, before: u32, after: u32) {
        self.surrendered += u64::from(before.saturating_sub(after));
        self.granted += u64::from(after.saturating_sub(before));
    }
}

/// The longest window over which rates are reported, seconds.
const WINDOW_MAX_S: u64 = 10;

/// Reads and writes up to the first request of a second.
#[derive(Clone, Copy, Debug)]
struct Mark {
    second: u64,
    read: Tally,
    write: Tally,
}

/// Requests of the last seconds: the counts at the beginning of each second that had any.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<Mark>);

impl Recent {
    /// Called before requests are counted, with the time.
    #[inline]
    pub fn mark(&mut self, now_ns: u64, counters: &Counters) {
        let second = now_ns / 1_000_000_000;
        if self.0.back().is_none_or(|mark| mark.second < second) {
            self.push(second, counters);
        }
    }

    #[cold]
    fn push(&mut self, second: u64, counters: &Counters) {
        // One more than the window, for the second that has not ended.
        if self.0.len() > WINDOW_MAX_S as usize {
            self.0.pop_front();
        }
        self.0.push_back(Mark {
            second,
            read: counters.read,
            write: counters.write,
        });
    }

    /// Reads and writes of the last `seconds` whole seconds and the elapsed part of the present
    /// one, and the length of this window, nanoseconds.
    ///
    /// # Panics
    /// When the window is longer than [`WINDOW_MAX_S`].
    pub fn during(&self, seconds: u64, now_ns: u64, counters: &Counters) -> ([Tally; 2], u64) {
        assert!(seconds <= WINDOW_MAX_S, "a window of {seconds} s");
        let begin = (now_ns / 1_000_000_000).saturating_sub(seconds);
        let mark = self.0.iter().find(|mark| mark.second >= begin);
        let before = mark.map_or([counters.read, counters.write], |m| [m.read, m.write]);
        let since = |now: Tally, then: Tally| Tally {
            requests: now.requests - then.requests,
            bytes: now.bytes - then.bytes,
        };
        let tallies = [
            since(counters.read, before[0]),
            since(counters.write, before[1]),
        ];
        (tallies, now_ns - begin * 1_000_000_000)
    }
}

/// Statistics of requests.
#[derive(Default)]
pub struct Stats {
    /// What the vSSD has done.
    pub counters: Counters,
    /// The same of the last seconds.
    pub recent: Recent,
    /// How long requests took and had to wait.
    pub latency: Latency,
    /// What tracks requests for the hypervisor's picks, if enabled.
    pub tracker: Option<Tracker>,
    backing_log: LogLimit,
    buffer_log: LogLimit,
    space_log: LogLimit,
    not_held_log: LogLimit,
}

impl Stats {
    /// Counts a request of vSSD `name` that the backing failed.
    pub fn failed(&mut self, name: &str, notifier: &Notifier, error: &io::Error) {
        self.counters.io_errors += 1;
        // EFAULT means the buffer, not the backing.
        if error.raw_os_error() == Some(libc::EFAULT) {
            if let Some(times) = self.buffer_log.due() {
                tracing::warn!(
                    vssd = %name, times,
                    "a buffer of a request lies in memory that the frontend removed; the request \
                     fails with an I/O error"
                );
                notifier.notify();
            }
        } else if let Some(times) = self.backing_log.due() {
            tracing::error!(
                vssd = %name, %error, times,
                "the backing failed a request; it ends with an I/O error"
            );
            notifier.notify();
        }
    }

    /// Counts a request of vSSD `name` that is refused.
    pub fn refused(&mut self, name: &str, notifier: &Notifier, reject: Reject) {
        self.counters.reject(reject);
        if reject == Reject::NotHeld
            && let Some(times) = self.not_held_log.due()
        {
            tracing::warn!(
                vssd = %name, times,
                "a request addresses blocks that the guest does not hold; it fails with an I/O error"
            );
            notifier.notify();
        }
    }

    /// Counts a write of vSSD `name` that found no free physical block. A guest keeps writing to a
    /// full pool.
    pub fn found_no_space(&mut self, name: &str, notifier: &Notifier) {
        self.counters.no_space += 1;
        if let Some(times) = self.space_log.due() {
            tracing::error!(
                vssd = %name, times,
                "the pool is full: a write found no free physical block and fails with an I/O error; \
                 shrink another vSSD, or discard unused blocks in its guest"
            );
            notifier.notify();
        }
    }

    /// Logs how many requests of vSSD `name` failed since the last line of their kind, after the
    /// interval or at the `end` of the vSSD; returns when to call again.
    pub fn log_rest(&self, name: &str, end: bool) -> Option<Duration> {
        let kinds = [
            (
                &self.buffer_log,
                "more requests had a buffer in memory that the frontend removed",
            ),
            (&self.backing_log, "the backing failed more requests"),
            (
                &self.not_held_log,
                "more requests addressed blocks that the guest does not hold",
            ),
            (
                &self.space_log,
                "more writes found no free physical block in the full pool",
            ),
        ];
        let again = kinds.into_iter().filter_map(|(log_limit, what)| {
            let Unlogged { times, again } = log_limit.unlogged(end);
            if times > 0 {
                tracing::warn!(vssd = %name, times, "{what} since the last such message");
            }
            again
        });
        again.min()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Compared with a list of all requests and their times.
    #[test]
    fn rates_are_those_of_the_window() {
        for seed in 0..200 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut recent, mut counters) = (Recent::default(), Counters::default());
            let (mut now, mut all) = (rng.random_range(0..5_000_000_000), Vec::new());
            for _ in 0..300 {
                now += match rng.random_range(0..10) {
                    0 => rng.random_range(0..15_000_000_000),
                    _ => rng.random_range(0..800_000_000),
                };
                if rng.random() {
                    recent.mark(now, &counters);
                    counters.write.add(512);
                    all.push(now);
                }
                let seconds = rng.random_range(1..=WINDOW_MAX_S);
                let ([read, write], window_ns) = recent.during(seconds, now, &counters);
                let inside = all.iter().filter(|at| **at >= now - window_ns).count() as u64;
                assert_eq!((read.requests, write.requests), (0, inside), "seed {seed}");
                assert_eq!(write.bytes, 512 * inside, "seed {seed}");
                let short = now < seconds * 1_000_000_000;
                assert!(short || window_ns >= seconds * 1_000_000_000, "seed {seed}");
                assert!(window_ns < (seconds + 1) * 1_000_000_000, "seed {seed}");
            }
        }
    }
}
