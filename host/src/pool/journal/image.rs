//! The state of a pool, rebuilt from the records of its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use vssd::block_set::{BlockSet, spans};
use vssd::encoding::SetView;
use vssd::units::Geometry;

use super::record::{Record, split};
use super::window::Window;
use crate::pool::Shape;
use crate::pool::allocator::{Bounds, REGION, VolumeId};
use crate::pool::volume::Run;

/// A volume.
#[derive(Clone, Debug)]
pub struct VolumeImage {
    /// Its name.
    pub name: String,
    /// Its blocks.
    pub blocks: u32,
    /// What it may use.
    pub bounds: Bounds,
    /// Blocks that its guest holds.
    pub held: BlockSet,
    /// Windows in which any block is written.
    windows: BTreeMap<u32, Window>,
}

impl VolumeImage {
    /// For each window in which any block is written, ascending, its runs.
    pub fn windows(&self) -> impl Iterator<Item = Vec<Run>> + '_ {
        self.windows.iter().map(|(index, window)| {
            let mut runs = window.runs();
            runs.iter_mut().for_each(|run| run.block += index * REGION);
            runs
        })
    }

    /// All runs, ascending. Those of two windows are never joined.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.windows().flatten()
    }

    /// Blocks that are written, ascending, with their physical blocks.
    pub fn map(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.runs()
            .flat_map(|run| (run.block..run.block + run.count).zip(run.physical..))
    }

    /// The physical block of a block, if it is written.
    pub fn physical(&self, block: u32) -> Option<u32> {
        self.windows
            .get(&(block / REGION))?
            .physical(block % REGION)
    }

    /// Blocks that are written.
    pub fn written(&self) -> u32 {
        self.windows.values().map(Window::len).sum()
    }

    /// Blocks in a row are at physical blocks in a row.
    fn set(&mut self, block: u32, count: u32, physical: u32) {
        for (index, first, count, skipped) in windows(block, count) {
            let physical = physical + skipped;
            self.windows
                .entry(index)
                .and_modify(|window| window.set(first, count, physical))
                .or_insert_with(|| Window::new(first, count, physical));
        }
    }

    /// Blocks in a row are not written any more.
    fn clear(&mut self, block: u32, count: u32) {
        for (index, first, count, _) in windows(block, count) {
            let Some(window) = self.windows.get_mut(&index) else {
                continue;
            };
            window.clear(first, count);
            if window.is_empty() {
                self.windows.remove(&index);
            }
        }
    }

    fn contains(&self, block: u32, count: u32) -> bool {
        u64::from(block) + u64::from(count) <= u64::from(self.blocks)
    }
}

/// The parts of a range in each window: its number, the first block in it, how many, and how many
/// came before.
fn windows(block: u32, count: u32) -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let (mut at, end) = (block, block + count);
    std::iter::from_fn(move || {
        let first = at % REGION;
        let part = (REGION - first).min(end - at);
        let item = (at / REGION, first, part, at - block);
        at += part;
        (part > 0).then_some(item)
    })
}

/// A pool.
#[derive(Clone, Debug)]
pub struct PoolImage {
    /// Its shape.
    pub shape: Shape,
    /// Its volumes.
    pub volumes: BTreeMap<VolumeId, VolumeImage>,
    /// The number of the next volume.
    pub next: u32,
}

/// A fault of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two blocks lie at the same physical block.
    Shared {
        /// The physical block.
        physical: u32,
        /// One block: volume and number.
        one: (String, u32),
        /// The other.
        other: (String, u32),
    },
    /// A block lies at a physical block that does not exist.
    Beyond {
        /// Volume and number of the block.
        block: (String, u32),
        /// The physical block.
        physical: u32,
    },
    /// A block that its guest does not hold has a physical block.
    NotHeld {
        /// Volume and number of the block.
        block: (String, u32),
        /// The physical block.
        physical: u32,
    },
    /// A volume holds more than it may.
    OverQuota {
        /// The volume.
        name: String,
        /// Blocks held.
        held: u32,
        /// Its quota.
        quota: u32,
    },
    /// Two volumes have one name.
    SameName(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared {
                physical,
                one,
                other,
            } => write!(
                f,
                "physical block {physical} belongs to block {} of {} and to block {} of {}",
                one.1, one.0, other.1, other.0
            ),
            Self::Beyond { block, physical } => write!(
                f,
                "block {} of {} is at physical block {physical}, which the pool does not have",
                block.1, block.0
            ),
            Self::NotHeld { block, physical } => write!(
                f,
                "block {} of {} is at physical block {physical}, but its guest does not hold it",
                block.1, block.0
            ),
            Self::OverQuota { name, held, quota } => {
                write!(f, "{name} holds {held} blocks, but its quota is {quota}")
            }
            Self::SameName(name) => write!(f, "two vSSDs are called {name}"),
        }
    }
}

