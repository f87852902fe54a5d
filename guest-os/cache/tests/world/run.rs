//! A cache in a world, and a guest and a hypervisor that do anything at random.

use std::cell::RefCell;
use std::rc::Rc;

use guest_cache::device::{BLOCK_LEN, BlockDevice};
use guest_cache::{BlockCache, CacheError, Config, Opened, Served};

use super::World;
use super::disk::{Disk, Fault, Kind, runs};
use super::model::{Arrived, Found, Model};
use crate::common::{Rng, Zipf};

pub type Cache = BlockCache<Disk, Disk>;

/// How often something happens, in 1000 turns.
#[derive(Clone, Copy)]
pub struct Habits {
    /// Requests under way at a time.
    pub depth: usize,
    pub request: u32,
    /// Of 8 requests, how many are writes.
    pub writes: u32,
    /// Of 16 requests, how many are discards.
    pub discards: u32,
    pub flush: u32,
    pub write_back: u32,
    /// Everything is recorded, as at the end.
    pub record: u32,
    pub want: u32,
    pub revoke: u32,
    pub grant: u32,
    pub fault: u32,
    /// A request is dropped before its end.
    pub drop: u32,
    /// The device changes its advice.
    pub advise: u32,
}

impl Habits {
    /// No slot comes or goes, no disk fails.
    pub const STEADY: Self = Self {
        depth: 5,
        request: 500,
        writes: 5,
        discards: 0,
        flush: 25,
        write_back: 4,
        record: 8,
        want: 0,
        revoke: 0,
        grant: 0,
        fault: 0,
        drop: 0,
        advise: 0,
    };

    /// Slots come and go all the time.
    pub const RESTLESS: Self = Self {
        want: 12,
        revoke: 8,
        grant: 20,
        ..Self::STEADY
    };

    /// The hypervisor asks, and does not take what it is not given.
    pub const ASKED: Self = Self {
        want: 20,
        grant: 20,
        ..Self::STEADY
    };

    /// Disks fail, and requests are given up.
    pub const FAULTY: Self = Self {
        fault: 10,
        drop: 10,
        ..Self::RESTLESS
    };

    /// The same with blocks that are discarded.
    pub const fn discarding(self) -> Self {
        Self {
            discards: 4,
            ..self
        }
    }

    /// The same with advice that changes all the time.
    pub const fn advised(self) -> Self {
        Self { advise: 40, ..self }
    }
}

/// Blocks that the hypervisor has taken, and of which the cache is yet to be told.
struct Revoked {
    blocks: Vec<u32>,
    in_turns: u32,
}

/// A write under way, which may be dropped.
struct Write {
    model: Rc<RefCell<Model>>,
    arrived: Arrived,
}

impl Drop for Write {
    fn drop(&mut self) {
        // A task that panics is dropped while it has the model.
        if let Ok(mut model) = self.model.try_borrow_mut() {
            model.dropped(self.arrived);
        }
    }
}

/// A cache at work.
pub struct Run {
    pub world: World,
    pub cache: Rc<Cache>,
    pub model: Rc<RefCell<Model>>,
    pub opened: Opened,
    /// How many blocks the hypervisor wants.
    pub wanted: u32,
    untold: Vec<Revoked>,
    /// Blocks at the front of the vSSD that are for the metadata.
    metadata: u32,
    zipf: Zipf,
    scanned: u32,
}

impl Run {
    /// Opens a cache in a world; `each` looks before every request that ends.
    pub fn open(
        mut world: World,
        config: Config,
        mut model: Model,
        mut each: impl FnMut(&World, &Model),
    ) -> Self {
        let (ssd, origin, held) = (world.ssd.clone(), world.origin.clone(), world.ssd.held());
        let opening = BlockCache::open(ssd, origin, &held, config, world.clock());
        let opened = world.block_on_and(opening, |world| each(world, &model));
        let (cache, opened) = opened.unwrap_or_else(|error| panic!("{error}"));
        assert!(opened.origin_blocks >= model.blocks());
        let blocks = world.ssd.blocks();
        let cache = Rc::new(cache);
        let worker = cache.clone();
        world.spawn_background(async move { worker.work().await });
        model.begin(config.write.keeps_dirty());
        let run = Self {
            world,
            cache,
            opened,
            wanted: 0,
            untold: Vec::new(),
            metadata: guest_cache::metadata::region_blocks(blocks),
            zipf: Zipf::new(model.blocks()),
            model: Rc::new(RefCell::new(model)),
            scanned: 0,
        };
        run.metadata_changed();
        run
    }

