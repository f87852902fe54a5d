//! Writes for which the order counts: what ordered and journaled write-back share.
//!
//! Every write belongs to an epoch. An epoch that is closed does not change any longer: a
//! new write to one of its blocks takes a new slot, and the version keeps the old one
//! until it is on the origin disk. Closed epochs come to the origin oldest first.
//!
//! ```text
//!        writes          closed             applied
//!   open ------> open ----------> closed -----------> on the origin, durable
//!                                 (its writes end)
//! ```
//!
//! A request that waits until an epoch is on the origin (it needs the slot of one of its
//! versions) closes the epoch first, when it arrives, so that every write of the
//! epoch has an earlier lock and does not wait for this request.

use alloc::vec;
use alloc::vec::Vec;

use super::BlockCache;
use super::api::{CacheError, Served, WrittenBack};
use super::dirty::VersionId;
use super::requests::{Request, is_zeros};
use super::state::{Arrival, Core};
use super::wait::{all, until};
use super::write_back::InHand;
use crate::device::{BLOCK_LEN, BlockDevice, IoError};
use crate::write_policy::WritePolicy;

/// Transfers of an epoch side by side.
const SIDE_BY_SIDE: usize = 32;

/// Reads of a version's data from the vSSD before they count as lost.
const TRIES_TO_READ: u32 = 8;

impl Core {
    /// A write arrives whose order counts. A version of an earlier epoch stays as it is, in
    /// the slot where it is, and the block gets another slot.
    pub(crate) fn arrive_in_epoch(
        &mut self,
        block: u32,
        found: Option<u32>,
        is_admitted: Result<(), Served>,
    ) -> Arrival {
        let Some(slot) = found else {
            return self.admit(block, is_admitted);
        };
        let current = self.dirty.current(slot, block);
        let earlier = current.filter(|&id| {
            let version = self.dirty.get(id).expect("the current version");
            version.epoch != self.dirty.epoch
        });
        let Some(id) = earlier else {
            return Ok(self.overwrite(block, slot));
        };
        self.outdate(slot, block);
        self.cache.revoke(slot);
        let version = self.dirty.get_mut(id).expect("the current version");
        version.is_detached = true;
        version.owns_slot = true;
        let job = self.admit(block, Ok(()));
        self.dirty.stray(block, id);
        let mut job = job.unwrap_or_else(|served| self.direct(block, served, false));
        job.served = Served::Hit;
        Ok(job)
    }
}

/// A version on its way to the origin disk, and its data.
pub(crate) struct Loaded<'a> {
    pub block: u32,
    pub data: Vec<u8>,
    in_hand: InHand<'a>,
}

/// Of the versions of an epoch, by block and age, the newest of each block.
pub(crate) fn newest<'a>(loaded: &'a [Loaded<'a>]) -> impl Iterator<Item = &'a Loaded<'a>> {
    let groups = loaded.chunk_by(|a, b| a.block == b.block);
    groups.filter_map(|group| group.last())
}

/// A version that is in memory, and what was before.
struct Kept {
    id: VersionId,
    /// An earlier write of it has ended well.
    was_valid: bool,
    /// The block was lost.
    was_lost: bool,
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes a version to its slot; or, if that is not to be, keeps it in memory and waits
    /// until it is on the origin disk.
    pub(crate) async fn write_in_epoch(
        &self,
        mut request: Request<'_, S, O>,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        request.acquire().await;
        let (served, block) = (request.job.served, request.job.block);
        if self.write_version(&mut request, data).await {
            return request.over(Ok(served));
        }
        let kept = self.keep_in_memory(&mut request, data);
        // No request may wait for this one, least of all a write of the same epoch.
        request.over(());
        if self.write_back_version(kept.id).await.is_err() {
            let mut core = self.core.borrow_mut();
            let version = core.dirty.get(kept.id);
            let has_later = version.is_some_and(|it| it.is_replaced_in_memory);
            // A write that was done must not be undone by one that failed, but may be by
            // what that would have written.
            if !kept.was_valid && !has_later {
                core.undo(kept.id, kept.was_lost);
            }
            return Err(CacheError::Failed);
        }
        if kept.was_lost {
            self.record_mended(&[block]).await?;
        }
        Ok(served)
    }

