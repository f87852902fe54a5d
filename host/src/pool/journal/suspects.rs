//! The blocks that two overlapping sessions may both have changed, with the evidence.

use std::collections::BTreeMap;
use std::fmt;

use vssd::block_set::BlockSet;
use vssd::encoding::SetView;
use vssd::units::Geometry;

use super::PoolImage;
use super::layout::SessionId;
use super::record::{Record, split};
use crate::pool::allocator::VolumeId;

/// The evidence that both sessions may have changed a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// There are records of the block, or of its physical block, since the younger session began.
    Recorded {
        /// The first of the physical blocks, which are in a row, if the blocks have any.
        physical: Option<u32>,
    },
    /// The block has a physical block, and a write to a block that has one leaves no record.
    Possible,
}

/// Blocks in a row whose contents or records another session may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Their vSSD.
    pub vssd: String,
    /// The first block.
    pub block: u32,
    /// How many.
    pub count: u32,
    /// Why they are listed.
    pub evidence: Evidence,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |first: u32| match self.count {
            1 => format!(" {first}"),
            count => format!("s {first} to {}", first + (count - 1)),
        };
        let (blocks, vssd) = (range(self.block), &self.vssd);
        match self.evidence {
            Evidence::Recorded {
                physical: Some(physical),
            } => {
                write!(
                    f,
                    "in doubt: block{blocks} of {vssd}, at physical block{}",
                    range(physical)
                )
            }
            Evidence::Recorded { physical: None } => {
                write!(
                    f,
                    "in doubt: block{blocks} of {vssd}, without a physical block"
                )
            }
            Evidence::Possible => {
                write!(f, "possibly rewritten by both: block{blocks} of {vssd}")
            }
        }
    }
}

/// The blocks, as they are put together record by record.
pub(super) struct Suspects<'a> {
    /// The pool as it is.
    image: &'a PoolImage,
    /// The pool as it was when the younger session began, as far as the journal goes back.
    before: PoolImage,
    /// Blocks with records. Two sessions may have given one number to two new volumes.
    recorded: BTreeMap<(VolumeId, String), BlockSet>,
    /// Name and size of the volumes that each session made or changed.
    named: BTreeMap<(SessionId, VolumeId), (String, u32)>,
    /// Physical blocks with records.
    physical_blocks: BlockSet,
}

impl<'a> Suspects<'a> {
    pub(super) fn new(image: &'a PoolImage) -> Self {
        let volumes = image.volumes.iter().map(|(id, volume)| {
            let blocks = BlockSet::empty(volume.blocks);
            ((*id, volume.name.clone()), blocks)
        });
        Self {
            image,
            before: PoolImage::new(image.shape),
            recorded: volumes.collect(),
            named: BTreeMap::new(),
            physical_blocks: BlockSet::empty(image.shape.physical_blocks),
        }
    }

    /// Notes a commit from before the younger session began.
    pub(super) fn before(&mut self, records: &[u8]) {
        // All of them were applied when the journal was read.
        self.before.apply_all(records);
    }

    /// Adds what the records of a commit since then concern.
    pub(super) fn add(&mut self, session: SessionId, mut records: &[u8]) {
        while let Some((record, rest)) = split(records) {
            records = rest;
            match record {
                Record::Volume {
                    id, blocks, name, ..
                } if self.geometry(blocks).is_some() => {
                    self.named.insert((session, id), (name.to_owned(), blocks));
                }
                Record::Mapped {
                    id,
                    block,
                    physical,
                    count,
                } => {
                    self.insert(session, id, block, count);
                    if u64::from(physical) + u64::from(count)
                        <= u64::from(self.physical_blocks.capacity())
                    {
                        self.physical_blocks.insert_range(physical, count);
                    }
                }
                Record::Unmapped { id, block, count } => self.insert(session, id, block, count),
                Record::Granted(id, set) | Record::Released(id, set) => {
                    self.insert_set(session, id, set);
                }
                Record::Removed(id) => self.insert_all(session, id),
                Record::Volume { .. } | Record::Next(_) | Record::Window(..) => {}
            }
        }
    }

