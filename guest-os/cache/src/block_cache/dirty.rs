//! Versions of blocks that the origin disk does not have yet, oldest first.
//!
//! ```text
//!              a write ends             written back, or superseded on the origin
//!   written ------------------> dirty ---------------------------------> (gone)
//!      |                          |  its slot is revoked
//!      | the write fails          +---------------------> lost, if it was the newest
//!      +----> (gone)              |  its block is discarded
//!                                 +---------------------> (gone)
//! ```
//!
//! A version is made when its write arrives, so that what arrives later knows of it.
//! Usually it is in the slot where the cache has its block. It may have outlived that:
//! the block has been evicted and its evictor still waits; a newer version has
//! another slot, and this one *owns* its slot, which the cache gets back when it is
//! gone; the vSSD has failed and the data are in memory.
//!
//! Writes are in *epochs*, which ordered and journaled write-back bring to the origin
//! disk one after the other. Plain write-back has a single one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// From here on epochs are counted from the start again when nothing is dirty: after
/// half of what there are, which gives that some hours to happen.
const LATE: u32 = 1 << 31;

/// A version, as long as it is there.
pub type VersionId = u64;

/// A version of a block.
#[derive(Debug)]
pub struct Version {
    pub block: u32,
    /// None: the data are in memory.
    pub slot: Option<u32>,
    pub data: Option<Box<[u8]>>,
    /// A second write has replaced what one had put in memory.
    pub is_replaced_in_memory: bool,
    pub epoch: u32,
    pub since_ns: u64,
    /// Writes of it that have not ended.
    pub writers: u32,
    /// A write of it has ended.
    pub is_valid: bool,
    /// The block has been evicted from the slot, or has a newer version elsewhere.
    pub is_detached: bool,
    /// The slot is not the cache's, and returns to it when the version goes.
    pub owns_slot: bool,
    /// A transfer has the data in memory and writes them to the origin.
    pub is_in_hand: bool,
    /// The slot was revoked since.
    pub is_slot_gone: bool,
    /// What was written last is zeros.
    pub is_zeros: bool,
    /// Zeros are being written, or were by a write with an unknown outcome.
    pub becomes_zeros: bool,
    /// How often writing it back has failed.
    pub failures: u32,
    /// The newest older version that was lost, which was not reported because this one replaces
    /// it.
    pub covers_loss: Option<VersionId>,
    /// Its block was discarded: it is dropped instead of written back, and no loss if its slot
    /// is revoked before.
    pub is_discarded: bool,
}

impl Version {
    /// A version that is being written to `slot`.
    pub fn written(block: u32, slot: Option<u32>, epoch: u32, since_ns: u64) -> Self {
        Self {
            block,
            slot,
            data: None,
            is_replaced_in_memory: false,
            epoch,
            since_ns,
            writers: 1,
            is_valid: false,
            is_detached: false,
            owns_slot: false,
            is_in_hand: false,
            is_slot_gone: false,
            is_zeros: false,
            becomes_zeros: false,
            failures: 0,
            covers_loss: None,
            is_discarded: false,
        }
    }

    /// Whether its slot may have zeros.
    pub fn may_be_zeros(&self) -> bool {
        self.is_zeros || self.becomes_zeros
    }
}

/// All versions.
#[derive(Default)]
pub struct Dirty {
    versions: BTreeMap<VersionId, Version>,
    by_slot: BTreeSet<(u32, VersionId)>,
    by_block: BTreeSet<(u32, VersionId)>,
    /// Valid versions.
    len: u32,
    next: VersionId,
    /// The epoch that writes belong to now.
    pub epoch: u32,
    /// Whether a write of it has ended.
    pub has_ended: bool,
    /// Versions of it.
    pub in_epoch: u32,
    /// The epoch whose versions are being brought to the origin disk, or are to be again after a
    /// failure.
    pub applying: Option<u32>,
    /// Writes under way, by epoch.
    under_way: BTreeMap<u32, u32>,
    /// Versions, by block, that are not in the slot where the cache would have it.
    strays: BTreeSet<(u32, VersionId)>,
    /// Valid versions that are not recorded.
    pub unrecorded: BTreeSet<VersionId>,
}

impl Dirty {
    /// How many valid versions there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none at all, written or not.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Whether a version is in a slot.
    pub fn has_slots(&self) -> bool {
        !self.by_slot.is_empty()
    }

    pub fn add(&mut self, version: Version) -> VersionId {
        let id = self.next;
        self.next += 1;
        if let Some(slot) = version.slot {
            self.by_slot.insert((slot, id));
        }
        self.by_block.insert((version.block, id));
        self.len += u32::from(version.is_valid);
        self.in_epoch += u32::from(version.epoch == self.epoch);
        self.versions.insert(id, version);
        id
    }

