//! Waiting for commits: whoever changed something takes a ticket, one commit
//! serves all tickets that were taken before it began.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use vmm_sys_util::eventfd::EventFd;

/// How much a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// The end of this process.
    Soft,
    /// The loss of power.
    Hard,
}

/// A place in the queue for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    strength: Strength,
    number: u64,
}

/// Failed commits that are remembered: more than there can be tickets that
/// nobody looked at since.
const FAILURES_KEPT: usize = 64;

/// The tickets of one strength.
#[derive(Debug, Default)]
struct Lane {
    taken: u64,
    served: u64,
    /// Tickets of commits that failed: all after the first number, up to the second.
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
        Some(match failed {
            true => Err(io::Error::other("the pool's log could not be written")),
            false => Ok(()),
        })
    }
}

#[derive(Debug, Default)]
struct Lanes {
    soft: Lane,
    hard: Lane,
    closed: bool,
}

/// What one commit has to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How much it has to survive.
    pub strength: Strength,
    soft: u64,
    hard: u64,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A commit.
    Group(Group),
    /// Nothing at the moment.
    Quiet,
    /// Nothing ever again.
    Closed,
}

/// Who is to be told of commits.
#[derive(Debug)]
struct Waiter {
    event: EventFd,
    waits: AtomicBool,
}

/// Tells of commits by an event.
#[derive(Debug)]
pub struct Subscription(Arc<Waiter>);

impl Subscription {
    /// The event is to be signalled after the next commit. Call this before
    /// looking at [`Tickets::outcome`].
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
pub struct Tickets {
    lanes: Mutex<Lanes>,
    moved: Condvar,
    waiters: Mutex<Vec<Weak<Waiter>>>,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|waiter| waiter.strong_count() > 0);
        waiters.push(Arc::downgrade(&waiter));
        Ok(Subscription(waiter))
    }

    /// Asks for a commit of everything so far.
    pub fn take(&self, strength: Strength) -> Ticket {
        let mut lanes = self.lock();
        let lane = match strength {
            Strength::Soft => &mut lanes.soft,
            Strength::Hard => &mut lanes.hard,
        };
        lane.taken += 1;
        let number = lane.taken;
        drop(lanes);
        self.moved.notify_all();
        Ticket { strength, number }
    }

    /// How the commit went; `None` while it is not over.
    pub fn outcome(&self, ticket: Ticket) -> Option<io::Result<()>> {
        let lanes = self.lock();
        match ticket.strength {
            Strength::Soft => lanes.soft.outcome(ticket.number),
            Strength::Hard => lanes.hard.outcome(ticket.number),
        }
    }

    /// Waits for the commit.
    ///
    /// # Errors
    /// When it failed.
    pub fn wait(&self, ticket: Ticket) -> io::Result<()> {
        let mut lanes = self.lock();
        loop {
            let lane = match ticket.strength {
                Strength::Soft => &lanes.soft,
                Strength::Hard => &lanes.hard,
            };
            if let Some(result) = lane.outcome(ticket.number) {
                return result;
            }
            lanes = self
                .moved
                .wait(lanes)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until a commit is wanted, for so long at most.
    pub fn next(&self, patience: Duration) -> Next {
        let mut lanes = self.lock();
        loop {
            let (soft, hard) = (lanes.soft.taken, lanes.hard.taken);
            let strength = match hard > lanes.hard.served {
                true => Strength::Hard,
                false => Strength::Soft,
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
            let (guard, waited) = self
                .moved
                .wait_timeout(lanes, patience)
                .unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Next::Quiet;
            }
            lanes = guard;
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
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            if waiter.waits.swap(false, Ordering::SeqCst) {
                // Full only if nobody has looked for 2^64 - 1 commits.
                let _ = waiter.event.write(1);
            }
        }
    }

    /// Nobody takes tickets any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(tickets: &Tickets) -> Group {
        match tickets.next(Duration::MAX) {
            Next::Group(group) => group,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_commit_serves_what_came_before_it() {
        let tickets = Tickets::default();
        let listener = tickets.subscribe().unwrap();
        let soft = tickets.take(Strength::Soft);
        let group = next(&tickets);
        assert_eq!(group.strength, Strength::Soft);
        let (late, hard) = (tickets.take(Strength::Soft), tickets.take(Strength::Hard));
        listener.expect();
        tickets.serve(group, false);
        listener.event().read().unwrap();
        assert!(tickets.outcome(soft).unwrap().is_err());
        assert!(tickets.outcome(late).is_none() && tickets.outcome(hard).is_none());
        // A hard commit is a soft one too.
        let group = next(&tickets);
        assert_eq!(group.strength, Strength::Hard);
        tickets.serve(group, true);
        tickets.wait(late).unwrap();
        tickets.wait(hard).unwrap();
        assert!(tickets.outcome(soft).unwrap().is_err());
        // Nobody expected that one.
        assert!(listener.event().read().is_err());
        assert_eq!(tickets.next(Duration::ZERO), Next::Quiet);
        tickets.close();
        assert_eq!(tickets.next(Duration::MAX), Next::Closed);
    }
}
