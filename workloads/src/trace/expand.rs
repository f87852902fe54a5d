//! Requests, split into accesses to single blocks.

use core::ops::Range;

use super::{Op, Record};

/// One request's access to one block of [`super::BLOCK_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedAccess {
    /// When the request was made.
    pub time_ns: u64,
    /// Read or write. A write may cover its block only in part.
    pub op: Op,
    /// The number of the block.
    pub block: u64,
}

/// The accesses of records, in ascending order of blocks within a record. A
/// record is of bounded length, so this holds nothing but the current one.
/// Errors pass through.
pub struct Accesses<I> {
    records: I,
    current: Option<(Record, Range<u64>)>,
}

impl<I> Accesses<I> {
    /// Splits `records` into accesses.
    pub fn new(records: I) -> Self {
        Self {
            records,
            current: None,
        }
    }

    /// Where the records come from.
    pub fn records(&self) -> &I {
        &self.records
    }
}

impl<E, I: Iterator<Item = Result<Record, E>>> Iterator for Accesses<I> {
    type Item = Result<TimedAccess, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((record, blocks)) = &mut self.current
                && let Some(block) = blocks.next()
            {
                return Some(Ok(TimedAccess {
                    time_ns: record.time_ns(),
                    op: record.op(),
                    block,
                }));
            }
            match self.records.next()? {
                Ok(record) => self.current = Some((record, record.blocks())),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