    fn geometry(&self, blocks: u32) -> Option<Geometry> {
        Geometry::new(self.image.shape.block_size, blocks.into()).ok()
    }

    /// The blocks of the volume that has that number in that session.
    fn blocks(&mut self, session: SessionId, id: VolumeId) -> Option<&mut BlockSet> {
        let named = self.named.get(&(session, id)).cloned();
        let (name, blocks) = named.or_else(|| {
            let mut images = [&self.before, self.image].into_iter();
            let volume = images.find_map(|image| image.volumes.get(&id))?;
            Some((volume.name.clone(), volume.blocks))
        })?;
        let new = || BlockSet::empty(blocks);
        Some(self.recorded.entry((id, name)).or_insert_with(new))
    }

    fn insert(&mut self, session: SessionId, id: VolumeId, block: u32, count: u32) {
        let Some(blocks) = self.blocks(session, id) else {
            return;
        };
        if u64::from(block) + u64::from(count) <= u64::from(blocks.capacity()) {
            blocks.insert_range(block, count);
        }
    }

    fn insert_set(&mut self, session: SessionId, id: VolumeId, set: &[u8]) {
        let Some(capacity) = self.blocks(session, id).map(|blocks| blocks.capacity()) else {
            return;
        };
        let geometry = self.geometry(capacity);
        let set = geometry.and_then(|of| SetView::parse(set, of).ok());
        if let (Some(set), Some(blocks)) = (set, self.blocks(session, id)) {
            blocks.insert_view(&set);
        }
    }

    /// All blocks that a removed volume had: their physical blocks were free from then on.
    fn insert_all(&mut self, session: SessionId, id: VolumeId) {
        let images = [&self.before, self.image].into_iter();
        let volumes = images.filter_map(|image| image.volumes.get(&id));
        let runs: Vec<_> = volumes.flat_map(|volume| volume.runs()).collect();
        for run in runs {
            self.insert(session, id, run.block, run.count);
        }
    }

    /// All of them: first those with records, then all others that have a physical block.
    pub(super) fn list(mut self) -> Vec<Suspect> {
        self.insert_by_physical();
        let mut all: Vec<Suspect> = Vec::new();
        for ((id, name), blocks) in &self.recorded {
            let volume = self.image.volumes.get(id).filter(|v| v.name == *name);
            for block in blocks.iter() {
                let physical = volume.and_then(|volume| volume.physical(block));
                match all.last_mut().filter(|last| last.vssd == *name) {
                    Some(last) if last.is_followed_by(block, physical) => last.count += 1,
                    _ => all.push(Suspect {
                        vssd: name.clone(),
                        block,
                        count: 1,
                        evidence: Evidence::Recorded { physical },
                    }),
                }
            }
        }
        for (id, volume) in &self.image.volumes {
            let mut mapped = BlockSet::empty(volume.blocks);
            for run in volume.runs() {
                mapped.insert_range(run.block, run.count);
            }
            if let Some(recorded) = self.recorded.get(&(*id, volume.name.clone())) {
                mapped.subtract(recorded);
            }
            all.extend(mapped.runs().map(|run| Suspect {
                vssd: volume.name.clone(),
                block: run.start,
                count: run.len,
                evidence: Evidence::Possible,
            }));
        }
        all
    }

    /// Adds the blocks that are now at physical blocks with records.
    fn insert_by_physical(&mut self) {
        for (id, volume) in &self.image.volumes {
            let Some(blocks) = self.recorded.get_mut(&(*id, volume.name.clone())) else {
                continue;
            };
            for run in volume.runs() {
                if !self
                    .physical_blocks
                    .intersects_range(run.physical, run.count)
                {
                    continue;
                }
                for (block, physical) in (run.block..run.block + run.count).zip(run.physical..) {
                    if self.physical_blocks.contains(physical) {
                        blocks.insert(block);
                    }
                }
            }
        }
    }
}

impl Suspect {
    /// Whether a block with records, at `physical`, adjoins these, and so does its physical block.
    fn is_followed_by(&self, block: u32, physical: Option<u32>) -> bool {
        let Evidence::Recorded { physical: first } = self.evidence else {
            return false;
        };
        self.block + self.count == block && first.map(|first| first + self.count) == physical
    }
}
