//! Exceptions: requests that are dropped, disks that fail, slots that are taken away.

use core::ops::Range;

use super::dirty::VersionId;
use super::lock_queue::LockId;
use super::metadata::DIRTY;
use super::state::{Core, Job, Kind};
use crate::cache::Revoked;
use crate::metadata::Record;

impl Core {
    /// A job has ended.
    pub fn finish(&mut self, job: &Job) {
        self.end_write(job);
        self.locks.release(job.lock);
    }

    /// The write of a job has ended, well or not.
    pub fn end_write(&mut self, job: &Job) {
        if let Some(epoch) = job.epoch {
            self.dirty.end_write(epoch);
        }
        let Some(id) = job.version else {
            return;
        };
        if let Some(version) = self.dirty.get_mut(id) {
            version.writers -= 1;
            if version.writers == 0 && !version.is_valid {
                self.remove_version(id);
            }
        }
    }

    /// A job was dropped before its end. What the slot holds is not known if it may have
    /// been written; and if it holds something of value, others will see to that.
    pub fn abandon(&mut self, job: Job) {
        if let Some(slot) = job.slot {
            let is_dirtying = job.kind == Kind::Hit && job.version.is_some();
            if is_dirtying && job.has_begun && !self.locks.is_void(job.lock) {
                // The old data or the new: a write that may have taken place.
                let id = job.version.expect("a version is written");
                self.dirty.validate(id);
                self.note_unrecorded(id);
            }
            let is_unknown = match job.kind {
                Kind::Fill | Kind::Check => true,
                Kind::Hit => job.was_restored || job.has_begun && !is_dirtying,
                Kind::Discard | Kind::Depart | Kind::Direct => false,
            };
            if is_unknown && job.is_write | (job.kind != Kind::Hit) {
                self.invalidate(job.block, slot, job.lock);
            }
        }
        self.end_write(&job);
        let is_clearing = matches!(job.kind, Kind::Fill | Kind::Discard);
        let must_settle = is_clearing && job.slot.is_some() && !job.is_settled;
        if must_settle || job.kind == Kind::Depart && job.slot.is_some() {
            let rest = Job {
                kind: match job.kind {
                    Kind::Fill => Kind::Discard,
                    other => other,
                },
                epoch: None,
                version: None,
                ..job
            };
            self.abandoned.push(rest);
        } else {
            self.locks.release(job.lock);
        }
    }

    /// The data of `block` in `slot` are invalid, by the holder of `lock`. The caller
    /// handles the version there, if there is one.
    pub fn invalidate(&mut self, block: u32, slot: u32, lock: LockId) {
        if self.locks.is_void(lock) {
            return;
        }
        // Even if the block has left the slot since, others may have come for it before. If it
        // has come back after that, it is not this one.
        let is_same = self.locks.void_block(slot, block, lock);
        if is_same && self.cache.find(block) == Some(slot) {
            self.outdate(slot, block);
            self.cache.discard(block);
            self.free_record(slot);
        }
    }

    /// A version could not be written back, and its slot was to be reused: pins it to the
    /// slot, which the cache gets back when the version is gone.
    pub fn pin(&mut self, id: VersionId, lock: LockId) {
        let Some(version) = self.dirty.get_mut(id) else {
            return;
        };
        let (Some(slot), block) = (version.slot, version.block) else {
            return;
        };
        version.owns_slot = true;
        version.is_detached = true;
        if let Revoked::Cached(cached) = self.cache.revoke(slot) {
            self.outdate(slot, cached.block);
        }
        self.locks.void(slot, Some(lock));
        if self.newer(id, block).is_none() {
            self.dirty.stray(block, id);
        }
    }

    /// A write has failed, and with it goes its version, which was to take the place of one
    /// that is lost.
    pub fn undo(&mut self, id: VersionId, was_lost: bool) {
        let Some(version) = self.dirty.get(id) else {
            return;
        };
        let (block, covered) = (version.block, version.covers_loss);
        self.remove_version(id);
        // What was lost is older than this version, and newer than any that is left before it.
        let was_lost = was_lost && self.mended.contains(&block);
        let loss = covered.max(was_lost.then_some(id));
        let newest = self.dirty.newest(block);
        if loss.is_some() && newest <= loss {
            self.mended.remove(&block);
            self.lost.insert(block);
            self.metadata.push(Record::Lost { block });
        } else if let Some(other) = newest.and_then(|id| self.dirty.get_mut(id)) {
            other.covers_loss = other.covers_loss.max(loss);
        }
    }

    /// A version is gone: its slot goes back to the cache, if it is not there.
    pub fn remove_version(&mut self, id: VersionId) {
        let Some(version) = self.dirty.remove(id) else {
            return;
        };
        let Some(slot) = version.slot else {
            return;
        };
        if version.is_slot_gone {
            self.free_record(slot);
        } else if version.owns_slot {
            self.give_back(slot);
        }
    }

