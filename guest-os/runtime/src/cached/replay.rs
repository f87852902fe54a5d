//! Accesses through the cache, several in flight, for [`workloads::Command::Replay`].
//!
//! Each of `depth` tasks takes the next access, makes it, and takes another. The next access and
//! its effect on the cache are decided in one step, so that the order of accesses is that of their
//! source, whichever task makes them and however long the disks take.

use alloc::string::String;
use alloc::vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::Poll;

use guest_cache::{BlockCache, CacheError, PageCache, Tier};
use workloads::command::Discard;
use workloads::replay::{Access, AccessKind};

use super::device::CacheDisk;
use super::source::Source;
use super::tally::{Outcome, Tally};
use super::trace::Next;
use super::writes::Writes;
use crate::guest::send_report;
use crate::hardware::{Hardware, ORIGIN_BLOCK, Shared};
use crate::port::Machine;
use crate::tasks::{TASKS_MAX, Tasks, give_way};

/// Accesses that a task makes before it yields, even if none of them had to wait.
const IN_ONE_GO: u32 = 16;

/// How the accesses are to be made.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Accesses in all; `None` to continue until a command arrives.
    pub count: Option<u64>,
    /// In flight at most.
    pub depth: u32,
    /// Where the source's block 0 is on the origin disk.
    pub first: u32,
    /// Blocks of the source that the origin disk has.
    pub span: u32,
    /// What is done with the blocks of deleted files.
    pub discard: Discard,
    /// Writes between flushes; 0 for no flush.
    pub flush: u32,
    /// Accesses between samples; 0 for none.
    pub every: u64,
    /// Whether reads are checked.
    pub check: bool,
}

/// The cache of a guest.
pub type GuestCache<'m, M> = BlockCache<CacheDisk<'m, M>, CacheDisk<'m, M>>;

/// See the module.
pub struct Replay<'a, 'm, M: Machine> {
    hardware: &'a RefCell<Hardware<'m, M>>,
    cache: &'a GuestCache<'m, M>,
    pages: Option<&'a PageCache>,
    writes: &'a RefCell<Writes>,
    interrupted: &'a dyn Fn() -> bool,
    options: ReplayOptions,
    source: RefCell<Source>,
    tally: RefCell<Tally>,
    started_ns: u64,
    ended_ns: Cell<u64>,
    /// Writes since the last flush began.
    unflushed: Cell<u32>,
    failure: RefCell<Option<String>>,
}

