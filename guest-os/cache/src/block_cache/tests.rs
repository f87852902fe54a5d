//! The cache on disks that end their transfers in any order.

extern crate std;

mod advised;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::println;

use super::*;
use crate::cache::Admission;
use crate::device::IoError;
use crate::eviction::Policy;

pub(crate) const VSSD_BLOCKS: u32 = 64;
const ORIGIN_BLOCKS: u32 = 4096;

/// A number that differs each time, by a linear congruence.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}

struct State {
    blocks: BTreeMap<u32, Vec<u8>>,
    rng: Rng,
    /// Blocks in the order in which they were written.
    written: Vec<(u32, u8)>,
    /// Blocks in the order in which they were read.
    read: Vec<u32>,
}

/// A disk on which a transfer takes a random number of polls.
#[derive(Clone)]
pub(crate) struct Disk {
    state: Rc<RefCell<State>>,
    blocks: u32,
}

impl Disk {
    fn new(blocks: u32, seed: u64) -> Self {
        let state = State {
            blocks: BTreeMap::new(),
            rng: Rng(seed),
            written: Vec::new(),
            read: Vec::new(),
        };
        Self {
            state: Rc::new(RefCell::new(state)),
            blocks,
        }
    }

    fn take_time(&self) -> impl Future<Output = ()> {
        let mut polls = self.state.borrow_mut().rng.below(6);
        poll_fn(move |_| match polls.checked_sub(1) {
            None => Poll::Ready(()),
            Some(left) => {
                polls = left;
                Poll::Pending
            }
        })
    }
}

impl BlockDevice for Disk {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn max_run(&self) -> u32 {
        8
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        self.take_time().await;
        let mut state = self.state.borrow_mut();
        for (block, out) in (first..).zip(out.chunks_exact_mut(BLOCK_LEN)) {
            state.read.push(block);
            match state.blocks.get(&block) {
                Some(data) => out.copy_from_slice(data),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        self.take_time().await;
        let mut state = self.state.borrow_mut();
        for (block, data) in (first..).zip(data.chunks_exact(BLOCK_LEN)) {
            state.written.push((block, data[0]));
            state.blocks.insert(block, data.to_vec());
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), IoError> {
        self.take_time().await;
        Ok(())
    }

    async fn discard(&self, block: u32) -> Result<(), IoError> {
        self.take_time().await;
        self.state.borrow_mut().blocks.remove(&block);
        Ok(())
    }
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) fn poll(task: &mut Task) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    task.as_mut().poll(&mut context).is_ready()
}

/// A cache, its origin, and what goes on.
pub(crate) struct Run {
    pub cache: Rc<BlockCache<Disk, Disk>>,
    origin: Disk,
    work: Task,
    pub tasks: Vec<Task>,
}

impl Run {
    pub fn open(config: Config, held: Range<u32>, seed: u64) -> Self {
        let (ssd, origin) = (
            Disk::new(VSSD_BLOCKS, seed),
            Disk::new(ORIGIN_BLOCKS, !seed),
        );
        let mut opening = Box::pin(BlockCache::open(
            ssd,
            origin.clone(),
            core::slice::from_ref(&held),
            config,
            || 0,
        ));
        let mut context = Context::from_waker(Waker::noop());
        let (cache, _) = loop {
            if let Poll::Ready(opened) = opening.as_mut().poll(&mut context) {
                break opened.expect("a cache");
            }
        };
        let cache = Rc::new(cache);
        let worker = cache.clone();
        Self {
            cache,
            origin,
            work: Box::pin(async move { worker.work().await }),
            tasks: Vec::new(),
        }
    }

    pub fn turn(&mut self) {
        self.tasks.retain_mut(|task| !poll(task));
        assert!(!poll(&mut self.work), "work never ends");
    }

    pub fn wait(&mut self, tasks: usize) {
        for _ in 0..20_000 {
            if self.tasks.len() <= tasks {
                return;
            }
            self.turn();
        }
        panic!("{} tasks wait for each other", self.tasks.len());
    }

    /// A read with the content that it must find.
    pub fn read(&mut self, block: u32, expected: u8) {
        let cache = self.cache.clone();
        let mut task: Task = Box::pin(async move {
            let mut data = [0xee; BLOCK_LEN];
            let served = cache.read(block, &mut data).await;
            assert!(served.is_ok(), "read {block}: {served:?}");
            assert_eq!(data[0], expected, "block {block}");
        });
        if !poll(&mut task) {
            self.tasks.push(task);
        }
    }