    pub fn get(&self, id: VersionId) -> Option<&Version> {
        self.versions.get(&id)
    }

    /// To change anything but `slot` and `is_valid`.
    pub fn get_mut(&mut self, id: VersionId) -> Option<&mut Version> {
        self.versions.get_mut(&id)
    }

    /// A write of the version has ended well.
    pub fn validate(&mut self, id: VersionId) {
        if let Some(version) = self.versions.get_mut(&id)
            && !version.is_valid
        {
            version.is_valid = true;
            self.len += 1;
        }
    }

    /// What is in the slot is on the origin too; a write of something newer is under way.
    pub fn invalidate(&mut self, id: VersionId) {
        if let Some(version) = self.versions.get_mut(&id) {
            self.len -= u32::from(core::mem::take(&mut version.is_valid));
        }
        self.unrecorded.remove(&id);
    }

    pub fn remove(&mut self, id: VersionId) -> Option<Version> {
        let version = self.versions.remove(&id)?;
        if let Some(slot) = version.slot {
            self.by_slot.remove(&(slot, id));
        }
        self.by_block.remove(&(version.block, id));
        self.len -= u32::from(version.is_valid);
        self.in_epoch -= u32::from(version.epoch == self.epoch);
        self.unrecorded.remove(&id);
        self.strays.remove(&(version.block, id));
        Some(version)
    }

    /// What was in the slot of a version is gone; a write of it is still under way.
    pub fn empty(&mut self, id: VersionId) {
        self.invalidate(id);
        let Some(version) = self.versions.get_mut(&id) else {
            return;
        };
        version.is_detached = true;
        if let Some(slot) = version.slot.take() {
            self.by_slot.remove(&(slot, id));
        }
    }

    /// The version is in memory from now on. The slot where it was.
    pub fn move_to_memory(&mut self, id: VersionId, data: &[u8]) -> Option<u32> {
        self.validate(id);
        let version = self.versions.get_mut(&id)?;
        version.data = Some(data.into());
        version.is_detached = true;
        version.is_slot_gone = false;
        version.failures = 0;
        let slot = version.slot.take();
        if let Some(slot) = slot {
            self.by_slot.remove(&(slot, id));
        }
        let block = version.block;
        self.unrecorded.remove(&id);
        self.strays.insert((block, id));
        slot
    }

    /// The number of the next version.
    pub fn next_id(&self) -> VersionId {
        self.next
    }

    /// The version where the cache has `block`, in `slot`.
    pub fn current(&self, slot: u32, block: u32) -> Option<VersionId> {
        let (_, id) = self.in_slot_range(slot).next_back()?;
        let version = &self.versions[id];
        (version.block == block && !version.is_detached).then_some(*id)
    }

    /// The version of `block` that has been written to `slot`, even if the block has been
    /// evicted since.
    pub fn written_in(&self, slot: u32, block: u32) -> Option<VersionId> {
        let mut newest = self.in_slot_range(slot).rev().map(|&(_, id)| id);
        newest.find(|id| {
            let version = &self.versions[id];
            version.block == block && version.is_valid
        })
    }

