//! A cache that is open, as the application of the driver.
//!
//! ```text
//!                     want              ready              surrender
//!   device ── goal ──────────▶ cache ──────────▶ offered ────────────▶ device
//!                                ▲                  │
//!                                └── granted again ─┘  the goal has changed
//! ```
//!
//! The cache evicts the blocks that it gives up while requests go on, so blocks leave as they
//! become ready, a part at a time.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;

use guest_cache::PageCache;
use vssd::advice::Advice;
use vssd::block_set::BlockSet;
use vssd::demand::{ALL_MISS, Demand, MAX_POINTS, Point};
use vssd::driver::Fault;
use vssd::encoding::SetView;
use workloads::{Report, report};

use super::replay::GuestCache;
use crate::app::App;
use crate::disk::{Application, Choice};
use crate::hardware::Hardware;
use crate::port::Machine;
use crate::tasks::poll_once;

/// See the module.
pub struct OpenCache<'m, M: Machine> {
    cache: Rc<GuestCache<'m, M>>,
    pages: Option<Rc<PageCache>>,
    /// The background work of the cache.
    background: Pin<Box<dyn Future<Output = ()> + 'm>>,
    /// The cache's clock, which each poll sets.
    clock: Rc<Cell<u64>>,
    /// Blocks of the origin disk that may be used.
    pub origin_blocks: u32,
    /// Blocks that the cache has handed out, and that may still come back.
    offered: BlockSet,
    wanted: u32,
    /// What the cache follows.
    advice: Advice,
    /// Lost blocks reported so far.
    reported_lost: u32,
}

impl<'m, M: Machine> OpenCache<'m, M> {
    /// A cache that has just been opened on a vSSD of `capacity` blocks.
    pub fn new(
        cache: GuestCache<'m, M>,
        pages: Option<PageCache>,
        clock: Rc<Cell<u64>>,
        capacity: u32,
        origin_blocks: u32,
    ) -> Self {
        // Earlier losses are in the answer to the command.
        let reported_lost = cache.lost();
        let cache = Rc::new(cache);
        let working = Rc::clone(&cache);
        Self {
            cache,
            pages: pages.map(Rc::new),
            background: Box::pin(async move { working.work().await }),
            clock,
            origin_blocks,
            offered: BlockSet::empty(capacity),
            wanted: 0,
            advice: Advice::NONE,
            reported_lost,
        }
    }

    /// The cache, for requests.
    pub fn cache(&self) -> Rc<GuestCache<'m, M>> {
        Rc::clone(&self.cache)
    }

    /// The pages of memory above it, if it has any.
    pub fn pages(&self) -> Option<Rc<PageCache>> {
        self.pages.clone()
    }

    /// Advances the protocol, as [`Disk::pump`](crate::disk::Disk::pump) does, with the cache as
    /// application. Returns whether anything happened, and a report of dirty blocks that were lost
    /// by it.
    ///
    /// # Errors
    /// As `pump` does.
    pub fn pump(
        &mut self,
        hw: &mut Hardware<'m, M>,
        app: &mut App,
    ) -> Result<(bool, Option<Report>), Fault> {
        let mut application = CacheApplication {
            app,
            cache: &self.cache,
            offered: &mut self.offered,
        };
        let progressed = hw.disk.pump(hw.machine, &mut application)?;
        let driver = hw.disk.driver();
        if !self.offered.is_empty() && driver.leaving().is_none() {
            // Blocks that are not held any more have been taken. Held ones were handed back,
            // because the device wants fewer by now or could not take them.
            self.offered.intersect(driver.held());
            if !self.offered.is_empty() {
                self.cache.granted(&ranges(self.offered.runs()));
                self.offered.clear();
            }
        }
        let advice = driver.advice();
        if advice != self.advice {
            self.advice = advice;
            self.cache.bypass_writes(advice.bypass_writes);
            self.cache.admit_reused(advice.admit_reused);
        }
        let excess = driver.excess();
        if excess != self.wanted {
            self.wanted = excess;
            let spare = self
                .pages
                .as_ref()
                .map_or(Vec::new(), |pages| pages.spare());
            self.cache.want(excess, &spare);
        }
        Ok((progressed, self.take_lost()))
    }

    /// The losses since the last call. A block on its way to the origin disk when it is revoked is
    /// lost only when it turns out not to have arrived, so the revocation alone does not decide it.
    fn take_lost(&mut self) -> Option<Report> {
        let total = self.cache.lost();
        let blocks = total.saturating_sub(core::mem::replace(&mut self.reported_lost, total));
        (blocks > 0).then_some(Report::DirtyLost(report::DirtyLost { blocks, total }))
    }

    /// Lets the cache work, at this time.
    pub fn work(&mut self, now_ns: u64) {
        self.clock.set(now_ns);
        let worked = poll_once(self.background.as_mut());
        assert!(
            worked.is_pending(),
            "the background work of a cache does not end"
        );
    }
}

fn ranges(runs: impl Iterator<Item = vssd::block_set::Run>) -> Vec<Range<u32>> {
    runs.map(|run| run.start..run.end()).collect()
}

/// A curve as it travels: by the blocks of the vSSD, of which the cache's own metadata take some.
/// Blocks that no vSSD has are of no use.
fn points(curve: &[(u64, f64)], metadata_blocks: u32) -> Vec<Point> {
    let of = |(blocks, ratio): &(u64, f64)| {
        let metadata = if *blocks > 0 { metadata_blocks } else { 0 };
        Some(Point {
            blocks: u32::try_from(*blocks).ok()?.checked_add(metadata)?,
            misses: (ratio * f64::from(ALL_MISS)) as u32,
        })
    };
    curve.iter().filter_map(of).collect()
}

/// The guest's application while its cache is open.
struct CacheApplication<'a, 'm, M: Machine> {
    app: &'a mut App,
    cache: &'a GuestCache<'m, M>,
    offered: &'a mut BlockSet,
}

impl<M: Machine> Application for CacheApplication<'_, '_, M> {
    fn choose(&mut self, count: u32, held: &BlockSet) -> Choice {
        if self.cache.ready() == 0 {
            return Choice::Part(BlockSet::empty(0));
        }
        let mut chosen = BlockSet::empty(held.capacity());
        for block in self.cache.take_ready(count) {
            chosen.insert(block);
        }
        self.offered.union_with(&chosen);
        Choice::Part(chosen)
    }

    fn demand(&mut self) -> Option<Demand> {
        let demand = self.cache.take_demand(MAX_POINTS / 2 - 1)?;
        let metadata_blocks = self.cache.stats().metadata_blocks;
        Some(Demand {
            accesses: demand.accesses,
            hits: demand.hits,
            writes: demand.writes,
            curve: points(&demand.curve, metadata_blocks),
            reads: points(&demand.reads, metadata_blocks),
        })
    }

    fn surrendered(&mut self, count: u32) {
        self.app.surrendered(count);
    }

    fn granted(&mut self, blocks: &SetView<'_>) {
        self.offered.remove_view(blocks);
        self.cache.granted(&ranges(blocks.runs()));
        self.app.granted(blocks);
    }

    fn revoked(&mut self, blocks: &SetView<'_>) {
        self.offered.remove_view(blocks);
        self.cache.revoked(&ranges(blocks.runs()));
        self.app.revoked(blocks);
    }

    fn resynced(&mut self, gained: &BlockSet, lost: &BlockSet) {
        self.offered.subtract(gained);
        self.cache.revoked(&ranges(lost.runs()));
        self.cache.granted(&ranges(gained.runs()));
        self.app.resynced(gained, lost);
    }
}
