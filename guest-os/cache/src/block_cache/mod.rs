//! The block cache over two disks: blocks of a slow origin disk in slots of the vSSD.
//!
//! A request is decided when it arrives, and enters lock queues (`state`, `lock_queue`); when
//! its lock is acquired it moves data (`requests`, and by its write policy
//! [`crate::write_policy`]). Nothing here runs by itself: the owner of a [`BlockCache`]
//! polls the futures of its requests, and [`BlockCache::work`] beside them, without wakers.
//!
//! ```text
//!   read, write, discard                want, revoked, granted
//!        |                                   |
//!   +----v------- state: no I/O -------------v------------------------+
//!   | Cache (slots) - lock queues - dirty versions - pending metadata |
//!   +----^------------------^-------------------^--------------------+
//!        | requests         | write_back, epochs | background
//!   +----v------------------v-------------------v--------------------+
//!   | io: vSSD, origin, log; flushes and commits of many at once      |
//!   +----------------------------------------------------------------+
//! ```
//!
//! **What must be durable before what**, so that a guest that is killed, or a disk that loses what
//! was not flushed, leaves nothing that a later cache misinterprets:
//!
//! - `[C1]` A slot that is recorded is overwritten with another block's data only once it
//!   is recorded as free.
//! - `[C2]` A slot that is recorded as clean is overwritten with newer data of its block
//!   only once it is recorded as free. (As dirty would do for plain write-back, but for a
//!   slot that is revoked next: the origin has the block, and nothing is lost.)
//! - `[C3]` What the origin has of a block changes only once no record says that a slot has
//!   it, but that of the very version which is written back.
//! - `[C4]` A record describes data that are durable.
//! - `[C5]` A flush of what is kept dirty is data, then records, on the vSSD; if the records
//!   cannot be kept, everything dirty goes to the origin instead.
//! - `[C6]` Revoked blocks come back as zeros: recorded blocks are checked before they are trusted,
//!   and a record of a dirty block says if it is zeros.
//! - `[C7]` A block whose last write is lost says so until it is written again, also to
//!   the cache that is opened next.
//!
//! The write policies are those of R. Koller, L. Marmol, R. Rangaswami, S. Sundararaman,
//! N. Talagala, M. Zhao, "Write Policies for Host-side Flash Caches", FAST 2013.

mod advice;
mod api;
mod background;
mod dirty;
mod discard;
pub(crate) mod epochs;
mod flush;
mod group;
mod io;
mod lock_queue;
mod loss;
mod metadata;
mod recording;
mod recovery;
pub(crate) mod requests;
mod reuse;
pub(crate) mod state;
mod streams;
mod surrender;
pub(crate) mod wait;
mod write_back;

#[cfg(test)]
pub(crate) mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::ops::Range;

pub use advice::{Advice, TooManyRanges};
pub use api::{CacheError, Config, OpenError, Opened, Served, Stats, WrittenBack};

use self::state::{Core, Job};
use crate::device::{BLOCK_LEN, BlockDevice};
use crate::metadata::MetaLog;
use crate::mrc::Demand;
use crate::origin_journal::OriginJournal;
use crate::write_policy::WritePolicy;
use group::Group;
use requests::Request;
use reuse::Reuse;

/// A cache of blocks of the disk `O` on the vSSD `S`.
pub struct BlockCache<S, O> {
    ssd: S,
    origin: O,
    config: Config,
    pub(crate) core: RefCell<Core>,
    log: RefCell<MetaLog>,
    /// The journal at the end of the origin, if that is large enough.
    journal: Option<OriginJournal>,
    /// The held blocks of the vSSD do not suffice for what is to be recorded.
    log_is_full: Cell<bool>,
    has_restored_dirty: Cell<bool>,
    /// Revocations reported to the cache.
    revocations: Cell<u64>,
    vssd_writes: Cell<u64>,
    vssd_flushed: Cell<u64>,
    origin_writes: Cell<u64>,
    origin_flushed: Cell<u64>,
    commits: Group,
    vssd_flushes: Group,
    origin_flushes: Group,
    applications: Group,
    now_ns: Box<dyn Fn() -> u64>,
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Opens a cache on the blocks of the vSSD that the guest holds, with what an earlier
    /// one left there.
    ///
    /// # Errors
    /// When a disk fails, or is of no use.
    pub async fn open(
        ssd: S,
        origin: O,
        held: &[Range<u32>],
        config: Config,
        now_ns: impl Fn() -> u64 + 'static,
    ) -> Result<(Self, Opened), OpenError> {
        recovery::open(ssd, origin, held, config, Box::new(now_ns)).await
    }