    /// A read is made and checked.
    pub fn read(&mut self, block: u32) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        self.world.spawn(format!("read {block}"), async move {
            let arrived = model.borrow().reading(block);
            let mut bytes = [0x5a; BLOCK_LEN];
            let result = cache.read(block, &mut bytes).await;
            model.borrow_mut().read(arrived, result, &bytes);
        });
    }

    /// A write is made.
    pub fn write(&mut self, block: u32, zeros: bool) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        self.world.spawn(format!("write {block}"), async move {
            let (arrived, data) = model.borrow_mut().writing(block, zeros);
            let write = Write { model, arrived };
            let result = cache.write(block, &data).await;
            write.model.borrow_mut().written(arrived, result);
        });
    }

    /// A discard is made.
    pub fn discard(&mut self, block: u32) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        let is_announced = self.world.rng.below(2) == 0;
        self.world.spawn(format!("discard {block}"), async move {
            model.borrow_mut().discarding(block);
            let discarded = cache.discard(block, is_announced).await;
            discarded.expect("a block of the disk");
        });
    }

    /// A flush is made.
    pub fn flush(&mut self) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        self.world.spawn("flush".into(), async move {
            let before = model.borrow().flushing();
            match cache.flush().await {
                Ok(()) => model.borrow_mut().flushed(&before),
                Err(error) => assert!(model.borrow().faulty, "flush: {error}"),
            }
        });
    }

    /// Everything is written back.
    pub fn write_back(&mut self) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        self.world.spawn("write back".into(), async move {
            let before = model.borrow().flushing();
            match cache.write_back().await.errors {
                0 => model.borrow_mut().written_back(&before),
                errors => assert!(model.borrow().faulty, "write back: {errors} errors"),
            }
        });
    }

    /// Everything that the cache knows is recorded.
    pub fn record(&mut self) {
        let (cache, model) = (self.cache.clone(), self.model.clone());
        self.world.spawn("record".into(), async move {
            let before = model.borrow().flushing();
            match cache.close().await.errors {
                0 => model.borrow_mut().flushed(&before),
                errors => assert!(model.borrow().faulty, "close: {errors} errors"),
            }
        });
    }

    /// The hypervisor wants `count` blocks from now on.
    pub fn want(&mut self, count: u32) {
        self.wanted = count;
        self.cache.want(count, &[]);
    }

    /// The hypervisor takes up to `max` of the blocks that it wants. How many it got.
    pub fn take(&mut self, max: u32) -> u32 {
        let max = max.min(self.wanted);
        let mut blocks = self.cache.take_ready(max);
        assert!(blocks.len() <= max as usize, "{} for {max}", blocks.len());
        // The cache cannot know yet of some that were revoked.
        blocks.retain(|block| !self.is_untold(*block));
        let taken = blocks.len() as u32;
        self.world.ssd.surrender(blocks);
        self.metadata_changed();
        if taken > 0 {
            self.want(self.wanted - taken);
        }
        taken
    }

    /// The hypervisor takes blocks away, and the cache is notified at once or some turns later.
    pub fn revoke(&mut self, blocks: Vec<u32>, in_turns: u32) {
        let late = in_turns > 0;
        let of_metadata = blocks.iter().any(|&block| block < self.metadata);
        let mut model = self.model.borrow_mut();
        model.revoking(&self.world.origin, of_metadata, late);
        drop(model);
        self.world.ssd.revoke(blocks.iter().copied());
        self.metadata_changed();
        self.untold.push(Revoked { blocks, in_turns });
        self.tell();
    }

    /// The hypervisor gives blocks.
    pub fn grant(&mut self, blocks: &[u32]) {
        self.world.ssd.grant(blocks.iter().copied());
        self.metadata_changed();
        self.cache.granted(&runs(blocks.iter().copied()));
    }

    /// How many blocks are the guest's.
    pub fn held(&self) -> u32 {
        let runs = self.world.ssd.held();
        runs.iter().map(|run| run.end - run.start).sum()
    }

    /// Blocks that could be granted.
    pub fn grantable(&self) -> Vec<u32> {
        let ssd = &self.world.ssd;
        let all = 0..ssd.blocks();
        all.filter(|block| !ssd.holds(*block) && !self.is_untold(*block))
            .collect()
    }

    /// Whether a block was revoked and the cache does not know.
    fn is_untold(&self, block: u32) -> bool {
        let mut untold = self.untold.iter();
        untold.any(|revoked| revoked.blocks.contains(&block))
    }

    /// Tells the cache of revocations that are due.
    fn tell(&mut self) {
        let mut untold = std::mem::take(&mut self.untold);
        untold.retain_mut(|revoked| {
            if revoked.in_turns > 0 {
                revoked.in_turns -= 1;
                return true;
            }
            self.cache.revoked(&runs(revoked.blocks.iter().copied()));
            false
        });
        if untold.is_empty() {
            self.model.borrow_mut().told();
        }
        self.untold = untold;
    }

    /// The blocks with what the cache knows may have changed.
    fn metadata_changed(&self) {
        let held = (0..self.metadata).filter(|&block| self.world.ssd.holds(block));
        // Those that it is about to hand out it does not count.
        let stats = self.cache.stats();
        self.model.borrow_mut().unrecorded = stats.is_unrecorded;
        let used = stats.metadata_blocks;
        if used.min(held.count() as u32) < metadata_needed(self.world.ssd.blocks()) {
            self.model.borrow_mut().cannot_record_losses();
        }
    }

    /// A turn in which anything may happen.
    pub fn turn(&mut self, habits: &Habits, each: impl FnOnce(&World, &Model)) {
        self.tell();
        if self.wanted > 0 && self.world.rng.below(4) == 0 {
            let max = 1 + self.world.rng.below(6);
            self.take(max);
        }
        let mut roll = self.world.rng.below(1000);
        let mut happens = |of: u32| {
            let happens = roll < of;
            roll = roll.wrapping_sub(of);
            happens
        };
        if happens(habits.request) {
            self.any_request(habits);
        } else if happens(habits.flush) {
            self.flush();
        } else if happens(habits.write_back) {
            self.write_back();
        } else if happens(habits.record) {
            self.record();
        } else if happens(habits.want) {
            let rng = &mut self.world.rng;
            let count = [0, 1 + rng.below(4), rng.below(40), u32::MAX][rng.below(4) as usize];
            self.want(count);
        } else if happens(habits.revoke) {
            self.any_revocation();
        } else if happens(habits.grant) {
            let blocks = some_of(&self.grantable(), &mut self.world.rng);
            self.grant(&blocks);
        } else if happens(habits.fault) {
            self.any_fault();
        } else if happens(habits.drop) {
            self.model.borrow_mut().cut_short = true;
            self.world.drop_one();
        } else if happens(habits.advise) {
            let advice = self.world.rng.below(4);
            self.cache.bypass_writes(advice & 1 > 0);
            self.cache.admit_reused(advice & 2 > 0);
        }
        if self.world.ssd.has_no_reads() {
            // The cache gives up what it cannot read, as if it were revoked.
            let mut model = self.model.borrow_mut();
            model.revoking(&self.world.origin, false, true);
        }
        self.world.poll();
        self.metadata_changed();
        each(&self.world, &self.model.borrow());
        self.world.complete_one();
    }

    fn any_request(&mut self, habits: &Habits) {
        if self.world.tasks() >= habits.depth {
            return;
        }
        let rng = &mut self.world.rng;
        let blocks = self.model.borrow().blocks();
        let block = match rng.below(6) {
            0 => {
                self.scanned += 1;
                self.scanned % blocks
            }
            _ => self.zipf.next(rng),
        };
        if habits.discards > 0 && rng.below(16) < habits.discards {
            self.discard(block);
        } else if rng.below(8) < habits.writes {
            let zeros = rng.below(12) == 0;
            self.write(block, zeros);
        } else {
            self.read(block)
        }
    }

    fn any_revocation(&mut self) {
        let held: Vec<u32> = self.world.ssd.held().into_iter().flatten().collect();
        let blocks = some_of(&held, &mut self.world.rng);
        let late = self.world.rng.below(2) * self.world.rng.below(30);
        self.revoke(blocks, late);
    }

    fn any_fault(&mut self) {
        let mut model = self.model.borrow_mut();
        model.faulty = true;
        model.cut_short = true;
        drop(model);
        let rng = &mut self.world.rng;
        let disk = [&self.world.ssd, &self.world.origin][rng.below(2) as usize];
        match rng.below(4) {
            0 => disk.heal(),
            _ => disk.fail(Fault {
                kind: [Kind::Read, Kind::Write, Kind::Flush][rng.below(3) as usize],
                after: rng.below(10),
                once: rng.below(4) > 0,
            }),
        }
    }

    /// Waits until all that was begun has ended, on disks that work.
    pub fn settle(&mut self) {
        while !self.untold.is_empty() {
            self.tell();
        }
        self.world.ssd.heal();
        self.world.origin.heal();
        self.world.finish();
        self.metadata_changed();
    }

    /// Reads every block, one after another, when nothing else is under way.
    pub fn read_all(&mut self) -> Vec<Found> {
        let blocks = self.model.borrow().blocks();
        let read = |block| {
            let (result, bytes) = self.read_alone(block);
            self.model.borrow().found(block, result, &bytes)
        };
        (0..blocks).map(read).collect()
    }

    /// Reads a block when nothing else is under way.
    fn read_alone(&mut self, block: u32) -> (Result<Served, CacheError>, [u8; BLOCK_LEN]) {
        let mut bytes = [0x5a; BLOCK_LEN];
        let cache = self.cache.clone();
        let result = self.world.block_on(cache.read(block, &mut bytes));
        (result, bytes)
    }

    /// Waits, and checks every block by reading it; what is lost is counted as lost.
    pub fn check_all(&mut self) {
        self.settle();
        let blocks = self.model.borrow().blocks();
        let mut lost = 0;
        for block in 0..blocks {
            let arrived = self.model.borrow().reading(block);
            let (result, bytes) = self.read_alone(block);
            self.model.borrow_mut().read(arrived, result, &bytes);
            lost += u32::from(result == Err(CacheError::Lost));
        }
        self.model.borrow_mut().settled();
        assert_eq!(self.cache.stats().lost, lost, "blocks lost");
    }

    /// Has the cache give up every block that it has.
    pub fn shrink_to_nothing(&mut self) {
        self.want(u32::MAX);
        for _ in 0..100_000 {
            self.world.run(10);
            self.take(u32::MAX);
            if self.world.ssd.held().is_empty() {
                self.want(0);
                return;
            }
        }
        panic!("the cache keeps {:?}", self.world.ssd.held());
    }

    /// The cache is closed.
    pub fn close(&mut self) {
        self.settle();
        self.record();
        self.world.finish();
    }
}

/// Blocks of metadata that suffice for all slots of a vSSD: two checkpoints, of 340 records a
/// block, and a log.
fn metadata_needed(blocks: u32) -> u32 {
    2 * (1 + blocks.div_ceil(340)) + 6
}

/// Whether the error is one that hangs on what was revoked.
pub fn is_lost(found: &Found) -> bool {
    *found == Err(CacheError::Lost)
}

/// Some blocks in a row, or each with some chance.
fn some_of(blocks: &[u32], rng: &mut Rng) -> Vec<u32> {
    let count = blocks.len() as u32;
    if count > 0 && rng.below(3) > 0 {
        let first = rng.below(count);
        let end = count.min(first + 1 + rng.below(8));
        return blocks[first as usize..end as usize].to_vec();
    }
    let chance = 1 + rng.below(8);
    let some = blocks.iter().copied();
    some.filter(|_| rng.below(8) < chance).collect()
}
