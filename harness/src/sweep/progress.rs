//! How far a sweep is: a bar on a terminal, else a line now and then.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use vssd_host::output::warn;

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows on standard error how far a sweep is.
#[derive(Debug)]
pub(super) struct Pace {
    bar: ProgressBar,
    lines: bool,
    started: Instant,
    last_line: Instant,
    done: u64,
    all: u64,
}

impl Pace {
    /// For `all` cells that are still to be run.
    pub(super) fn new(terminal: bool, all: u64) -> Self {
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(all), target);
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {percent}% {pos}/{len} cells, {per_sec}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix("sweep");
        let now = Instant::now();
        Self {
            bar,
            lines: !terminal,
            started: now,
            last_line: now,
            done: 0,
            all,
        }
    }

    /// Says something, above the bar if there is one.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| warn(format_args!("harness: {text}")));
    }

    /// A cell ended.
    pub(super) fn step(&mut self) {
        self.done += 1;
        self.bar.inc(1);
        self.tick();
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        if self.lines && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            self.say(&line(self.done, self.all, self.started.elapsed()));
        }
    }

    /// Takes the bar away.
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
    format!("{done} of {all} cells ({percent} %), {rate:.1} a second, {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long_yet() {
        let after = Duration::from_secs(10);
        assert_eq!(
            line(50, 200, after),
            "50 of 200 cells (25 %), 5.0 a second, 30 seconds left"
        );
        assert_eq!(
            line(0, 200, after),
            "0 of 200 cells (0 %), 0.0 a second, time left unknown"
        );
    }
}
