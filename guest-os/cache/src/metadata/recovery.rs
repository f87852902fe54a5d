//! From the blocks of the region to what was on record.
use super::{MetaLog, SlotState};
use alloc::vec::Vec;

/// What was on record.
#[derive(Debug)]
pub struct Recovered {
    /// The log, which goes on from there.
    pub log: MetaLog,
    /// The blocks whose last write is lost, ascending.
    pub lost: Vec<u32>,
    states: Vec<SlotState>,
}

impl Recovered {
    /// The slots that are not free, ascending. Several may have versions of one block.
    pub fn slots(&self) -> impl Iterator<Item = (u32, SlotState)> {
        (0..)
            .zip(self.states.iter().copied())
            .filter(|(_, state)| *state != SlotState::Free)
    }
}

/// Why nothing was recovered; `format` is what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecovered {
    /// There is no log of a vSSD of this capacity, of a version that is known.
    Nothing,
    /// There is one, but blocks that it may need are gone. Whether anything was dirty, and
    /// what, is not known.
    Broken,
}
