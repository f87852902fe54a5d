//! The background work of a cache.
//!
//! Four things, each a loop of its own, so that none waits for another: jobs whose
//! request was dropped are ended; slots that the hypervisor wants are cleared; dirty blocks
//! beyond the threshold are written back; and records for which no request waits are
//! committed.

use super::BlockCache;
use super::requests::Request;
use super::state::{Job, Kind};
use super::wait::{all, both, turn_over, until};
use crate::device::BlockDevice;
use crate::metadata::Snapshot;

/// Slots that are cleared side by side.
const SIDE_BY_SIDE: usize = 32;

/// Clean blocks from which on they are recorded: those of some blocks of the log, so
/// that their flush costs little.
const UNRECORDED: usize = 1024;

/// Polls between a failure and the next attempt.
const BACKOFF: u32 = 256;

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(super) async fn run(&self) {
        let requests = both(self.run_abandoned(), self.run_surrender());
        let disks = both(self.run_cleaner(), self.run_records());
        both(requests, disks).await;
    }

    async fn run_abandoned(&self) {
        loop {
            until(|| !self.core.borrow().abandoned.is_empty()).await;
            self.settle_abandoned().await;
            turn_over().await;
        }
    }

    /// Brings jobs to an end whose request was dropped.
    pub(super) async fn settle_abandoned(&self) {
        // Without a limit: one of them may wait for another.
        let next = || {
            let job = self.core.borrow_mut().abandoned.pop();
            job.map(|job| async move { (job.kind, self.clear(job).await) })
        };
        all(usize::MAX, next, |(kind, slot)| {
            // A slot whose way out was cut short stays.
            if let (Kind::Depart, Some(slot)) = (kind, slot) {
                self.core.borrow_mut().grow(slot);
            }
        })
        .await;
    }

    /// Clears the slot of a job. Returns the slot if it can be used, or given up.
    async fn clear(&self, job: Job) -> Option<u32> {
        let mut request = Request::new(self, job);
        request.acquire().await;
        let is_clear = request.settle().await.is_ok();
        if is_clear {
            self.announce(&request).await;
        }
        let slot = request.slot().filter(|_| is_clear);
        let is_departing = request.job.kind == Kind::Depart;
        if is_departing && !is_clear && request.job.victim.is_none() {
            self.give_back(&request);
        }
        request.over(slot)
    }

    /// A slot about which the record cannot be changed is of use only once it can be.
    fn give_back(&self, request: &Request<'_, S, O>) {
        if let Some(slot) = request.slot() {
            let mut core = self.core.borrow_mut();
            core.free_record(slot);
            core.grow(slot);
        }
    }

    async fn run_surrender(&self) {
        loop {
            until(|| self.core.borrow().is_surrendering()).await;
            self.core.borrow_mut().pursue(&[]);
            self.give_up_slots().await;
            self.give_up_metadata().await;
            turn_over().await;
        }
    }

    async fn give_up_slots(&self) {
        let next = || {
            let job = self.core.borrow_mut().departing.pop_front();
            job.map(|job| Departure::clear(self, job))
        };
        all(SIDE_BY_SIDE, next, |slot| {
            let mut core = self.core.borrow_mut();
            core.ready.extend(slot);
            core.resize();
        })
        .await;
        if !self.core.borrow().leaving.is_empty() {
            self.commit().await;
            self.core.borrow_mut().leave();
        }
    }

    /// The blocks of the metadata go when nothing is left that they could describe.
    async fn give_up_metadata(&self) {
        let is_more_wanted = {
            let mut core = self.core.borrow_mut();
            let missing = core.wanted.saturating_sub(core.on_its_way());
            // What is dirty in memory needs no slot, and under load there is always some.
            let is_last = core.cache.capacity() == 0 && !core.dirty.has_slots();
            if missing == 0 || !is_last || core.departing_count > 0 || !core.leaving.is_empty() {
                return;
            }
            let given = self.log.borrow_mut().surrender(missing);
            let is_more_wanted = given.len() < missing as usize;
            core.ready.extend(given);
            is_more_wanted
        };
        // The rest is erased before it is given up.
        if is_more_wanted && !self.log.borrow().is_void() {
            self.commit().await;
        }
    }

    async fn run_cleaner(&self) {
        loop {
            until(|| self.core.borrow().is_too_dirty(self.config.dirty_percent)).await;
            let is_ordered = self.core.borrow().is_ordered();
            let is_done = if is_ordered {
                self.apply_next().await
            } else {
                self.clean_some().await
            };
            for _ in 0..if is_done { 1 } else { BACKOFF } {
                turn_over().await;
            }
        }
    }

    /// Writes back the oldest versions beyond the mark.
    async fn clean_some(&self) -> bool {
        let mut last = None;
        let next = || {
            let core = self.core.borrow();
            if !core.is_too_dirty(self.config.dirty_percent) {
                return None;
            }
            let mut ready = core.dirty.iter_after(last);
            let (id, _) = ready.find(|(_, it)| it.is_valid && !it.is_detached)?;
            last = Some(id);
            Some(id)
        };
        self.clean_all(next).await.errors == 0
    }

    async fn run_records(&self) {
        loop {
            until(|| self.has_records_to_make()).await;
            self.take_back_metadata();
            if self.log_is_full.get() {
                self.leave_log().await;
            } else {
                self.core.borrow_mut().record_clean();
            }
            let is_gone = core::mem::take(&mut self.core.borrow_mut().metadata.is_gone);
            let is_done = if is_gone {
                self.make_durable().await.is_ok()
            } else {
                self.commit().await
            };
            for _ in 0..if is_done { 1 } else { BACKOFF } {
                turn_over().await;
            }
        }
    }

    fn has_records_to_make(&self) -> bool {
        let core = self.core.borrow();
        core.unrecorded.len() >= UNRECORDED
            || core.metadata.is_urgent()
            || !core.returned.is_empty()
            || self.log_is_full.get()
            || core.metadata.is_gone
            || core.has_marks() && self.log.borrow().is_void()
    }

    fn take_back_metadata(&self) {
        let returned = core::mem::take(&mut self.core.borrow_mut().returned);
        for block in returned {
            self.log
                .borrow_mut()
                .granted(core::slice::from_ref(&(block..block + 1)));
        }
    }

    /// The log has no room for what there is: everything dirty goes to the origin, so that
    /// nothing is lost when the next commit erases it.
    async fn leave_log(&self) {
        self.core.borrow_mut().unrecorded.clear();
        if !self.log.borrow().is_void() {
            self.write_back().await;
        } else if self.log.borrow().is_durable(self.core.len()) {
            self.log_is_full.set(false);
        }
    }
}

/// A slot on its way out, counted as such until it is ready, or will never be.
struct Departure<'a, S: BlockDevice, O: BlockDevice>(&'a BlockCache<S, O>);

impl<S: BlockDevice, O: BlockDevice> Drop for Departure<'_, S, O> {
    fn drop(&mut self) {
        self.0.core.borrow_mut().departing_count -= 1;
    }
}

impl<'a, S: BlockDevice, O: BlockDevice> Departure<'a, S, O> {
    async fn clear(cache: &'a BlockCache<S, O>, job: Job) -> Option<u32> {
        let _departure = Self(cache);
        cache.clear(job).await
    }
}
