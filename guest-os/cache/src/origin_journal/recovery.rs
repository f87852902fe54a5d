//! From the journal to the places, when a disk is opened.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use super::layout::{Header, Kind, Target, other_version};
use super::{OriginJournal, Transaction, journal_blocks, write_run};
use crate::device::{BLOCK_LEN, BlockDevice, IoError};

/// What recovery has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions.
    pub transactions: u32,
    /// Blocks of them.
    pub blocks: u32,
}

/// Why a journal was not replayed. The origin must not be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreplayed {
    /// The origin failed. Trying again does no harm.
    Device(IoError),
    /// The journal has a layout of this version, which is not [`VERSION`](super::VERSION). What
    /// it holds may not be in its place.
    OtherVersion(u16),
}

impl From<IoError> for Unreplayed {
    fn from(error: IoError) -> Self {
        Self::Device(error)
    }
}

impl OriginJournal {
    /// Applies what was committed and may not be applied yet, in order, and leaves
    /// an empty journal, durably. `None` as the journal of a disk that is too small
    /// for one.
    ///
    /// Has to be done whenever a disk is opened, whatever policy is to write to it, and before
    /// anything is written. The journal is trusted if its checksums match.
    ///
    /// # Errors
    /// When the origin failed, or has a journal of another version. Nothing was written, or
    /// only what a journal of this version says.
    pub async fn recover(
        origin: &impl BlockDevice,
    ) -> Result<(Option<Self>, Replayed), Unreplayed> {
        let mut replayed = Replayed::default();
        if journal_blocks(origin.blocks()) == 0 {
            return Ok((None, replayed));
        }
        let journal = Self {
            origin_blocks: origin.blocks(),
            next: Cell::new(1),
            applied: Cell::new(0),
            is_settled: Cell::new(true),
        };
        let mut applied = journal.read_mark(origin).await?;
        let mut last = applied;
        let mut committed: Vec<(u64, Transaction)> = Vec::new();
        let mut has_descriptor = false;
        for area in 0..2 {
            if let Some((header, transaction)) = journal.read_area(origin, area).await? {
                has_descriptor = true;
                applied = applied.max(header.applied);
                last = last.max(header.sequence);
                committed.extend(transaction.map(|transaction| (header.sequence, transaction)));
            }
        }
        committed.retain(|&(sequence, _)| sequence > applied);
        committed.sort_unstable_by_key(|&(sequence, _)| sequence);
        for (_, transaction) in &committed {
            transaction.write_in_place(origin).await?;
            replayed.transactions += 1;
            replayed.blocks += transaction.len() as u32;
        }
        if has_descriptor {
            journal.empty(origin, last).await?;
        }
        journal.next.set(last + 1);
        journal.applied.set(last);
        Ok((Some(journal), replayed))
    }

    /// The last transaction that the mark says is applied.
    async fn read_mark(&self, origin: &impl BlockDevice) -> Result<u64, IoError> {
        let mut block = vec![0; BLOCK_LEN];
        origin.read(self.first(), &mut block).await?;
        let header = Header::decode(&block).map(|(header, _)| header);
        let is_mark = |header: &Header| {
            header.kind == Kind::Mark && header.origin_blocks == self.origin_blocks
        };
        Ok(header.filter(is_mark).map_or(0, |header| header.applied))
    }

    /// The descriptor in an area, and its transaction if all of it is there.
    async fn read_area(
        &self,
        origin: &impl BlockDevice,
        area: u64,
    ) -> Result<Option<(Header, Option<Transaction>)>, Unreplayed> {
        let start = self.area(area);
        let mut bytes = vec![0; BLOCK_LEN];
        origin.read(start, &mut bytes).await?;
        let Some((header, targets)) = Header::decode(&bytes) else {
            return match other_version(&bytes) {
                Some(version) => Err(Unreplayed::OtherVersion(version)),
                None => Ok(None),
            };
        };
        let is_ours = header.kind == Kind::Transaction
            && header.origin_blocks == self.origin_blocks
            && header.sequence % 2 == area
            && targets.iter().all(|target| target.block < self.first());
        if !is_ours {
            return Ok(None);
        }
        bytes.resize((1 + targets.len()) * BLOCK_LEN, 0);
        let longest = origin.max_run();
        let data = bytes[BLOCK_LEN..].chunks_mut(longest as usize * BLOCK_LEN);
        for (first, run) in (start + 1..).step_by(longest as usize).zip(data) {
            origin.read(first, run).await?;
        }
        let blocks = bytes[BLOCK_LEN..].chunks_exact(BLOCK_LEN);
        let is_whole = targets
            .iter()
            .zip(blocks)
            .all(|(target, block)| Target::new(target.block, block) == *target);
        let transaction = is_whole.then_some(Transaction { targets, bytes });
        Ok(Some((header, transaction)))
    }

    /// Makes what was applied durable, then the mark that says so, and only then erases
    /// the descriptors: one that is gone while an older one is not would have the older
    /// one applied over it.
    async fn empty(&self, origin: &impl BlockDevice, last: u64) -> Result<(), IoError> {
        origin.flush().await?;
        self.write_mark(origin, last).await?;
        origin.flush().await?;
        for area in 0..2 {
            write_run(origin, self.area(area), &[0; BLOCK_LEN]).await?;
        }
        origin.flush().await
    }
}
