//! Two sessions that had a pool at the same time: how that is found, and what it puts in doubt.
//!
//! Commits are chained by their checksums, and each session appends to the chain as it knows it. So
//! two at once write to the same positions, and what is found later is the chain of one
//! of them, with whole commits of the other behind its end, or without those of a session that
//! had begun, or with a note by the one that was superseded:
//!
//! ```text
//!   a  a  a  b  b  b          b began, and has the pool
//!   a  a  a  a  a│ b          a went on: what b had recorded is lost or out of reach
//!   a  a  a  b  b│ a          the other way round
//! ```
//!
//! In doubt are all blocks that either recorded since the younger of the two began, and those at the
//! same places: each took places that it found free for its own. What nobody can tell is which
//! blocks both of them had found written and wrote again, since that changes no record.

use std::collections::BTreeMap;
use std::fmt;

use vssd::block_set::BlockSet;
use vssd::encoding::SetView;
use vssd::units::Geometry;

use super::layout::{SNAPSHOT, SessionId};
use super::record::{Record, split};
use super::session::Session;
use super::{End, Journal, JournalError, PoolImage};
use crate::pool::ledger::VolumeId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The older of the two, which went on.
    pub older: String,
    /// The one that had begun meanwhile.
    pub younger: String,
    /// Blocks in doubt, as far as there is a record of them.
    pub suspects: Vec<Suspect>,
    /// The journal was compacted since, and says no longer what came when.
    pub compacted: bool,
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
    /// The first of their places, which are in a row, if they have any.
    pub place: Option<u32>,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |first: u32| match self.count {
            1 => format!(" {first}"),
            count => format!("s {first} to {}", first + (count - 1)),
        };
        write!(f, "block{} of {}", range(self.block), self.vssd)?;
        match self.place {
            Some(place) => write!(f, ", at place{}", range(place)),
            None => f.write_str(", without a place"),
        }
    }
}

impl Overlap {
    /// In a sentence.
    pub fn summary(&self) -> String {
        format!(
            "two backends had this pool at the same time: {} went on after {} had opened it",
            self.older, self.younger
        )
    }
}

/// A whole commit that the chain does not reach.
pub(super) struct Stray {
    pub(super) session: SessionId,
    pub(super) records: Vec<u8>,
}

impl Journal {
    /// Whether two sessions overlapped, by what is on record: the chain, which ends at `end`
    /// and was written last by `last`, and whole commits behind it.
    pub(super) fn find_overlap(
        &mut self,
        sessions: &[Session],
        (end, last): (End, SessionId),
        strays: &[Stray],
        image: &PoolImage,
    ) -> Result<Option<Overlap>, JournalError> {
        let found = self.find_pair(sessions, (end, last), strays)?;
        let Some((older, younger)) = found else {
            return Ok(None);
        };
        let session = |id: SessionId| sessions.iter().find(|session| session.id == id);
        let describe = |id: SessionId| match session(id) {
            Some(session) => session.to_string(),
            None => format!("session {}", id.number()),
        };
        let began = session(younger).and_then(|session| session.began);
        let since = began.filter(|(epoch, _)| *epoch == self.superblock.epoch);
        let mut suspects = Suspects::new(image);
        if let Some((_, sequence)) = since {
            self.for_each_commit(|header, records| {
                if header.sequence >= sequence && header.flags & SNAPSHOT == 0 {
                    suspects.add(records);
                }
            })?;
        }
        strays.iter().for_each(|stray| suspects.add(&stray.records));
        Ok(Some(Overlap {
            older: describe(older),
            younger: describe(younger),
            suspects: suspects.list(),
            compacted: since.is_none(),
        }))
    }

