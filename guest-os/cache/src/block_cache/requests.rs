//! The part of a request that moves data, once its lock is acquired.

use core::future::Future;

use super::BlockCache;
use super::api::{CacheError, Served};
use super::dirty::VersionId;
use super::metadata::{CLEAN, DIRTY, FREE, ZEROS};
use super::state::{Job, Kind};
use super::wait::until;
use crate::device::{BLOCK_LEN, BlockDevice, IoError};
use crate::metadata::{Record, SlotState};

/// Attempts to write a version back before it is pinned.
const TRIES: u32 = 3;

/// Why a slot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// What is in it cannot be written back.
    Victim(VersionId),
    /// What is recorded about it cannot be changed.
    Record,
}

/// A job under way. One dropped before its end is abandoned, so that no other request
/// waits for it.
pub struct Request<'a, S: BlockDevice, O: BlockDevice> {
    pub cache: &'a BlockCache<S, O>,
    pub job: Job,
    is_over: bool,
}

impl<S: BlockDevice, O: BlockDevice> Drop for Request<'_, S, O> {
    fn drop(&mut self) {
        let mut core = self.cache.core.borrow_mut();
        if self.is_over {
            core.finish(&self.job)
        } else {
            core.abandon(self.job)
        }
    }
}

impl<'a, S: BlockDevice, O: BlockDevice> Request<'a, S, O> {
    pub fn new(cache: &'a BlockCache<S, O>, job: Job) -> Self {
        Self {
            cache,
            job,
            is_over: false,
        }
    }

    /// Ready when the request's lock is acquired.
    pub fn acquire(&self) -> impl Future<Output = ()> {
        until(|| self.cache.core.borrow().locks.is_acquired(self.job.lock))
    }

    /// The slot, unless it has been taken away.
    pub fn slot(&self) -> Option<u32> {
        let is_void = self.cache.core.borrow().locks.is_void(self.job.lock);
        self.job.slot.filter(|_| !is_void)
    }

    /// The request has ended, well or not, and everything is as it should be.
    pub fn over<T>(mut self, outcome: T) -> T {
        self.is_over = true;
        outcome
    }

    /// The data in the slot are of no use.
    pub fn invalidate(&self) {
        if let Some(slot) = self.job.slot {
            let mut core = self.cache.core.borrow_mut();
            core.invalidate(self.job.block, slot, self.job.lock);
        }
    }