    async fn write_version(&self, request: &mut Request<'_, S, O>, data: &[u8]) -> bool {
        if request.slot().is_none() || request.settle().await.is_err() {
            return false;
        }
        let (Some(slot), Some(id)) = (request.slot(), request.job.version) else {
            return false;
        };
        let is_zeros = is_zeros(data);
        if let Some(version) = self.core.borrow_mut().dirty.get_mut(id) {
            version.becomes_zeros |= is_zeros;
        }
        request.job.has_begun = true;
        if self.write_slot(slot, data).await.is_err() || request.slot().is_none() {
            return false;
        }
        let mut core = self.core.borrow_mut();
        core.written(id, is_zeros);
        core.mend(request.job.block);
        core.dirty.forget_strays(request.job.block, id);
        if request.job.epoch == Some(core.dirty.epoch) {
            core.dirty.has_ended = true;
        }
        true
    }

    fn keep_in_memory(&self, request: &mut Request<'_, S, O>, data: &[u8]) -> Kept {
        let id = request.job.version.expect("a write has a version");
        let mut core = self.core.borrow_mut();
        let version = core.dirty.get(id);
        let owns_slot = version.is_some_and(|it| it.owns_slot);
        let was_valid = version.is_some_and(|it| it.is_valid);
        let was_lost = core.lost.contains(&request.job.block);
        core.mend(request.job.block);
        if let Some(version) = core.dirty.get_mut(id) {
            version.is_replaced_in_memory |= version.data.is_some();
        }
        let slot = core.dirty.move_to_memory(id, data);
        if let (Some(slot), true) = (slot, owns_slot) {
            core.give_back(slot);
        }
        if let Some(epoch) = request.job.epoch.take() {
            core.dirty.end_write(epoch);
            if epoch == core.dirty.epoch {
                core.dirty.close_epoch();
            }
        }
        drop(core);
        request.invalidate();
        Kept {
            id,
            was_valid,
            was_lost,
        }
    }

    /// Brings epochs to the origin disk until a version is there. Whether it is gone.
    pub(super) async fn apply_to(&self, id: VersionId) -> bool {
        loop {
            {
                let mut core = self.core.borrow_mut();
                let Some(version) = core.dirty.get(id) else {
                    return true;
                };
                if version.epoch == core.dirty.epoch {
                    core.dirty.close_epoch();
                }
            }
            // Not an epoch after that: its writes may wait for the caller.
            let is_gone = || self.core.borrow().dirty.get(id).is_none();
            if !self.apply_unless(is_gone).await {
                return is_gone();
            }
        }
    }

    /// Brings the oldest epoch to the origin disk.
    pub(super) async fn apply_next(&self) -> bool {
        self.apply_unless(|| false).await
    }

    async fn apply_unless(&self, is_done: impl Fn() -> bool) -> bool {
        let apply = || self.apply_oldest();
        self.applications.join_unless(is_done, apply).await
    }

    async fn apply_oldest(&self) -> bool {
        let epoch = {
            let mut core = self.core.borrow_mut();
            let Some(epoch) = core.dirty.oldest_epoch() else {
                return true;
            };
            if epoch == core.dirty.epoch {
                core.dirty.close_epoch();
            }
            epoch
        };
        until(|| !self.core.borrow().dirty.is_under_way(epoch)).await;
        self.core.borrow_mut().dirty.applying = Some(epoch);
        // [C3] No older version of these blocks is to be found by a recovery.
        let has_stale = self.core.borrow().metadata.has_stale();
        if has_stale && !self.commit().await && !self.log_is_full.get() {
            return false;
        }
        if !self.flush_origin().await {
            return false;
        }
        let is_done = match self.config.write {
            WritePolicy::Journaled => self.apply_journaled(epoch).await,
            _ => self.apply_ordered(epoch).await,
        };
        if is_done {
            self.core.borrow_mut().dirty.applying = None;
        }
        is_done
    }

