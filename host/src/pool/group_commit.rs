//! Group commit: a thread that changed something requests a commit and may wait for it; one
//! commit serves every request that was made before it began.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use vmm_sys_util::eventfd::EventFd;

/// How much a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// The end of this process.
    Soft,
    /// The loss of power.
    Hard,
}

/// A commit that was requested and may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCommit {
    strength: Strength,
    number: u64,
}

/// Failed commits that are remembered: more than the requests whose outcome can be unread.
const FAILURES_KEPT: usize = 64;

/// The requests of one strength.
#[derive(Debug, Default)]
struct Lane {
    requested: u64,
    served: u64,
    /// Requests whose commits failed: all after the first number, up to the second.
    failed: VecDeque<(u64, u64)>,
}

impl Lane {
    fn serve(&mut self, up_to: u64, ok: bool) {
        if up_to > self.served {
            if !ok {
                self.failed.truncate(FAILURES_KEPT - 1);
                self.failed.push_front((self.served, up_to));
            }
            self.served = up_to;
        }
    }

    fn outcome(&self, number: u64) -> Option<io::Result<()>> {
        if number > self.served {
            return None;
        }
        let failed = self.failed.iter().any(|&(a, b)| a < number && number <= b);
        Some(if failed {
            Err(io::Error::other("the pool's log could not be written"))
        } else {
            Ok(())
        })
    }
}

#[derive(Debug, Default)]
struct Lanes {
    soft: Lane,
    hard: Lane,
    closed: bool,
}

/// The requests that one commit serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How much it has to survive.
    pub strength: Strength,
    soft: u64,
    hard: u64,
}

/// The next task of the commit thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A commit.
    Group(Group),
    /// Nothing for now.
    Quiet,
    /// Nothing ever again.
    Closed,
}

/// A thread to be notified of commits.
#[derive(Debug)]
struct Waiter {
    event: EventFd,
    waits: AtomicBool,
}

/// Notifies of commits by an event.
#[derive(Debug)]
pub struct Subscription(Arc<Waiter>);

impl Subscription {
    /// The event is to be signalled after the next commit. Call this before
    /// looking at [`GroupCommit::outcome`].
    pub fn expect(&self) {
        self.0.waits.store(true, Ordering::SeqCst);
    }

    /// The event.
    pub fn event(&self) -> &EventFd {
        &self.0.event
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct GroupCommit {
    lanes: Mutex<Lanes>,
    moved: Condvar,
    waiters: Mutex<Vec<Weak<Waiter>>>,
}

impl GroupCommit {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock()
    }

    /// A new listener.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn subscribe(&self) -> io::Result<Subscription> {
        let waiter = Arc::new(Waiter {
            event: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            waits: AtomicBool::new(false),
        });
        let mut waiters = self.waiters.lock();
        waiters.retain(|waiter| waiter.strong_count() > 0);
        waiters.push(Arc::downgrade(&waiter));
        Ok(Subscription(waiter))
    }

    /// Requests a commit of everything so far.
    pub fn request(&self, strength: Strength) -> PendingCommit {
        let mut lanes = self.lock();
        let lane = match strength {
            Strength::Soft => &mut lanes.soft,
            Strength::Hard => &mut lanes.hard,
        };
        lane.requested += 1;
        let number = lane.requested;
        drop(lanes);
        self.moved.notify_all();
        PendingCommit { strength, number }
    }

    /// The outcome of the commit; `None` while it is under way.
    pub fn outcome(&self, pending: PendingCommit) -> Option<io::Result<()>> {
        let lanes = self.lock();
        match pending.strength {
            Strength::Soft => lanes.soft.outcome(pending.number),
            Strength::Hard => lanes.hard.outcome(pending.number),
        }
    }

    /// Waits for the commit.
    ///
    /// # Errors
    /// When it failed.
    pub fn wait(&self, pending: PendingCommit) -> io::Result<()> {
        let mut lanes = self.lock();
        loop {
            let lane = match pending.strength {
                Strength::Soft => &lanes.soft,
                Strength::Hard => &lanes.hard,
            };
            if let Some(result) = lane.outcome(pending.number) {
                return result;
            }
            self.moved.wait(&mut lanes);
        }
    }

    /// Waits until a commit is requested, for at most this long.
    pub fn next(&self, patience: Duration) -> Next {
        let mut lanes = self.lock();
        loop {
            let (soft, hard) = (lanes.soft.requested, lanes.hard.requested);
            let strength = if hard > lanes.hard.served {
                Strength::Hard
            } else {
                Strength::Soft
            };
            if strength == Strength::Hard || soft > lanes.soft.served {
                return Next::Group(Group {
                    strength,
                    soft,
                    hard,
                });
            }
            if lanes.closed {
                return Next::Closed;
            }
            if self.moved.wait_for(&mut lanes, patience).timed_out() {
                return Next::Quiet;
            }
        }
    }

    /// The commit for `group` is over.
    pub fn serve(&self, group: Group, ok: bool) {
        let mut lanes = self.lock();
        lanes.soft.serve(group.soft, ok);
        if group.strength == Strength::Hard {
            lanes.hard.serve(group.hard, ok);
        }
        drop(lanes);
        self.moved.notify_all();
        let waiters = self.waiters.lock();
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            if waiter.waits.swap(false, Ordering::SeqCst) {
                // Full only after 2^64 - 1 commits that were not read.
                let _ = waiter.event.write(1);
            }
        }
    }

    /// No commit will be requested any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(commits: &GroupCommit) -> Group {
        match commits.next(Duration::MAX) {
            Next::Group(group) => group,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_commit_serves_what_came_before_it() {
        let commits = GroupCommit::default();
        let listener = commits.subscribe().unwrap();
        let soft = commits.request(Strength::Soft);
        let group = next(&commits);
        assert_eq!(group.strength, Strength::Soft);
        let (late, hard) = (
            commits.request(Strength::Soft),
            commits.request(Strength::Hard),
        );
        listener.expect();
        commits.serve(group, false);
        listener.event().read().unwrap();
        assert!(commits.outcome(soft).unwrap().is_err());
        assert!(commits.outcome(late).is_none() && commits.outcome(hard).is_none());
        // A hard commit is a soft one too.
        let group = next(&commits);
        assert_eq!(group.strength, Strength::Hard);
        commits.serve(group, true);
        commits.wait(late).unwrap();
        commits.wait(hard).unwrap();
        assert!(commits.outcome(soft).unwrap().is_err());
        // That commit does not cover it.
        assert!(listener.event().read().is_err());
        assert_eq!(commits.next(Duration::ZERO), Next::Quiet);
        commits.close();
        assert_eq!(commits.next(Duration::MAX), Next::Closed);
    }
}
