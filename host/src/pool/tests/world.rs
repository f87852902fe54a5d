//! Volumes of one allocator, each beside a model: a map from block to physical block.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use vssd::block_set::BlockSet;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::Encoding;

use crate::pool::allocator::{Allocator, Bounds, Denied, Fate, VolumeId};
use crate::pool::volume::{PhysicalBlocks, Run, Volume};

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

pub(super) struct World {
    rng: SmallRng,
    seed: u64,
    allocator: Allocator,
    physical_blocks: u32,
    limit: u32,
    volumes: Vec<Volume>,
    models: Vec<Model>,
    deferred: BTreeSet<u32>,
    settling: BTreeSet<u32>,
    /// Where a hole is being punched.
    punching: BTreeSet<u32>,
    /// Free, and no hole since.
    stale: BTreeSet<u32>,
}

pub(in crate::pool) fn view_of<T>(set: &BlockSet, act: impl FnOnce(&SetView<'_>) -> T) -> T {
    let geometry = Geometry::new(4096, set.capacity().into()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let out = encode(set, 0, u32::MAX, Encoding::Compact, geometry, &mut buffer);
    assert_eq!(out.blocks, set.len());
    act(&SetView::parse(&buffer[..out.len], geometry).unwrap())
}

impl World {
    pub fn new(seed: u64) -> Self {
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
            punching: BTreeSet::new(),
            stale: (0..physical_blocks).collect(),
        };
        world.allocator.track_stale();
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

    pub fn step(&mut self) {
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
            95..97 => {
                self.allocator.settle();
                self.stale.append(&mut self.settling);
            }
            97..99 => self.punch(),
            _ => self.set_bounds(v),
        }
    }

    /// Ends the hole that is being punched, or begins one.
    fn punch(&mut self) {
        if !self.punching.is_empty() {
            let is_punched = self.rng.random();
            self.allocator.end_punch(is_punched);
            let mut run = std::mem::take(&mut self.punching);
            if !is_punched {
                self.stale.append(&mut run);
            }
            return;
        }
        let first = self.rng.random_range(0..self.physical_blocks);
        let unit = [1, 1, 4, 8][self.rng.random_range(0..4)];
        let first = first / unit * unit;
        let most = self.rng.random_range(0..1000);
        let within = first..self.physical_blocks;
        let half = (self.free() / 2 + self.free() % 2).min(most) / unit;
        let is_stale =
            |unit_first: u32| (unit_first..unit_first + unit).all(|p| self.stale.contains(&p));
        let units = within.clone().step_by(unit as usize);
        let mut units = units.filter(|unit_first| is_stale(*unit_first));
        let expected = units.next().filter(|_| half > 0);
        let run = self.allocator.begin_punch(within, unit, most);
        assert_eq!(run.map(|run| run.start), expected, "seed {}", self.seed);
        let Some(run) = run else { return };
        assert!(run.len <= half * unit && run.len.is_multiple_of(unit));
        for physical in run.start..run.end() {
            assert!(self.stale.remove(&physical), "seed {}", self.seed);
            self.punching.insert(physical);
        }
    }

    /// Holes are punched wherever that is possible: that is all that is stale.
    pub fn punch_all(&mut self) {
        while !self.punching.is_empty() {
            self.punch();
        }
        while let Some(run) = self
            .allocator
            .begin_punch(0..self.physical_blocks, 1, u32::MAX)
        {
            for physical in run.start..run.end() {
                assert!(self.stale.remove(&physical), "seed {}", self.seed);
            }
            self.allocator.end_punch(true);
        }
        assert!(
            self.stale.is_empty(),
            "seed {}: {:?}",
            self.seed,
            self.stale
        );
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
            self.stale.extend(model.map.remove(&block));
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
                    let punching = self.punching.contains(&physical);
                    assert!(
                        !taken && !waiting && !punching,
                        "seed {}: physical block {physical} twice",
                        self.seed
                    );
                    self.stale.remove(&physical);
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
                Err(Denied::Punching) => {
                    assert!(self.free() > others, "seed {}", self.seed);
                    assert_eq!(self.free(), self.punching.len() as u32);
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
            self.stale.insert(physical);
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

    pub fn check(&self) {
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
