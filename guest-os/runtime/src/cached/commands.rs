//! The commands of a cache.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;

use guest_cache::page_cache::OutOfMemory;
use guest_cache::{BlockCache, Config, PageCache, Policy, WritePolicy, WrittenBack};
use vssd::block_set::BlockSet;
use vssd::driver::Fault;
use workloads::command::Discard;
use workloads::replay::Replay as Accesses;
use workloads::{Command, Name, Report, Workload, command, report};

use super::device::CacheDisk;
use super::open::OpenCache;
use super::replay::{GuestCache, Replay, ReplayOptions, flush};
use super::source::Source;
use super::stamps::read_stamps;
use super::trace::TraceReader;
use crate::guest::Guest;
use crate::hardware::ORIGIN_BLOCK;
use crate::port::{BlkPort, Machine, feature};

/// The result of a command: done, or the reason why not, as a sentence. The outer error is a fault
/// of the device.
type Carried = Result<Result<(), String>, Fault>;

/// Most blocks of a sample: more make a curve no better, and take memory.
pub(crate) const MOST_SAMPLED: u32 = 1 << 16;

/// Memory that a page cache leaves free: buffers of requests, block sets and reports.
const SPARE_BYTES: usize = 16 << 20;

fn policy(name: Name) -> Result<Policy, String> {
    name.as_str()
        .parse()
        .map_err(|error| format!("{name}: {error}"))
}

fn write_policy(name: Name) -> Result<WritePolicy, String> {
    name.as_str()
        .parse()
        .map_err(|error| format!("{name}: {error}"))
}

/// So many pages of memory, with as much left free as the guest needs.
fn page_cache(pages: u32, share: Name) -> Result<Option<PageCache>, String> {
    let share = share.as_str().parse();
    let share = share.map_err(|error| format!("invalid `share`: {error}"))?;
    if pages == 0 {
        return Ok(None);
    }
    let spare = (SPARE_BYTES / ORIGIN_BLOCK) as u32;
    let made = PageCache::new(pages, spare, share);
    made.map(Some).map_err(|OutOfMemory { pages: most }| {
        format!(
            "{pages} pages do not fit in the guest's memory, which has room for about {most}: \
             choose a smaller `memory`, or boot the guest with more (-m)"
        )
    })
}

impl<'m, M: Machine> Guest<'m, M> {
    /// Carries out a command of a cache.
    pub(crate) fn carry_out_cached(&mut self, command: Command) -> Carried {
        if let Command::Cache(cache) = command {
            return self.open_cache(cache);
        }
        let Some(open) = &self.cache else {
            return Ok(Err("no cache is open: `cache` opens one".to_string()));
        };
        let (cache, pages, origin_blocks) = (open.cache(), open.pages(), open.origin_blocks);
        match command {
            Command::Replay(replay) => self.replay(pages.as_deref(), &cache, origin_blocks, replay),
            Command::Advise(advise) => Ok(self.advise(&cache, origin_blocks, advise)),
            Command::DiscardBlocks(discard) => {
                self.discard(pages.as_deref(), &cache, origin_blocks, discard)
            }
            Command::Stamps(command::Stamps { span }) => {
                let hardware = Rc::clone(&self.hardware);
                let writes = Rc::clone(&self.writes);
                let span = match span {
                    0 => origin_blocks,
                    span => span.min(origin_blocks),
                };
                self.block_on(read_stamps(&hardware, &cache, &writes, span))?;
                Ok(Ok(()))
            }
            Command::Flush => {
                let writes = Rc::clone(&self.writes);
                Ok(if self.block_on(flush(&cache, &writes))? {
                    Ok(())
                } else {
                    Err("a disk failed the flush".to_string())
                })
            }
            Command::WriteBack => {
                self.write_back(&cache, cache.write_back())?;
                Ok(Ok(()))
            }
            Command::Close => {
                self.write_back(&cache, cache.close())?;
                self.drop_cache()?;
                Ok(Ok(()))
            }
            _ => Ok(Err("not a command of a cache".to_string())),
        }
    }

