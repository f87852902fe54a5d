//! Progress messages of long operations.

use std::time::{Duration, Instant};

use crate::size::ByteSize;

/// The time before the first message, and between messages.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reports the progress of a task, once it has taken a second.
pub struct Progress {
    task: String,
    said: Instant,
    say: fn(&str),
}

impl Progress {
    /// A task that begins now, and the function that reports its progress.
    pub fn new(task: String, say: fn(&str)) -> Self {
        Self {
            task,
            said: Instant::now(),
            say,
        }
    }

    /// A task that reports nothing.
    #[cfg(test)]
    pub fn quiet() -> Self {
        Self::new(String::new(), |_| ())
    }

    /// This many bytes of `all` have been `done`, for example "written".
    pub fn at(&mut self, done: &str, now: u64, all: u64) {
        if self.said.elapsed() < INTERVAL {
            return;
        }
        self.said = Instant::now();
        // In whole mebibytes: a finer unit says nothing more.
        let whole = |bytes: u64| ByteSize(bytes >> 20 << 20);
        (self.say)(&format!(
            "{}: {} of {} {done}",
            self.task,
            whole(now),
            ByteSize(all)
        ));
    }
}
