//! What a program that takes its time says meanwhile.

use std::time::{Duration, Instant};

use crate::size::ByteSize;

/// How long it is quiet, and how often it speaks from then on.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells how far a task is, once it has taken a second.
pub struct Progress {
    task: String,
    said: Instant,
    say: fn(&str),
}

impl Progress {
    /// A task that begins now, and how to tell of it.
    pub fn new(task: String, say: fn(&str)) -> Self {
        Self {
            task,
            said: Instant::now(),
            say,
        }
    }

    /// One that tells nothing.
    #[cfg(test)]
    pub fn quiet() -> Self {
        Self::new(String::new(), |_| ())
    }

    /// So many of so many bytes have been `done`, such as "written".
    pub fn at(&mut self, done: &str, now: u64, all: u64) {
        if self.said.elapsed() < INTERVAL {
            return;
        }
        self.said = Instant::now();
        // In whole mebibytes: no more can be told apart in a second.
        let whole = |bytes: u64| ByteSize(bytes >> 20 << 20);
        (self.say)(&format!(
            "{}: {} of {} {done}",
            self.task,
            whole(now),
            ByteSize(all)
        ));
    }
}
