//! A second pass over a rejected trace, for the option values that accept it.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::trace::{Format, Options, Reader, Record, TimeOrder};

/// Address space of a volume that no address exceeds, small enough for all volumes in 64 bits.
const VOLUME_BYTES: u64 = 1 << 53;

/// Upper bound of the sort window that is searched for.
const LATE_MAX: usize = 1 << 16;

/// The requirements of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Readable requests.
    pub requests: u64,
    /// Requests that end past the end of the disk.
    pub beyond: u64,
    /// The highest end of a request in any volume.
    pub end_bytes: u64,
    pub volumes: u64,
    /// The longest request.
    pub length_bytes_max: u64,
    /// Records earlier than a previous one.
    pub late: u64,
    /// The smallest window that sorts all records; `None` past [`LATE_MAX`].
    pub window: Option<usize>,
}

impl Survey {
    /// Reads the trace at `path` as far as possible, and counts the requests past the end of a
    /// disk of `disk_bytes`. `None` for files that cannot be read twice, such as pipes.
    ///
    /// # Errors
    /// When interrupted.
    pub fn of(
        path: &Path,
        options: &Options,
        disk_bytes: Option<u64>,
        progress: Progress,
    ) -> Result<Option<Self>> {
        let Some(file_bytes) = path.metadata().ok().filter(|of| of.is_file()) else {
            return Ok(None);
        };
        let given = options.volume_bytes;
        let options = Options {
            order: TimeOrder::Keep,
            length_bytes_max: Record::LENGTH_BYTES_CAP,
            disk_bytes: None,
            volume_bytes: VOLUME_BYTES,
            ..options.clone()
        };
        let bar = progress.bytes("surveying", file_bytes.len());
        let Ok(mut reader) = Reader::open_through(path, options, |file| bar.wrap_read(file)) else {
            return Ok(None);
        };
        let has_volumes = matches!(reader.format(), Format::Spc | Format::Msr);
        let mut survey = Self::default();
        let mut lateness = Lateness::default();
        // The survey covers the records before the first error.
        for record in reader.by_ref().map_while(Result::ok) {
            interrupt::check()?;
            survey.requests += 1;
            let (volume, offset) = if has_volumes {
                (
                    record.offset_bytes() / VOLUME_BYTES,
                    record.offset_bytes() % VOLUME_BYTES,
                )
            } else {
                (0, record.offset_bytes())
            };
            let length = u64::from(record.length_bytes());
            // The position on the disk, with the requested volume size.
            let end = volume.saturating_mul(given).saturating_add(offset + length);
            survey.beyond += u64::from(disk_bytes.is_some_and(|disk| end > disk));
            survey.end_bytes = survey.end_bytes.max(offset + length);
            survey.length_bytes_max = survey.length_bytes_max.max(length);
            lateness.add(record.time_ns());
        }
        bar.finish_and_clear();
        survey.volumes = reader.counts().volumes.max(1);
        survey.late = lateness.late;
        survey.window = (!lateness.is_unbounded).then_some(lateness.window);
        Ok(Some(survey))
    }

    /// The least power of two that fits each volume.
    pub fn volume_bytes(&self) -> Option<u64> {
        self.end_bytes.max(1 << 20).checked_next_power_of_two()
    }

    /// The number and percentage of requests past the end of the disk.
    pub fn beyond_share(&self) -> String {
        format!(
            "{} of {} requests ({:.1} %)",
            self.beyond,
            self.requests,
            100.0 * self.beyond as f64 / self.requests.max(1) as f64
        )
    }
}

/// How far records are behind their position in the order of time. To sort them, the reader must
/// hold back all records that a later one precedes in time.
#[derive(Debug, Default)]
struct Lateness {
    // The latest times so far, ascending: at most LATE_MAX + 1.
    latest: VecDeque<u64>,
    late: u64,
    window: usize,
    /// Whether a record was more than LATE_MAX positions late.
    is_unbounded: bool,
}

impl Lateness {
    fn add(&mut self, time_ns: u64) {
        if self.latest.back().is_none_or(|last| *last <= time_ns) {
            self.latest.push_back(time_ns);
        } else {
            self.late += 1;
            let at = self.latest.partition_point(|other| *other <= time_ns);
            self.window = self.window.max(self.latest.len() - at);
            // The position of the record is before the times kept: tracking stops.
            self.is_unbounded |= self.latest.len() - at > LATE_MAX;
            if !self.is_unbounded {
                self.latest.insert(at, time_ns);
            }
        }
        if self.latest.len() > LATE_MAX + 1 {
            self.latest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use rand::RngExt;
    use workloads::pattern::rng;

    use super::*;

    fn lateness(times: &[u64]) -> Lateness {
        let mut lateness = Lateness::default();
        times.iter().for_each(|time| lateness.add(*time));
        lateness
    }

    #[test]
    fn records_past_the_limit_have_no_window() {
        let mut times: Vec<u64> = (1..=LATE_MAX as u64).collect();
        times.push(0);
        assert_eq!(lateness(&times).window, LATE_MAX);
        assert!(!lateness(&times).is_unbounded);
        times.pop();
        times.extend([LATE_MAX as u64 + 1, 0]);
        assert!(lateness(&times).is_unbounded);
    }

    #[test]
    fn the_window_is_the_smallest_that_sorts() {
        for seed in 0..2000 {
            let mut random = rng(seed);
            let count = random.random_range(1..40);
            let times: Vec<u64> = (0..count).map(|_| random.random_range(0..40)).collect();
            let lateness = lateness(&times);
            // A heap that holds back `window` records, like that of the reader.
            let sorts = |window: usize| {
                let mut waiting = BinaryHeap::new();
                let mut given = Vec::new();
                for time in &times {
                    waiting.push(Reverse(*time));
                    if waiting.len() > window {
                        given.extend(waiting.pop().map(|time| time.0));
                    }
                }
                given.extend(
                    waiting
                        .into_sorted_vec()
                        .into_iter()
                        .rev()
                        .map(|time| time.0),
                );
                given.is_sorted()
            };
            assert!(sorts(lateness.window), "seed {seed}");
            let less = lateness.window.checked_sub(1);
            assert!(less.is_none_or(|less| !sorts(less)), "seed {seed}");
            assert_eq!(lateness.late == 0, times.is_sorted(), "seed {seed}");
        }
    }
}
