//! From the blocks of the region to what was recorded.
//!
//! Every held block is read once and its header kept; the newest checkpoint all of
//! whose parts are there counts, and the log is followed from it, from each block
//! to the place that it names. The bytes are the hypervisor's: nothing of
//! them is used as a number before it was compared with what there can be.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::layout::{self, Header, Kind};
use super::log::Chain;
use super::scan::{Found, scan};
use super::space::Use;
use super::{MAX_RECORDS, MetaLog, Record, SlotState};
use crate::device::{BLOCK_LEN, BlockDevice};

/// Blocks of a commit, at most.
const LONGEST_COMMIT: u16 = (MAX_RECORDS / layout::PER_BLOCK) as u16;

/// What was recorded.
#[derive(Debug)]
pub struct Recovered {
    /// The log, which goes on from there.
    pub log: MetaLog,
    /// The blocks whose last write is lost, ascending.
    pub lost: Vec<u32>,
    states: Vec<SlotState>,
}

impl Recovered {
    /// The slots that are not free, ascending, whether they are held or not. Several
    /// may have versions of one block.
    pub fn slots(&self) -> impl Iterator<Item = (u32, SlotState)> {
        let states = (0..).zip(self.states.iter().copied());
        states.filter(|&(_, state)| state != SlotState::Free)
    }
}

/// Why nothing was recovered. [`MetaLog::format`] is what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecovered {
    /// There is no log of a vSSD of this capacity.
    Nothing,
    /// There is one of this version, which is not [`VERSION`](super::VERSION).
    OtherVersion(u16),
    /// There is one, but blocks that it may need are gone: what was dirty is not
    /// known, and if anything was, it is lost.
    Broken,
}

impl core::fmt::Display for Unrecovered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nothing => f.write_str("the vSSD has no metadata"),
            Self::OtherVersion(version) => write!(
                f,
                "the metadata on the vSSD have version {version}, not {}",
                layout::VERSION
            ),
            Self::Broken => f.write_str("blocks of the metadata are gone from the vSSD"),
        }
    }
}

impl core::error::Error for Unrecovered {}

/// The blocks of the region, and the state as far as it has been put together.
struct Region {
    found: Vec<Found>,
    states: Vec<SlotState>,
    lost: BTreeSet<u32>,
    /// The block read last.
    block: Vec<u8>,
}

impl MetaLog {
    /// Finds what was recorded on the vSSD `device`, of which the blocks `held` are
    /// held, as the last commit that ended well left it. Of one that did not, either all
    /// is found or nothing.
    ///
    /// Writes nothing.
    ///
    /// # Errors
    /// When nothing can be relied on.
    pub async fn recover(
        device: &impl BlockDevice,
        held: &[Range<u32>],
    ) -> Result<Recovered, Unrecovered> {
        let mut log = Self::new(device.blocks(), 0);
        let found = scan(device, log.space.clip(held)).await;
        let mut region = Region {
            found,
            states: Vec::new(),
            lost: BTreeSet::new(),
            block: vec![0; BLOCK_LEN],
        };
        let headers = region.found.iter().filter_map(|found| match found {
            Found::Block(header) if header.kind != Kind::Blank => Some(header),
            _ => None,
        });
        let mut parts: Vec<Header> = Vec::new();
        let mut is_empty = true;
        for header in headers {
            is_empty = false;
            match header.kind {
                Kind::Checkpoint => {
                    log.generation = log.generation.max(header.sequence + 1);
                    parts.push(*header);
                }
                _ => log.sequence = log.sequence.max(header.sequence + 1),
            }
            // A checkpoint that begins a log of its own follows blocks that may be gone.
            log.sequence = log.sequence.max(header.previous + 1);
        }
        if is_empty {
            let other = region.found.iter().find_map(|found| match found {
                Found::Other(version) => Some(Unrecovered::OtherVersion(*version)),
                _ => None,
            });
            return Err(other.unwrap_or(Unrecovered::Nothing));
        }
        parts.sort_unstable_by_key(|part| (part.sequence, part.id, part.index));
        let same = |a: &Header, b: &Header| (a.sequence, a.id) == (b.sequence, b.id);
        let mut checkpoints = parts.chunk_by(same).rev();
        let checkpoint = checkpoints.find(|parts| is_complete(parts));
        let checkpoint = checkpoint.ok_or(Unrecovered::Broken)?;
        log.id = checkpoint[0].id;
        log.claim(&region.found);
        log.chain = Some(region.replay(device, checkpoint, &mut log).await?);
        log.retiring = parts
            .iter()
            .filter(|part| part.index == 0 && part.place != checkpoint[0].place)
            .map(|part| part.place)
            .collect();
        if !log.retiring.is_empty() {
            log.space.replace(Use::Free, Use::Old);
        }
        Ok(Recovered {
            log,
            lost: region.lost.into_iter().collect(),
            states: region.states,
        })
    }

