//! The counters of a replay.

use alloc::collections::VecDeque;

use guest_cache::{Served, Stats, Tier};
use workloads::latency::Histogram;
use workloads::replay::AccessKind;
use workloads::{Report, report};

use super::writes::Writes;

/// Samples that wait for an earlier one, at most.
const WINDOWS_MAX: usize = 1024;

/// Hits and misses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    memory_hits: u64,
    read_hits: u64,
    read_misses: u64,
    write_hits: u64,
    write_misses: u64,
    bypassed: u64,
}

impl Counts {
    fn add(&mut self, is_write: bool, tier: Tier) {
        let count = match (is_write, tier) {
            (_, Tier::Memory) => &mut self.memory_hits,
            (false, Tier::Below(Served::Hit)) => &mut self.read_hits,
            (false, Tier::Below(_)) => &mut self.read_misses,
            (true, Tier::Below(Served::Hit)) => &mut self.write_hits,
            (true, Tier::Below(_)) => &mut self.write_misses,
        };
        *count += 1;
        self.bypassed += u64::from(tier == Tier::Below(Served::Bypassed));
    }
}

/// The accesses between two samples, by the order in which they began: so what a sample
/// counts does not depend on which access ends first.
#[derive(Default)]
struct Window {
    ended: u64,
    counts: Counts,
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Served {
        /// From where.
        tier: Tier,
        /// How long it took.
        elapsed_ns: u64,
        /// The content read is wrong.
        is_corrupt: bool,
    },
    /// The block was discarded, or could have been.
    Discarded,
    /// There is no such block.
    Beyond,
    /// The last write to the block is lost.
    Lost,
    /// A disk failed.
    Failed,
}

/// See the module.
#[derive(Default)]
pub struct Tally {
    every: u64,
    begun: u64,
    ended: u64,
    counts: Counts,
    discards: u64,
    beyond: u64,
    lost: u64,
    errors: u64,
    corrupt: u64,
    stale_ns_max: u64,
    dirty_max: u32,
    memory_hits: Histogram,
    hits: Histogram,
    misses: Histogram,
    writes: Histogram,
    /// Windows that have begun and were not reported.
    windows: VecDeque<Window>,
    /// Accesses of windows that were reported.
    reported: u64,
}

impl Tally {
    /// Nothing yet; there are samples after so many accesses, or none if 0.
    pub fn new(every: u64) -> Self {
        Self {
            every,
            ..Self::default()
        }
    }

    /// Whether an access may begin: not while one that takes very long holds back the
    /// samples of so many that began after it.
    pub fn has_room(&self) -> bool {
        self.windows.len() < WINDOWS_MAX
    }

