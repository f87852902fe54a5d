//! The write-ahead journal at the end of the origin disk, for journaled
//! write-back (Koller et al., *Write policies for host-side flash caches*, FAST'13).
//!
//! An epoch of writes reaches the origin whole or not at all: it is written to
//! the journal first, as a *transaction*, and to its places only once that is durable.

use crate::device::{BlockDevice, IoError};
use alloc::vec::Vec;

/// Blocks that a transaction may have.
pub const TRANSACTION_BLOCKS: usize = 256;

/// Blocks at the end of an origin of `origin_blocks` that are the journal: 0 when it is too
/// small for one, so that there can be no journaled write-back on it.
pub fn journal_blocks(origin_blocks: u32) -> u32 {
    const BLOCKS: u32 = 1 + 2 * (1 + TRANSACTION_BLOCKS as u32);
    if origin_blocks / 4 >= BLOCKS {
        BLOCKS
    } else {
        0
    }
}

/// Blocks to be changed together, at most [`TRANSACTION_BLOCKS`].
#[derive(Debug, Default)]
pub struct Transaction {
    bytes: Vec<u8>,
}

#[allow(unused_variables, missing_docs)]
impl Transaction {
    pub fn new() -> Self {
        todo!()
    }
    /// Adds a block with its content. Ascending order makes for long runs.
    pub fn push(&mut self, block: u32, data: &[u8]) {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn is_full(&self) -> bool {
        todo!()
    }
    /// Writes the blocks to their places, without flushing.
    pub async fn write_in_place(&self, origin: &impl BlockDevice) -> Result<(), IoError> {
        todo!()
    }
}

/// The journal of an origin disk.
#[derive(Debug)]
pub struct OriginJournal {}

/// What recovery brought to its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions.
    pub transactions: u32,
    /// Blocks of them.
    pub blocks: u32,
}

#[allow(unused_variables, missing_docs)]
impl OriginJournal {
    /// Applies what was committed, in order, durably, and leaves an empty journal, so that
    /// whoever opens the disk, by whatever policy, may write anywhere afterwards. To be called at every
    /// open, before anything else is written. `None` as the journal when the disk is too small for one.
    pub async fn recover(origin: &impl BlockDevice) -> Result<(Option<Self>, Replayed), IoError> {
        todo!()
    }
    /// Writes a transaction to the journal and flushes: once this has ended well it is committed.
    /// The one before the last must have been applied. After an error it may or may not be
    /// committed: write it, or one that has all its blocks, again, or give up with `settle`.
    pub async fn write(
        &self,
        origin: &impl BlockDevice,
        transaction: &mut Transaction,
    ) -> Result<(), IoError> {
        todo!()
    }
    /// The oldest committed transaction that is not yet applied is durable at its place
    /// (written there and flushed).
    pub fn applied(&self) {
        todo!()
    }
    /// Makes durable that all transactions have been applied. Needed before anything is written to the origin outside of
    /// a transaction. Flushes.
    pub async fn settle(&self, origin: &impl BlockDevice) -> Result<(), IoError> {
        todo!()
    }
}