    /// Goes on to the next version of an epoch.
    pub(crate) fn next_of_epoch(
        &self,
        epoch: u32,
        last: &mut Option<VersionId>,
    ) -> Option<VersionId> {
        let core = self.core.borrow();
        let (id, version) = core.dirty.iter_after(*last).next()?;
        *last = Some(id);
        (version.epoch == epoch).then_some(id)
    }

    /// The data of a version. `Ok(None)` if it is gone, an error if it may yet be read.
    pub(crate) async fn load(&self, id: VersionId) -> Result<Option<Loaded<'_>>, ()> {
        let in_hand = InHand::new(&self.core, id);
        let (block, slot, mut data) = {
            let core = self.core.borrow();
            let Some(version) = core.dirty.get(id).filter(|it| it.is_valid) else {
                return Ok(None);
            };
            let data = version.data.as_deref();
            let data = data.map_or_else(|| vec![0; BLOCK_LEN], <[u8]>::to_vec);
            (version.block, version.slot, data)
        };
        let before = self.revocations.get();
        let done = match slot {
            None => Ok(()),
            Some(slot) => self.read_slot(slot, &mut data).await,
        };
        if done == Err(IoError::Gone) {
            self.expect_loss(id, before).await;
        }
        let mut core = self.core.borrow_mut();
        let Some(version) = core.dirty.get_mut(id) else {
            return Ok(None);
        };
        version.failures += u32::from(done.is_err());
        if version.is_slot_gone || version.failures >= TRIES_TO_READ {
            version.is_slot_gone |= version.slot.is_some();
            drop(core);
            drop(in_hand);
            return Ok(None);
        }
        drop(core);
        let loaded = Loaded {
            block,
            data,
            in_hand,
        };
        done.map(|()| Some(loaded)).map_err(|_| ())
    }

    /// The data of all versions of an epoch, those of the same block in their order.
    pub(crate) async fn load_epoch(&self, epoch: u32) -> Option<Vec<Loaded<'_>>> {
        let (mut loaded, mut is_whole) = (Vec::new(), true);
        let mut last = None;
        let next = || {
            let id = self.next_of_epoch(epoch, &mut last)?;
            Some(self.load(id))
        };
        all(SIDE_BY_SIDE, next, |result| match result {
            Ok(found) => loaded.extend(found),
            Err(()) => is_whole = false,
        })
        .await;
        loaded.sort_by_key(|it: &Loaded<'_>| (it.block, it.in_hand.id));
        is_whole.then_some(loaded)
    }

    /// Versions are on the origin disk, durably.
    pub(crate) fn applied(&self, loaded: Vec<Loaded<'_>>) {
        for Loaded { in_hand, .. } in loaded {
            let mut core = self.core.borrow_mut();
            let version = core.dirty.get(in_hand.id);
            let slot = version.filter(|it| !it.is_detached).and_then(|it| it.slot);
            core.stats.written_back += 1;
            core.remove_version(in_hand.id);
            if let Some(slot) = slot {
                let mark = core.cache.mark(slot);
                if mark != super::metadata::FREE {
                    core.record_if_clean(slot, mark);
                }
            }
        }
    }

    /// Brings everything to the origin disk that has been written.
    pub(super) async fn apply_everything(&self) -> WrittenBack {
        let (epoch, before) = {
            let mut core = self.core.borrow_mut();
            let epoch = core.dirty.epoch;
            core.dirty.close_epoch();
            (epoch, core.stats.written_back)
        };
        let has_more = || {
            let core = self.core.borrow();
            core.dirty.oldest_epoch().is_some_and(|it| it <= epoch)
        };
        let mut failures = 0;
        while has_more() && failures < TRIES_TO_READ {
            failures += u32::from(!self.apply_unless(|| !has_more()).await);
        }
        let core = self.core.borrow();
        let left = core.dirty.iter().take_while(|(_, it)| it.epoch <= epoch);
        WrittenBack {
            blocks: core.stats.written_back - before,
            errors: left.filter(|(_, it)| it.is_valid).count() as u64,
        }
    }
}
