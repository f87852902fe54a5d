//! Write-back of single versions to the origin disk, for plain write-back.

use alloc::vec;
use core::cell::RefCell;

use super::BlockCache;
use super::api::WrittenBack;
use super::dirty::VersionId;
use super::metadata::{DIRTY, ZEROS};
use super::requests::Request;
use super::state::{Core, Kind};
use super::wait::{all, until};
use crate::device::{BLOCK_LEN, BlockDevice, IoError};
use crate::metadata::SlotState;

/// Versions that are written back side by side.
const SIDE_BY_SIDE: usize = 32;

/// A version whose data are in memory: should its slot be revoked, nothing is lost
/// unless they do not arrive.
pub struct InHand<'a> {
    core: &'a RefCell<Core>,
    pub id: VersionId,
}

impl<'a> InHand<'a> {
    pub fn new(core: &'a RefCell<Core>, id: VersionId) -> Self {
        if let Some(version) = core.borrow_mut().dirty.get_mut(id) {
            version.is_in_hand = true;
        }
        Self { core, id }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut core = self.core.borrow_mut();
        if let Some(version) = core.dirty.get_mut(self.id) {
            version.is_in_hand = false;
            core.lose_if_gone(self.id);
        }
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes a version to its place on the origin disk. The caller holds the lock of its
    /// slot, or the slot has no lock. Returns whether the version is gone: written or lost.
    pub(super) async fn write_back_from_slot(&self, id: VersionId) -> bool {
        until(|| {
            let core = self.core.borrow();
            core.dirty.get(id).is_none_or(|it| !it.is_in_hand)
        })
        .await;
        let Some((block, slot)) = self.valid_in_slot(id) else {
            return true;
        };
        let in_hand = InHand::new(&self.core, id);
        let mut data = vec![0; BLOCK_LEN];
        let before = self.revocations.get();
        if let Err(error) = self.read_slot(slot, &mut data).await {
            if error == IoError::Gone {
                self.expect_loss(id, before).await;
            }
            drop(in_hand);
            return self.valid_in_slot(id).is_none();
        }
        // What was read from a slot that was revoked in the meantime is not known.
        let is_gone = self
            .core
            .borrow()
            .dirty
            .get(id)
            .is_none_or(|it| it.is_slot_gone);
        let is_on_record = is_gone || self.correct_record(id, slot).await;
        if is_gone || !is_on_record || self.write_version_to_origin(block, &data).await.is_err() {
            drop(in_hand);
            return self.valid_in_slot(id).is_none();
        }
        let now_ns = (self.now_ns)();
        self.core.borrow_mut().written_back(id, now_ns);
        drop(in_hand);
        true
    }

    /// [C3] An older record of the block must not outlive this, unless there is a newer one that it
    /// is dirty. And that must not bring back an older one over what is about to
    /// be on the origin: the version is durable in its slot first; and [C6] not recorded
    ///  as zeros if it is not any longer, lest a revoked slot be taken for it.
    async fn correct_record(&self, id: VersionId, slot: u32) -> bool {
        let (has_stale, is_dirty) = {
            let core = self.core.borrow();
            (core.metadata.has_stale(), core.cache.mark(slot) >= DIRTY)
        };
        if has_stale && !self.commit().await && !is_dirty && !self.log_is_full.get() {
            return false;
        }
        if is_dirty && !self.flush_vssd().await {
            return false;
        }
        {
            let mut core = self.core.borrow_mut();
            let Some(version) = core.dirty.get(id).filter(|version| !version.is_zeros) else {
                return true;
            };
            if core.cache.mark(slot) != ZEROS {
                return true;
            }
            let state = SlotState::Dirty {
                block: version.block,
                epoch: version.epoch,
                zeros: false,
            };
            core.metadata.set(slot, state);
        }
        self.commit().await || self.core.borrow().cache.mark(slot) != ZEROS
    }

    /// The slot of a version is gone: the version is lost once no transfer has its data in memory.
    pub(super) async fn expect_loss(&self, id: VersionId, before: u64) {
        self.await_revocation(before).await;
        if let Some(version) = self.core.borrow_mut().dirty.get_mut(id) {
            version.is_slot_gone = true;
        }
    }

    fn valid_in_slot(&self, id: VersionId) -> Option<(u32, u32)> {
        let core = self.core.borrow();
        let version = core.dirty.get(id).filter(|version| version.is_valid)?;
        Some((version.block, version.slot?))
    }

    /// Writes back a version where the cache has it, or that has a slot of its own. One that
    /// is about to be replaced in its slot is written back by what replaces it.
    /// Returns the slot, and whether it is done.
    async fn clean(&self, id: VersionId) -> (Option<u32>, bool) {
        let Some((block, slot)) = self.valid_in_slot(id) else {
            return (None, true);
        };
        let is_being_replaced = || {
            let core = self.core.borrow();
            let version = core.dirty.get(id);
            version.is_some_and(|it| it.is_detached && !it.owns_slot)
        };
        if is_being_replaced() {
            until(|| !is_being_replaced()).await;
            return (None, self.valid_in_slot(id).is_none());
        }
        let mut job = {
            let mut core = self.core.borrow_mut();
            core.job(block, Kind::Hit, Some(slot), None, true)
        };
        job.is_settled = true;
        let request = Request::new(self, job);
        request.acquire().await;
        let is_done = self.write_back_from_slot(id).await;
        request.over((Some(slot), is_done))
    }

    /// Writes back the versions that `next` names, and records that they are clean.
    pub(super) async fn clean_all(
        &self,
        mut next: impl FnMut() -> Option<VersionId>,
    ) -> WrittenBack {
        let mut written = WrittenBack::default();
        let mut slots = vec![];
        let start = || next().map(|id| self.clean(id));
        all(SIDE_BY_SIDE, start, |(slot, is_done)| {
            written.blocks += u64::from(is_done);
            written.errors += u64::from(!is_done);
            slots.extend(slot.filter(|_| is_done));
        })
        .await;
        if !self.flush_origin().await {
            return written;
        }
        let mut core = self.core.borrow_mut();
        for slot in slots {
            if core.cache.mark(slot) >= DIRTY {
                let mark = core.cache.mark(slot);
                core.record_if_clean(slot, mark);
            }
        }
        written
    }

    /// Writes back everything that is dirty now.
    pub(super) async fn clean_everything(&self) -> WrittenBack {
        let end = self.core.borrow().dirty.next_id();
        let mut last = None;
        let next = || {
            let core = self.core.borrow();
            let next = core.dirty.iter_after(last).find(|(_, it)| it.is_valid);
            let id = next.map(|(id, _)| id).filter(|&id| id < end)?;
            last = Some(id);
            Some(id)
        };
        self.clean_all(next).await
    }
}
