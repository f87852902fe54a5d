//! The state of the cache and its decisions, without any I/O.
//!
//! A request is decided as it arrives, in the order of arrival: whether it hits, what comes in,
//! what goes. The decision is a [`Job`]. The rest of a request only moves data, when it is its
//! turn, and reports the result. So hits and misses do not depend on how long a disk takes.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::advice::AdvisedRanges;
use super::api::{Config, Served, Stats};
use super::dirty::{Dirty, Version, VersionId};
use super::lock_queue::{LockId, LockQueues, Resource};
use super::metadata::{FREE, Metadata};
use super::reuse::Reuse;
use super::streams::{Promotion, Streams};
use crate::cache::Admission;
use crate::eviction::AnyCache;
use crate::mrc::DemandSampler;
use crate::write_policy::WritePolicy;

/// What a job does with its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The block is in it.
    Hit,
    /// The block is in it, if it has not come back as zeros.
    Check,
    /// The block comes into it.
    Fill,
    /// The block has been discarded from it.
    Discard,
    /// It is about to be given up.
    Depart,
    /// There is none.
    Direct,
}

/// A job with a slot; or none, and how that counts.
pub type Arrival = Result<Job, Served>;

/// What was decided for a request, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub lock: LockId,
    pub block: u32,
    pub kind: Kind,
    pub slot: Option<u32>,
    /// The version that is in the slot before it may be overwritten.
    pub victim: Option<VersionId>,
    /// The version that is written.
    pub version: Option<VersionId>,
    /// The epoch of the write, until it has ended.
    pub epoch: Option<u32>,
    /// How it counts.
    pub served: Served,
    pub is_write: bool,
    /// The policy of a write: [`WritePolicy::ReadOnly`] for one that bypasses the vSSD.
    pub write: WritePolicy,
    /// Whether the block was restored from the metadata and not read since.
    pub was_restored: bool,
    /// Nothing of value is in the slot any longer, nor recorded about it.
    pub is_settled: bool,
    /// The slot may have been written.
    pub has_begun: bool,
    /// The slot is discarded on the vSSD.
    pub is_announced: bool,
}

/// All but the disks.
pub struct Core {
    pub cache: AnyCache,
    pub locks: LockQueues,
    pub dirty: Dirty,
    pub metadata: Metadata,
    /// Blocks whose last write is lost.
    pub lost: BTreeSet<u32>,
    /// Of these, those written again since, but not yet so that it would survive.
    pub mended: BTreeSet<u32>,
    /// The block that is recorded for a slot, where it is not the one that the cache has
    /// there.
    pub outdated: BTreeMap<u32, u32>,
    /// Slots with clean blocks that are not recorded.
    pub unrecorded: Vec<u32>,
    /// Jobs whose request was dropped before it had cleared its slot.
    pub abandoned: Vec<Job>,
    /// Slots that are about to be given up, and blocks that can be.
    pub departing: VecDeque<Job>,
    pub departing_count: u32,
    pub leaving: Vec<u32>,
    pub ready: Vec<u32>,
    /// Blocks of the metadata that were to be given up and are not.
    pub returned: Vec<u32>,
    pub wanted: u32,
    pub stats: Stats,
    pub write: WritePolicy,
    pub origin_blocks: u32,
    /// The slots begin after the blocks of the metadata, and end here.
    pub region: u32,
    pub slots: u32,
    pub clean_first: bool,
    pub advice: AdvisedRanges,
    pub demand: Option<DemandSampler>,
    bypass_blocks: u32,
    streams: Streams,
    pub promotion: Promotion,
    /// Writes bypass the vSSD by advice.
    pub bypasses_writes: bool,
    /// Blocks that missed, while only reused ones are admitted.
    pub reuse: Option<Reuse>,
}

impl Core {
    pub fn new(config: &Config, region: u32, slots: u32, origin_blocks: u32) -> Self {
        Self {
            cache: config.eviction.cache(slots),
            locks: LockQueues::default(),
            dirty: Dirty::default(),
            metadata: Metadata::default(),
            lost: BTreeSet::new(),
            mended: BTreeSet::new(),
            outdated: BTreeMap::new(),
            unrecorded: Vec::new(),
            abandoned: Vec::new(),
            departing: VecDeque::new(),
            departing_count: 0,
            leaving: Vec::new(),
            ready: Vec::new(),
            returned: Vec::new(),
            wanted: 0,
            stats: Stats::default(),
            write: config.write,
            origin_blocks,
            region,
            slots,
            clean_first: config.clean_first,
            advice: AdvisedRanges::default(),
            demand: DemandSampler::new(config.demand_sample as usize).ok(),
            bypass_blocks: config.bypass_blocks,
            streams: Streams::default(),
            promotion: Promotion::new(config.promote, slots),
            bypasses_writes: false,
            reuse: None,
        }
    }

    /// Whether more is dirty than may be, in a hundred slots.
    pub fn is_too_dirty(&self, percent: u8) -> bool {
        let percent = if self.write.keeps_dirty() {
            u64::from(percent)
        } else {
            0
        };
        let allowed = u64::from(self.cache.capacity()) * percent;
        u64::from(self.dirty.len()) * 100 > allowed
    }

