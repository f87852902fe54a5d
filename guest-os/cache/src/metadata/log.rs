//! The layout of the log in the region, and what to write next.
//!
//! ```text
//!               plan: begin              finish: the last part is durable
//!   no chain ───────────────> building ─────────────────────────────────> chain
//!   condemned chain ────────>                                              │  ^
//!   long chain ─────────────> building, while the log goes on ─────────────┼──┘
//!                                                                          │
//!   no chain       <─── a block of it is revoked, or `forget` ─────────────┤
//!   condemned chain <── writing to its log failed ─────────────────────────┘
//! ```
//!
//! A *chain* is a checkpoint and the log from it. It is *condemned* when a write
//! of it failed: the end of its log is unknown then, so it cannot be continued, only
//! replaced. Whatever replaces a chain, the first block of its checkpoint, the root, is
//! erased before the log continues and before its blocks are reused.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use super::layout::{Header, Kind, PER_BLOCK};
use super::plan::{CHUNK, Plan, PlannedLog};
use super::scan;
use super::space::{Space, Use};
use super::{MAX_RECORDS, MetaError, Record, Snapshot, region_blocks};
use crate::device::BlockDevice;

/// Blocks that a log takes to be of use, beside two checkpoints.
const MIN_LOG: u32 = 6;

/// Blocks that are left beside room for a checkpoint: for where its own log would
/// begin, and for where the log goes on.
const MARGIN: u32 = 2;

/// A checkpoint that is complete, and the log from it.
#[derive(Debug)]
pub(super) struct Chain {
    /// The first block of the checkpoint.
    pub root: u32,
    /// The blocks of the log, oldest first.
    pub log: VecDeque<u32>,
    /// Where it goes on.
    pub next: u32,
    /// The sequence of its last block.
    pub last: u64,
    /// Whether something may be at `next`.
    pub is_condemned: bool,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Building {
    pub generation: u64,
    pub root: Option<u32>,
    /// Where the log goes on from it, and the sequence before.
    pub start: u32,
    pub previous: u64,
    /// How many blocks of the chain's log it makes needless; `None` when it begins a
    /// log of its own.
    pub overtakes: Option<usize>,
    /// Where the snapshot goes on; `None` when all of it is written.
    pub cursor: Option<u64>,
    /// Blocks written or planned, and as many as it may come to.
    pub len: u32,
    pub limit: u32,
}

/// The log of what is in which slot, as it is in the region.
#[derive(Debug)]
pub struct MetaLog {
    pub(super) id: u64,
    pub(super) capacity: u32,
    pub(super) space: Space,
    pub(super) chain: Option<Chain>,
    pub(super) building: Option<Building>,
    /// Roots of checkpoints that must not be found any longer.
    pub(super) retiring: Vec<u32>,
    /// Sequence of the next block of the log, and of the next checkpoint.
    pub(super) sequence: u64,
    pub(super) generation: u64,
    pub(super) is_planned: bool,
    pub(super) blocks_written: u64,
}

/// Blocks of a checkpoint of `records` records, and some for what comes to them while
/// it is written.
fn checkpoint_blocks(records: usize) -> u32 {
    let blocks = records.div_ceil(PER_BLOCK);
    (1 + blocks + blocks / 8) as u32
}

impl MetaLog {
    pub(super) fn new(capacity: u32, id: u64) -> Self {
        Self {
            id,
            capacity,
            space: Space::new(region_blocks(capacity)),
            chain: None,
            building: None,
            retiring: Vec::new(),
            sequence: 1,
            generation: 1,
            is_planned: false,
            blocks_written: 0,
        }
    }

    /// An empty log for the vSSD `device`, of which the blocks `held` are held: those
    /// of the region count. `id` should differ from that of any cache before.
    ///
    /// Writes every held block of the region, a hundredth of the vSSD, so that nothing
    /// that was recorded before is ever believed again. With few blocks or none it is
    /// not durable until more are granted.
    ///
    /// # Errors
    /// When the vSSD failed; what was recorded before may still be found then.
    pub async fn format(
        device: &impl BlockDevice,
        id: u64,
        held: &[Range<u32>],
    ) -> Result<Self, MetaError> {
        let mut log = Self::new(device.blocks(), id);
        let mut held: Vec<u32> = log.space.clip(held).collect();
        held.sort_unstable();
        held.dedup();
        // Roots before anything else, and the oldest first: a log whose end is written over
        // would be taken for one that ends there, if the power failed now.
        let roots = scan::roots(device, &held).await;
        let (roots, rest) = (roots.chunks(1), held.chunks(CHUNK));
        for places in roots.chain(rest) {
            let mut plan = Plan::default();
            for &place in places {
                plan.push_blank(log.capacity, id, place);
                log.space.set(place, Use::Free);
            }
            plan.write(device).await.map_err(MetaError::Device)?;
            log.blocks_written += plan.len() as u64;
        }
        Ok(log)
    }