    fn in_slot_range(
        &self,
        slot: u32,
    ) -> alloc::collections::btree_set::Range<'_, (u32, VersionId)> {
        self.by_slot.range((slot, 0)..=(slot, VersionId::MAX))
    }

    /// Whether a version that has been written is in a slot, or was when that was revoked.
    pub fn is_in(&self, slot: u32) -> bool {
        let mut versions = self.in_slot_range(slot).map(|(_, id)| &self.versions[id]);
        versions.any(|version| version.is_valid)
    }

    /// Whether a version in a slot owns it, and the slot was not revoked since.
    pub fn is_owned(&self, slot: u32) -> bool {
        let mut versions = self.in_slot_range(slot).map(|(_, id)| &self.versions[id]);
        versions.any(|version| version.owns_slot && !version.is_slot_gone)
    }

    /// Whether a slot was revoked while a transfer has its data in memory: until they are on
    /// the origin, or lost, the record of the slot is the only trace of them.
    pub fn is_leaving(&self, slot: u32) -> bool {
        let mut versions = self.in_slot_range(slot).map(|(_, id)| &self.versions[id]);
        versions.any(|version| version.is_slot_gone && version.is_in_hand)
    }

    /// Any version in a slot, with a higher number than `after`.
    pub fn in_slot(&self, slot: u32, after: Option<VersionId>) -> Option<VersionId> {
        let first = after.map_or(0, |id| id + 1);
        let mut range = self.by_slot.range((slot, first)..=(slot, VersionId::MAX));
        range.next().map(|&(_, id)| id)
    }

    /// The newest version of a block that has been written, wherever it is.
    pub fn newest(&self, block: u32) -> Option<VersionId> {
        let all = self.by_block.range((block, 0)..=(block, VersionId::MAX));
        let mut newest = all.rev().map(|&(_, id)| id);
        newest.find(|id| self.versions[id].is_valid)
    }

    /// Whether a version is the only one of its block.
    pub fn is_only(&self, id: VersionId, block: u32) -> bool {
        let all = self.by_block.range((block, 0)..=(block, VersionId::MAX));
        all.map(|&(_, other)| other).eq([id])
    }

    /// The version is a stray: it is not in the slot that the cache has for its block.
    pub fn stray(&mut self, block: u32, id: VersionId) {
        self.strays.insert((block, id));
    }

    /// Whether a block has stray versions.
    pub fn has_stray(&self, block: u32) -> bool {
        self.strays_of(block, VersionId::MAX).next().is_some()
    }

    /// The newest stray version of a block that has been written. One that is yet to be
    /// written is of no use to the request that holds the lock now.
    pub fn find_stray(&self, block: u32) -> Option<VersionId> {
        let mut strays = self.strays_of(block, VersionId::MAX).rev();
        strays.find(|id| self.versions[id].is_valid)
    }

    /// A newer version than these is in its usual place.
    pub fn forget_strays(&mut self, block: u32, newer: VersionId) {
        let older: Vec<VersionId> = self.strays_of(block, newer).collect();
        for id in older {
            self.strays.remove(&(block, id));
        }
    }

    fn strays_of(
        &self,
        block: u32,
        before: VersionId,
    ) -> impl DoubleEndedIterator<Item = VersionId> {
        let range = self.strays.range((block, 0)..(block, before));
        range.map(|&(_, id)| id)
    }

    /// Whether there is one whose data are in memory.
    pub fn is_in_memory(&self) -> bool {
        let mut strays = self.strays.iter();
        strays.any(|(_, id)| self.versions[id].data.is_some())
    }

    /// All versions, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (VersionId, &Version)> {
        self.versions.iter().map(|(&id, version)| (id, version))
    }

    /// The versions after `after`, oldest first.
    pub fn iter_after(
        &self,
        after: Option<VersionId>,
    ) -> impl Iterator<Item = (VersionId, &Version)> {
        let first = after.map_or(0, |id| id + 1);
        let range = self.versions.range(first..);
        range.map(|(&id, version)| (id, version))
    }

    /// When the oldest version was written.
    pub fn oldest_ns(&self) -> Option<u64> {
        let mut valid = self.versions.values().filter(|version| version.is_valid);
        valid.next().map(|version| version.since_ns)
    }

    /// Later writes are of a new epoch.
    pub fn close_epoch(&mut self) {
        if self.in_epoch > 0 || self.under_way.contains_key(&self.epoch) || self.has_ended {
            self.begin_epoch(self.epoch + 1);
        }
        if self.epoch > LATE && self.versions.is_empty() && self.under_way.is_empty() {
            self.begin_epoch(0);
        }
    }

    /// Later writes are of this epoch.
    pub fn begin_epoch(&mut self, epoch: u32) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.in_epoch = 0;
            self.has_ended = false;
        }
    }

    /// A write of the present epoch begins.
    pub fn begin_write(&mut self) -> u32 {
        *self.under_way.entry(self.epoch).or_insert(0) += 1;
        self.epoch
    }

    /// A write of an epoch has ended.
    pub fn end_write(&mut self, epoch: u32) {
        let count = self
            .under_way
            .get_mut(&epoch)
            .expect("a write of the epoch");
        *count -= 1;
        if *count == 0 {
            self.under_way.remove(&epoch);
        }
    }

    /// Whether a write of the epoch, or an earlier one, is under way.
    pub fn is_under_way(&self, epoch: u32) -> bool {
        let first = self.under_way.first_key_value();
        first.is_some_and(|(&first, _)| first <= epoch)
    }

    /// The epoch that is to come to the origin first.
    pub fn oldest_epoch(&self) -> Option<u32> {
        let first = self.versions.first_key_value();
        first.map(|(_, version)| version.epoch)
    }

    /// Bytes of heap, about.
    pub fn memory_bytes(&self) -> usize {
        let in_memory = self.versions.values().filter_map(|it| it.data.as_deref());
        let data: usize = in_memory.map(size_of_val).sum();
        data + self.versions.len() * (size_of::<Version>() + 2 * size_of::<VersionId>())
            + (self.by_slot.len() + self.by_block.len()) * size_of::<(u32, VersionId)>()
    }
}
