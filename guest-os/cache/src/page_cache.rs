//! Pages of memory above the block cache: the first of three tiers, memory above vSSD above disk.
//!
//! ```text
//!   read ──▶ page? ──yes──▶ from memory: the vSSD and its hypervisor see nothing of it
//!              │no
//!              ▼
//!         block cache ──▶ fills the page
//!
//!   write ──▶ page, and block cache
//! ```
//!
//! Pages are evicted by LRU. Writes go through, so that nothing is durable later than without
//! memory. Whether a request finds its page is decided when it is first polled: so the counts of
//! each tier do not depend on how long a disk takes. A page whose data are still on their way is
//! found, and its reader waits for them.

use alloc::collections::{BTreeMap, TryReserveError};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use crate::block_cache::wait::until;
use crate::block_cache::{BlockCache, CacheError, Served};
use crate::cache::{Admission, Cache};
use crate::device::{BLOCK_LEN, BlockDevice};
use crate::eviction::lru::Lru;

/// What the pages share with the block cache below, which would not know of it otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Nothing: it sees what they do not serve.
    #[default]
    Nothing,
    /// Each read that they serve, which its eviction policy counts as a hit.
    Reads,
    /// At a shrink, which blocks have a page: these are given up first, since their next reads
    /// are served from memory.
    Pages,
}

impl Share {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Reads, Self::Pages];

    /// As commands name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Reads => "reads",
            Self::Pages => "pages",
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such tier, or what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAShare;

impl fmt::Display for NotAShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("choose nothing, reads or pages")
    }
}

impl core::error::Error for NotAShare {}

impl core::str::FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let found = Self::ALL.into_iter().find(|share| share.name() == text);
        found.ok_or(NotAShare)
    }
}

/// Which tier served a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A page of memory.
    Memory,
    /// The block cache, so the vSSD or the disk.
    Below(Served),
}

/// There is not enough memory for the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Pages that there is memory for.
    pub pages: u32,
}

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    Ok,
    Failed(CacheError),
    /// Its request was dropped.
    Abandoned,
}

/// The data of a page on their way from the block cache.
#[derive(Default)]
struct Fill {
    end: Cell<Option<Filled>>,
    /// The data, if a reader waits for them.
    data: RefCell<Vec<u8>>,
}

/// Pages that are allocated together. Small allocations of their own would leave the heap in pieces
/// when there is not enough memory for all.
const CHUNK: u32 = 256;

/// The memory of the pages.
#[derive(Default)]
struct Frames(Vec<Vec<u8>>);

impl Frames {
    /// Adds a chunk.
    fn grow(&mut self) -> Result<(), TryReserveError> {
        self.0.try_reserve(1)?;
        let len = CHUNK as usize * BLOCK_LEN;
        let mut chunk = Vec::new();
        chunk.try_reserve_exact(len)?;
        chunk.resize(len, 0);
        self.0.push(chunk);
        Ok(())
    }

    /// The data of a page.
    fn of(&mut self, frame: u32) -> &mut [u8] {
        let at = (frame % CHUNK) as usize * BLOCK_LEN;
        &mut self.0[(frame / CHUNK) as usize][at..at + BLOCK_LEN]
    }
}

struct Core {
    /// Slots are the pages' places in `frames`.
    cache: Cache<Lru>,
    frames: Frames,
    /// Pages whose data are on their way. Each belongs to a request.
    filling: BTreeMap<u32, Rc<Fill>>,
}

/// What a read finds.
enum Found {
    /// The page; its data have been copied.
    Page,
    /// The page, but not its data.
    Filling(Rc<Fill>),
    /// A page for the data to come.
    Missing(Rc<Fill>),
}

/// See the module.
pub struct PageCache {
    core: RefCell<Core>,
    share: Share,
}

/// Ends a fill, also if its request is dropped.
struct Filling<'a> {
    pages: &'a PageCache,
    block: u32,
    fill: Rc<Fill>,
}

impl Filling<'_> {
    fn end(&self, outcome: Result<Served, CacheError>, data: &[u8]) {
        let mut core = self.pages.core.borrow_mut();
        match outcome {
            Ok(_) => {
                if let Some(frame) = core.frame_of(self) {
                    core.frames.of(frame).copy_from_slice(data);
                    core.filling.remove(&frame);
                }
                // One is held here, and one was in `filling`.
                if Rc::strong_count(&self.fill) > 1 {
                    self.fill.data.borrow_mut().extend_from_slice(data);
                }
                self.fill.end.set(Some(Filled::Ok));
            }
            Err(error) => {
                core.forget(self);
                self.fill.end.set(Some(Filled::Failed(error)));
            }
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.fill.end.get().is_none() {
            self.pages.core.borrow_mut().forget(self);
            self.fill.end.set(Some(Filled::Abandoned));
        }
    }
}

