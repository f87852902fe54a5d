//! Flushes, and what they make durable.

use alloc::vec::Vec;

use super::BlockCache;
use super::api::{CacheError, WrittenBack};
use super::metadata::FREE;
use super::wait::{both, until};
use crate::device::BlockDevice;
use crate::metadata::MAX_RECORDS;

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(super) async fn make_durable(&self) -> Result<(), CacheError> {
        if !self.config.write.keeps_dirty() {
            let is_done = self.flush_origin().await && self.record_losses().await;
            return is_done.then_some(()).ok_or(CacheError::Failed);
        }
        self.end_epoch().await;
        // What is written again later may not be durable when this is over.
        let mended: Vec<u32> = self.core.borrow().mended.iter().copied().collect();
        if !self.record_dirty_versions().await {
            self.core.borrow_mut().note_all_unrecorded();
            return Err(CacheError::Failed);
        }
        if mended.is_empty() {
            Ok(())
        } else {
            self.record_mended(&mended).await
        }
    }

    /// [C7] What an earlier cache has lost is recorded, should the record of it have been
    /// revoked, unless there is no room for one.
    async fn record_losses(&self) -> bool {
        let has_lost = !self.core.borrow().lost.is_empty();
        !has_lost || self.commit().await || self.until_nothing_recorded().await.is_ok()
    }

    /// Where the order counts, recorded versions do not change any longer, and no write is recorded
    /// before earlier ones of its epoch.
    async fn end_epoch(&self) {
        let closed = {
            let mut core = self.core.borrow_mut();
            if !core.is_ordered() {
                return;
            }
            let epoch = core.dirty.epoch;
            core.dirty.close_epoch();
            // Another flush may have closed the last one, and be waiting for its writes.
            if core.dirty.epoch > epoch {
                Some(epoch)
            } else {
                epoch.checked_sub(1)
            }
        };
        if let Some(epoch) = closed {
            until(|| !self.core.borrow().dirty.is_under_way(epoch)).await;
        }
    }

    /// Makes what is dirty durable on the vSSD, with its record; or on the origin, if that
    /// cannot be [C5].
    async fn record_dirty_versions(&self) -> bool {
        loop {
            let losses = self.core.borrow().metadata.losses;
            if self.record_dirty_once().await {
                return true;
            }
            if self.log_is_full.get() {
                let is_home = self.write_back().await.errors == 0;
                return is_home && self.until_nothing_recorded().await.is_ok();
            }
            // What was recorded was erased meanwhile, and there is room for it again.
            if self.core.borrow().metadata.losses == losses {
                return false;
            }
        }
    }

    async fn record_dirty_once(&self) -> bool {
        // What is in memory only, and was acknowledged, cannot be recorded.
        let has_kept = self.core.borrow().dirty.is_in_memory();
        if has_kept && self.apply_everything().await.errors > 0 {
            return false;
        }
        let losses = {
            let mut core = self.core.borrow_mut();
            core.record_versions();
            core.metadata.losses
        };
        // What is recorded already may have been overwritten. The commit may be one that
        // another flush has requested, and then it is that one's end that counts.
        let is_done = self.flush_vssd().await && self.commit().await && self.flush_origin().await;
        is_done && self.core.borrow().metadata.losses == losses
    }

    pub(super) async fn write_back_everything(&self) -> WrittenBack {
        let mut written = self.write_back_once().await;
        let mut was_clear = false;
        // A record of what was before must not bring that back, nor one that it is dirty be taken
        // for a loss when the slot is revoked.
        loop {
            let has_stale = self.core.borrow().metadata.has_stale();
            if self.commit().await || self.log.borrow().is_void() || !has_stale {
                break;
            }
            // Only an erased log says nothing, and what was recorded may have been written
            // again.
            let is_clear = !self.core.borrow().has_recorded_versions();
            // If it is clear now, it may not have been when the commit failed: it is tried again.
            if written.errors > 0 || is_clear && was_clear || !self.log_is_full.get() {
                written.errors = written.errors.max(1);
                break;
            }
            was_clear = is_clear;
            let more = self.write_back_once().await;
            written.blocks += more.blocks;
            written.errors += more.errors;
        }
        if !self.flush_origin().await {
            written.errors = written.errors.max(1);
        }
        written
    }

    async fn write_back_once(&self) -> WrittenBack {
        let bring = async {
            let is_ordered = self.core.borrow().is_ordered();
            if is_ordered {
                self.apply_everything().await
            } else {
                self.clean_everything().await
            }
        };
        // What was dropped on the way may be what the rest waits for.
        let (written, ()) = both(bring, self.settle_abandoned()).await;
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