    /// Makes the slot one that may be overwritten with whatever the job is about: what
    /// was dirty in it is on the origin, and nothing is recorded about it [C1] [C2].
    /// Whether the slot can be used.
    pub async fn settle(&mut self) -> Result<(), Stuck> {
        if let Some(victim) = self.job.victim {
            if !self.cache.drop_discarded(victim).await
                && let Err(stuck) = self.cache.write_back_version(victim).await
            {
                let mut core = self.cache.core.borrow_mut();
                core.pin(victim, self.job.lock);
                drop(core);
                self.job.slot = None;
                return Err(stuck);
            }
            self.job.victim = None;
        }
        if let Some(slot) = self.slot()
            && !self.cache.clear_record(slot).await
        {
            self.cache.core.borrow_mut().free_record(slot);
            return Err(Stuck::Record);
        }
        self.job.is_settled = true;
        Ok(())
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(super) async fn serve_read(
        &self,
        mut request: Request<'_, S, O>,
        out: &mut [u8],
    ) -> Result<Served, CacheError> {
        request.acquire().await;
        let outcome = match (request.job.kind, request.slot()) {
            (Kind::Hit, Some(slot)) => self.read_hit(&request, slot, out).await,
            (Kind::Check, Some(slot)) => self.read_restored(&mut request, slot, out).await,
            (Kind::Fill, Some(slot)) => self.read_fill(&mut request, slot, out).await,
            _ => self.read_behind(&request.job, out).await,
        };
        request.over(outcome)
    }

    async fn read_hit(
        &self,
        request: &Request<'_, S, O>,
        slot: u32,
        out: &mut [u8],
    ) -> Result<Served, CacheError> {
        let Job { block, served, .. } = request.job;
        let before = self.revocations.get();
        let done = self.read_slot(slot, out).await;
        if request.slot().is_none() {
            return self.read_behind(&request.job, out).await;
        }
        let Err(error) = done else {
            return Ok(served);
        };
        let version = self.core.borrow().dirty.written_in(slot, block);
        match (version, error) {
            (None, _) => {
                request.invalidate();
                self.read_behind(&request.job, out).await
            }
            (Some(_), IoError::Failed) => Err(CacheError::Failed),
            (Some(id), IoError::Gone) => {
                self.expect_loss(id, before).await;
                self.core.borrow_mut().lose_if_gone(id);
                self.read_behind(&request.job, out).await
            }
        }
    }

    /// [C6] A block that came out of the record: if its slot was revoked in between, it is
    /// zeros.
    async fn read_restored(
        &self,
        request: &mut Request<'_, S, O>,
        slot: u32,
        out: &mut [u8],
    ) -> Result<Served, CacheError> {
        let done = self.read_slot(slot, out).await;
        if done.is_ok() && !is_zeros(out) {
            if request.slot().is_some() {
                return Ok(Served::Hit);
            }
            return self.read_behind(&request.job, out).await;
        }
        let found = self.read_behind(&request.job, out).await;
        // [C1] What is half written must not be taken for the block.
        let is_usable = found.is_ok() && done.is_ok() && request.settle().await.is_ok();
        if is_usable && request.slot().is_some() && self.write_slot(slot, out).await.is_ok() {
            self.core.borrow_mut().unrecorded.push(slot);
        } else {
            request.invalidate();
        }
        found.map(|_| Served::Miss)
    }

    async fn read_fill(
        &self,
        request: &mut Request<'_, S, O>,
        slot: u32,
        out: &mut [u8],
    ) -> Result<Served, CacheError> {
        let block = request.job.block;
        let settled = request.settle().await;
        let is_elsewhere = {
            let core = self.core.borrow();
            core.lost.contains(&block) || core.dirty.find_stray(block).is_some()
        };
        if settled.is_err() || is_elsewhere || request.slot().is_none() {
            request.invalidate();
            return self.read_behind(&request.job, out).await;
        }
        let found = self.read_behind(&request.job, out).await;
        if found.is_err() || request.slot().is_none() {
            request.invalidate();
            return found;
        }
        request.job.has_begun = true;
        if self.write_slot(slot, out).await.is_err() {
            request.invalidate();
        } else if request.slot().is_some() {
            self.core.borrow_mut().unrecorded.push(slot);
        }
        found
    }

    /// Reads a block that is not where the cache would have it.
    async fn read_behind(&self, job: &Job, out: &mut [u8]) -> Result<Served, CacheError> {
        let served = match job.served {
            Served::Hit => Served::Miss,
            other => other,
        };
        loop {
            self.arrival_of(job.block).await;
            let (stray, slot) = {
                let core = self.core.borrow();
                if core.lost.contains(&job.block) {
                    return Err(CacheError::Lost);
                }
                let stray = core.dirty.find_stray(job.block);
                let version = stray.and_then(|id| core.dirty.get(id));
                if let Some(data) = version.and_then(|version| version.data.as_deref()) {
                    out.copy_from_slice(data);
                    return Ok(served);
                }
                (stray, version.and_then(|version| version.slot))
            };
            let before = self.revocations.get();
            let done = match slot {
                Some(slot) => self.read_slot(slot, out).await,
                None => self.read_origin(job.block, out).await,
            };
            // A slot that its version has left since may have been overwritten.
            let is_there =
                slot.is_none() || self.core.borrow().dirty.find_stray(job.block) == stray;
            match (is_there, done, stray) {
                (true, Err(IoError::Gone), Some(id)) => {
                    self.expect_loss(id, before).await;
                    self.core.borrow_mut().lose_if_gone(id);
                }
                (true, done, _) => return done.map(|()| served).map_err(|_| CacheError::Failed),
                (false, ..) => {}
            }
        }
    }

    /// Waits until a version of a block that is on its way to the origin, and nowhere else any
    /// more, is there, or lost.
    async fn arrival_of(&self, block: u32) {
        until(|| {
            let core = self.core.borrow();
            let stray = core.dirty.find_stray(block);
            let stray = stray.and_then(|id| core.dirty.get(id));
            stray.is_none_or(|version| !(version.is_slot_gone && version.is_in_hand))
        })
        .await;
    }

    /// Nothing is recorded about a slot any longer. Whether that is so.
    pub(crate) async fn clear_record(&self, slot: u32) -> bool {
        // What was there before the slot was revoked and came back.
        until(|| !self.core.borrow().dirty.is_leaving(slot)).await;
        {
            let mut core = self.core.borrow_mut();
            core.set_free(slot);
            if core.cache.mark(slot) == FREE {
                return true;
            }
        }
        // Where nothing can be recorded, nothing is.
        self.commit().await;
        self.core.borrow().cache.mark(slot) == FREE
    }

    /// Makes what is recorded of a slot such that plain write-back may write a version there:
    /// nothing that says the slot has what the origin has [C2]; and if the data will be
    /// zeros, that they may be [C6]. Whether that is so, and the version still there. Not
    /// of a version that is recorded if that cannot be kept up to date any longer: before it is
    /// erased the version has to be on the origin, which needs an end of writes.
    pub(crate) async fn prepare_record(&self, id: VersionId, will_be_zeros: bool) -> bool {
        /// What is to be done about the record.
        enum Change {
            Nothing,
            Free(u32),
            Commit,
        }
        let change = {
            let mut core = self.core.borrow_mut();
            let Some(version) = core.dirty.get_mut(id) else {
                return false;
            };
            version.becomes_zeros |= will_be_zeros;
            let (block, epoch) = (version.block, version.epoch);
            let Some(slot) = version.slot else {
                return false;
            };
            if self.log_is_full.get() && core.cache.mark(slot) >= DIRTY {
                return false;
            }
            if will_be_zeros {
                // One that waits for its commit is to say so too.
                core.metadata.may_be_zeros(slot);
            }
            match core.cache.mark(slot) {
                FREE | ZEROS => Change::Nothing,
                // Free rather than dirty: until the next flush the origin has what counts.
                CLEAN => Change::Free(slot),
                _ if !will_be_zeros => Change::Nothing,
                _ => {
                    let state = SlotState::Dirty {
                        block,
                        epoch,
                        zeros: true,
                    };
                    core.metadata.set(slot, state);
                    Change::Commit
                }
            }
        };
        let is_so = match change {
            Change::Nothing => true,
            Change::Free(slot) => self.clear_record(slot).await,
            Change::Commit => self.commit().await,
        };
        is_so && self.core.borrow().dirty.get(id).is_some()
    }

    /// Writes a version back, or waits for a write-back under way. On success the version
    /// is gone.
    pub(crate) async fn write_back_version(&self, id: VersionId) -> Result<(), Stuck> {
        for _ in 0..TRIES {
            let is_ordered = self.core.borrow().is_ordered();
            let is_done = if is_ordered {
                self.apply_to(id).await
            } else {
                self.write_back_from_slot(id).await
            };
            if is_done {
                return Ok(());
            }
        }
        Err(Stuck::Victim(id))
    }

    /// Writes to the origin disk only, and mends what was lost. The block is not cached, or
    /// is not to be any longer.
    pub(crate) async fn write_behind(&self, block: u32, data: &[u8]) -> Result<(), CacheError> {
        self.arrival_of(block).await;
        let done = self.write_origin(block, data).await;
        done.map_err(|_| CacheError::Failed)?;
        {
            let mut core = self.core.borrow_mut();
            if let Some(stray) = core.dirty.find_stray(block) {
                core.remove_version(stray);
            }
            if !core.lost.remove(&block) {
                return Ok(());
            }
            core.mended.insert(block);
        }
        self.record_mended(&[block]).await
    }

    /// Blocks that were lost and have been written again are so permanently: to be called when
    /// what was written is durable, on the vSSD with its record or on the origin.
    pub(crate) async fn record_mended(&self, blocks: &[u32]) -> Result<(), CacheError> {
        if !self.flush_origin().await {
            return Err(CacheError::Failed);
        }
        let mut found = alloc::vec::Vec::new();
        {
            let mut core = self.core.borrow_mut();
            for &block in blocks {
                // From here on no checkpoint is to say that it is lost: it would come after
                // the record that it is not.
                if core.mended.remove(&block) {
                    core.metadata.push(Record::Found { block });
                    found.push(block);
                }
            }
        }
        if self.commit().await || self.until_nothing_recorded().await.is_ok() {
            return Ok(());
        }
        let mut core = self.core.borrow_mut();
        for block in found {
            if !core.lost.contains(&block) {
                core.mended.insert(block);
            }
        }
        Err(CacheError::Failed)
    }
}

/// Whether a block is zeros.
pub fn is_zeros(data: &[u8]) -> bool {
    debug_assert_eq!(data.len(), BLOCK_LEN);
    data.iter().all(|&byte| byte == 0)
}
