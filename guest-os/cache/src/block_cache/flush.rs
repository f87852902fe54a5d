//! What is durable when.

use super::BlockCache;
use super::api::{CacheError, WrittenBack};
use super::records::FREE;
use super::wait::{both, until};
use crate::device::BlockDevice;
use crate::metadata::MAX_RECORDS;

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(super) async fn make_durable(&self) -> Result<(), CacheError> {
        if !self.config.write.keeps_dirty() {
            return match self.flush_origin().await {
                true => Ok(()),
                false => Err(CacheError::Failed),
            };
        }
        self.end_epoch().await;
        // What is written again later may not be durable when this is over.
        let mended = self.core.borrow().mended_in_slots();
        let is_done = self.record_dirty_versions().await || {
            // [C5] Without a record the vSSD keeps nothing: the origin has to.
            self.log_is_full.get()
                && self.write_back().await.errors == 0
                && self.until_nothing_recorded().await.is_ok()
        };
        if !is_done {
            self.core.borrow_mut().note_all_unrecorded();
            return Err(CacheError::Failed);
        }
        match mended.is_empty() {
            true => Ok(()),
            false => self.record_mended(&mended).await,
        }
    }

    /// What is on record does not change any more, where the order counts; and no write is on
    /// record before those of its epoch that came earlier.
    async fn end_epoch(&self) {
        let closed = {
            let mut core = self.core.borrow_mut();
            if !core.is_ordered() {
                return;
            }
            let epoch = core.dirty.epoch;
            core.dirty.close_epoch();
            // Another flush may have closed the last one, and be waiting for its writes.
            match core.dirty.epoch > epoch {
                true => Some(epoch),
                false => epoch.checked_sub(1),
            }
        };
        if let Some(epoch) = closed {
            until(|| !self.core.borrow().dirty.is_under_way(epoch)).await;
        }
    }

    async fn record_dirty_versions(&self) -> bool {
        // What is in memory only, and was acknowledged, cannot be on record.
        let has_kept = self.core.borrow().dirty.is_in_memory();
        if has_kept && self.apply_everything().await.errors > 0 {
            return false;
        }
        let losses = {
            let mut core = self.core.borrow_mut();
            core.record_versions();
            core.records.losses
        };
        // What is on record already may have been overwritten. The commit may be one that
        // another flush has asked for, and then it is that one's end that counts.
        let is_done = self.flush_vssd().await && self.commit().await && self.flush_origin().await;
        is_done && self.core.borrow().records.losses == losses
    }

    pub(super) async fn bring_everything_home(&self) -> WrittenBack {
        let bring = async {
            let is_ordered = self.core.borrow().is_ordered();
            match is_ordered {
                true => self.apply_everything().await,
                false => self.clean_everything().await,
            }
        };
        // What was dropped on the way may be what the rest waits for.
        let (mut written, ()) = both(bring, self.settle_abandoned()).await;
        // A record of what was before must not bring that back, nor one that it is dirty be taken
        // for a loss when the slot is revoked.
        let has_stale = self.core.borrow().records.has_stale();
        let is_recorded = self.commit().await || self.log.borrow().is_void();
        if has_stale && !is_recorded || !self.flush_origin().await {
            written.errors = written.errors.max(1);
        }
        written
    }

    pub(super) async fn record_everything(&self) -> WrittenBack {
        let mut written = WrittenBack::default();
        if self.make_durable().await.is_err() {
            written = self.write_back().await;
        }
        let (mut slot, end) = {
            let core = self.core.borrow();
            (core.region, core.slots)
        };
        while slot < end && !self.log_is_full.get() {
            let next = end.min(slot.saturating_add(MAX_RECORDS as u32));
            {
                let mut core = self.core.borrow_mut();
                (slot..next).for_each(|slot| core.record_if_clean(slot, FREE));
            }
            if !self.commit().await {
                break;
            }
            slot = next;
        }
        written
    }
}
