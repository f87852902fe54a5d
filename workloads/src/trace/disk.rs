//! Trace disks: what the harness made of another trace for a guest, read back.
//!
//! The layout is that of [`crate::trace_disk`]. Each access is a request of its own,
//! as long as a block, at time 0: what a cache sees is the same as of the trace that the
//! disk was made of, and of the requests it came from only their order is left.

use std::vec::Vec;

use super::source::{Source, Trouble};
use super::{BLOCK_BYTES, Format, Op, Position, Problem, Record};
use crate::trace_disk::{self, AccessRecord, Header, RECORD_BYTES};

const _: () = assert!(trace_disk::BLOCK_BYTES as u64 == BLOCK_BYTES);

/// The accesses of a trace disk that are still to be read.
pub(super) struct Disk {
    left: u64,
}

/// True for the first bytes of this format.
pub(super) fn has_magic(head: &[u8]) -> bool {
    head.starts_with(&trace_disk::MAGIC)
}

impl Disk {
    /// Reads the header. How long the disk is shows when it ends: where the file is
    /// compressed, nothing says so before.
    pub(super) fn new(source: &mut Source) -> Result<Self, Trouble> {
        let mut block = [0; trace_disk::BLOCK_BYTES];
        let not_this = (
            Position::File,
            Problem::NotThisFormat(Format::TraceDisk, Vec::new()),
        );
        if source.record(&mut block)?.is_none() {
            return Err(not_this);
        }
        match Header::decode(&block, u64::MAX) {
            Ok(header) => Ok(Self {
                left: header.accesses,
            }),
            Err(_) => Err(not_this),
        }
    }

    /// The next access. What follows the last one fills up a block, and is not read.
    pub(super) fn next(
        &mut self,
        source: &mut Source,
    ) -> Result<Option<(Position, Record)>, Trouble> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        let at = source.position();
        let mut bytes = [0; RECORD_BYTES];
        let Some(position) = source.record(&mut bytes)? else {
            let cut = Problem::CutRecord {
                found_bytes: 0,
                record_bytes: RECORD_BYTES,
            };
            return Err((at, cut));
        };
        self.left = left;
        let access = AccessRecord::decode(bytes);
        let op = if access.write { Op::Write } else { Op::Read };
        let offset_bytes = u64::from(access.block) * BLOCK_BYTES;
        match Record::new(0, op, offset_bytes, BLOCK_BYTES) {
            Ok(record) => Ok(Some((position, record))),
            Err(problem) => Err((position, problem)),
        }
    }
}