    fn open_cache(&mut self, command: command::Cache) -> Carried {
        let command::Cache {
            evict,
            write,
            promote,
            bypass,
            dirty,
            clean_first,
            fresh,
            memory,
            share,
            sample,
        } = command;
        if self.cache.is_some() {
            return Ok(Err("a cache is open already: `close` it first".to_string()));
        }
        let block_size = self.geometry.block_size();
        if block_size as usize != ORIGIN_BLOCK {
            return Ok(Err(format!(
                "a cache needs a vSSD with blocks of {ORIGIN_BLOCK} bytes; this one has blocks of \
                 {block_size}"
            )));
        }
        let config = match (policy(evict), write_policy(write)) {
            (Ok(eviction), Ok(write)) => Config {
                eviction,
                write,
                promote,
                bypass_blocks: bypass,
                dirty_percent: dirty,
                clean_first,
                fresh,
                demand_sample: sample.min(MOST_SAMPLED),
            },
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        };
        let Some(origin) = CacheDisk::origin(&self.hardware) else {
            return Ok(Err(
                "this machine has no origin disk: add a second virtio-blk disk".to_string(),
            ));
        };
        if let Some(reason) = self.unfit_origin(config.write) {
            return Ok(Err(reason));
        }
        let pages = match page_cache(memory, share) {
            Ok(pages) => pages,
            Err(reason) => return Ok(Err(reason)),
        };
        self.settle()?;
        let capacity = self.geometry.capacity();
        // From here on the cache owns the contents of the blocks.
        self.app.contents.gained(&BlockSet::full(capacity));
        let vssd = CacheDisk::vssd(&self.hardware);
        let held: Vec<_> = {
            let hw = self.hardware.borrow();
            let runs = hw.disk.driver().held().runs();
            runs.map(|run| run.start..run.end()).collect()
        };
        let clock = Rc::new(Cell::new(self.now_ns()));
        let now = Rc::clone(&clock);
        let opened = self.block_on(BlockCache::open(vssd, origin, &held, config, move || {
            now.get()
        }))?;
        let (cache, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.await_idle()?;
                return Ok(Err(error.to_string()));
            }
        };
        let memory = cache.memory_bytes() as u64 * 1000 / u64::from(capacity);
        self.report(&Report::CacheOpened(report::CacheOpened {
            origin_blocks: opened.origin_blocks,
            slots: opened.slots,
            metadata_blocks: opened.metadata_blocks,
            restored: opened.restored,
            restored_dirty: opened.restored_dirty,
            lost: opened.lost,
            memory_bytes_per_1000: u32::try_from(memory).unwrap_or(u32::MAX),
        }));
        self.cache = Some(OpenCache::new(
            cache,
            pages,
            clock,
            capacity,
            opened.origin_blocks,
        ));
        Ok(Ok(()))
    }

    /// Why the origin disk cannot be one by this write policy, if it cannot.
    fn unfit_origin(&self, write: WritePolicy) -> Option<String> {
        let hw = &mut *self.hardware.borrow_mut();
        let origin = hw.machine.origin()?;
        let logical = origin.logical_block();
        if origin.is_read_only() && write != WritePolicy::ReadOnly {
            return Some(
                "the origin disk is read-only: a cache in front of it needs write=read-only"
                    .to_string(),
            );
        }
        (logical as usize > ORIGIN_BLOCK).then(|| {
            format!(
                "the origin disk has logical blocks of {logical} bytes; the maximum for a cache is \
                 {ORIGIN_BLOCK}"
            )
        })
    }

    fn replay(
        &mut self,
        pages: Option<&PageCache>,
        cache: &GuestCache<'m, M>,
        origin_blocks: u32,
        command: command::Replay,
    ) -> Carried {
        let command::Replay {
            workload,
            seed,
            start,
            count,
            depth,
            first,
            span,
            writes,
            discard,
            flush,
            every,
            check,
        } = command;
        if discard == Discard::Device && !self.takes_discards() {
            return Ok(Err(
                "the vSSD takes no discards: replay with discard=cache or discard=none".to_string(),
            ));
        }
        if workload.is_none() && first > 0 {
            return Ok(Err(format!(
                "a trace names the blocks of the origin disk: first={first} is for workloads"
            )));
        }
        let blocks = origin_blocks.saturating_sub(first);
        let span = match span {
            0 => blocks,
            span => span,
        };
        let source = match workload {
            Some(workload) => drawn(workload, span, seed, start, writes),
            None => {
                let hardware = Rc::clone(&self.hardware);
                let opened = self.block_on(TraceReader::open(&hardware, start))?;
                opened.map(Source::Trace)
            }
        };
        let source = match source {
            Ok(source) => source,
            Err(reason) => return Ok(Err(reason)),
        };
        let options = ReplayOptions {
            count: (count > 0).then_some(count),
            depth,
            first,
            span: span.min(blocks),
            discard,
            flush,
            every,
            check,
        };
        // A trace ends by itself, so the commands after it in a script do not end it; a workload
        // would go on forever.
        let waiting = Rc::clone(&self.waiting);
        let at_first = match &source {
            Source::Trace(_) => waiting.get(),
            Source::Workload(_) | Source::Over => 0,
        };
        let interrupted = move || waiting.get() > at_first;
        let hardware = Rc::clone(&self.hardware);
        let writes = Rc::clone(&self.writes);
        let tiers = (pages, cache);
        let replay = Replay::new(&hardware, tiers, &writes, &interrupted, source, options);
        let replayed = self.block_on(replay.run())?;
        Ok(replayed.map(|report| self.report(&report)))
    }

    pub(super) fn takes_discards(&self) -> bool {
        let hw = &mut *self.hardware.borrow_mut();
        hw.machine.port().features() & feature::DISCARD != 0
    }

    /// Waits for dirty blocks to be written back, after which everything acknowledged
    /// before is durable.
    fn write_back(
        &mut self,
        cache: &GuestCache<'m, M>,
        written: impl Future<Output = WrittenBack>,
    ) -> Result<(), Fault> {
        let acknowledged = self.writes.borrow().acknowledged();
        let WrittenBack { blocks, errors } = self.block_on(written)?;
        if errors == 0 {
            self.writes.borrow_mut().flush_succeeded(acknowledged);
        }
        let origin_writes = cache.stats().origin_writes;
        self.report(&Report::WrittenBack(report::WrittenBack {
            blocks,
            errors,
            origin_writes,
        }));
        Ok(())
    }

    /// Ends a cache that has been closed.
    fn drop_cache(&mut self) -> Result<(), Fault> {
        self.cache = None;
        self.await_idle()
    }

    /// Makes durable what was acknowledged, before the guest exits. A cache that fails this reports
    /// it in its counters.
    pub(crate) fn flush_cache(&mut self) -> Result<(), Fault> {
        if let Some(open) = &self.cache {
            let cache = open.cache();
            let writes = Rc::clone(&self.writes);
            self.block_on(flush(&cache, &writes))?;
        }
        Ok(())
    }
}

fn drawn(
    workload: Workload,
    span: u32,
    seed: u64,
    start: u64,
    writes: u32,
) -> Result<Source, String> {
    let accesses = Accesses::new(workload, span, seed, start, writes);
    let accesses = accesses.map_err(|error| error.to_string())?;
    Ok(Source::Workload(accesses))
}