    /// The older and the younger of two sessions that overlapped.
    fn find_pair(
        &self,
        sessions: &[Session],
        (end, last): (End, SessionId),
        strays: &[Stray],
    ) -> Result<Option<(SessionId, SessionId)>, JournalError> {
        if let Some(stray) = strays.iter().find(|stray| stray.session != last) {
            return Ok(Some((last.min(stray.session), last.max(stray.session))));
        }
        let mut noted = sessions.iter();
        if let Some(pair) = noted.find_map(|s| Some((s.id, s.superseded?))) {
            return Ok(Some(pair));
        }
        let mut begun = sessions.iter().rev();
        let begun = begun.find_map(|session| Some((session.id, session.began?)));
        let Some((younger, (epoch, sequence))) = begun else {
            return Ok(None);
        };
        // The commit by which it began was there for good. So if it is not, either another
        // is in its place, or a superblock that does not know of it, or it is damaged.
        let (began, now) = (epoch >> 32, self.superblock.epoch >> 32);
        let is_in_area = epoch == self.superblock.epoch;
        if began > now {
            return Err(JournalError::OldSuperblock);
        }
        if is_in_area && end.sequence <= sequence {
            let at = self.position(end.at);
            return Err(JournalError::Damaged { at });
        }
        Ok((younger > last).then_some((last, younger)))
    }
}

/// Blocks in doubt.
struct Suspects<'a> {
    image: &'a PoolImage,
    /// By volume, with its name.
    blocks: BTreeMap<VolumeId, (String, BlockSet)>,
    places: BlockSet,
}

impl<'a> Suspects<'a> {
    fn new(image: &'a PoolImage) -> Self {
        let volumes = image.volumes.iter().map(|(id, volume)| {
            let blocks = BlockSet::empty(volume.blocks);
            (*id, (volume.name.clone(), blocks))
        });
        Self {
            image,
            blocks: volumes.collect(),
            places: BlockSet::empty(image.shape.places),
        }
    }

    /// Adds what the records of a commit are about.
    fn add(&mut self, mut records: &[u8]) {
        while let Some((record, rest)) = split(records) {
            records = rest;
            match record {
                Record::Volume {
                    id, blocks, name, ..
                } if Geometry::new(self.image.shape.block_size, blocks.into()).is_ok() => {
                    let new = || (name.to_owned(), BlockSet::empty(blocks));
                    self.blocks.entry(id).or_insert_with(new);
                }
                Record::Mapped {
                    id,
                    block,
                    place,
                    count,
                } => {
                    self.insert(id, block, count);
                    if u64::from(place) + u64::from(count) <= u64::from(self.places.capacity()) {
                        self.places.insert_range(place, count);
                    }
                }
                Record::Unmapped { id, block, count } => self.insert(id, block, count),
                Record::Granted(id, set) | Record::Released(id, set) => self.insert_all(id, set),
                Record::Volume { .. }
                | Record::Removed(_)
                | Record::Next(_)
                | Record::Window(..) => {}
            }
        }
    }

    fn insert(&mut self, id: VolumeId, block: u32, count: u32) {
        let Some((_, blocks)) = self.blocks.get_mut(&id) else {
            return;
        };
        if u64::from(block) + u64::from(count) <= u64::from(blocks.capacity()) {
            blocks.insert_range(block, count);
        }
    }

    fn insert_all(&mut self, id: VolumeId, set: &[u8]) {
        let Some((_, blocks)) = self.blocks.get_mut(&id) else {
            return;
        };
        let geometry = Geometry::new(self.image.shape.block_size, blocks.capacity().into());
        if let Some(set) = geometry.ok().and_then(|of| SetView::parse(set, of).ok()) {
            blocks.insert_view(&set);
        }
    }

    /// All of them, with those that are at the same places now.
    fn list(mut self) -> Vec<Suspect> {
        let mut all: Vec<Suspect> = Vec::new();
        for (id, (name, blocks)) in &mut self.blocks {
            let volume = self.image.volumes.get(id);
            let map = volume.into_iter().flat_map(|volume| volume.map());
            for (block, place) in map {
                if self.places.contains(place) {
                    blocks.insert(block);
                }
            }
            for block in blocks.iter() {
                let place = volume.and_then(|volume| volume.place(block));
                match all.last_mut().filter(|last| last.vssd == *name) {
                    Some(last) if last.is_followed_by(block, place) => last.count += 1,
                    _ => all.push(Suspect {
                        vssd: name.clone(),
                        block,
                        count: 1,
                        place,
                    }),
                }
            }
        }
        all
    }
}

impl Suspect {
    fn is_followed_by(&self, block: u32, place: Option<u32>) -> bool {
        let next = self.place.map(|first| first + self.count);
        self.block + self.count == block && next == place
    }
}
