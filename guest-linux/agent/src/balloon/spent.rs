//! Where the time of a shrink goes in the file system.

use std::fmt;
use std::time::{Duration, Instant};

/// Time for pieces, since it was last reported.
#[derive(Debug, Default)]
pub struct Spent {
    /// To allocate them (fallocate).
    pub allocate: Duration,
    /// To have them on disk.
    pub sync: Duration,
    /// To read where they lie (FIEMAP).
    pub map: Duration,
}

/// Does a step, and adds its time to that of such steps.
pub fn timed<T>(time: &mut Duration, step: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = step();
    *time += began.elapsed();
    done
}

impl Spent {
    /// Whether there is anything to report.
    pub fn is_none(&self) -> bool {
        (self.allocate + self.sync + self.map).is_zero()
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_micros();
        write!(
            f,
            "allocated in {} µs, synced in {} µs, extents read in {} µs",
            micros(self.allocate),
            micros(self.sync),
            micros(self.map)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up() {
        let mut spent = Spent::default();
        assert!(spent.is_none());
        let least = Duration::from_millis(1);
        for _ in 0..2 {
            let began = Instant::now();
            timed(&mut spent.map, || while began.elapsed() < least {});
        }
        assert!(!spent.is_none() && spent.map >= 2 * least);
        spent.map = Duration::from_micros(1500);
        assert_eq!(
            spent.to_string(),
            "allocated in 0 µs, synced in 0 µs, extents read in 1500 µs"
        );
    }
}
