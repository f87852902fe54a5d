//! What is to be recorded: the records that follow from the cache and the dirty versions, and what
//! may be recorded of each slot by then, as its mark says ([`metadata`](super::metadata)).

use alloc::vec::Vec;

use super::dirty::VersionId;
use super::lock_queue::Resource;
use super::metadata::{CLEAN, DIRTY, FREE, ZEROS, mark_of};
use super::state::Core;
use crate::metadata::{Record, SlotState, Snapshot};

/// Slots that one part of a checkpoint looks at: a bound of what a poll does.
const LOOKED_AT: u64 = 16_384;

impl Core {
    /// A slot holds nothing of value any longer. Its record is to be removed, and no request
    /// waits for that.
    pub fn free_record(&mut self, slot: u32) {
        // Not while a version is there that is still to come to the origin: of the block that
        // is going from the slot, or of one whose slot was revoked while it was in memory.
        if self.dirty.is_in(slot) {
            return;
        }
        self.set_free(slot);
        if self.metadata.next(slot) == Some(SlotState::Free) {
            self.metadata.note_stale();
        }
    }

    /// The same, for a request that waits.
    pub fn set_free(&mut self, slot: u32) {
        if self.metadata.take_fresh(slot) {
            self.cache.set_mark(slot, FREE);
            self.outdated.remove(&slot);
        }
        if self.cache.mark(slot) == FREE {
            self.metadata.unset(slot);
        } else {
            self.metadata.set(slot, SlotState::Free);
        }
    }

    /// A version is to be recorded after the next flush.
    pub fn note_unrecorded(&mut self, id: VersionId) {
        let Some(version) = self.dirty.get(id) else {
            return;
        };
        let mark = version.slot.map(|slot| self.cache.mark(slot));
        let is_zeros = version.is_zeros;
        if mark.is_some_and(|mark| mark < DIRTY || mark == ZEROS && !is_zeros) {
            self.dirty.unrecorded.insert(id);
        }
    }

    /// A write of the version has ended well.
    pub fn written(&mut self, id: VersionId, is_zeros: bool) {
        self.dirty.validate(id);
        let Some(version) = self.dirty.get_mut(id) else {
            return;
        };
        // What is on its way to the record may say that they are.
        let is_other = version.may_be_zeros() && !is_zeros;
        version.is_zeros = is_zeros;
        version.becomes_zeros = false;
        if is_other {
            self.dirty.unrecorded.insert(id);
        } else {
            self.note_unrecorded(id);
        }
    }

    /// None of the versions may be recorded.
    pub fn note_all_unrecorded(&mut self) {
        let valid = self.dirty.iter().filter(|(_, it)| it.is_valid);
        let ids: Vec<VersionId> = valid.map(|(id, _)| id).collect();
        for id in ids {
            self.note_unrecorded(id);
        }
    }

    /// Records the versions that are not recorded.
    pub fn record_versions(&mut self) {
        for id in core::mem::take(&mut self.dirty.unrecorded) {
            let Some(version) = self.dirty.get(id).filter(|version| version.is_valid) else {
                continue;
            };
            let Some(slot) = version.slot else {
                continue;
            };
            let state = SlotState::Dirty {
                block: version.block,
                epoch: version.epoch,
                zeros: version.may_be_zeros(),
            };
            self.metadata.set(slot, state);
        }
    }

    /// Records clean blocks in slots that no request uses.
    pub fn record_clean(&mut self) {
        for slot in core::mem::take(&mut self.unrecorded) {
            self.record_if_clean(slot, FREE);
        }
    }

    /// Records the clean block of a slot, if the slot has the mark `mark`.
    pub fn record_if_clean(&mut self, slot: u32, mark: u8) {
        let Some(block) = self.cache.block(slot) else {
            return;
        };
        let is_other = self.cache.mark(slot) != mark || self.outdated.contains_key(&slot);
        let is_used = !self.locks.is_idle(Resource::Slot(slot));
        if is_other || is_used || self.dirty.in_slot(slot, None).is_some() {
            return;
        }
        if mark == FREE {
            self.metadata.note_fresh(slot);
        }
        self.metadata.set(slot, SlotState::Clean { block });
        // At once, so that the next write to the slot changes the record first.
        self.set_mark(slot, CLEAN);
    }

    /// Sets what may be recorded about a slot.
    pub fn set_mark(&mut self, slot: u32, mark: u8) {
        self.cache.set_mark(slot, mark);
        self.metadata.has_marks |= mark != FREE;
    }

