//! Pending metadata: the records to write to the vSSD, and the marks of slots.
//!
//! The mark of a slot says what may be recorded about it, whatever is in it now:
//!
//! | mark | recorded |
//! |---|---|
//! | [`FREE`] | nothing |
//! | [`CLEAN`] | a block that the origin has too |
//! | [`DIRTY`], [`ZEROS`] | a block that it may not have; [`ZEROS`] if the data may be zeros |
//!
//! It is never too low for a slot that is about to be used for something else, nor too
//! high for one that is about to be overwritten with newer data of the same block: a
//! record that is being replaced counts as the stricter of the two until it has been.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::metadata::{MAX_RECORDS, Record, SlotState};

pub const FREE: u8 = 0;
pub const CLEAN: u8 = 1;
pub const DIRTY: u8 = 2;
pub const ZEROS: u8 = 3;

/// Changes that no commit has taken yet.
#[derive(Default)]
pub struct Metadata {
    slots: BTreeMap<u32, SlotState>,
    blocks: Vec<Record>,
    /// Slots whose clean block is waiting to be recorded, and about which nothing is
    /// there yet, whatever their mark says.
    fresh: BTreeSet<u32>,
    /// A commit has failed, maybe before the data were durable, and its records may be on the vSSD.
    is_doubtful: bool,
    /// Records became free and no request waits for that: what the origin has of
    /// the blocks must not change before they are committed.
    has_stale: bool,
    is_committing_stale: bool,
    /// Some slot has a mark.
    pub has_marks: bool,
    /// What was recorded is gone, and some of it was dirty.
    pub is_gone: bool,
    /// How often that was so.
    pub losses: u64,
}

impl Metadata {
    pub fn push(&mut self, record: Record) {
        self.blocks.push(record);
    }

    pub fn set(&mut self, slot: u32, state: SlotState) {
        self.slots.insert(slot, state);
    }

    /// Nothing is to be recorded about a slot.
    pub fn unset(&mut self, slot: u32) {
        self.slots.remove(&slot);
    }

    /// What is waiting to be recorded about a slot.
    pub fn next(&self, slot: u32) -> Option<SlotState> {
        self.slots.get(&slot).copied()
    }

    /// Nothing is there yet about a slot whose clean block is to be recorded.
    pub fn note_fresh(&mut self, slot: u32) {
        self.fresh.insert(slot);
    }

    /// That does not count any longer; returns whether it was so.
    pub fn take_fresh(&mut self, slot: u32) -> bool {
        self.fresh.remove(&slot)
    }

    /// A record became free, and no request waits for that.
    pub fn note_stale(&mut self) {
        self.has_stale = true;
    }

    /// What is waiting to be recorded about a slot is of data that may be zeros.
    pub fn may_be_zeros(&mut self, slot: u32) {
        if let Some(SlotState::Dirty { zeros, .. }) = self.slots.get_mut(&slot) {
            *zeros = true;
        }
    }

    /// Nothing can be recorded.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.fresh.clear();
        self.blocks.clear();
        self.is_doubtful = false;
        self.has_stale = false;
        self.is_committing_stale = false;
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<(u32, SlotState)>()
            + self.blocks.capacity() * size_of::<Record>()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.blocks.is_empty()
    }

    /// Whether something is waiting that should not wait for long.
    pub fn is_urgent(&self) -> bool {
        self.has_stale || !self.blocks.is_empty()
    }

    /// Whether the next commit has to see to the data of the last one.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether a stale record is waiting, which no write to the origin may overtake.
    pub fn has_stale(&self) -> bool {
        self.has_stale || self.is_committing_stale
    }

    /// Takes what one commit can have: what is lost before its slot becomes free, which nothing
    /// else would tell; and what becomes free before the rest, so that no block is recorded
    /// twice.
    pub fn take(&mut self) -> Vec<Record> {
        let slots = core::mem::take(&mut self.slots);
        let record = |(slot, state)| Record::Slot { slot, state };
        let (free, held): (Vec<_>, Vec<_>) = slots
            .into_iter()
            .partition(|(_, state)| *state == SlotState::Free);
        let mut records = core::mem::take(&mut self.blocks);
        records.extend(free.into_iter().chain(held).map(record));
        if records.len() > MAX_RECORDS {
            self.restore(records.split_off(MAX_RECORDS));
        }
        self.is_committing_stale = core::mem::take(&mut self.has_stale);
        self.has_stale = !self.is_empty() && self.is_committing_stale;
        for record in &records {
            if let Record::Slot { slot, .. } = record {
                self.fresh.remove(slot);
            }
        }
        records
    }

    /// Records were taken and not committed.
    pub fn put_back(&mut self, records: Vec<Record>) {
        self.is_doubtful |= !records.is_empty();
        self.restore(records);
    }

    fn restore(&mut self, records: Vec<Record>) {
        let mut blocks = Vec::new();
        for record in records {
            match record {
                Record::Slot { slot, state } => {
                    self.slots.entry(slot).or_insert(state);
                }
                other => blocks.push(other),
            }
        }
        // What has come since is newer.
        blocks.append(&mut self.blocks);
        self.blocks = blocks;
        self.has_stale |= core::mem::take(&mut self.is_committing_stale);
    }

    /// The records that were taken are durable.
    pub fn committed(&mut self) {
        self.is_committing_stale = false;
        self.is_doubtful = false;
    }
}

/// What the mark of a slot becomes by a record.
pub fn mark_of(state: SlotState) -> u8 {
    match state {
        SlotState::Free => FREE,
        SlotState::Clean { .. } => CLEAN,
        SlotState::Dirty { zeros: false, .. } => DIRTY,
        SlotState::Dirty { zeros: true, .. } => ZEROS,
    }
}
