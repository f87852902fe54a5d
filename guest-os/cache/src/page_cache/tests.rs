//! The page cache over a block cache on disks that end their transfers in any order.

extern crate std;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use std::println;

use super::*;
use crate::block_cache::Config;
use crate::block_cache::tests::{Rng, Run, Task, VSSD_BLOCKS, poll};
use crate::eviction::Policy;
use crate::write_policy::WritePolicy;

const BLOCKS: u32 = 200;

/// A page cache over a block cache, and what its requests found.
struct Paged {
    run: Run,
    pages: Rc<PageCache>,
    from_memory: Rc<Cell<u64>>,
}

impl Paged {
    fn new(pages: u32, share: Share, write: WritePolicy, seed: u64) -> Self {
        let config = Config::new(Policy::Lru, write);
        Self {
            run: Run::open(config, 0..VSSD_BLOCKS, seed),
            pages: Rc::new(PageCache::new(pages, 0, share).unwrap()),
            from_memory: Rc::default(),
        }
    }

    fn start(&mut self, mut task: Task) {
        if !poll(&mut task) {
            self.run.tasks.push(task);
        }
    }

    /// A read; what it must find, if that is known.
    fn read(&mut self, block: u32, expected: Option<u8>) {
        let (cache, pages) = (self.run.cache.clone(), self.pages.clone());
        let from_memory = self.from_memory.clone();
        self.start(Box::pin(async move {
            let mut data = [0xee; BLOCK_LEN];
            let tier = pages.read(&cache, block, &mut data).await.unwrap();
            from_memory.set(from_memory.get() + u64::from(tier == Tier::Memory));
            if let Some(expected) = expected {
                assert_eq!(data, [expected; BLOCK_LEN], "block {block}");
            }
        }));
    }

    fn write(&mut self, block: u32, value: u8) {
        let (cache, pages) = (self.run.cache.clone(), self.pages.clone());
        self.start(Box::pin(async move {
            let served = pages.write(&cache, block, &[value; BLOCK_LEN]).await;
            assert!(served.is_ok(), "write {block}: {served:?}");
        }));
    }
}

fn skewed(rng: &mut Rng) -> u32 {
    rng.below(1 + rng.0 as u32 % BLOCKS)
}

/// Reads find the last write at any depth, and each tier counts as if no disk took any time.
#[test]
fn counts_are_those_of_two_caches_without_disks() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    for seed in 1..6 {
        for share in Share::ALL {
            for (pages, depth) in [(1, 1), (1, 32), (20, 1), (20, 32), (150, 32)] {
                println!("seed {seed}, sharing {share}, {pages} pages, depth {depth}");
                let mut paged = Paged::new(pages, share, WritePolicy::WriteBack, seed);
                let mut memory = Policy::Lru.cache(pages);
                memory.grow(0..pages);
                let mut below = Policy::Lru.cache(VSSD_BLOCKS);
                below.grow(first..VSSD_BLOCKS);
                let (mut from_memory, mut hits) = (0, 0);
                let mut last = BTreeMap::new();
                let mut rng = Rng(seed);
                for step in 0..1500u32 {
                    let block = skewed(&mut rng);
                    let is_write = rng.below(3) == 0;
                    let has_page = memory.access(block).is_some();
                    if !has_page {
                        memory.admit(block);
                    }
                    if is_write {
                        last.insert(block, step as u8);
                        paged.write(block, step as u8);
                    } else {
                        paged.read(block, Some(last.get(&block).copied().unwrap_or(0)));
                    }
                    paged.run.wait(depth - 1);
                    if has_page && !is_write {
                        from_memory += 1;
                        if share == Share::Reads {
                            below.touch(block);
                        }
                    } else if below.access(block).is_some() {
                        hits += 1;
                    } else {
                        below.admit(block);
                    }
                }
                paged.run.wait(0);
                let stats = paged.run.cache.stats();
                assert_eq!(paged.from_memory.get(), from_memory);
                assert_eq!(stats.read_hits + stats.write_hits, hits);
            }
        }
    }
}

/// Nothing waits for a request that was dropped, and nothing wrong is found after it.
#[test]
fn requests_may_be_dropped() {
    for seed in 1..6 {
        println!("seed {seed}");
        let mut paged = Paged::new(8, Share::Nothing, WritePolicy::WriteThrough, seed);
        let mut rng = Rng(seed);
        for _ in 0..3000u32 {
            match rng.below(4) {
                // Every write to a block has the same data, so a dropped one does not matter.
                0 => {
                    let block = rng.below(12);
                    paged.write(block, block as u8);
                }
                _ => paged.read(rng.below(12), None),
            }
            if rng.below(3) == 0 && !paged.run.tasks.is_empty() {
                let chosen = rng.below(paged.run.tasks.len() as u32);
                drop(paged.run.tasks.swap_remove(chosen as usize));
            }
            paged.run.wait(8);
        }
        paged.run.wait(0);
        for block in 0..12 {
            paged.write(block, block as u8);
            paged.run.wait(0);
            paged.read(block, Some(block as u8));
        }
        paged.run.wait(0);
        assert!(paged.pages.core.borrow().filling.is_empty());
    }
}

#[test]
fn a_failed_request_leaves_no_page() {
    let mut paged = Paged::new(8, Share::Nothing, WritePolicy::WriteThrough, 1);
    let beyond = u32::MAX;
    let (cache, pages) = (paged.run.cache.clone(), paged.pages.clone());
    paged.start(Box::pin(async move {
        let mut data = [1; BLOCK_LEN];
        for _ in 0..2 {
            let read = pages.read(&cache, beyond, &mut data).await;
            assert_eq!(read, Err(CacheError::Beyond));
            let written = pages.write(&cache, beyond, &data).await;
            assert_eq!(written, Err(CacheError::Beyond));
        }
    }));
    paged.run.wait(0);
    assert!(paged.pages.core.borrow().cache.is_empty());
}

/// Blocks with a page are given up first, the one requested last before the others; without
/// sharing the least recently used ones are.
#[test]
fn what_memory_has_goes_first() {
    let first = crate::metadata::region_blocks(VSSD_BLOCKS);
    let slots = VSSD_BLOCKS - first;
    for (share, gone) in [(Share::Pages, [3, 2]), (Share::Nothing, [10, 11])] {
        let mut paged = Paged::new(3, share, WritePolicy::WriteThrough, 1);
        for block in 0..slots {
            paged.read(10 + block, None);
            paged.run.wait(0);
        }
        // These replace the three oldest, and have the pages.
        for block in [1, 2, 3] {
            paged.read(block, None);
            paged.run.wait(0);
        }
        let gone = match share {
            Share::Nothing => gone.map(|block| block + 3),
            _ => gone,
        };
        paged.run.cache.want(2, &paged.pages.spare());
        for _ in 0..200 {
            paged.run.turn();
        }
        let core = paged.run.cache.core.borrow();
        for block in [1, 2, 3, 13, 14, 15] {
            let is_cached = core.cache.find(block).is_some();
            assert_eq!(is_cached, !gone.contains(&block), "{share}: block {block}");
        }
    }
}