impl PoolImage {
    /// A pool without volumes.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            volumes: BTreeMap::new(),
            next: 0,
        }
    }

    /// Applies the records of a commit; false when one of them cannot be.
    pub(super) fn apply_all(&mut self, mut records: &[u8]) -> bool {
        while !records.is_empty() {
            let Some((record, rest)) = split(records) else {
                return false;
            };
            if self.apply(&record).is_none() {
                return false;
            }
            records = rest;
        }
        true
    }

    fn apply(&mut self, record: &Record<'_>) -> Option<()> {
        match *record {
            Record::Volume {
                id,
                blocks,
                bounds,
                name,
            } => self.apply_volume(id, blocks, bounds, name),
            Record::Removed(id) => self.volumes.remove(&id).map(drop),
            Record::Next(id) => {
                self.next = self.next.max(id.0);
                Some(())
            }
            Record::Granted(id, set) => {
                let (volume, set) = self.volume_and_set(id, set)?;
                volume.held.insert_view(&set);
                Some(())
            }
            Record::Released(id, set) => {
                let (volume, set) = self.volume_and_set(id, set)?;
                volume.held.remove_view(&set);
                for run in set.runs() {
                    volume.clear(run.start, run.len);
                }
                Some(())
            }
            Record::Mapped {
                id,
                block,
                physical,
                count,
            } => self.apply_mapped(id, block, physical, count),
            Record::Unmapped { id, block, count } => {
                let volume = self.volumes.get_mut(&id)?;
                if !volume.contains(block, count) {
                    return None;
                }
                volume.clear(block, count);
                Some(())
            }
            Record::Window(id, index, ref map) => self.apply_window(id, index, Window::of(map)?),
        }
    }

    fn apply_volume(
        &mut self,
        id: VolumeId,
        blocks: u32,
        bounds: Bounds,
        name: &str,
    ) -> Option<()> {
        let geometry = Geometry::new(self.shape.block_size, blocks.into()).ok()?;
        self.next = self.next.max(id.0.checked_add(1)?);
        let volume = self.volumes.entry(id).or_insert_with(|| VolumeImage {
            name: name.to_owned(),
            blocks,
            bounds,
            held: BlockSet::empty(geometry.capacity()),
            windows: BTreeMap::new(),
        });
        volume.bounds = bounds;
        (volume.blocks == blocks && volume.name == name).then_some(())
    }

    fn apply_mapped(&mut self, id: VolumeId, block: u32, physical: u32, count: u32) -> Option<()> {
        let physical_blocks = self.shape.physical_blocks;
        let volume = self.volumes.get_mut(&id)?;
        let fits = u64::from(physical) + u64::from(count) <= u64::from(physical_blocks);
        if !fits || !volume.contains(block, count) {
            return None;
        }
        volume.set(block, count, physical);
        Some(())
    }

    /// A snapshot describes a window at most once: one that is there already cannot come again.
    fn apply_window(&mut self, id: VolumeId, index: u32, window: Window) -> Option<()> {
        let volume = self.volumes.get_mut(&id)?;
        let first = index.checked_mul(REGION)?;
        for run in window.runs() {
            let fits = run.physical + run.count <= self.shape.physical_blocks;
            if !fits || !volume.contains(first.checked_add(run.block)?, run.count) {
                return None;
            }
        }
        let before = if window.is_empty() {
            None
        } else {
            volume.windows.insert(index, window)
        };
        before.is_none().then_some(())
    }

    fn volume_and_set<'a>(
        &mut self,
        id: VolumeId,
        set: &'a [u8],
    ) -> Option<(&mut VolumeImage, SetView<'a>)> {
        let volume = self.volumes.get_mut(&id)?;
        let geometry = Geometry::new(self.shape.block_size, volume.blocks.into()).ok()?;
        Some((volume, SetView::parse(set, geometry).ok()?))
    }

    /// Its faults, at most the first `most`.
    pub fn check(&self, most: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut owned = BlockSet::empty(self.shape.physical_blocks);
        let mut names = BTreeSet::new();
        for volume in self.volumes.values() {
            if faults.len() >= most {
                break;
            }
            if !names.insert(&volume.name) {
                faults.push(Fault::SameName(volume.name.clone()));
            }
            let (held, quota) = (volume.held.len(), volume.bounds.quota);
            if held > quota {
                let name = volume.name.clone();
                faults.push(Fault::OverQuota { name, held, quota });
            }
            for Run {
                block,
                physical,
                count,
            } in volume.runs()
            {
                let end = physical.checked_add(count);
                let sound = end.is_some_and(|end| end <= self.shape.physical_blocks)
                    && volume.held.contains_range(block, count)
                    && !owned.intersects_range(physical, count);
                if sound {
                    spans(physical, count).for_each(|(at, bits)| {
                        owned.insert_bits(at, bits);
                    })
                } else {
                    let blocks = (block..block + count).zip(physical..);
                    self.check_blocks(volume, blocks, &mut owned, &mut faults);
                }
                if faults.len() >= most {
                    break;
                }
            }
        }
        faults.truncate(most);
        faults
    }

    fn check_blocks(
        &self,
        volume: &VolumeImage,
        blocks: impl Iterator<Item = (u32, u32)>,
        owned: &mut BlockSet,
        faults: &mut Vec<Fault>,
    ) {
        for (number, physical) in blocks {
            let block = || (volume.name.clone(), number);
            if physical >= self.shape.physical_blocks {
                faults.push(Fault::Beyond {
                    block: block(),
                    physical,
                });
            }
            if !volume.held.contains(number) {
                faults.push(Fault::NotHeld {
                    block: block(),
                    physical,
                });
            }
            if physical < self.shape.physical_blocks && !owned.insert(physical) {
                faults.push(Fault::Shared {
                    physical,
                    one: self.owner(physical),
                    other: block(),
                });
            }
        }
    }

    /// The first block that lies at `physical`: volume and number.
    fn owner(&self, physical: u32) -> (String, u32) {
        let mut owners = self.volumes.values().flat_map(|volume| {
            let blocks = volume.map().filter(move |(_, at)| *at == physical);
            blocks.map(|(block, _)| (volume.name.clone(), block))
        });
        owners.next().unwrap_or_default()
    }
}
