//! The write-ahead journal at the end of the origin disk, for journaled
//! write-back: Koller et al., *Write policies for host-side flash caches*,
//! FAST'13, 3.3.
//!
//! An epoch of writes reaches the origin whole or not at all. It is written to the
//! journal first, as a *transaction*, and to its places only when that is
//! durable; so the origin is at every moment, once the journal is replayed, as it was
//! between two epochs, even when the vSSD is lost permanently.
//!
//! ```text
//!  ... blocks in use │ mark │ descriptor │ 256 blocks │ descriptor │ 256 blocks │
//!                    first    area 0                    area 1
//! ```
//!
//! ```text
//!   write T1 ── in place ── flush ── applied
//!          └─ write T2 ──────────────────── in place ── flush ── applied
//!                                       └─ write T3, where T1 was ──
//! ```
//!
//! Transactions take turns in two areas: the next may be written while the one
//! before goes to its places, and the one before that must be in place durably.
//! A ring for more would let several small epochs be on their way, but an epoch is
//! applied only when the one before is, and two keep both the journal and the places
//! busy.
//!
//! **No commit block.** The descriptor has a checksum of every block, so that a
//! transaction is committed when all of it is there, in whatever order it was written, and
//! one flush makes it last (Prabhakaran et al., *IRON File Systems*, SOSP'05,
//! "transactional checksums").
//!
//! **What must not be applied twice.** Applying a transaction again that was applied
//! before does no harm as long as those that came later are applied after it, and nothing
//! else was written. So each descriptor says which transactions were applied durably
//! when it was written, and before anything is written past the journal the *mark*
//! says that all were ([`OriginJournal::settle`]). Recovery ends with the
//! mark, and with the descriptors erased: the next user of the disk may use all of it.

mod layout;
mod recovery;

#[cfg(test)]
mod tests;

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

pub use layout::VERSION;
pub use recovery::{Replayed, Unreplayed};

use crate::device::{BLOCK_LEN, BlockDevice, IoError};
use layout::{Header, Kind, Target};

/// Blocks that a transaction may have.
pub const TRANSACTION_BLOCKS: usize = 256;

/// Blocks of an area: a descriptor and a transaction.
const AREA_BLOCKS: u32 = 1 + TRANSACTION_BLOCKS as u32;

/// Blocks of a journal: the mark and two areas.
const JOURNAL_BLOCKS: u32 = 1 + 2 * AREA_BLOCKS;

/// Blocks at the end of an origin of `origin_blocks` blocks that are the journal: 515,
/// which is 2 MiB; or 0 when that would be more than a quarter of the origin, so
/// that there can be no journaled write-back on it.
pub fn journal_blocks(origin_blocks: u32) -> u32 {
    if origin_blocks / 4 >= JOURNAL_BLOCKS {
        JOURNAL_BLOCKS
    } else {
        0
    }
}

/// Blocks to be changed together.
#[derive(Debug)]
pub struct Transaction {
    targets: Vec<Target>,
    /// A descriptor, and the blocks.
    bytes: Vec<u8>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// One without blocks.
    pub fn new() -> Self {
        Self {
            targets: Vec::new(),
            bytes: vec![0; BLOCK_LEN],
        }
    }

    /// Adds a block and what it is to contain. In ascending order neighbours are written
    /// in one run; of a block that is added twice the last content counts.
    ///
    /// # Panics
    /// When there are [`TRANSACTION_BLOCKS`] already, or `data` is not a block.
    pub fn push(&mut self, block: u32, data: &[u8]) {
        assert!(!self.is_full(), "the transaction is full");
        assert_eq!(data.len(), BLOCK_LEN, "bytes of a block");
        self.targets.push(Target::new(block, data));
        self.bytes.extend_from_slice(data);
    }

    /// How many blocks it has.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether it can have no more.
    pub fn is_full(&self) -> bool {
        self.len() == TRANSACTION_BLOCKS
    }

    /// Writes the blocks to their places, without a flush.
    ///
    /// # Errors
    /// When the origin failed; any of the blocks may be written.
    pub async fn write_in_place(&self, origin: &impl BlockDevice) -> Result<(), IoError> {
        let mut data = &self.bytes[BLOCK_LEN..];
        for run in self.targets.chunk_by(|a, b| a.block + 1 == b.block) {
            let (bytes, rest) = data.split_at(run.len() * BLOCK_LEN);
            write_run(origin, run[0].block, bytes).await?;
            data = rest;
        }
        Ok(())
    }
}