    /// A version that owned a slot has left it: the slot goes back to the cache, unless an older
    /// version is pinned there.
    pub fn give_back(&mut self, slot: u32) {
        self.free_record(slot);
        if !self.dirty.is_owned(slot) {
            self.grow(slot);
        }
    }

    /// A version has been written to its place on the origin disk. A write of what comes
    /// after it may be waiting.
    pub fn written_back(&mut self, id: VersionId, now_ns: u64) {
        self.stats.written_back += 1;
        let Some(version) = self.dirty.get_mut(id) else {
            return;
        };
        if version.writers > 0 && !version.is_slot_gone {
            version.since_ns = now_ns;
            self.dirty.invalidate(id);
        } else {
            self.remove_version(id);
        }
    }

    /// The newest version of a block, if it has been written and is newer than this.
    fn newer(&self, id: VersionId, block: u32) -> Option<VersionId> {
        self.dirty.newest(block).filter(|&newest| newest > id)
    }

    /// Whether a version may be recorded.
    fn is_recorded(&self, id: VersionId) -> bool {
        let slot = self.dirty.get(id).and_then(|version| version.slot);
        slot.is_some_and(|slot| self.cache.mark(slot) >= DIRTY)
    }

    /// The data of a version are gone. Returns whether that loses a write which no newer
    /// version replaces.
    pub fn lose(&mut self, id: VersionId) -> bool {
        let Some(version) = self.dirty.get(id) else {
            return false;
        };
        let (block, slot) = (version.block, version.slot);
        let is_valid = version.is_valid && !version.is_discarded;
        let writers = version.writers;
        let newer = self.newer(id, block);
        // A slot that was given up, and not revoked, must not be read any longer.
        if writers == 0
            && let Some(slot) = slot.filter(|_| self.cache.find(block) == slot)
        {
            self.outdate(slot, block);
            self.cache.discard(block);
        }
        match newer {
            None if is_valid && self.lost.insert(block) => {
                self.metadata.push(Record::Lost { block });
                self.mended.remove(&block);
            }
            // Flushed data is lost, and later writes are not flushed: a guest that was killed must
            // learn of this.
            Some(newer) if is_valid && self.is_recorded(id) && !self.is_recorded(newer) => {
                self.metadata.push(Record::Lost { block });
                self.mended.insert(block);
            }
            _ => {}
        }
        if let Some(newer) = newer.filter(|_| is_valid)
            && let Some(newer) = self.dirty.get_mut(newer)
        {
            newer.covers_loss = newer.covers_loss.max(Some(id));
        }
        // A write that is under way has what comes next, and mends the block.
        match writers {
            0 => self.remove_version(id),
            _ => {
                self.dirty.empty(id);
                slot.into_iter().for_each(|slot| self.free_record(slot));
            }
        }
        is_valid && newer.is_none() && writers == 0
    }

    /// A lost block has been written, so that it would survive as other blocks do only
    /// after the next flush.
    pub fn mend(&mut self, block: u32) {
        if self.lost.remove(&block) {
            self.mended.insert(block);
        }
    }

    /// Blocks are taken away. How many versions are lost by it.
    pub fn revoke(&mut self, blocks: &[Range<u32>]) -> u32 {
        let mut lost = 0;
        for slot in blocks.iter().cloned().flatten() {
            if slot >= self.region && slot < self.slots {
                lost += self.revoke_slot(slot);
            }
        }
        if !self.ready.is_empty() {
            self.ready.retain(|slot| !contains(blocks, *slot));
        }
        if !self.returned.is_empty() {
            self.returned.retain(|block| !contains(blocks, *block));
        }
        if !self.leaving.is_empty() {
            self.leaving.retain(|slot| !contains(blocks, *slot));
        }
        self.resize();
        lost
    }

    fn revoke_slot(&mut self, slot: u32) -> u32 {
        if let Revoked::Cached(cached) = self.cache.revoke(slot) {
            self.outdate(slot, cached.block);
        }
        self.locks.void(slot, None);
        let mut lost = 0;
        let mut next = self.dirty.in_slot(slot, None);
        while let Some(id) = next {
            next = self.dirty.in_slot(slot, Some(id));
            let version = self.dirty.get_mut(id).expect("a version in the slot");
            version.is_slot_gone = true;
            lost += u32::from(self.lose_if_gone(id));
        }
        // A record that something is dirty there would be taken for a loss later on.
        self.free_record(slot);
        lost
    }

    /// The slot of a version may be gone: the version is lost, unless a transfer has its
    /// data in memory.
    pub fn lose_if_gone(&mut self, id: VersionId) -> bool {
        let Some(version) = self.dirty.get(id).filter(|version| version.is_slot_gone) else {
            return false;
        };
        let block = version.block;
        if !version.is_in_hand {
            return self.lose(id);
        }
        if self.newer(id, block).is_none() {
            self.dirty.stray(block, id);
        }
        false
    }
}

/// Whether a block is in one of the runs.
fn contains(blocks: &[Range<u32>], block: u32) -> bool {
    blocks.iter().any(|run| run.contains(&block))
}
