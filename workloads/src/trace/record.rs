//! One request of a trace, decoded and checked.

use std::ops::Range;

use super::Problem;

/// The unit in which traces are replayed, in bytes: the block of a vSSD.
pub const BLOCK_BYTES: u64 = 4096;

/// The unit of logical block addresses in SCSI traces, in bytes.
pub(super) const SECTOR_BYTES: u64 = 512;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Data moves from the disk.
    Read,
    /// Data moves to the disk.
    Write,
}

/// One request. Its range ends within 64 bits and its length is at most
/// [`Record::LENGTH_BYTES_CAP`], or there is no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    time_ns: u64,
    op: Op,
    offset_bytes: u64,
    length_bytes: u32,
}

impl Record {
    /// 1 GiB, the longest request: no disk interface takes
    /// longer ones, so that a record is expanded in bounded time.
    pub const LENGTH_BYTES_CAP: u32 = 1 << 30;

    /// A request at `time_ns`, counted from whatever its trace counts from.
    pub fn new(
        time_ns: u64,
        op: Op,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Self, Problem> {
        let length = u32::try_from(length_bytes)
            .ok()
            .filter(|length| *length <= Self::LENGTH_BYTES_CAP)
            .ok_or(Problem::TooLong {
                length_bytes,
                max: Self::LENGTH_BYTES_CAP,
            })?;
        offset_bytes
            .checked_add(length_bytes)
            .ok_or(Problem::Overflow("the end of the request"))?;
        Ok(Self {
            time_ns,
            op,
            offset_bytes,
            length_bytes: length,
        })
    }

    /// When the request was made. A [`super::Reader`] counts from the first
    /// record that it yields.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    pub(super) fn at(self, time_ns: u64) -> Self {
        Self { time_ns, ..self }
    }

    /// Read or write.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Where the request begins.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// How much it moves; may be 0.
    pub fn length_bytes(&self) -> u32 {
        self.length_bytes
    }

    /// The first byte after the request.
    pub fn end_bytes(&self) -> u64 {
        // Checked where the record was made.
        self.offset_bytes + u64::from(self.length_bytes)
    }

    /// The numbers of the blocks that the request touches, whole or in part;
    /// none when it moves nothing. A block is [`BLOCK_BYTES`] long.
    pub fn blocks(&self) -> Range<u64> {
        let first = self.offset_bytes / BLOCK_BYTES;
        match self.length_bytes {
            0 => first..first,
            _ => first..self.end_bytes().div_ceil(BLOCK_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(offset: u64, length: u64) -> Range<u64> {
        Record::new(0, Op::Read, offset, length).unwrap().blocks()
    }

    #[test]
    fn a_request_touches_each_block_that_it_overlaps() {
        assert_eq!(blocks(0, 4096), 0..1);
        assert_eq!(blocks(4095, 1), 0..1);
        assert_eq!(blocks(4095, 2), 0..2);
        assert_eq!(blocks(512, 4096), 0..2);
        assert_eq!(blocks(8192, 12288), 2..5);
        assert!(blocks(5000, 0).is_empty());
    }

    #[test]
    fn the_last_byte_of_64_bits_has_a_block() {
        assert_eq!(blocks(u64::MAX - 1, 1), (1 << 52) - 1..1 << 52);
        assert!(Record::new(0, Op::Read, u64::MAX, 1).is_err());
    }

    #[test]
    fn no_request_is_longer_than_the_cap() {
        let cap = u64::from(Record::LENGTH_BYTES_CAP);
        assert!(Record::new(0, Op::Write, 0, cap).is_ok());
        for length in [cap + 1, 1 << 32, (1 << 32) + 1, u64::MAX] {
            assert!(Record::new(0, Op::Write, 0, length).is_err(), "{length}");
        }
    }
}
