//! What is durable when.

use alloc::vec::Vec;

use super::BlockCache;
use super::api::{CacheError, WrittenBack};
use super::dirty::VersionId;
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
        let is_done = self.record_dirty_versions().await || {
            // [C5] Without a record the vSSD keeps nothing: the origin has to.
            self.log_is_full.get()
                && self.write_back().await.errors == 0
                && self.until_nothing_recorded().await.is_ok()
        };
        if !is_done {
            self.note_all_unrecorded();
            return Err(CacheError::Failed);
        }
        let has_mended = !self.core.borrow().mended.is_empty();
        match has_mended {
            true => self.record_mended().await,
            false => Ok(()),
        }
    }

    /// What is on record does not change any more, where the order counts; and no write is on
    /// record before those of its epoch that came earlier.
    async fn end_epoch(&self) {
        let epoch = {
            let mut core = self.core.borrow_mut();
            if !core.is_ordered() {
                return;
            }
            let epoch = core.dirty.epoch;
            core.dirty.close_epoch();
            epoch
        };
        let is_under_way = || {
            let core = self.core.borrow();
            core.dirty.epoch > epoch && core.dirty.is_under_way(epoch)
        };
        until(|| !is_under_way()).await;
    }

    async fn record_dirty_versions(&self) -> bool {
        let has_records = {
            let mut core = self.core.borrow_mut();
            let has_new = !core.dirty.unrecorded.is_empty();
            core.record_versions();
            has_new || !core.records.is_empty()
        };
        // What is on record already may have been overwritten.
        self.flush_vssd().await
            && (!has_records || self.commit().await)
            && self.flush_origin().await
    }

    /// None of the versions may be on record.
    fn note_all_unrecorded(&self) {
        let mut core = self.core.borrow_mut();
        let valid = core.dirty.iter().filter(|(_, it)| it.is_valid);
        let ids: Vec<VersionId> = valid.map(|(id, _)| id).collect();
        for id in ids {
            core.note_unrecorded(id);
        }
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
        if !self.flush_origin().await {
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