    /// What to write next, so that `records` become durable; see [`super::commit`]. It is to
    /// be written and finished, and until then there can be no other plan.
    ///
    /// # Errors
    /// When the region has too few blocks.
    ///
    /// # Panics
    /// With more than [`MAX_RECORDS`] records, or when a plan was not finished.
    pub fn plan(
        &mut self,
        records: &[Record],
        snapshot: &impl Snapshot,
    ) -> Result<Plan, MetaError> {
        assert!(records.len() <= MAX_RECORDS, "{} records", records.len());
        assert!(!self.is_planned, "a plan is under way");
        let mut plan = Plan::default();
        let len = snapshot.len();
        if self.retiring.is_empty() {
            self.space.replace(Use::Old, Use::Free);
            self.begin_checkpoint(len, records.len().div_ceil(PER_BLOCK) as u32);
            self.plan_checkpoint(&mut plan, snapshot)?;
            self.plan_log(&mut plan, records, len);
            self.plan_blanks(&mut plan);
        } else {
            plan.retired.extend(self.retiring.iter().take(CHUNK));
            for &place in &plan.retired.clone() {
                plan.push_blank(self.capacity, self.id, place);
            }
        }
        if plan.is_empty() && !plan.has_records {
            return Err(self.full(len));
        }
        self.is_planned = true;
        Ok(plan)
    }

    fn full(&self, records: usize) -> MetaError {
        MetaError::Full {
            held: self.space.held(),
            records,
        }
    }

    /// The chain, if its log can be continued.
    pub(super) fn sound_chain(&self) -> Option<&Chain> {
        self.chain.as_ref().filter(|chain| !chain.is_condemned)
    }

    /// Whether a checkpoint is due before `parts` more blocks of the log, when it
    /// has so many records.
    fn is_due(&self, records: usize, parts: u32) -> bool {
        let limit = checkpoint_blocks(records);
        // A chunk of a checkpoint is written with at most 12 blocks of the log: it is
        // complete before the log took another half of it.
        let slack = (self.space.blocks() / 8).min(16);
        let low = parts + limit + limit / 2 + slack;
        let is_worth_it =
            |chain: &Chain| !chain.log.is_empty() || self.space.count(Use::Checkpoint) > limit;
        let is_low = self.space.count(Use::Free) < low;
        self.sound_chain()
            .is_none_or(|chain| is_low && is_worth_it(chain))
    }

    fn begin_checkpoint(&mut self, records: usize, parts: u32) {
        let limit = checkpoint_blocks(records);
        let own_start = u32::from(self.sound_chain().is_none());
        let has_room = self.space.count(Use::Free) >= limit + own_start;
        if self.building.is_some() || !self.is_due(records, parts) || !has_room {
            return;
        }
        let (start, previous, overtakes) = match self.sound_chain() {
            Some(chain) => (chain.next, chain.last, Some(chain.log.len())),
            None => {
                let start = self.space.allocate().expect("there is room");
                self.space.set(start, Use::Building);
                (start, self.sequence - 1, None)
            }
        };
        self.building = Some(Building {
            generation: self.generation,
            root: None,
            start,
            previous,
            overtakes,
            cursor: Some(0),
            len: 0,
            limit,
        });
        self.generation += 1;
    }