    /// A discard of a block of the origin disk.
    fn discard(&mut self, block: u32) {
        let cache = self.cache.clone();
        let mut task: Task = Box::pin(async move {
            let discarded = cache.discard(block, block.is_multiple_of(2)).await;
            discarded.expect("a block of the disk");
        });
        if !poll(&mut task) {
            self.tasks.push(task);
        }
    }

    pub fn write(&mut self, block: u32, value: u8) {
        let cache = self.cache.clone();
        let mut task: Task = Box::pin(async move {
            let served = cache.write(block, &[value; BLOCK_LEN]).await;
            assert!(served.is_ok(), "write {block}: {served:?}");
        });
        if !poll(&mut task) {
            self.tasks.push(task);
        }
    }
}

pub(crate) fn configs() -> impl Iterator<Item = Config> {
    let writes = WritePolicy::ALL.iter();
    writes.flat_map(|&write| {
        Policy::ALL
            .iter()
            .map(move |&policy| Config::new(policy, write))
    })
}

/// Hits and misses are those of the cache without disks, however long a disk takes: but for
/// the policies that give an overwritten block a new slot, which is a new block for the
/// eviction policy.
#[test]
fn hits_and_misses_are_those_of_the_simulator() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    for config in configs() {
        if matches!(config.write, WritePolicy::Ordered | WritePolicy::Journaled) {
            continue;
        }
        for depth in [1, 32] {
            println!("{} {}, depth {depth}", config.eviction, config.write);
            let mut run = Run::open(config, 0..VSSD_BLOCKS, depth);
            let mut model = config.eviction.cache(VSSD_BLOCKS);
            model.grow(first..VSSD_BLOCKS);
            let (mut hits, mut rng) = (0, Rng(depth));
            let mut discards = 0;
            for _ in 0..3000 {
                let block = rng.below(1 + rng.0 as u32 % 200);
                if rng.below(8) == 0 {
                    model.discard(block);
                    run.discard(block);
                    discards += 1;
                    continue;
                }
                let is_write = rng.below(3) == 0;
                let found = model.access(block).is_some();
                hits += u64::from(found);
                match (config.write, is_write, found) {
                    (WritePolicy::ReadOnly, true, true) => drop(model.discard(block)),
                    (WritePolicy::ReadOnly | WritePolicy::WriteAround, true, _) | (.., true) => {}
                    _ => assert!(matches!(model.admit(block), Admission::Admitted { .. })),
                }
                if is_write {
                    run.write(block, block as u8)
                } else {
                    run.request_any(block)
                }
                run.wait(depth as usize - 1);
            }
            run.wait(0);
            let stats = run.cache.stats();
            assert_eq!(stats.read_hits + stats.write_hits, hits);
            let misses = stats.read_misses + stats.write_misses;
            assert_eq!(misses, 3000 - discards - hits);
            assert_eq!(stats.cached, model.len());
        }
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl Run {
    /// A read of a block that writes its own number above three bits, or was never written.
    fn read_own(&mut self, block: u32) {
        let cache = self.cache.clone();
        let mut task: Task = Box::pin(async move {
            let mut data = [0xee; BLOCK_LEN];
            let served = cache.read(block, &mut data).await;
            assert!(served.is_ok(), "read {block}: {served:?}");
            let own = (block << 4) as u8;
            let is_own = data[0] == 0 || data[0] & 0xf8 == own;
            assert!(is_own, "block {block} reads as {:x}", data[0]);
        });
        if !poll(&mut task) {
            self.tasks.push(task);
        }
    }

    /// A read of which nothing is expected.
    fn request_any(&mut self, block: u32) {
        let cache = self.cache.clone();
        let mut task: Task = Box::pin(async move {
            let mut data = [0; BLOCK_LEN];
            cache.read(block, &mut data).await.expect("a block");
        });
        if !poll(&mut task) {
            self.tasks.push(task);
        }
    }
}

/// With any number of slots, what is read is what was written last, at any depth; nothing
/// waits for itself.
#[test]
fn caches_of_few_slots_or_none_go_on() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    for config in configs() {
        for slots in 0..4 {
            println!("{} {}, {slots} slots", config.eviction, config.write);
            let mut run = Run::open(config, 0..first + slots, u64::from(slots));
            let mut rng = Rng(7);
            let mut last = BTreeMap::new();
            for step in 0..600u32 {
                let block = rng.below(8);
                match rng.below(2) {
                    0 => {
                        last.insert(block, step as u8);
                        run.write(block, step as u8);
                    }
                    _ => run.read(block, last.get(&block).copied().unwrap_or(0)),
                }
                run.wait(31);
            }
            run.wait(0);
        }
    }
}

/// A block that was discarded reads as anything that it was before, never as another block,
/// and after a write again as what was written; its slot is given up before any other.
#[test]
fn discarded_blocks_have_any_of_their_contents() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    for (seed, config) in (0..).zip(configs()) {
        println!("{} {}", config.eviction, config.write);
        let mut run = Run::open(config, 0..first + 6, seed);
        let mut rng = Rng(seed);
        // Blocks write their own number above a counter of three bits.
        let mut last: [Option<u8>; 16] = [Some(0); 16];
        for step in 0..1500u32 {
            let block = rng.below(16);
            match (rng.below(3), last[block as usize]) {
                (0, _) => {
                    let value = (block << 4 | step & 7) as u8;
                    last[block as usize] = Some(value);
                    run.write(block, value);
                }
                (1, _) => {
                    last[block as usize] = None;
                    run.discard(block);
                }
                (_, Some(value)) => run.read(block, value),
                (_, None) => run.read_own(block),
            }
            run.wait(31);
        }
        run.wait(0);
        let is_clean = |run: &Run| run.cache.stats().dirty == 0;
        let ends = run.cache.clone();
        run.tasks.push(Box::pin(async move {
            assert_eq!(ends.write_back().await.errors, 0);
        }));
        run.wait(0);
        assert!(is_clean(&run));
    }
}

#[test]
fn a_surrender_takes_the_slots_of_discarded_blocks_first() {
    for config in configs() {
        let first = crate::metadata::region_blocks(VSSD_BLOCKS);
        let mut run = Run::open(config, 0..first + 8, 3);
        for block in 0..8 {
            run.write(block, 1);
            run.read(block, 1);
            run.wait(0);
        }
        let cached = run.cache.stats().cached;
        // Those that were used last.
        (5..8).for_each(|block| run.discard(block));
        run.wait(0);
        run.cache.want(3, &[]);
        for _ in 0..200 {
            run.turn();
        }
        assert_eq!(run.cache.take_ready(8).len(), 3);
        assert_eq!(run.cache.stats().cached, cached - 3);
        (0..5).for_each(|block| run.read(block, 1));
        run.wait(0);
    }
}

/// Whatever the write policy, each block of data counts once a transfer, and those of the journal
/// do not.
#[test]
fn transfers_of_data_on_the_origin_disk_are_counted() {
    for (seed, config) in (0..).zip(configs()) {
        println!("{} {}", config.eviction, config.write);
        let mut run = Run::open(config, 0..VSSD_BLOCKS, seed);
        // Of a journal that an earlier cache may have left.
        run.origin.state.borrow_mut().read.clear();
        let mut rng = Rng(seed);
        for step in 0..600u32 {
            match rng.below(3) {
                0 => run.request_any(rng.below(200)),
                _ => run.write(rng.below(200), step as u8),
            }
            run.wait(15);
        }
        run.wait(0);
        run.cache.want(20, &[]);
        for _ in 0..2000 {
            run.turn();
        }
        let cache = run.cache.clone();
        run.tasks.push(Box::pin(async move {
            assert_eq!(cache.write_back().await.errors, 0);
        }));
        run.wait(0);
        let blocks = run.cache.core.borrow().origin_blocks;
        let origin = run.origin.state.borrow();
        let written = origin.written.iter().filter(|(block, _)| *block < blocks);
        let read = origin.read.iter().filter(|block| **block < blocks);
        let expected = (read.count() as u64, written.count() as u64);
        let stats = run.cache.stats();
        assert_eq!((stats.origin_reads, stats.origin_writes), expected);
        assert!(expected.0 > 0 && expected.1 > 0, "{expected:?}");
    }
}

#[test]
fn a_dirty_block_that_is_discarded_is_not_written_back() {
    let config = Config {
        dirty_percent: 100,
        ..Config::new(Policy::Lru, WritePolicy::WriteBack)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 1);
    run.write(1, 11);
    run.write(2, 22);
    run.discard(1);
    run.wait(0);
    let cache = run.cache.clone();
    run.tasks.push(Box::pin(async move {
        assert_eq!(cache.write_back().await.errors, 0);
    }));
    run.wait(0);
    assert_eq!(run.origin.state.borrow().written, [(2, 22)]);
    run.read(1, 0);
    run.wait(0);
    assert_eq!(
        poll_once(run.cache.discard(ORIGIN_BLOCKS, true)),
        Poll::Ready(Err(CacheError::Beyond))
    );
}

/// Where the order counts, a version stays that a later write is ordered after.
#[test]
fn ordered_writes_keep_their_order_when_their_blocks_are_discarded() {
    let config = Config {
        dirty_percent: 100,
        ..Config::new(Policy::Lru, WritePolicy::Ordered)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 1);
    for (block, value) in [(1, 11), (2, 22), (3, 33)] {
        run.write(block, value);
        run.wait(0);
    }
    run.discard(1);
    // It belongs to the epoch that is open.
    run.discard(3);
    for _ in 0..200 {
        run.turn();
    }
    assert_eq!(run.origin.state.borrow().written, [(1, 11)]);
    run.cache.want(0, &[]);
    let cache = run.cache.clone();
    run.tasks.push(Box::pin(async move {
        assert_eq!(cache.write_back().await.errors, 0);
    }));
    run.wait(0);
    assert_eq!(run.origin.state.borrow().written, [(1, 11), (2, 22)]);
}

/// Whatever the origin is, it was so once: each block is as it was after one and the same
/// write, when writes come one after another.
#[test]
fn ordered_writes_reach_the_origin_in_order() {
    let config = Config {
        dirty_percent: 10,
        ..Config::new(Policy::Lru, WritePolicy::Ordered)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 3);
    let mut rng = Rng(11);
    let mut writes = vec![];
    for step in 0..250u8 {
        let block = rng.below(90);
        writes.push((block, step));
        run.write(block, step);
        run.wait(0);
    }
    run.cache.want(0, &[]);
    for _ in 0..2000 {
        run.turn();
    }
    let written = &run.origin.state.borrow().written;
    assert!(written.len() > 100, "{} reached the origin", written.len());
    assert_eq!(**written, writes[..written.len()]);
}

/// Requests that are dropped leave nothing behind that others wait for.
#[test]
fn requests_may_be_dropped() {
    for config in configs() {
        let mut run = Run::open(config, 0..20, 5);
        let mut rng = Rng(13);
        for step in 0..2000u32 {
            match rng.below(5) {
                0 | 1 => run.write(rng.below(12), step as u8),
                2 => run.discard(rng.below(12)),
                _ => run.request_any(rng.below(12)),
            }
            if rng.below(3) == 0 && !run.tasks.is_empty() {
                let chosen = rng.below(run.tasks.len() as u32);
                drop(run.tasks.swap_remove(chosen as usize));
            }
            run.wait(8);
        }
        run.wait(0);
    }
}

/// A sequential run goes past the cache after so many blocks; a block comes in at its
/// second request if that is requested.
#[test]
fn runs_and_rare_blocks_stay_out() {
    let config = Config {
        bypass_blocks: 4,
        ..Config::new(Policy::Lru, WritePolicy::WriteThrough)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 1);
    for block in 100..120 {
        run.request_any(block);
        run.wait(0);
    }
    let stats = run.cache.stats();
    assert_eq!((stats.cached, stats.bypassed), (4, 16));
    let config = Config {
        promote: 2,
        ..Config::new(Policy::Lru, WritePolicy::WriteThrough)
    };
    let mut run = Run::open(config, 0..VSSD_BLOCKS, 1);
    for (block, cached) in [(1, 0), (2, 0), (1, 1), (2, 2), (1, 2)] {
        run.request_any(block);
        run.wait(0);
        assert_eq!(run.cache.stats().cached, cached);
    }
    assert_eq!(run.cache.stats().read_hits, 1);
}