    /// Whether versions come to the origin disk in the order of epochs.
    pub fn is_ordered(&self) -> bool {
        matches!(self.write, WritePolicy::Ordered | WritePolicy::Journaled)
    }

    /// A read arrives.
    pub fn arrive_read(&mut self, block: u32) -> Job {
        let is_admitted = self.is_admitted(block, true);
        let found = self.cache.access(block);
        if let Some(demand) = &mut self.demand {
            demand.access(block, found.is_some(), false);
        }
        if let Some(slot) = found {
            self.stats.read_hits += 1;
            let is_restored = self.cache.has_flag(slot);
            let kind = if is_restored { Kind::Check } else { Kind::Hit };
            if is_restored {
                self.cache.set_flag(slot, false);
            }
            let is_shared = !is_restored;
            let mut job = self.job(block, kind, Some(slot), None, is_shared);
            job.served = Served::Hit;
            job.is_settled = true;
            return job;
        }
        self.stats.read_misses += 1;
        self.admit(block, is_admitted)
            .unwrap_or_else(|served| self.direct(block, served, true))
    }

    /// A write arrives.
    pub fn arrive_write(&mut self, block: u32, now_ns: u64) -> Job {
        let write = self.policy_of_write(block);
        // Where the vSSD ends a write, one that is not admitted waits for the origin disk.
        let is_admitted = self.is_admitted(block, write == WritePolicy::WriteThrough);
        let found = self.cache.access(block);
        if let Some(demand) = &mut self.demand {
            match write {
                WritePolicy::ReadOnly => demand.write_past(block, found.is_some()),
                _ => demand.access(block, found.is_some(), true),
            }
        }
        match found {
            Some(_) => self.stats.write_hits += 1,
            None => self.stats.write_misses += 1,
        }
        let job = match write {
            WritePolicy::WriteThrough => self.arrive_write_through(block, found, is_admitted),
            WritePolicy::WriteAround => self.arrive_write_around(block, found),
            WritePolicy::ReadOnly => self.arrive_read_only(block, found),
            WritePolicy::WriteBack => self.arrive_write_back(block, found, is_admitted),
            WritePolicy::Ordered => self.arrive_ordered(block, found, is_admitted),
            WritePolicy::Journaled => self.arrive_journaled(block, found, is_admitted),
        };
        let mut job = job.unwrap_or_else(|served| self.direct(block, served, false));
        job.is_write = true;
        job.write = write;
        if write.keeps_dirty() {
            self.begin_version(&mut job, now_ns);
        }
        job
    }

    /// The policy of a write that arrives. One that is ordered after others cannot bypass them, and
    /// a dirty block is overwritten where it is: what is older need not come to the origin disk.
    fn policy_of_write(&self, block: u32) -> WritePolicy {
        let is_dirty = |slot| self.dirty.current(slot, block).is_some();
        if !self.bypasses_writes
            || self.is_ordered()
            || self.cache.find(block).is_some_and(is_dirty)
        {
            return self.write;
        }
        WritePolicy::ReadOnly
    }

    /// Whether the block would be admitted if it is not cached; and if not, how that counts.
    /// With `if_reused` that follows the advice to admit reused blocks.
    fn is_admitted(&mut self, block: u32, if_reused: bool) -> Result<(), Served> {
        let is_wanted = self.promotion.request(block) && (!if_reused || self.is_reused(block));
        let is_sequential =
            self.bypass_blocks > 0 && self.streams.request(block) >= self.bypass_blocks;
        match (is_sequential, is_wanted) {
            (true, _) => Err(Served::Bypassed),
            (false, true) => Ok(()),
            (false, false) => Err(Served::Miss),
        }
    }

    /// Whether a block that misses has missed before, while that is asked for.
    fn is_reused(&mut self, block: u32) -> bool {
        let slots = self.cache.capacity();
        match &mut self.reuse {
            Some(reuse) if self.cache.find(block).is_none() => reuse.missed(block, slots),
            _ => true,
        }
    }

    /// A block is overwritten where it is.
    pub(crate) fn overwrite(&mut self, block: u32, slot: u32) -> Job {
        let mut job = self.job(block, Kind::Hit, Some(slot), None, false);
        job.served = Served::Hit;
        job.was_restored = self.cache.has_flag(slot);
        self.cache.set_flag(slot, false);
        job.version = self.dirty.current(slot, block);
        job
    }

    /// Records that a write of a version is under way.
    fn begin_version(&mut self, job: &mut Job, now_ns: u64) {
        if self.is_ordered() {
            job.epoch = Some(self.dirty.begin_write());
        }
        if let Some(version) = job.version.and_then(|id| self.dirty.get_mut(id)) {
            version.writers += 1;
            return;
        }
        // Plain write-back needs no version of what it writes to the origin at once.
        if job.slot.is_some() || self.is_ordered() {
            let version = Version::written(job.block, job.slot, self.dirty.epoch, now_ns);
            job.version = Some(self.dirty.add(version));
        }
    }

