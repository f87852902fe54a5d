//! Plans: blocks to write, and the state once they are written.

use alloc::vec::Vec;

use super::layout::{Header, Kind};
use crate::device::{BLOCK_LEN, BlockDevice, IoError};

/// Blocks of a checkpoint in a plan, at most, and of each other kind. The tests have
/// few, so that their small checkpoints take several plans too.
pub(super) const CHUNK: usize = if cfg!(test) { 2 } else { 32 };

/// Blocks to be written for a commit, up to 76: 12 of the log, 32 of a checkpoint and 32
/// that come into use.
#[derive(Debug, Default)]
#[must_use = "a plan has to be written and finished"]
pub struct Plan {
    /// Where the blocks go, and their bytes one after another.
    places: Vec<u32>,
    bytes: Vec<u8>,
    /// Roots of checkpoints to erase.
    pub(super) retired: Vec<u32>,
    /// Blocks that come into use.
    pub(super) blanks: Vec<u32>,
    /// Parts of the checkpoint that is being written.
    pub(super) checkpoint: Vec<u32>,
    /// Whether the first and the last of its parts are among them.
    pub(super) has_root: bool,
    pub(super) has_end: bool,
    pub(super) log: Option<PlannedLog>,
    /// Whether the records are in it.
    pub(super) has_records: bool,
}

/// The part of a plan that is the commit.
#[derive(Debug)]
pub(super) struct PlannedLog {
    /// The blocks of the commit.
    pub places: Vec<u32>,
    /// Where the log goes on behind them.
    pub next: u32,
    /// The sequence of the last of them.
    pub last: u64,
}

impl Plan {
    /// How many blocks it writes.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a block at its place.
    pub(super) fn push(&mut self, header: Header, records: &[super::Record]) {
        self.places.push(header.place);
        let start = self.bytes.len();
        self.bytes.resize(start + BLOCK_LEN, 0);
        header.encode(records, &mut self.bytes[start..]);
    }

    /// Adds a blank block at a place.
    pub(super) fn push_blank(&mut self, capacity: u32, id: u64, place: u32) {
        self.push(
            Header {
                kind: Kind::Blank,
                capacity,
                id,
                sequence: 0,
                previous: 0,
                place,
                next: 0,
                index: 0,
                parts: 0,
            },
            &[],
        );
    }

    /// Writes the blocks, neighbours together, and flushes.
    ///
    /// # Errors
    /// When the device failed; each block is as before, written or torn.
    pub async fn write(&self, device: &impl BlockDevice) -> Result<(), IoError> {
        if self.is_empty() {
            return Ok(());
        }
        let longest = device.max_run() as usize;
        let mut start = 0;
        while start < self.places.len() {
            let (first, run) = (self.places[start], &self.places[start..]);
            let run = run.iter().take(longest).zip(first..);
            let len = run.take_while(|&(&place, wanted)| place == wanted).count();
            let bytes = &self.bytes[start * BLOCK_LEN..(start + len) * BLOCK_LEN];
            device.write(first, bytes).await?;
            start += len;
        }
        device.flush().await
    }
}