    /// Reads a block. The request enters when this is called.
    ///
    /// # Panics
    /// If `out` is not of a block.
    pub fn read<'a>(
        &'a self,
        block: u32,
        out: &'a mut [u8],
    ) -> impl Future<Output = Result<Served, CacheError>> + 'a {
        assert_eq!(out.len(), BLOCK_LEN, "a block is read");
        let request = self.enter(block, |core| core.arrive_read(block));
        async move { self.serve_read(request?, out).await }
    }

    /// Writes a block. The request enters when this is called.
    ///
    /// # Panics
    /// If `data` is not of a block.
    pub fn write<'a>(
        &'a self,
        block: u32,
        data: &'a [u8],
    ) -> impl Future<Output = Result<Served, CacheError>> + 'a {
        assert_eq!(data.len(), BLOCK_LEN, "a block is written");
        let now_ns = (self.now_ns)();
        let request = self.enter(block, |core| core.arrive_write(block, now_ns));
        async move { self.serve_write(request?, data).await }
    }

    /// The application will not read a block again before it writes it: the slot of the block
    /// is free, and what is dirty there need not reach the origin disk. The slot is free when
    /// this is called. A read before the next write gives what the origin disk has, which may
    /// be older than what was discarded; so may a read that is under way, and a read after a
    /// crash, even if the discard is undone by it. With `is_announced` the slot is discarded on
    /// the vSSD too.
    pub fn discard(
        &self,
        block: u32,
        is_announced: bool,
    ) -> impl Future<Output = Result<(), CacheError>> + '_ {
        let mut core = self.core.borrow_mut();
        let job = if block < core.origin_blocks {
            Ok(core.arrive_discard(block, is_announced))
        } else {
            Err(CacheError::Beyond)
        };
        drop(core);
        let request = job.map(|job| job.map(|job| Request::new(self, job)));
        async move {
            if let Some(request) = request? {
                self.serve_discard(request).await;
            }
            Ok(())
        }
    }

    fn enter(
        &self,
        block: u32,
        arrive: impl FnOnce(&mut Core) -> Job,
    ) -> Result<Request<'_, S, O>, CacheError> {
        let mut core = self.core.borrow_mut();
        if block >= core.origin_blocks {
            return Err(CacheError::Beyond);
        }
        let job = arrive(&mut core);
        drop(core);
        Ok(Request::new(self, job))
    }

    async fn serve_write(
        &self,
        request: Request<'_, S, O>,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        match request.job.write {
            WritePolicy::WriteThrough | WritePolicy::WriteAround => {
                self.write_through(request, data).await
            }
            WritePolicy::ReadOnly => self.write_past(request, data).await,
            WritePolicy::WriteBack => self.write_later(request, data).await,
            WritePolicy::Ordered | WritePolicy::Journaled => {
                self.write_in_epoch(request, data).await
            }
        }
    }

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// When a disk failed it.
    pub async fn flush(&self) -> Result<(), CacheError> {
        self.make_durable().await
    }

    /// Writes everything dirty back, and makes it durable on the origin disk.
    pub async fn write_back(&self) -> WrittenBack {
        self.write_back_everything().await
    }

    /// Makes durable what the cache knows, clean blocks too, so that the next one begins
    /// warm. What is dirty stays so, unless it cannot be recorded.
    pub async fn close(&self) -> WrittenBack {
        self.record_everything().await
    }

    /// The background work. It never ends: poll it beside the requests.
    pub async fn work(&self) {
        self.run().await;
    }

    /// A read of the block was served above this cache: its eviction policy counts it as a hit.
    pub fn touch(&self, block: u32) {
        self.core.borrow_mut().cache.touch(block);
    }

    /// What the application will do with the blocks of a range, of which any or none may be
    /// cached. It holds until other advice for them, also for blocks that come in later, and as
    /// long as the cache is open. It changes which blocks a shrink takes, and nothing else: what
    /// is admitted and evicted otherwise is as without it. Returns how many of the blocks are
    /// cached now.
    ///
    /// # Errors
    /// When there would be too many ranges with advice. Nothing has changed then.
    pub fn advise(&self, range: Range<u32>, advice: Advice) -> Result<u32, TooManyRanges> {
        self.core.borrow_mut().advise(range, advice)
    }

    /// From now on written blocks go to the origin disk alone, and leave the cache, as by
    /// [`WritePolicy::ReadOnly`]; or with `is_on` false, where the write policy has them go. Promises stay
    /// those of the write policy. A dirty block is written where it is until it has been written
    /// back, and policies that keep writes in order go on as before.
    pub fn bypass_writes(&self, is_on: bool) {
        self.core.borrow_mut().bypasses_writes = is_on;
    }

    /// From now on a block that is not cached comes in only if it missed before, not long ago; or
    /// with `is_on` false, at any miss. A write whose policy keeps blocks dirty brings its block in
    /// either way.
    pub fn admit_reused(&self, is_on: bool) {
        let mut core = self.core.borrow_mut();
        if core.reuse.is_some() != is_on {
            core.reuse = is_on.then(Reuse::default);
        }
    }

    /// The hypervisor wants so many blocks now, instead of what it wanted before. The slots of
    /// the blocks in `spare` go first, then those of blocks that the application is done with,
    /// and then those that the eviction policy chooses, without blocks that are needed and, with
    /// [`Config::clean_first`], without dirty ones, as long as there are others.
    pub fn want(&self, count: u32, spare: &[u32]) {
        let mut core = self.core.borrow_mut();
        core.wanted = count;
        core.pursue(spare);
    }

    /// Takes up to `max` blocks that can be given to the hypervisor. They are not wanted any more.
    pub fn take_ready(&self, max: u32) -> Vec<u32> {
        self.core.borrow_mut().take_ready(max)
    }

    /// How far the origin disk is behind: dirty blocks, and the age of the oldest of them.
    pub fn behind(&self) -> (u32, u64) {
        let core = self.core.borrow();
        (core.dirty.len(), self.stale_ns(&core))
    }

    fn stale_ns(&self, core: &Core) -> u64 {
        let oldest_ns = core.dirty.oldest_ns();
        oldest_ns.map_or(0, |oldest| (self.now_ns)().saturating_sub(oldest))
    }

    /// Blocks whose last write was lost.
    pub fn lost(&self) -> u32 {
        self.core.borrow().lost.len() as u32
    }

    /// How many blocks can be given to the hypervisor.
    pub fn ready(&self) -> u32 {
        let core = self.core.borrow();
        core.wanted.min(core.ready.len() as u32)
    }

    /// The hypervisor has given blocks.
    pub fn granted(&self, blocks: &[Range<u32>]) {
        self.log.borrow_mut().granted(blocks);
        self.core.borrow_mut().grant(blocks);
    }

    /// The hypervisor has taken blocks away. How many dirty ones are lost by it.
    pub fn revoked(&self, blocks: &[Range<u32>]) -> u32 {
        self.revocations.set(self.revocations.get() + 1);
        self.log.borrow_mut().revoked(blocks);
        self.core.borrow_mut().revoke(blocks)
    }

    /// The demand since the last call; `None` without [`Config::demand_sample`]. Each of its curves
    /// has at most `points` points.
    pub fn take_demand(&self, points: usize) -> Option<Demand> {
        let mut core = self.core.borrow_mut();
        core.demand.as_mut().map(|demand| demand.take(points))
    }

    /// Bytes of heap, about. It is not part of [`Self::stats`], because that may be requested
    /// after every request, and this looks at every dirty block.
    pub fn memory_bytes(&self) -> usize {
        self.core.borrow().memory_bytes() + self.log.borrow().memory_bytes()
    }

    /// The state and the counters of the cache.
    pub fn stats(&self) -> Stats {
        let core = self.core.borrow();
        let log = self.log.borrow();
        Stats {
            slots: core.cache.capacity(),
            metadata_blocks: log.held(),
            is_unrecorded: self.log_is_full.get(),
            cached: core.cache.len(),
            dirty: core.dirty.len(),
            stale_ns: self.stale_ns(&core),
            lost: core.lost.len() as u32,
            metadata_writes: log.blocks_written(),
            ..core.stats
        }
    }
}