    /// Takes what one commit can have, and marks its slots.
    pub fn take_records(&mut self) -> Vec<Record> {
        let records = self.metadata.take();
        for record in &records {
            if let Record::Slot { slot, state } = *record {
                let mark = mark_of(state);
                let is_stricter = mark == DIRTY && self.cache.mark(slot) == ZEROS;
                if self.cache.mark(slot) == FREE || mark == CLEAN || is_stricter {
                    self.set_mark(slot, mark);
                    self.mark_holder(slot, state);
                }
            }
        }
        records
    }

    /// Remembers which block the record of a slot names, if it is not that which the cache
    /// has there.
    fn mark_holder(&mut self, slot: u32, state: SlotState) {
        let (SlotState::Clean { block } | SlotState::Dirty { block, .. }) = state else {
            return;
        };
        if self.cache.block(slot) != Some(block) {
            self.outdated.insert(slot, block);
        }
    }

    /// Records are durable.
    pub fn committed(&mut self, records: &[Record]) {
        self.metadata.committed();
        for record in records {
            if let Record::Slot { slot, state } = *record {
                // What is to be clean next counts as that already.
                let next = self.metadata.next(slot);
                if !matches!(next, Some(SlotState::Clean { .. })) {
                    self.cache.set_mark(slot, mark_of(state));
                }
                if state == SlotState::Free {
                    self.outdated.remove(&slot);
                }
            }
        }
    }

    /// Whether something may be recorded.
    pub fn has_marks(&self) -> bool {
        self.metadata.has_marks
    }

    /// Whether a version may be recorded that the origin does not have.
    pub fn has_recorded_versions(&self) -> bool {
        let slots = self.dirty.iter().filter(|(_, it)| it.is_valid);
        let mut slots = slots.filter_map(|(_, version)| version.slot);
        slots.any(|slot| self.cache.mark(slot) >= DIRTY)
    }

    /// Nothing is recorded about any slot, nor can be.
    pub fn nothing_recorded(&mut self) {
        if core::mem::take(&mut self.metadata.has_marks) {
            for slot in self.region..self.slots {
                self.cache.set_mark(slot, FREE);
            }
        }
        self.outdated.clear();
        self.metadata.clear();
        // What was flushed is to be recorded again.
        self.note_all_unrecorded();
        self.metadata.is_gone = !self.dirty.unrecorded.is_empty();
        self.metadata.losses += 1;
    }

    /// What is recorded about a slot whose mark says that something is.
    fn on_record(&self, slot: u32) -> Option<Record> {
        let mark = self.cache.mark(slot);
        if mark == FREE {
            return None;
        }
        if mark == CLEAN && self.metadata.next(slot).is_some() {
            // Its data may be yet to be made durable, or it is about to be free: there is no
            // harm in forgetting a clean block.
            return None;
        }
        let outdated = self.outdated.get(&slot).copied();
        let block = outdated.or_else(|| self.cache.block(slot))?;
        // Not one that is yet to be written there.
        let version = self.dirty.written_in(slot, block);
        let version = version.and_then(|id| self.dirty.get(id));
        let state = match mark {
            CLEAN => SlotState::Clean { block },
            mark => SlotState::Dirty {
                block,
                epoch: version.map_or(0, |version| version.epoch),
                zeros: mark == ZEROS,
            },
        };
        Some(Record::Slot { slot, state })
    }
}

/// All slots, then the lost blocks. A slot's record stays the slot's whatever the cache
/// does with it, so that nothing moves.
impl Snapshot for core::cell::RefCell<Core> {
    fn len(&self) -> usize {
        let core = self.borrow();
        let cached = core.cache.len() as usize + core.outdated.len();
        cached + core.dirty.len() as usize + core.lost.len() + core.mended.len()
    }

    fn read(&self, cursor: u64, limit: usize, out: &mut Vec<Record>) -> Option<u64> {
        let core = self.borrow();
        let slots = u64::from(core.slots);
        let end = out.len() + limit;
        let mut at = cursor;
        while at < slots && at < cursor + LOOKED_AT && out.len() < end {
            out.extend(core.on_record(at as u32));
            at += 1;
        }
        if at < slots || out.len() == end {
            return Some(at);
        }
        let first = (at - slots) as u32;
        let lost = core.lost.union(&core.mended).copied();
        for block in lost.filter(|&block| block >= first) {
            if out.len() == end {
                return Some(slots + u64::from(block));
            }
            out.push(Record::Lost { block });
        }
        None
    }
}
