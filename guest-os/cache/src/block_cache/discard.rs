//! Discards: blocks that the application does not need any longer.
//!
//! The slot is free at once for the eviction policy, so a surrender gives it first; its next
//! request waits in its queue until the discard has ended. What was dirty is dropped,
//! unless a later write is ordered after it: then the version is written back in its order, as
//! if the block had been evicted, and the discard ends in the background.
//!
//! The record of the slot is removed like that of any slot whose block is gone: at the latest
//! before the slot is overwritten [C1] or the block changes on the origin disk [C3]. A crash
//! before that brings the block back as it was recorded.

use super::BlockCache;
use super::dirty::VersionId;
use super::requests::Request;
use super::wait::until;
use crate::device::BlockDevice;

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(super) async fn serve_discard(&self, mut request: Request<'_, S, O>) {
        request.acquire().await;
        if let Some(victim) = request.job.victim {
            if !self.drop_discarded(victim).await {
                // A request that is dropped here is brought to its end in the background.
                return;
            }
            request.job.victim = None;
        }
        if !request.job.is_announced {
            if let Some(slot) = request.slot() {
                self.core.borrow_mut().free_record(slot);
            }
        } else if request.settle().await.is_ok() {
            self.announce(&request).await;
        }
        request.over(());
    }

    /// Tells the vSSD that the slot of a settled discard is empty, if that is asked for. The
    /// record of the slot is gone before, lest a crash find zeros where it names a block [C1],
    /// and the slot is locked until the vSSD has answered, lest it forget what comes next.
    pub(super) async fn announce(&self, request: &Request<'_, S, O>) {
        if let Some(slot) = request.slot().filter(|_| request.job.is_announced) {
            self.discard_slot(slot).await;
        }
    }

    /// Drops a version if its block was discarded; the caller has the lock of its block.
    /// Returns whether the version is gone. One of an epoch that has begun to reach the origin
    /// disk stays: the journal may have it, and the epoch is there as a whole before the next.
    pub(super) async fn drop_discarded(&self, id: VersionId) -> bool {
        let may_drop = {
            let core = self.core.borrow();
            let applying = core.dirty.applying.filter(|_| core.is_ordered());
            let version = core.dirty.get(id);
            version.is_none_or(|it| it.is_discarded && applying != Some(it.epoch))
        };
        if !may_drop {
            return false;
        }
        // A write of it to the origin disk that has begun must not end after a later one.
        until(|| {
            let core = self.core.borrow();
            core.dirty.get(id).is_none_or(|version| !version.is_in_hand)
        })
        .await;
        self.core.borrow_mut().remove_version(id);
        true
    }
}
