//! Allocator and maps against a naive model: a map from block to physical block for each
//! volume, and sets of physical blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::block_set::BlockSet;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::Encoding;

use super::allocator::{Allocator, Bounds, Denied, Fate, Refusal, VolumeId};
use super::journal::{Batch, BootId, Journal};
use super::volume::{PhysicalBlocks, Run, Volume};
use super::{Pool, Shape, Strength};
use crate::backing::trace::{Image, TraceBacking};
use crate::io::EngineName;

#[derive(Default)]
struct Model {
    held: BTreeSet<u32>,
    map: BTreeMap<u32, u32>,
    /// First writes under way.
    pending: BTreeMap<u32, u32>,
    bounds: (u32, u32),
}

impl Model {
    fn owned(&self) -> u32 {
        (self.map.len() + self.pending.len()) as u32
    }

    fn owed(&self) -> u32 {
        self.bounds.1.saturating_sub(self.owned())
    }

    fn committed(&self) -> u32 {
        self.bounds.1.max(self.held.len() as u32)
    }
}

struct World {
    rng: SmallRng,
    seed: u64,
    allocator: Allocator,
    physical_blocks: u32,
    limit: u32,
    volumes: Vec<Volume>,
    models: Vec<Model>,
    deferred: BTreeSet<u32>,
    settling: BTreeSet<u32>,
}