impl<'a, 'm, M: Machine> Replay<'a, 'm, M> {
    /// A replay that begins now. One without a count ends when it is interrupted.
    pub fn new(
        hardware: &'a Shared<'m, M>,
        (pages, cache): (Option<&'a PageCache>, &'a GuestCache<'m, M>),
        writes: &'a RefCell<Writes>,
        interrupted: &'a dyn Fn() -> bool,
        source: Source,
        options: ReplayOptions,
    ) -> Self {
        let started_ns = hardware.borrow_mut().machine.now_ns();
        Self {
            hardware,
            cache,
            pages,
            writes,
            interrupted,
            options,
            source: RefCell::new(source),
            tally: RefCell::new(Tally::new(options.every)),
            started_ns,
            ended_ns: Cell::new(started_ns),
            unflushed: Cell::new(0),
            failure: RefCell::new(None),
        }
    }

    /// Makes all accesses.
    ///
    /// # Errors
    /// A sentence, when the source fails.
    pub async fn run(self) -> Result<workloads::Report, String> {
        let mut tasks = Tasks::default();
        for _ in 0..(self.options.depth.max(1) as usize).min(TASKS_MAX) {
            tasks.push(self.task());
        }
        tasks.await;
        let Self {
            source,
            tally,
            failure,
            ..
        } = &self;
        if let Source::Trace(reader) = source.replace(Source::Over) {
            reader.close(self.hardware).await;
        }
        match failure.take() {
            Some(reason) => Err(reason),
            None => {
                let elapsed_ns = self.ended_ns.get() - self.started_ns;
                let stats = self.cache.stats();
                Ok(tally
                    .borrow()
                    .report(elapsed_ns, &stats, &self.writes.borrow()))
            }
        }
    }

    async fn task(&self) {
        let mut buffer = vec![0; ORIGIN_BLOCK];
        let mut made = 0;
        while let Some(access) = poll_fn(|_| self.next()).await {
            let number = self.tally.borrow_mut().begin();
            let Access { block, kind } = access;
            let is_there = block < self.options.span;
            let outcome = match (is_there.then(|| self.options.first + block), kind) {
                (None, _) => Outcome::Beyond,
                (Some(block), AccessKind::Read) => self.read(block, &mut buffer).await,
                (Some(block), AccessKind::Write) => self.write(block, &mut buffer).await,
                (Some(block), AccessKind::Discard) => self.discard(block).await,
            };
            self.end(number, kind, outcome);
            if kind == AccessKind::Write && outcome != Outcome::Beyond {
                self.flush_when_due().await;
            }
            made += 1;
            if made % IN_ONE_GO == 0 {
                give_way().await;
            }
        }
    }

    /// The next access; `None` after the last.
    fn next(&self) -> Poll<Option<Access>> {
        let ends = match self.options.count {
            Some(count) => self.tally.borrow().begun() >= count,
            None => (self.interrupted)(),
        };
        if ends || self.failure.borrow().is_some() {
            return Poll::Ready(None);
        }
        if !self.tally.borrow().has_room() {
            return Poll::Pending;
        }
        let hw = &mut *self.hardware.borrow_mut();
        match self.source.borrow_mut().next(hw) {
            Next::Access(access) => {
                hw.stepped();
                Poll::Ready(Some(access))
            }
            Next::Later => Poll::Pending,
            Next::End => Poll::Ready(None),
            Next::Failed(reason) => {
                self.failure.replace(Some(reason));
                Poll::Ready(None)
            }
        }
    }

    async fn read(&self, block: u32, buffer: &mut [u8]) -> Outcome {
        let began_ns = self.now_ns();
        let reading = self.writes.borrow().begin_read(block);
        let done = match self.pages {
            Some(pages) => pages.read(self.cache, block, buffer).await,
            None => self.cache.read(block, buffer).await.map(Tier::Below),
        };
        let checked = || !self.options.check || self.writes.borrow_mut().check(reading, buffer);
        self.outcome(began_ns, done, checked)
    }

    async fn write(&self, block: u32, buffer: &mut [u8]) -> Outcome {
        let began_ns = self.now_ns();
        let number = self.writes.borrow_mut().issue(block, buffer);
        let done = match self.pages {
            Some(pages) => pages.write(self.cache, block, buffer).await,
            None => self.cache.write(block, buffer).await,
        };
        let outcome = self.outcome(began_ns, done.map(Tier::Below), || true);
        let mut writes = self.writes.borrow_mut();
        writes.end(block, number, done.is_ok());
        outcome
    }

    async fn discard(&self, block: u32) -> Outcome {
        if self.options.discard == Discard::None {
            return Outcome::Discarded;
        }
        let is_announced = self.options.discard == Discard::Device;
        let tiers = (self.pages, self.cache);
        match discard(tiers, self.writes, block, is_announced).await {
            Ok(()) => Outcome::Discarded,
            Err(_) => Outcome::Beyond,
        }
    }

    fn outcome(
        &self,
        began_ns: u64,
        done: Result<Tier, CacheError>,
        checked: impl FnOnce() -> bool,
    ) -> Outcome {
        match done {
            Ok(tier) => Outcome::Served {
                tier,
                elapsed_ns: self.now_ns().saturating_sub(began_ns),
                is_corrupt: !checked(),
            },
            Err(CacheError::Beyond) => Outcome::Beyond,
            Err(CacheError::Lost) => Outcome::Lost,
            Err(CacheError::Failed) => Outcome::Failed,
        }
    }

    /// Counts an access that has ended, and sends the samples that are due with it.
    fn end(&self, number: u64, kind: AccessKind, outcome: Outcome) {
        let hw = &mut *self.hardware.borrow_mut();
        hw.stepped();
        let now_ns = hw.machine.now_ns();
        self.ended_ns.set(now_ns);
        let tally = &mut *self.tally.borrow_mut();
        tally.track(self.cache.behind());
        if !tally.end(number, kind, outcome) {
            return;
        }
        let (at_ns, stats) = (now_ns - self.started_ns, self.cache.stats());
        while let Some(sample) = tally.sample(at_ns, &stats, &self.writes.borrow()) {
            send_report(hw.machine, &sample);
        }
    }

    /// Flushes after the last of so many writes. The writes of other tasks go on
    /// meanwhile, as those of a file system do.
    async fn flush_when_due(&self) {
        let unflushed = self.unflushed.get() + 1;
        self.unflushed.set(unflushed);
        if self.options.flush == 0 || unflushed < self.options.flush {
            return;
        }
        self.unflushed.set(0);
        flush(self.cache, self.writes).await;
    }

    fn now_ns(&self) -> u64 {
        self.hardware.borrow_mut().machine.now_ns()
    }
}

/// Flushes a cache and notes which writes that made durable. False when it failed.
pub async fn flush<M: Machine>(cache: &GuestCache<'_, M>, writes: &RefCell<Writes>) -> bool {
    let acknowledged = writes.borrow().acknowledged();
    let succeeded = cache.flush().await.is_ok();
    if succeeded {
        writes.borrow_mut().flush_succeeded(acknowledged);
    }
    succeeded
}

/// Discards a block in every tier; with `is_announced` its slot on the vSSD too.
pub async fn discard<M: Machine>(
    (pages, cache): (Option<&PageCache>, &GuestCache<'_, M>),
    writes: &RefCell<Writes>,
    block: u32,
    is_announced: bool,
) -> Result<(), CacheError> {
    writes.borrow_mut().discard(block);
    if let Some(pages) = pages {
        pages.discard(block);
    }
    cache.discard(block, is_announced).await
}