    /// Takes over the blocks that were read.
    fn claim(&mut self, found: &[Found]) {
        for (place, found) in (0..).zip(found) {
            match found {
                Found::Absent => {}
                Found::Zeros => self.space.set(place, Use::Raw),
                Found::Noise | Found::Other(_) | Found::Block(_) => {
                    self.space.set(place, Use::Free)
                }
            }
        }
    }

    /// Takes a block for a chain; one that another part of it has is taken by no
    /// honest log.
    fn take_for_chain(&mut self, place: u32, of: Use) -> Result<(), Unrecovered> {
        let is_free = place < self.space.blocks() && self.space.get(place) == Use::Free;
        if !is_free {
            return Err(Unrecovered::Broken);
        }
        self.space.set(place, of);
        Ok(())
    }
}

/// Whether these parts of a checkpoint, by index, are all.
fn is_complete(parts: &[Header]) -> bool {
    let first = &parts[0];
    let ends = parts.iter().map(|part| part.parts);
    let is_one = |part: &Header| (part.next, part.previous) == (first.next, first.previous);
    parts
        .iter()
        .map(|part| part.index)
        .eq(0..parts.len() as u32)
        && parts.iter().all(is_one)
        && ends.eq((1..=parts.len()).map(|n| u16::from(n == parts.len())))
}

impl Region {
    /// Puts the state together from a complete checkpoint and the log from it.
    async fn replay(
        &mut self,
        device: &impl BlockDevice,
        checkpoint: &[Header],
        log: &mut MetaLog,
    ) -> Result<Chain, Unrecovered> {
        self.states = vec![SlotState::Free; log.capacity as usize];
        for part in checkpoint {
            log.take_for_chain(part.place, Use::Checkpoint)?;
            self.apply(device, part).await?;
        }
        let mut chain = Chain {
            root: checkpoint[0].place,
            log: VecDeque::new(),
            next: checkpoint[0].next,
            last: checkpoint[0].previous,
            is_condemned: false,
        };
        loop {
            // Of the parts of a commit, as many as there are; each is where the one
            // before says.
            let mut parts: Vec<Header> = Vec::new();
            let mut next = chain.next;
            while let Some(part) = self.part(next, log.id, &chain, &parts)? {
                log.take_for_chain(next, Use::Log)?;
                next = part.next;
                parts.push(part);
                if parts.len() == usize::from(part.parts) {
                    break;
                }
            }
            let is_whole = parts.first().map(|part| usize::from(part.parts)) == Some(parts.len());
            if !is_whole {
                // It has not ended, or not begun. What is there of it stays where it is
                // until the chain is replaced, or a later recovery would miss it.
                chain.is_condemned = !parts.is_empty();
                log.take_for_chain(next, Use::Next)?;
                return Ok(chain);
            }
            for part in &parts {
                self.apply(device, part).await?;
                chain.log.push_back(part.place);
                chain.last = part.sequence;
            }
            chain.next = next;
        }
    }

    /// The next part of the commit that follows `chain`, after `parts`: `None` when
    /// the block that should be it has something else.
    fn part(
        &self,
        place: u32,
        id: u64,
        chain: &Chain,
        parts: &[Header],
    ) -> Result<Option<Header>, Unrecovered> {
        let header = match self.found.get(place as usize) {
            None | Some(Found::Absent | Found::Zeros) => return Err(Unrecovered::Broken),
            Some(Found::Noise | Found::Other(_)) => return Ok(None),
            Some(Found::Block(header)) => header,
        };
        let follows = match parts {
            [] => header.sequence > chain.last && (1..=LONGEST_COMMIT).contains(&header.parts),
            [first, ..] => {
                header.sequence == first.sequence + parts.len() as u64
                    && header.parts == first.parts
            }
        };
        let is_part = follows
            && header.kind == Kind::Log
            && header.id == id
            && header.previous == chain.last
            && header.index as usize == parts.len();
        Ok(is_part.then_some(*header))
    }

    /// Reads a block again and applies its records.
    async fn apply(
        &mut self,
        device: &impl BlockDevice,
        expected: &Header,
    ) -> Result<(), Unrecovered> {
        let read = device.read(expected.place, &mut self.block).await;
        if read.is_err() || Header::decode(&self.block) != Some(*expected) {
            return Err(Unrecovered::Broken);
        }
        let region = self.found.len();
        for record in layout::records(&self.block) {
            match record.ok_or(Unrecovered::Broken)? {
                Record::Slot { slot, state } => {
                    let at = slot as usize;
                    let known = self.states.get_mut(at).filter(|_| at >= region);
                    *known.ok_or(Unrecovered::Broken)? = state;
                }
                Record::Lost { block } => {
                    self.lost.insert(block);
                }
                Record::Found { block } => {
                    self.lost.remove(&block);
                }
            }
        }
        Ok(())
    }
}
