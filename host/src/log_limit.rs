//! Rate-limited logging: an error that repeats is logged at intervals, with a count.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often at most the same error is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// The rate limit of one error, which may repeat: a failing disk fails every request.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    logged: Option<Instant>,
    unlogged: u64,
}

impl LogLimit {
    /// Counts an occurrence. `Some` when it is due to be logged: with the occurrences since it
    /// was logged last, this one included.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut since = self.0.lock();
        since.unlogged += 1;
        let recent = |logged: Instant| now.saturating_duration_since(logged) < INTERVAL;
        if since.logged.is_some_and(recent) {
            return None;
        }
        since.logged = Some(now);
        Some(std::mem::take(&mut since.unlogged))
    }

    /// The occurrences since it was logged last, if they are due to be logged without another:
    /// after the interval, or now at the `end`.
    pub fn unlogged(&self, end: bool) -> Unlogged {
        self.unlogged_at(Instant::now(), end)
    }

    fn unlogged_at(&self, now: Instant, end: bool) -> Unlogged {
        let mut since = self.0.lock();
        let ago = since
            .logged
            .map(|logged| now.saturating_duration_since(logged));
        let left = ago.and_then(|ago| INTERVAL.checked_sub(ago));
        if let Some(left) = left.filter(|left| !left.is_zero() && !end) {
            return Unlogged {
                times: 0,
                again: Some(left),
            };
        }
        let times = std::mem::take(&mut since.unlogged);
        if times == 0 || end {
            return Unlogged { times, again: None };
        }
        since.logged = Some(now);
        Unlogged {
            times,
            again: Some(INTERVAL),
        }
    }
}

/// Occurrences that are not logged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlogged {
    /// How many times are to be logged now.
    pub times: u64,
    /// When to call again.
    pub again: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_logged_later() {
        let log_limit = LogLimit::default();
        let begin = Instant::now();
        assert_eq!(log_limit.due_at(begin), Some(1));
        assert_eq!(log_limit.due_at(begin), None);
        assert_eq!(log_limit.due_at(begin + INTERVAL / 2), None);
        assert_eq!(log_limit.due_at(begin + INTERVAL), Some(3));
        assert_eq!(log_limit.due_at(begin + INTERVAL), None);
    }

    #[test]
    fn what_does_not_come_again_is_logged_as_well() {
        let log_limit = LogLimit::default();
        let begin = Instant::now();
        let rest = |times, again| Unlogged { times, again };
        assert_eq!(log_limit.unlogged_at(begin, false), rest(0, None));
        for _ in 0..4 {
            log_limit.due_at(begin);
        }
        let half = INTERVAL / 2;
        assert_eq!(
            log_limit.unlogged_at(begin + half, false),
            rest(0, Some(half))
        );
        let late = begin + INTERVAL;
        assert_eq!(log_limit.unlogged_at(late, false), rest(3, Some(INTERVAL)));
        assert_eq!(log_limit.due_at(late), None);
        assert_eq!(log_limit.unlogged_at(late, true), rest(1, None));
        assert_eq!(log_limit.unlogged_at(late + INTERVAL, false), rest(0, None));
    }
}
