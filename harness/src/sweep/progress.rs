//! Progress of a sweep: a bar on a terminal, otherwise a line every few seconds.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar};
use terminal::progress::Progress;
use vssd_host::output::warn;

/// Interval of the lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows the progress of a sweep on standard error.
#[derive(Debug)]
pub(super) struct SweepProgress {
    bar: ProgressBar,
    prints_lines: bool,
    started: Instant,
    last_line: Instant,
    done: u64,
    all: u64,
}

impl SweepProgress {
    /// For `all` cells to run.
    pub(super) fn new(is_terminal: bool, all: u64) -> Self {
        let progress = Progress { shown: is_terminal };
        let template = "{prefix} [{bar:30}] {percent}% {pos}/{len} cells, {per_sec}, {eta} left";
        let now = Instant::now();
        Self {
            bar: progress.styled("sweep", Some(all), template),
            prints_lines: !is_terminal,
            started: now,
            last_line: now,
            done: 0,
            all,
        }
    }

    /// Prints a message above the bar.
    pub(super) fn message(&self, text: &str) {
        self.bar.suspend(|| warn(format_args!("harness: {text}")));
    }

    /// Counts a completed cell.
    pub(super) fn step(&mut self) {
        self.done += 1;
        self.bar.inc(1);
        self.tick();
    }

    /// Prints a line if the last one is old enough.
    pub(super) fn tick(&mut self) {
        if self.prints_lines && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            self.message(&line(self.done, self.all, self.started.elapsed()));
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(done: u64, all: u64, elapsed: Duration) -> String {
    let percent = 100 * done / all.max(1);
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = match done {
        0 => "time left unknown".to_owned(),
        _ => {
            let left = elapsed.mul_f64((all - done) as f64 / done as f64);
            format!("{} left", HumanDuration(left))
        }
    };
    format!("{done} of {all} cells ({percent} %), {rate:.1} per second, {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_progress_rate_and_time_left() {
        let after = Duration::from_secs(10);
        assert_eq!(
            line(50, 200, after),
            "50 of 200 cells (25 %), 5.0 per second, 30 seconds left"
        );
        assert_eq!(
            line(0, 200, after),
            "0 of 200 cells (0 %), 0.0 per second, time left unknown"
        );
    }
}
