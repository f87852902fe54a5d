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
}