impl Core {
    /// The page that a fill is for, if it is still that of its block.
    fn frame_of(&self, filling: &Filling<'_>) -> Option<u32> {
        let frame = self.cache.find(filling.block)?;
        let fill = self.filling.get(&frame)?;
        Rc::ptr_eq(fill, &filling.fill).then_some(frame)
    }

    /// A fill has failed: its page is of no use.
    fn forget(&mut self, filling: &Filling<'_>) {
        if self.frame_of(filling).is_some() {
            self.discard(filling.block);
        }
    }

    fn discard(&mut self, block: u32) {
        if let Some(cached) = self.cache.discard(block) {
            self.filling.remove(&cached.slot);
        }
    }

    /// A page for a block that has none.
    fn admit(&mut self, block: u32) -> u32 {
        match self.cache.admit(block) {
            Admission::Admitted { slot, .. } => {
                self.filling.remove(&slot);
                slot
            }
            Admission::Bypassed => unreachable!("there is a page at least"),
        }
    }

    fn arrive_read(&mut self, block: u32, out: &mut [u8]) -> Found {
        if let Some(frame) = self.cache.access(block) {
            if let Some(fill) = self.filling.get(&frame) {
                return Found::Filling(fill.clone());
            }
            out.copy_from_slice(self.frames.of(frame));
            return Found::Page;
        }
        let frame = self.admit(block);
        let fill = Rc::<Fill>::default();
        self.filling.insert(frame, fill.clone());
        Found::Missing(fill)
    }

    fn arrive_write(&mut self, block: u32, data: &[u8]) {
        let frame = match self.cache.access(block) {
            Some(frame) => frame,
            None => self.admit(block),
        };
        self.filling.remove(&frame);
        self.frames.of(frame).copy_from_slice(data);
    }
}

impl PageCache {
    /// So many pages, all empty, with memory for `spare` more left free.
    ///
    /// # Errors
    /// When there is not enough memory for them and the spare ones; it is free again then.
    ///
    /// # Panics
    /// With no page.
    pub fn new(pages: u32, spare: u32, share: Share) -> Result<Self, OutOfMemory> {
        assert!(pages > 0, "a page cache has a page");
        let mut frames = Frames::default();
        let all = pages.saturating_add(spare).div_ceil(CHUNK);
        for chunks in 0..all {
            if frames.grow().is_err() {
                let pages = (chunks * CHUNK).saturating_sub(spare);
                return Err(OutOfMemory { pages });
            }
        }
        frames.0.truncate(pages.div_ceil(CHUNK) as usize);
        Ok(Self {
            core: RefCell::new(Core {
                cache: Cache::with_all(pages),
                frames,
                filling: BTreeMap::new(),
            }),
            share,
        })
    }

    /// Reads a block. The request arrives when this is first polled.
    ///
    /// # Errors
    /// As [`BlockCache::read`].
    ///
    /// # Panics
    /// If `out` is not of a block.
    pub async fn read<S: BlockDevice, O: BlockDevice>(
        &self,
        below: &BlockCache<S, O>,
        block: u32,
        out: &mut [u8],
    ) -> Result<Tier, CacheError> {
        let found = self.core.borrow_mut().arrive_read(block, out);
        let fill = match found {
            Found::Missing(fill) => {
                let filling = Filling {
                    pages: self,
                    block,
                    fill,
                };
                let served = below.read(block, out).await;
                filling.end(served, out);
                return served.map(Tier::Below);
            }
            Found::Filling(fill) => Some(fill),
            Found::Page => None,
        };
        if self.share == Share::Reads {
            below.touch(block);
        }
        let Some(fill) = fill else {
            return Ok(Tier::Memory);
        };
        until(|| fill.end.get().is_some()).await;
        match fill.end.get() {
            Some(Filled::Ok) => {
                out.copy_from_slice(&fill.data.borrow());
                Ok(Tier::Memory)
            }
            Some(Filled::Failed(error)) => Err(error),
            Some(Filled::Abandoned) | None => below.read(block, out).await.map(Tier::Below),
        }
    }

    /// Writes a block. The request arrives when this is first polled.
    ///
    /// # Errors
    /// As [`BlockCache::write`]. The block has no page then.
    ///
    /// # Panics
    /// If `data` is not of a block.
    pub async fn write<S: BlockDevice, O: BlockDevice>(
        &self,
        below: &BlockCache<S, O>,
        block: u32,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        self.core.borrow_mut().arrive_write(block, data);
        let served = below.write(block, data).await;
        if served.is_err() {
            self.core.borrow_mut().discard(block);
        }
        served
    }

    /// Forgets a block.
    pub fn discard(&self, block: u32) {
        self.core.borrow_mut().discard(block);
    }

    /// The blocks that the block cache should give up first, in this order: those with a page,
    /// the one requested last first, since that page stays longest. None unless pages are shared.
    pub fn spare(&self) -> Vec<u32> {
        match self.share {
            Share::Pages => self.core.borrow().cache.by_recency(),
            Share::Nothing | Share::Reads => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