/// Writes neighbouring blocks in transfers as long as the device takes.
async fn write_run(origin: &impl BlockDevice, first: u32, data: &[u8]) -> Result<(), IoError> {
    let longest = origin.max_run();
    let runs = data.chunks(longest as usize * BLOCK_LEN);
    for (first, run) in (first..).step_by(longest as usize).zip(runs) {
        origin.write(first, run).await?;
    }
    Ok(())
}

/// The journal of an origin disk. Nothing of it is borrowed while it waits for the disk;
/// one transaction is written at a time, while another may go to its places.
#[derive(Debug)]
pub struct OriginJournal {
    origin_blocks: u32,
    /// The sequence of the next transaction.
    next: Cell<u64>,
    /// That of the last one that is applied durably.
    applied: Cell<u64>,
    /// Whether the mark says so, and nothing was written since.
    is_settled: Cell<bool>,
}

impl OriginJournal {
    /// The first block of the journal: those before it are for use.
    pub fn first(&self) -> u32 {
        self.origin_blocks - JOURNAL_BLOCKS
    }

    /// Where the descriptor of a transaction is.
    fn area(&self, sequence: u64) -> u32 {
        self.first() + 1 + (sequence % 2) as u32 * AREA_BLOCKS
    }

    /// How many transactions are committed and not yet applied durably: another can
    /// be written while there is at most one.
    pub fn pending(&self) -> u64 {
        self.next.get() - 1 - self.applied.get()
    }

    /// Writes a transaction to the journal and flushes the origin: then it is committed.
    ///
    /// # Errors
    /// When the origin failed. It may be committed or not: write it again, or one with all
    /// of its blocks, or give it up by [`settle`](Self::settle) before anything else is written.
    ///
    /// # Panics
    /// With an empty transaction, one that reaches into the journal, or when two are
    /// [pending](Self::pending).
    pub async fn write(
        &self,
        origin: &impl BlockDevice,
        transaction: &mut Transaction,
    ) -> Result<(), IoError> {
        assert!(self.pending() < 2, "both areas are in use");
        assert!(!transaction.is_empty(), "a transaction without blocks");
        let is_beyond = |target: &Target| target.block >= self.first();
        assert!(
            !transaction.targets.iter().any(is_beyond),
            "a block of the journal"
        );
        let sequence = self.next.get();
        let header = Header {
            kind: Kind::Transaction,
            origin_blocks: self.origin_blocks,
            sequence,
            applied: self.applied.get(),
        };
        header.encode(&transaction.targets, &mut transaction.bytes[..BLOCK_LEN]);
        self.is_settled.set(false);
        write_run(origin, self.area(sequence), &transaction.bytes).await?;
        origin.flush().await?;
        self.next.set(sequence + 1);
        Ok(())
    }

    /// Notes that the oldest pending transaction has been written to its places,
    /// and the origin flushed since.
    ///
    /// # Panics
    /// When none is pending.
    pub fn applied(&self) {
        assert!(self.pending() > 0, "no transaction is pending");
        self.applied.set(self.applied.get() + 1);
    }

    /// Makes it durable that there is nothing to apply any longer, neither what was
    /// committed nor what failed to be. Has to come before anything is written to
    /// the origin past the journal; flushes the origin, unless all is settled.
    ///
    /// # Errors
    /// When the origin failed; it is as before.
    ///
    /// # Panics
    /// When a transaction is pending.
    pub async fn settle(&self, origin: &impl BlockDevice) -> Result<(), IoError> {
        assert_eq!(self.pending(), 0, "a transaction is pending");
        if self.is_settled.get() {
            return Ok(());
        }
        // The number of a transaction that failed is not given again.
        let sequence = self.next.get();
        self.write_mark(origin, sequence).await?;
        origin.flush().await?;
        self.applied.set(sequence);
        self.next.set(sequence + 1);
        self.is_settled.set(true);
        Ok(())
    }

    /// Writes that all transactions up to `applied` are.
    async fn write_mark(&self, origin: &impl BlockDevice, applied: u64) -> Result<(), IoError> {
        let mut block = vec![0; BLOCK_LEN];
        let header = Header {
            kind: Kind::Mark,
            origin_blocks: self.origin_blocks,
            sequence: applied,
            applied,
        };
        header.encode(&[], &mut block);
        origin.write(self.first(), &block).await
    }
}