    /// A block that is not cached comes in; or not, and how that counts.
    pub(crate) fn admit(&mut self, block: u32, is_admitted: Result<(), Served>) -> Arrival {
        if self.lost.contains(&block) || self.dirty.has_stray(block) {
            return Err(Served::Miss);
        }
        is_admitted.inspect_err(|&served| {
            self.stats.bypassed += u64::from(served == Served::Bypassed);
        })?;
        let Admission::Admitted { slot, evicted } = self.cache.admit(block) else {
            return Err(Served::Miss);
        };
        let evicted = evicted.map(|cached| cached.block);
        let mut job = self.job(block, Kind::Fill, Some(slot), evicted, false);
        job.victim = evicted.and_then(|evicted| self.detach(slot, evicted));
        Ok(job)
    }

    /// A request goes past the cache.
    pub(crate) fn direct(&mut self, block: u32, served: Served, is_shared: bool) -> Job {
        let mut job = self.job(block, Kind::Direct, None, None, is_shared);
        job.served = served;
        job
    }

    /// A cached block is discarded.
    pub(crate) fn discard(&mut self, block: u32, slot: u32) -> Job {
        let mut job = self.job(block, Kind::Discard, Some(slot), None, false);
        job.served = Served::Hit;
        job.victim = self.detach(slot, block);
        self.cache.discard(block);
        job
    }

    /// The application discards a block: its slot is free from now on. A job, if the block was
    /// cached, to end what is under way there.
    pub fn arrive_discard(&mut self, block: u32, is_announced: bool) -> Option<Job> {
        let slot = self.cache.find(block)?;
        if let Some(id) = self.dirty.current(slot, block)
            && self.may_drop(id, block)
            && let Some(version) = self.dirty.get_mut(id)
        {
            version.is_discarded = true;
        }
        let mut job = self.discard(block, slot);
        job.is_announced = is_announced;
        Some(job)
    }

    /// Whether the origin disk may go without a version of a discarded block. Where the order
    /// counts, only if no write is ordered after it: a later one on the origin without this one
    /// would be a state that never was.
    fn may_drop(&self, id: VersionId, block: u32) -> bool {
        let is_open = |version: &Version| version.epoch == self.dirty.epoch;
        !self.is_ordered()
            || self.dirty.get(id).is_some_and(is_open) && self.dirty.is_only(id, block)
    }

    /// The cache does not have `block` in `slot` any longer, where its data are for now: its
    /// version, if it is dirty.
    pub fn detach(&mut self, slot: u32, block: u32) -> Option<VersionId> {
        self.outdate(slot, block);
        let id = self.dirty.current(slot, block)?;
        let version = self.dirty.get_mut(id)?;
        version.is_detached = true;
        let is_awaited = !version.is_discarded;
        // A request that waits for the epoch to reach the origin must not write in it.
        if is_awaited && version.epoch == self.dirty.epoch && self.is_ordered() {
            self.dirty.close_epoch();
        }
        Some(id)
    }

    /// Remembers what is recorded for a slot whose block goes.
    pub fn outdate(&mut self, slot: u32, block: u32) {
        if self.cache.mark(slot) != FREE {
            self.outdated.entry(slot).or_insert(block);
        }
    }

    /// A job that touches its block, its slot, and what goes for it.
    pub fn job(
        &mut self,
        block: u32,
        kind: Kind,
        slot: Option<u32>,
        evicted: Option<u32>,
        is_shared: bool,
    ) -> Job {
        let rest = [slot.map(Resource::Slot), evicted.map(Resource::Block)];
        let touched = [Some(Resource::Block(block)), rest[0], rest[1]];
        self.job_of(touched, is_shared, block, kind, slot)
    }

    /// A job that touches all of these.
    pub fn job_of<const N: usize>(
        &mut self,
        touched: [Option<Resource>; N],
        is_shared: bool,
        block: u32,
        kind: Kind,
        slot: Option<u32>,
    ) -> Job {
        let mut entered = [(Resource::Block(block), is_shared); N];
        let mut len = 0;
        for what in touched.into_iter().flatten() {
            entered[len].0 = what;
            len += 1;
        }
        Job {
            lock: self.locks.enqueue(&entered[..len]),
            block,
            kind,
            slot,
            victim: None,
            version: None,
            epoch: None,
            served: Served::Miss,
            is_write: false,
            write: self.write,
            was_restored: false,
            is_settled: false,
            has_begun: false,
            is_announced: false,
        }
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        let queues = self.unrecorded.capacity() + self.leaving.capacity() + self.ready.capacity();
        let outdated = self.outdated.len() * size_of::<(u32, u32)>();
        self.cache.memory_bytes()
            + self.locks.memory_bytes()
            + self.dirty.memory_bytes()
            + self.promotion.memory_bytes()
            + self.reuse.as_ref().map_or(0, Reuse::memory_bytes)
            + self.metadata.memory_bytes()
            + self.advice.memory_bytes()
            + self.demand.as_ref().map_or(0, DemandSampler::memory_bytes)
            + (queues + self.lost.len()) * size_of::<u32>()
            + outdated
    }
}