    /// An access begins. Returns its number.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        if self.every > 0 && (self.begun - 1).is_multiple_of(self.every) {
            self.windows.push_back(Window::default());
        }
        self.begun - 1
    }

    /// Accesses that have begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// An access has ended. Returns true when a sample is due.
    pub fn end(&mut self, number: u64, kind: AccessKind, outcome: Outcome) -> bool {
        self.ended += 1;
        let is_write = kind == AccessKind::Write;
        let mut served = None;
        match outcome {
            Outcome::Discarded => self.discards += 1,
            Outcome::Beyond => self.beyond += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::Failed => self.errors += 1,
            Outcome::Served {
                tier,
                elapsed_ns,
                is_corrupt,
            } => {
                served = Some(tier);
                self.corrupt += u64::from(is_corrupt);
                self.counts.add(is_write, tier);
                let times = match (is_write, tier) {
                    (true, _) => &mut self.writes,
                    (false, Tier::Memory) => &mut self.memory_hits,
                    (false, Tier::Below(Served::Hit)) => &mut self.hits,
                    (false, Tier::Below(_)) => &mut self.misses,
                };
                times.record(elapsed_ns);
            }
        }
        if self.every == 0 {
            return false;
        }
        let place = ((number - self.reported) / self.every) as usize;
        let window = &mut self.windows[place];
        window.ended += 1;
        if let Some(tier) = served {
            window.counts.add(is_write, tier);
        }
        self.is_sample_due()
    }

    fn is_sample_due(&self) -> bool {
        let first = self.windows.front();
        first.is_some_and(|window| window.ended == self.every)
    }

    /// Records how far the origin disk is behind: dirty blocks, and the age of the oldest of them.
    pub fn track(&mut self, (dirty, stale_ns): (u32, u64)) {
        self.stale_ns_max = self.stale_ns_max.max(stale_ns);
        self.dirty_max = self.dirty_max.max(dirty);
    }

    /// The next sample, if it is due; `at_ns` is the time since the first access.
    pub fn sample(&mut self, at_ns: u64, stats: &Stats, writes: &Writes) -> Option<Report> {
        if !self.is_sample_due() {
            return None;
        }
        let Window { counts, .. } = self.windows.pop_front()?;
        self.reported += self.every;
        Some(Report::CacheSample(report::CacheSample {
            accesses: self.reported,
            at_ns,
            memory_hits: counts.memory_hits,
            read_hits: counts.read_hits,
            read_misses: counts.read_misses,
            write_hits: counts.write_hits,
            write_misses: counts.write_misses,
            slots: stats.slots,
            cached: stats.cached,
            dirty: stats.dirty,
            stale_ns: stats.stale_ns,
            acknowledged: writes.acknowledged(),
            flushed: writes.flushed(),
        }))
    }

    /// The totals at the end.
    pub fn report(&self, elapsed_ns: u64, stats: &Stats, writes: &Writes) -> Report {
        Report::Replayed(report::Replayed {
            memory_hits: self.counts.memory_hits,
            read_hits: self.counts.read_hits,
            read_misses: self.counts.read_misses,
            write_hits: self.counts.write_hits,
            write_misses: self.counts.write_misses,
            bypassed: self.counts.bypassed,
            discards: self.discards,
            beyond: self.beyond,
            lost: self.lost,
            errors: self.errors,
            corrupt: self.corrupt,
            origin_reads: stats.origin_reads,
            origin_writes: stats.origin_writes,
            acknowledged: writes.acknowledged(),
            flushed: writes.flushed(),
            elapsed_ns,
            stale_ns_max: self.stale_ns_max,
            dirty_max: self.dirty_max,
            memory_buckets: self.memory_hits.buckets(),
            hit_buckets: self.hits.buckets(),
            miss_buckets: self.misses.buckets(),
            write_buckets: self.writes.buckets(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(served: Served) -> Outcome {
        Outcome::Served {
            tier: Tier::Below(served),
            elapsed_ns: 5,
            is_corrupt: false,
        }
    }

    #[test]
    fn samples_go_by_the_order_in_which_accesses_began() {
        let mut tally = Tally::new(2);
        let writes = Writes::default();
        let stats = Stats::default();
        let numbers: [u64; 5] = core::array::from_fn(|_| tally.begin());
        assert!(!tally.end(numbers[2], AccessKind::Read, served(Served::Hit)));
        assert!(!tally.end(numbers[3], AccessKind::Write, Outcome::Failed));
        assert!(!tally.end(numbers[1], AccessKind::Read, served(Served::Miss)));
        assert_eq!(tally.sample(1, &stats, &writes), None);
        assert!(tally.end(numbers[0], AccessKind::Write, served(Served::Bypassed)));
        let mut sample = || match tally.sample(7, &stats, &writes) {
            Some(Report::CacheSample(report::CacheSample {
                accesses,
                read_hits,
                read_misses,
                write_misses,
                ..
            })) => Some((accesses, read_hits, read_misses, write_misses)),
            _ => None,
        };
        assert_eq!(sample(), Some((2, 0, 1, 1)));
        assert_eq!(sample(), Some((4, 1, 0, 0)));
        assert_eq!(sample(), None);
        assert!(!tally.end(numbers[4], AccessKind::Discard, Outcome::Discarded));
        let Report::Replayed(report::Replayed {
            bypassed,
            discards,
            errors,
            ..
        }) = tally.report(9, &stats, &writes)
        else {
            panic!("another report");
        };
        assert_eq!((bypassed, discards, errors), (1, 1, 1));
    }
}
