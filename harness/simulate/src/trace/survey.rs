//! A second reading of a trace that was refused, for the numbers with which its options
//! take it.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::trace::{Format, Options, Reader, Record, TimeOrder};

/// Room for a volume that no address exceeds, and of which all volumes fit 64 bits.
const VOLUME_BYTES: u64 = 1 << 53;

/// How far out of order is looked for.
const LATE_MAX: usize = 1 << 16;

/// What a trace needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Requests that could be read.
    pub requests: u64,
    /// Those that end past the end of the disk.
    pub beyond: u64,
    /// Where the last byte is, of any volume.
    pub end_bytes: u64,
    /// Volumes.
    pub volumes: u64,
    /// The longest request.
    pub length_bytes_max: u64,
    /// Records earlier than one before.
    pub late: u64,
    /// Records to hold back so that all can be sorted; `None` past [`LATE_MAX`].
    pub window: Option<usize>,
}

impl Survey {
    /// Reads what can be read of the trace at `path`, and counts what a disk of `disk_bytes`
    /// has no room for. `None` of what cannot be read twice, such as a pipe.
    ///
    /// # Errors
    /// When the run is to stop.
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
        // An error ends it: what comes before says what there is to say.
        for record in reader.by_ref().map_while(Result::ok) {
            interrupt::check()?;
            survey.requests += 1;
            let (volume, offset) = match has_volumes {
                true => (
                    record.offset_bytes() / VOLUME_BYTES,
                    record.offset_bytes() % VOLUME_BYTES,
                ),
                false => (0, record.offset_bytes()),
            };
            let length = u64::from(record.length_bytes());
            // Where the disk has it, with the volumes as far apart as was asked.
            let end = volume.saturating_mul(given).saturating_add(offset + length);
            survey.beyond += u64::from(disk_bytes.is_some_and(|disk| end > disk));
            survey.end_bytes = survey.end_bytes.max(offset + length);
            survey.length_bytes_max = survey.length_bytes_max.max(length);
            lateness.add(record.time_ns());
        }
        bar.finish_and_clear();
        survey.volumes = reader.counts().volumes.max(1);
        survey.late = lateness.late;
        survey.window = (!lateness.lost).then_some(lateness.window);
        Ok(Some(survey))
    }

    /// The least power of two that each volume has room in.
    pub fn volume_bytes(&self) -> Option<u64> {
        self.end_bytes.max(1 << 20).checked_next_power_of_two()
    }

    /// The share of the requests past the end of the disk, in words.
    pub fn beyond_share(&self) -> String {
        format!(
            "{} of {} requests ({:.1} %)",
            self.beyond,
            self.requests,
            100.0 * self.beyond as f64 / self.requests.max(1) as f64
        )
    }
}

/// How far records are behind their places in the order of time. Sorting holds back so
/// many records; a record that is earlier than so many before it needs all those held
/// back still.
#[derive(Debug, Default)]
struct Lateness {
    // The latest times so far, ascending: at most one more than LATE_MAX.
    latest: VecDeque<u64>,
    late: u64,
    window: usize,
    lost: bool,
}

impl Lateness {
    fn add(&mut self, time_ns: u64) {
        if self.latest.back().is_none_or(|last| *last <= time_ns) {
            self.latest.push_back(time_ns);
        } else {
            self.late += 1;
            let at = self.latest.partition_point(|other| *other <= time_ns);
            self.window = self.window.max(self.latest.len() - at);
            // Where the record belongs is out of sight: nothing more is kept.
            self.lost |= self.latest.len() - at > LATE_MAX;
            if !self.lost {
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
    fn what_is_far_out_of_place_is_not_sorted() {
        let mut times: Vec<u64> = (1..=LATE_MAX as u64).collect();
        times.push(0);
        assert_eq!(lateness(&times).window, LATE_MAX);
        assert!(!lateness(&times).lost);
        times.pop();
        times.extend([LATE_MAX as u64 + 1, 0]);
        assert!(lateness(&times).lost);
    }

    #[test]
    fn the_window_sorts_and_a_smaller_one_does_not() {
        for seed in 0..2000 {
            let mut random = rng(seed);
            let count = random.random_range(1..40);
            let times: Vec<u64> = (0..count).map(|_| random.random_range(0..40)).collect();
            let lateness = lateness(&times);
            // A heap that holds `window` records back, as the reader's does.
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