    /// Plans the next blocks of the checkpoint that is being written.
    fn plan_checkpoint(
        &mut self,
        plan: &mut Plan,
        snapshot: &impl Snapshot,
    ) -> Result<(), MetaError> {
        let Some(building) = &mut self.building else {
            return Ok(());
        };
        let mut records = Vec::with_capacity(PER_BLOCK);
        while let Some(mut cursor) = building.cursor
            && plan.checkpoint.len() < CHUNK
            && let Some(place) = self.space.allocate()
        {
            records.clear();
            building.cursor = loop {
                let read = snapshot.read(cursor, PER_BLOCK - records.len(), &mut records);
                match read {
                    Some(next) if records.len() < PER_BLOCK => cursor = next,
                    _ => break read,
                }
            };
            plan.has_end = building.cursor.is_none();
            plan.has_root |= building.len == 0;
            building.root.get_or_insert(place);
            let header = Header {
                kind: Kind::Checkpoint,
                capacity: self.capacity,
                id: self.id,
                sequence: building.generation,
                previous: building.previous,
                place,
                next: building.start,
                index: building.len,
                parts: u16::from(plan.has_end),
            };
            building.len += 1;
            plan.push(header, &records);
            plan.checkpoint.push(place);
        }
        if plan.checkpoint.is_empty() && self.space.count(Use::Raw) == 0 {
            // The snapshot outgrew the room: it is not written again for this commit.
            self.abandon_checkpoint();
            return Err(self.full(snapshot.len()));
        }
        Ok(())
    }

    /// Plans the commit, if the log can take it and leave room for a checkpoint.
    fn plan_log(&mut self, plan: &mut Plan, records: &[Record], snapshot: usize) {
        let Some(chain) = self.chain.as_ref().filter(|chain| !chain.is_condemned) else {
            return;
        };
        let parts = records.len().div_ceil(PER_BLOCK);
        let reserve = match &self.building {
            Some(building) if building.cursor.is_none() => 0,
            Some(building) => building.limit.saturating_sub(building.len).max(1),
            None => checkpoint_blocks(snapshot),
        };
        let room = self.space.count(Use::Free).saturating_sub(reserve);
        plan.has_records = parts == 0 || room as usize > parts;
        if parts == 0 || !plan.has_records {
            return;
        }
        let (first, previous) = (chain.next, chain.last);
        self.space.set(first, Use::Planned);
        let mut places = Vec::with_capacity(parts + 1);
        places.push(first);
        places.extend((0..parts).map(|_| self.space.allocate().expect("there is room")));
        for (index, records) in records.chunks(PER_BLOCK).enumerate() {
            let header = Header {
                kind: Kind::Log,
                capacity: self.capacity,
                id: self.id,
                sequence: self.sequence + index as u64,
                previous,
                place: places[index],
                next: places[index + 1],
                index: index as u32,
                parts: parts as u16,
            };
            plan.push(header, records);
        }
        self.sequence += parts as u64;
        plan.log = Some(PlannedLog {
            next: places.pop().expect("there is one more than parts"),
            places,
            last: self.sequence - 1,
        });
    }

    /// Plans to bring blocks that may be zeros into use.
    fn plan_blanks(&mut self, plan: &mut Plan) {
        plan.blanks.extend(self.space.all(Use::Raw).take(CHUNK));
        for &place in &plan.blanks.clone() {
            self.space.set(place, Use::Planned);
            plan.push_blank(self.capacity, self.id, place);
        }
    }

    /// Whether nothing is recorded on the vSSD, so that any slot may be overwritten.
    pub fn is_void(&self) -> bool {
        self.chain.is_none() && self.retiring.is_empty() && self.building.is_none()
    }

    /// Blocks of the region that are held.
    pub fn held(&self) -> u32 {
        self.space.held()
    }

    /// Whether the blocks that are held suffice for a log when it has so many records
    /// ([`Snapshot::len`]): then no commit of up to 5 blocks ends in [`MetaError::Full`].
    ///
    /// The old log may take what a new one would need, when much was revoked: then it
    /// helps to [`forget`](Self::forget).
    pub fn is_durable(&self, records: usize) -> bool {
        let limit = checkpoint_blocks(records);
        let room = [Use::Raw, Use::Free, Use::Old, Use::Building].map(|of| self.space.count(of));
        self.space.held() >= 2 * limit + MIN_LOG && room.iter().sum::<u32>() >= limit + MARGIN
    }

    /// Whether a commit would have to go on with a checkpoint, so that one without
    /// records is of use while nothing else is to be done.
    pub fn needs_checkpoint(&self, records: usize) -> bool {
        self.building.is_some() || !self.retiring.is_empty() || self.is_due(records, 0)
    }

    /// Blocks written so far.
    pub fn blocks_written(&self) -> u64 {
        self.blocks_written
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        let log = self.chain.as_ref().map_or(0, |chain| chain.log.capacity());
        self.space.memory_bytes() + (log + self.retiring.capacity()) * size_of::<u32>()
    }
}
