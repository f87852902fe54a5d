//! vSCSI: what VMware's virtual SCSI tracer wrote, known from the CloudPhysics
//! traces (Waldspurger et al., FAST'15).
//!
//! Little-endian records without a header, in two layouts; v2 has its fields in
//! another order and adds the response time. Offsets in bytes:
//!
//! ```text
//!  v1, 32 bytes                          v2, 40 bytes
//!   0 u32 serial number                   0 u16 command
//!   4 u32 length, bytes                   2 u16 version, high byte 2
//!   8 u32 scatter-gather entries          4 u32 serial number
//!  12 u16 command                         8 u32 length, bytes
//!  14 u16 version, high byte 1           12 u32 scatter-gather entries
//!  16 u64 place, 512-byte sectors        16 u64 place, 512-byte sectors
//!  24 u64 time, microseconds             24 u64 time, microseconds
//!                                        32 u64 response time, microseconds
//! ```
//!
//! The command is the first byte of a SCSI command block (SBC-4). Those that
//! move a range of the disk are READ and WRITE of 6, 10, 12 and 16 bytes and
//! WRITE AND VERIFY; any other below 0x100 (flush, inquiry, unmap …) is skipped
//! and counted, as it touches no cached block or says no range.

use super::record::SECTOR_BYTES;
use super::{Op, Problem, Record};

/// Which of the layouts a file has; all its records have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    V1,
    V2,
}

const V1_BYTES: usize = 32;
const V2_BYTES: usize = 40;

/// How many records at the head of a file must carry the mark of a version.
const MARKS: usize = 8;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What a command does; `None` when it moves no range of the disk.
fn operation(command: u16) -> Option<Op> {
    match command {
        0x08 | 0x28 | 0xa8 | 0x88 => Some(Op::Read),
        0x0a | 0x2a | 0xaa | 0x8a => Some(Op::Write),
        // WRITE AND VERIFY of 10, 12 and 16 bytes.
        0x2e | 0xae | 0x8e => Some(Op::Write),
        _ => None,
    }
}

impl Layout {
    /// Recognises a trace by the versions and commands of its first records.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        [Self::V2, Self::V1].into_iter().find(|layout| {
            let mut records = head.chunks_exact(layout.record_bytes()).take(MARKS);
            records.len() > 0 && records.all(|record| layout.carries_mark(record))
        })
    }

    pub(super) fn record_bytes(self) -> usize {
        match self {
            Self::V1 => V1_BYTES,
            Self::V2 => V2_BYTES,
        }
    }

    /// The command and version fields.
    fn marks(self, record: &[u8]) -> (u16, u16) {
        match self {
            Self::V1 => (u16_at(record, 12), u16_at(record, 14)),
            Self::V2 => (u16_at(record, 0), u16_at(record, 2)),
        }
    }

    fn carries_mark(self, record: &[u8]) -> bool {
        let (command, version) = self.marks(record);
        let number = match self {
            Self::V1 => 1,
            Self::V2 => 2,
        };
        command <= 0xff && version >> 8 == number
    }

    /// Decodes one record; `None` for a command that moves no range.
    pub(super) fn decode(self, record: &[u8]) -> Result<Option<Record>, Problem> {
        let (command, version) = self.marks(record);
        if !self.carries_mark(record) {
            return Err(Problem::Record { version, command });
        }
        let Some(op) = operation(command) else {
            return Ok(None);
        };
        let length_bytes = match self {
            Self::V1 => u32_at(record, 4),
            Self::V2 => u32_at(record, 8),
        };
        let offset_bytes = u64_at(record, 16)
            .checked_mul(SECTOR_BYTES)
            .ok_or(Problem::Overflow("the place of the request"))?;
        let time_ns = u64_at(record, 24)
            .checked_mul(1000)
            .ok_or(Problem::Overflow("the time"))?;
        Record::new(time_ns, op, offset_bytes, u64::from(length_bytes)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_move_a_range_are_reads_or_writes() {
        for command in [0x08, 0x28, 0x88, 0xa8] {
            assert_eq!(operation(command), Some(Op::Read), "{command:#x}");
        }
        for command in [0x0a, 0x2a, 0x8a, 0xaa, 0x2e, 0x8e, 0xae] {
            assert_eq!(operation(command), Some(Op::Write), "{command:#x}");
        }
        // Test unit ready, inquiry, flush, write same, unmap.
        for command in [0x00, 0x12, 0x35, 0x41, 0x42, 0x91, 0x93] {
            assert_eq!(operation(command), None, "{command:#x}");
        }
    }
}
