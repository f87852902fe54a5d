//! What a journal says a pool is like, put together record by record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use vssd::block_set::BlockSet;
use vssd::encoding::SetView;
use vssd::units::Geometry;

use super::record::{Record, split};
use crate::pool::Shape;
use crate::pool::ledger::{Bounds, REGION, VolumeId};
use crate::pool::volume::Places;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeImage {
    /// Its name.
    pub name: String,
    /// Its blocks.
    pub blocks: u32,
    /// What it may use.
    pub bounds: Bounds,
    /// Blocks that its guest holds.
    pub held: BlockSet,
    /// Places of the blocks of windows in which any is written.
    windows: BTreeMap<u32, Box<[u32; REGION as usize]>>,
}

impl VolumeImage {
    /// Blocks that are written, ascending, with their places.
    pub fn map(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.windows.iter().flat_map(|(index, places)| {
            let blocks = index * REGION..;
            let all = blocks.zip(places.iter().copied());
            all.filter(|(_, place)| *place != NOWHERE)
        })
    }

    /// Where a block is, if it is written.
    pub fn place(&self, block: u32) -> Option<u32> {
        let window = self.windows.get(&(block / REGION))?;
        let place = window[(block % REGION) as usize];
        (place != NOWHERE).then_some(place)
    }

    /// Blocks that are written.
    pub fn written(&self) -> u32 {
        self.map().count() as u32
    }

    fn set(&mut self, block: u32, place: u32) {
        if place == NOWHERE && !self.windows.contains_key(&(block / REGION)) {
            return;
        }
        let window = self.windows.entry(block / REGION);
        let window = window.or_insert_with(|| Box::new([NOWHERE; REGION as usize]));
        window[(block % REGION) as usize] = place;
    }

    fn contains(&self, block: u32, count: u32) -> bool {
        u64::from(block) + u64::from(count) <= u64::from(self.blocks)
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolImage {
    /// Its shape.
    pub shape: Shape,
    /// Its volumes.
    pub volumes: BTreeMap<VolumeId, VolumeImage>,
    /// The number of the next volume.
    pub next: u32,
}

/// Something that is wrong with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two blocks lie at the same place.
    Shared {
        /// The place.
        place: u32,
        /// One block: volume and number.
        one: (String, u32),
        /// The other.
        other: (String, u32),
    },
    /// A block lies at a place that there is not.
    Beyond {
        /// Volume and number of the block.
        block: (String, u32),
        /// The place.
        place: u32,
    },
    /// A block that nobody holds has a place.
    NotHeld {
        /// Volume and number of the block.
        block: (String, u32),
        /// The place.
        place: u32,
    },
    /// A volume holds more than it may.
    OverQuota {
        /// The volume.
        name: String,
        /// Blocks held.
        held: u32,
        /// Blocks that may be.
        quota: u32,
    },
    /// Two volumes have one name.
    SameName(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared { place, one, other } => write!(
                f,
                "place {place} belongs to block {} of {} and to block {} of {}",
                one.1, one.0, other.1, other.0
            ),
            Self::Beyond { block, place } => write!(
                f,
                "block {} of {} is at place {place}, which the pool does not have",
                block.1, block.0
            ),
            Self::NotHeld { block, place } => write!(
                f,
                "block {} of {} is at place {place}, but its guest does not hold it",
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
            } => {
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
                    (run.start..run.end()).for_each(|block| volume.set(block, NOWHERE));
                }
                Some(())
            }
            Record::Mapped {
                id,
                block,
                place,
                count,
            } => {
                let places = self.shape.places;
                let volume = self.volumes.get_mut(&id)?;
                let fits = u64::from(place) + u64::from(count) <= u64::from(places);
                if !fits || !volume.contains(block, count) {
                    return None;
                }
                (0..count).for_each(|i| volume.set(block + i, place + i));
                Some(())
            }
            Record::Unmapped { id, block, count } => {
                let volume = self.volumes.get_mut(&id)?;
                if !volume.contains(block, count) {
                    return None;
                }
                (0..count).for_each(|i| volume.set(block + i, NOWHERE));
                Some(())
            }
            Record::Window(id, index, ref map) => {
                let volume = self.volumes.get_mut(&id)?;
                let first = index.checked_mul(REGION)?;
                let mut blocks = BlockSet::empty(REGION);
                for (word, bits) in map.written.into_iter().enumerate() {
                    blocks.insert_bits(word, bits);
                }
                let offsets = blocks
                    .runs()
                    .flat_map(|run| run.start..run.end())
                    .collect::<Vec<_>>();
                for (at, &offset) in offsets.iter().enumerate() {
                    let place = match &map.places {
                        Places::Linear(home) => home.checked_add(offset)?,
                        Places::Table(places) => places[at],
                    };
                    let block = first.checked_add(offset)?;
                    if !volume.contains(block, 1) || place >= self.shape.places {
                        return None;
                    }
                    volume.set(block, place);
                }
                Some(())
            }
        }
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

    /// Everything that is wrong with it, as far as the first `most` faults.
    pub fn check(&self, most: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut owned = BlockSet::empty(self.shape.places);
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
            for (number, place) in volume.map() {
                let block = || (volume.name.clone(), number);
                if place >= self.shape.places {
                    faults.push(Fault::Beyond {
                        block: block(),
                        place,
                    });
                }
                if !volume.held.contains(number) {
                    faults.push(Fault::NotHeld {
                        block: block(),
                        place,
                    });
                }
                if place < self.shape.places && !owned.insert(place) {
                    faults.push(Fault::Shared {
                        place,
                        one: self.owner(place),
                        other: block(),
                    });
                }
                if faults.len() >= most {
                    break;
                }
            }
        }
        faults.truncate(most);
        faults
    }

    /// The first block that lies at `place`: volume and number.
    fn owner(&self, place: u32) -> (String, u32) {
        let mut owners = self.volumes.values().flat_map(|volume| {
            let blocks = volume.map().filter(move |(_, at)| *at == place);
            blocks.map(|(block, _)| (volume.name.clone(), block))
        });
        owners.next().unwrap_or_default()
    }
}
