//! What is known of the requests and resizes of a vSSD.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use vssd::error::Reject;

use crate::latency::Latency;
use crate::pick::Observer;

/// How often at most it is logged that the medium fails.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

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
    /// Requests that the medium failed.
    pub io_errors: u64,
    /// Chains that were no request.
    pub bad_chains: u64,
    /// Requests and commands refused, by [`Reject::ALL`]'s order.
    pub rejects: [u64; Reject::ALL.len()],
    /// Resizes that ended.
    pub resizes: u64,
    /// The same by how they ended.
    pub resize_ends: BTreeMap<&'static str, u64>,
    /// Blocks given up or taken.
    pub surrendered: u64,
    /// Blocks given back.
    pub granted: u64,
    /// Commands that were carried out.
    pub commands: u64,
}

impl Counters {
    /// Counts a refusal.
    pub fn reject(&mut self, reject: Reject) {
        let at = Reject::ALL.iter().position(|r| *r == reject);
        self.rejects[at.expect("ALL has all of them")] += 1;
    }

    /// Counts blocks that changed hands.
    pub fn moved(&mut self, before: u32, after: u32) {
        self.surrendered += u64::from(before.saturating_sub(after));
        self.granted += u64::from(after.saturating_sub(before));
    }
}

/// What is known of requests.
#[derive(Default)]
pub struct Stats {
    /// What the vSSD has done.
    pub counters: Counters,
    /// How long requests took and had to wait.
    pub latency: Latency,
    /// Who remembers requests for the hypervisor's picks, if anybody does.
    pub observer: Option<Observer>,
    /// When a medium error was logged last.
    failure_logged: Option<Instant>,
}

impl Stats {
    /// Counts a request of vSSD `name` that the medium failed. A full disk fails
    /// request after request; the log says it once in a while.
    pub fn failed(&mut self, name: &str, error: &io::Error) {
        self.counters.io_errors += 1;
        let due = |last: Instant| last.elapsed() >= LOG_INTERVAL;
        if self.failure_logged.is_none_or(due) {
            self.failure_logged = Some(Instant::now());
            tracing::error!(vssd = %name, %error, "the pool failed a request; the guest gets an I/O error");
        }
    }
}