pub(super) fn view_of<T>(set: &BlockSet, act: impl FnOnce(&SetView<'_>) -> T) -> T {
    let geometry = Geometry::new(4096, set.capacity().into()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let out = encode(set, 0, u32::MAX, Encoding::Compact, geometry, &mut buffer);
    assert_eq!(out.blocks, set.len());
    act(&SetView::parse(&buffer[..out.len], geometry).unwrap())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let physical_blocks = rng.random_range(1..4000);
        let permille = [1000, 1500, 3000][rng.random_range(0..3)];
        let mut world = Self {
            allocator: Allocator::new(physical_blocks, permille),
            limit: physical_blocks * permille / 1000,
            rng,
            seed,
            physical_blocks,
            volumes: Vec::new(),
            models: Vec::new(),
            deferred: BTreeSet::new(),
            settling: BTreeSet::new(),
        };
        for id in 0..world.rng.random_range(1..4) {
            let capacity = world.rng.random_range(1..3000);
            let bounds = Bounds {
                quota: capacity,
                reservation: 0,
            };
            world.allocator.open(VolumeId(id), bounds).unwrap();
            world.volumes.push(Volume::new(VolumeId(id), capacity));
            world.models.push(Model {
                bounds: (capacity, 0),
                ..Model::default()
            });
        }
        world
    }

    fn free(&self) -> u32 {
        let owned: u32 = self.models.iter().map(Model::owned).sum();
        self.physical_blocks - owned - (self.deferred.len() + self.settling.len()) as u32
    }

    fn committed(&self) -> u32 {
        self.models.iter().map(Model::committed).sum()
    }

    fn owed(&self) -> u32 {
        self.models.iter().map(Model::owed).sum()
    }

    fn step(&mut self) {
        let v = self.rng.random_range(0..self.volumes.len());
        match self.rng.random_range(0..100) {
            0..15 => self.grant(v),
            15..22 => self.release(v),
            22..75 => self.write(v),
            75..82 => self.discard(v),
            82..90 => self.end_pending(v),
            90..95 => {
                self.allocator.cut();
                self.settling.append(&mut self.deferred);
            }
            95..98 => {
                self.allocator.settle();
                self.settling.clear();
            }
            _ => self.set_bounds(v),
        }
    }

    fn range(&mut self, v: usize) -> (u32, u32) {
        let capacity = self.volumes[v].capacity();
        let first = self.rng.random_range(0..capacity);
        let most = (capacity - first).min(if self.rng.random() { 40 } else { 1500 });
        (first, self.rng.random_range(1..=most))
    }

    fn grant(&mut self, v: usize) {
        let (first, count) = self.range(v);
        let mut set = BlockSet::empty(self.volumes[v].capacity());
        set.insert_range(first, count);
        set.subtract(&self.volumes[v].held());
        let id = VolumeId(v as u32);
        let before = self.models[v].committed();
        let more = self.models[v]
            .bounds
            .1
            .max(self.models[v].held.len() as u32 + set.len());
        let fits = self.models[v].held.len() as u32 + set.len() <= self.models[v].bounds.0
            && self.committed() - before + more <= self.limit.max(self.committed());
        let allowed = self.allocator.may_hold(id, set.len());
        assert_eq!(allowed.is_ok(), fits, "seed {}: {allowed:?}", self.seed);
        if fits {
            self.allocator.hold(id, set.len());
            view_of(&set, |view| self.volumes[v].allow(view));
            self.models[v].held.extend(set.iter());
        }
    }

    fn release(&mut self, v: usize) {
        let (first, count) = self.range(v);
        let mut set = BlockSet::empty(self.volumes[v].capacity());
        set.insert_range(first, count);
        set.intersect(&self.volumes[v].held());
        let model = &mut self.models[v];
        // What is being written is waited for; here it is left out.
        for block in model.pending.keys() {
            set.remove(*block);
        }
        let (allocator, volume) = (&mut self.allocator, &self.volumes[v]);
        view_of(&set, |view| {
            volume.forbid(view);
            view.for_each_word(|index, bits| {
                volume.unmap(allocator, (index, bits), Fate::Free);
            });
        });
        allocator.let_go(VolumeId(v as u32), set.len());
        for block in set.iter() {
            model.held.remove(&block);
            model.map.remove(&block);
        }
    }

    fn write(&mut self, v: usize) {
        let (first, count) = self.range(v);
        for block in first..first + count {
            let model = &self.models[v];
            let known = model.map.contains_key(&block) || model.pending.contains_key(&block);
            if !model.held.contains(&block) || known {
                continue;
            }
            let others = self.owed() - u32::from(model.owed() > 0);
            match self.volumes[v].allocate(&mut self.allocator, block) {
                Ok(physical) => {
                    assert!(self.free() > others, "seed {}", self.seed);
                    assert!(physical < self.physical_blocks, "seed {}", self.seed);
                    let taken = self.models.iter().any(|m| {
                        m.map
                            .values()
                            .chain(m.pending.values())
                            .any(|p| *p == physical)
                    });
                    let waiting =
                        self.deferred.contains(&physical) || self.settling.contains(&physical);
                    assert!(
                        !taken && !waiting,
                        "seed {}: physical block {physical} twice",
                        self.seed
                    );
                    self.models[v].pending.insert(block, physical);
                    if self.rng.random_range(0..20) > 0 {
                        self.end_write(v, block);
                    }
                }
                Err(Denied::Full { settling }) => {
                    assert!(self.free() <= others, "seed {}", self.seed);
                    let waiting = !self.deferred.is_empty() || !self.settling.is_empty();
                    assert_eq!(settling, waiting, "seed {}", self.seed);
                    return;
                }
                Err(other) => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }

    fn end_write(&mut self, v: usize, block: u32) {
        let physical = self.models[v].pending.remove(&block).unwrap();
        if self.rng.random_range(0..10) == 0 {
            self.volumes[v].abandon(&mut self.allocator, block, physical);
        } else {
            self.volumes[v].map(&mut self.allocator, block, physical);
            self.models[v].map.insert(block, physical);
        }
    }

    fn end_pending(&mut self, v: usize) {
        let blocks: Vec<u32> = self.models[v].pending.keys().copied().collect();
        for block in blocks {
            self.end_write(v, block);
        }
    }

    fn discard(&mut self, v: usize) {
        let (first, count) = self.range(v);
        let mut set = BlockSet::empty(self.volumes[v].capacity());
        set.insert_range(first, count);
        for block in self.models[v].pending.keys() {
            set.remove(*block);
        }
        let (allocator, volume) = (&mut self.allocator, &self.volumes[v]);
        view_of(&set, |view| {
            view.for_each_word(|index, bits| {
                volume.unmap(allocator, (index, bits), Fate::Deferred);
            });
        });
        for block in set.iter() {
            self.deferred.extend(self.models[v].map.remove(&block));
        }
    }

    fn set_bounds(&mut self, v: usize) {
        let capacity = self.volumes[v].capacity();
        let quota = self.rng.random_range(0..=capacity);
        let reservation = self.rng.random_range(0..=capacity);
        let model = &self.models[v];
        let (held, owned) = (model.held.len() as u32, model.owned());
        let more = reservation.max(held).saturating_sub(model.committed());
        let owed = reservation
            .saturating_sub(owned)
            .saturating_sub(model.owed());
        let fits = reservation <= quota
            && quota >= held
            && (more == 0 || self.committed() + more <= self.limit)
            && (owed == 0 || self.owed() + owed <= self.free());
        let bounds = Bounds { quota, reservation };
        let set = self.allocator.set_bounds(VolumeId(v as u32), bounds);
        assert_eq!(set.is_ok(), fits, "seed {}: {set:?}", self.seed);
        if fits {
            self.models[v].bounds = (quota, reservation);
        }
    }

    fn check(&self) {
        self.allocator.assert_consistent();
        let usage = self.allocator.usage();
        assert_eq!(usage.free, self.free(), "seed {}", self.seed);
        assert_eq!(
            usage.committed,
            u64::from(self.committed()),
            "seed {}",
            self.seed
        );
        assert_eq!(usage.owed, u64::from(self.owed()), "seed {}", self.seed);
        for (volume, model) in self.volumes.iter().zip(&self.models) {
            let account = self.allocator.account(volume.id());
            assert_eq!(account.held, model.held.len() as u32, "seed {}", self.seed);
            assert_eq!(account.owned, model.owned(), "seed {}", self.seed);
            assert!(volume.held().iter().eq(model.held.iter().copied()));
            let mut at = 0;
            for extent in volume.extents(0, volume.capacity()) {
                assert_eq!(extent.first, at, "seed {}", self.seed);
                at += extent.count;
                for i in 0..extent.count {
                    let physical = extent.physical.map(|physical| physical + i);
                    let block = extent.first + i;
                    assert_eq!(
                        physical,
                        model.map.get(&block).copied(),
                        "seed {}",
                        self.seed
                    );
                }
            }
            assert_eq!(at, volume.capacity());
            self.check_restored(volume, model);
        }
    }

    /// A snapshot of the windows, restored elsewhere, is the same map.
    fn check_restored(&self, volume: &Volume, model: &Model) {
        let mut allocator = Allocator::new(self.physical_blocks, 1000);
        let bounds = Bounds {
            quota: volume.capacity(),
            reservation: 0,
        };
        allocator.open(volume.id(), bounds).unwrap();
        let again = Volume::new(volume.id(), volume.capacity());
        for window in 0..volume.windows() {
            let Some(map) = volume.window_map(&self.allocator, window) else {
                continue;
            };
            let mut physical_blocks = match &map.physical_blocks {
                PhysicalBlocks::Linear(_) => Vec::new(),
                PhysicalBlocks::Table(physical_blocks) => physical_blocks.clone(),
            }
            .into_iter();
            for offset in 0..512 {
                if map.written[offset as usize / 64] >> (offset % 64) & 1 == 1 {
                    let physical = match map.physical_blocks {
                        PhysicalBlocks::Linear(home) => home + offset,
                        PhysicalBlocks::Table(_) => physical_blocks.next().unwrap(),
                    };
                    let run = Run {
                        block: window * 512 + offset,
                        physical,
                        count: 1,
                    };
                    again.restore(&mut allocator, &[run]);
                }
            }
        }
        let maps = [volume, &again].map(|v| v.extents(0, v.capacity()).collect::<Vec<_>>());
        assert_eq!(maps[0], maps[1], "seed {}", self.seed);
        assert_eq!(allocator.account(volume.id()).owned, model.map.len() as u32);
        allocator.assert_consistent();
    }
}

#[test]
fn behaves_as_maps_of_numbers() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for step in 0..300 {
            world.step();
            if step % 25 == 0 {
                world.check();
            }
        }
        world.check();
    }
}

fn single(physical_blocks: u32, capacity: u32) -> (Allocator, Volume) {
    let mut allocator = Allocator::new(physical_blocks, 1000);
    let bounds = Bounds {
        quota: capacity,
        reservation: 0,
    };
    allocator.open(VolumeId(0), bounds).unwrap();
    (allocator, Volume::new(VolumeId(0), capacity))
}

/// Blocks written in any order lie in a row, as long as there are whole regions.
#[test]
fn neighbours_stay_together() {
    let (mut allocator, volume) = single(8192, 4096);
    let mut blocks: Vec<u32> = (0..2048).collect();
    let mut rng = SmallRng::seed_from_u64(3);
    for i in (1..blocks.len()).rev() {
        blocks.swap(i, rng.random_range(0..=i));
    }
    for block in blocks {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert!(volume.extents(0, 2048).count() <= 4, "no more than windows");
    let (mut allocator, volume) = single(8192, 4096);
    for block in 0..2048 {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert_eq!(volume.extents(0, 2048).count(), 1, "written in order");
}

/// Without a whole region, what is written in a row still lies in a row.
#[test]
fn gaps_are_filled_in_order() {
    let (mut allocator, volume) = single(1000, 3000);
    // One block in each window: every region has an owner after two.
    for block in [0, 600, 1200, 1800, 2400] {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    for block in 2500..2600 {
        let physical = volume.allocate(&mut allocator, block).unwrap();
        volume.map(&mut allocator, block, physical);
    }
    assert!(volume.extents(2500, 100).count() <= 3);
}

#[test]
fn a_reservation_keeps_its_places() {
    let mut allocator = Allocator::new(100, 2000);
    let open = |allocator: &mut Allocator, id, reservation| {
        let bounds = Bounds {
            quota: 100,
            reservation,
        };
        allocator.open(VolumeId(id), bounds)
    };
    open(&mut allocator, 0, 30).unwrap();
    open(&mut allocator, 1, 0).unwrap();
    let denied = open(&mut allocator, 2, 80).unwrap_err();
    assert_eq!(
        denied,
        Denied::Reservation {
            free: 70,
            asked: 80
        }
    );
    let refusal = Refusal {
        denied,
        block_size: 4096,
    };
    assert_eq!(
        refusal.to_string(),
        "280KiB (70 blocks) of the pool are neither used nor reserved, and 320KiB (80 blocks) were \
         asked for"
    );
    let greedy = Volume::new(VolumeId(1), 100);
    for block in 0..70 {
        let physical = greedy.allocate(&mut allocator, block).unwrap();
        greedy.map(&mut allocator, block, physical);
    }
    let denied = Denied::Full { settling: false };
    assert_eq!(greedy.allocate(&mut allocator, 70), Err(denied));
    let modest = Volume::new(VolumeId(0), 100);
    for block in 0..30 {
        let physical = modest.allocate(&mut allocator, block).unwrap();
        modest.map(&mut allocator, block, physical);
    }
    assert_eq!(modest.allocate(&mut allocator, 30), Err(denied));
    allocator.assert_consistent();
}

#[test]
fn engines_of_a_pool_that_emulates_a_medium_are_paced() {
    let backing = std::sync::Arc::new(crate::backing::MemoryBacking::new(1 << 20).unwrap());
    let pool = super::Pool::volatile(backing, 4096, 1000);
    assert!(pool.wear().is_none(), "nothing is emulated");
    pool.emulate(crate::emulation::MediaKind::Hdd).unwrap();
    let mut engine = pool.engine().unwrap();
    let mut bytes = [1; 512];
    let slice = vm_memory::VolatileSlice::from(&mut bytes[..]);
    // SAFETY: the bytes live to the end of the test.
    #[allow(unsafe_code)]
    unsafe {
        let direction = crate::io::Direction::Write;
        engine.submit(0, direction, 0, &mut [slice].into_iter());
    }
    assert_eq!(pool.wear().unwrap().host_bytes, 512);
}

/// A pool of a tebibyte, all of it written: what is done when it is opened goes by runs of blocks,
/// since one thing more for each of 256 Mi blocks takes tens of seconds.
#[test]
fn a_full_pool_of_a_tebibyte_is_opened() {
    const BLOCKS: u32 = 1 << 28;
    let shape = Shape {
        block_size: 4096,
        physical_blocks: BLOCKS,
        overcommit_permille: 1000,
    };
    let boot = BootId([1; 16]);
    let backing = Arc::new(TraceBacking::new(shape.backing_len(), Image::default()));
    let mut journal = Journal::create(backing.clone(), shape, boot).unwrap();
    let bounds = Bounds {
        quota: BLOCKS,
        reservation: 0,
    };
    let mut batch = Batch::default();
    batch.volume(VolumeId(0), BLOCKS, bounds, "vm1");
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    super::commit::granted(&mut batch, VolumeId(0), &BlockSet::full(BLOCKS), geometry);
    batch.mapped(VolumeId(0), 0, 0, BLOCKS);
    journal.commit(&batch, Strength::Hard, true).unwrap();
    drop(journal);
    for _ in 0..2 {
        let pool = Pool::open(backing.clone(), EngineName::Sync, boot).unwrap();
        // Its thread verifies every second, and might after the next session has begun.
        pool.stop_serving();
        let usage = pool.usage();
        assert_eq!((usage.free, usage.committed), (0, u64::from(BLOCKS)));
        let volume = pool.attach("vm1", BLOCKS, None, None).unwrap().unwrap();
        let extents: Vec<_> = volume.extents(BLOCKS - 1000, 1000).collect();
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].physical, Some(BLOCKS - 1000));
        // Then from a snapshot.
        pool.compact_now().unwrap();
    }
}
