//! Errors that repeat: logged once in a while, with a count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often at most the same error is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// An error that may come again and again. A medium that fails, fails request after request.
#[derive(Debug, Default)]
pub struct Complaint(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Complaint {
    /// Notes that it happened. `Some` when it is due to be logged: with how many times it
    /// happened since it was logged last, this time included.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.unlogged += 1;
        let recent = |logged: Instant| now.saturating_duration_since(logged) < INTERVAL;
        if since.logged.is_some_and(recent) {
            return None;
        }
        since.logged = Some(now);
        Some(std::mem::take(&mut since.unlogged))
    }

    /// What happened since it was logged last, if that is due to be logged although it does not
    /// happen again: after a while, or now if it is to `end`.
    pub fn rest(&self, end: bool) -> Rest {
        self.rest_at(Instant::now(), end)
    }

    fn rest_at(&self, now: Instant, end: bool) -> Rest {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ago = since
            .logged
            .map(|logged| now.saturating_duration_since(logged));
        let left = ago.and_then(|ago| INTERVAL.checked_sub(ago));
        if let Some(left) = left.filter(|left| !left.is_zero() && !end) {
            return Rest {
                times: 0,
                again: Some(left),
            };
        }
        let times = std::mem::take(&mut since.unlogged);
        if times == 0 || end {
            return Rest { times, again: None };
        }
        since.logged = Some(now);
        Rest {
            times,
            again: Some(INTERVAL),
        }
    }
}

/// What is left of a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// How many times are to be logged now.
    pub times: u64,
    /// When to ask again.
    pub again: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_logged_later() {
        let complaint = Complaint::default();
        let begin = Instant::now();
        assert_eq!(complaint.due_at(begin), Some(1));
        assert_eq!(complaint.due_at(begin), None);
        assert_eq!(complaint.due_at(begin + INTERVAL / 2), None);
        assert_eq!(complaint.due_at(begin + INTERVAL), Some(3));
        assert_eq!(complaint.due_at(begin + INTERVAL), None);
    }

    #[test]
    fn what_does_not_come_again_is_logged_as_well() {
        let complaint = Complaint::default();
        let begin = Instant::now();
        let rest = |times, again| Rest { times, again };
        assert_eq!(complaint.rest_at(begin, false), rest(0, None));
        for _ in 0..4 {
            complaint.due_at(begin);
        }
        let half = INTERVAL / 2;
        assert_eq!(complaint.rest_at(begin + half, false), rest(0, Some(half)));
        let late = begin + INTERVAL;
        assert_eq!(complaint.rest_at(late, false), rest(3, Some(INTERVAL)));
        assert_eq!(complaint.due_at(late), None);
        assert_eq!(complaint.rest_at(late, true), rest(1, None));
        assert_eq!(complaint.rest_at(late + INTERVAL, false), rest(0, None));
    }
}
