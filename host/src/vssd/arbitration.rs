//! What the arbiter asks of a vSSD. One thread serves all, so nothing here waits for the backing.

use std::time::Duration;

use vssd::advice::Advice;
use vssd::demand::Demand;

use super::Vssd;
use crate::balancer::Share;
use crate::balancer::demand::Requests;
use crate::view::View;

/// How long to wait for the state: longer than a command computes.
const BRIEF: Duration = Duration::from_millis(1);

impl Vssd {
    /// The state of the device as it was published last, without the digest of its blocks.
    pub fn glance(&self) -> View {
        self.published.lock().view.clone()
    }

    /// Its weight and goal.
    pub fn share(&self) -> Share {
        *self.share.lock()
    }

    /// Sets its weight and goal.
    pub fn set_share(&self, share: Share) {
        *self.share.lock() = share;
    }

    /// Blocks that it held when this backend began to serve it.
    pub fn base(&self) -> u32 {
        self.base
    }

    /// Its requests so far.
    pub fn requests(&self) -> Requests {
        let block_size = u64::from(self.geometry.block_size());
        let counters = &self.stats().counters;
        Requests {
            read: counters.read.bytes.div_ceil(block_size),
            written: counters.write.bytes.div_ceil(block_size),
        }
    }

    /// Asks the driver for a report and returns the number of those that came before; `None`
    /// without a driver, or when the vSSD is busy.
    pub fn try_request_report(&self) -> Option<u64> {
        let mut state = self.state.try_lock_for(BRIEF)?;
        let now = self.now_ns();
        // Whoever holds the lock next may have to revoke, which the clock does.
        let is_due = state.device.revocation_due(now) > 0 || state.device.grant_due() > 0;
        if is_due || self.is_removed() || !state.device.has_session() {
            return None;
        }
        let (before, _) = state.device.last_report();
        state.device.request_report();
        self.follow(&mut state, now);
        drop(state);
        self.notifier.notify();
        Some(before)
    }

    /// Advises a cache on the vSSD; returns whether it was done. It is not when the vSSD is busy or
    /// removed.
    pub fn try_advise(&self, advice: Advice) -> bool {
        let Some(mut state) = self.state.try_lock_for(BRIEF) else {
            return false;
        };
        if self.is_removed() {
            return false;
        }
        state.device.advise(advice);
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
        true
    }

    /// The number of reports that came, unless it is `known`, and the demand in the last one;
    /// also `None` when the vSSD is busy.
    pub fn try_report_since(&self, known: u64) -> Option<(u64, Option<Demand>)> {
        let state = self.state.try_lock_for(BRIEF)?;
        let (reports, demand) = state.device.last_report();
        (reports != known).then(|| (reports, demand.cloned()))
    }
}
