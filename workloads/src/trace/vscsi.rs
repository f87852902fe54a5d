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

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::record::SECTOR_BYTES;
use super::{Op, Problem, Record};

/// Which of the layouts a file has; all its records have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    V1,
    V2,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct V1 {
    _serial: U32,
    length: U32,
    _segments: U32,
    command: U16,
    version: U16,
    sector: U64,
    time_us: U64,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct V2 {
    command: U16,
    version: U16,
    _serial: U32,
    length: U32,
    _segments: U32,
    sector: U64,
    time_us: U64,
    _response_us: U64,
}

const _: () = assert!(size_of::<V1>() == 32 && size_of::<V2>() == 40);

/// What both layouts say.
struct Fields {
    command: u16,
    version: u16,
    length: u32,
    sector: u64,
    time_us: u64,
}

macro_rules! fields {
    ($layout:ty, $record:expr) => {{
        let (raw, _) = <$layout>::ref_from_prefix($record).expect("a whole record");
        Fields {
            command: raw.command.get(),
            version: raw.version.get(),
            length: raw.length.get(),
            sector: raw.sector.get(),
            time_us: raw.time_us.get(),
        }
    }};
}

/// How many records at the head of a file must carry the mark of a version.
const MARKS: usize = 8;

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
            let marked = |record| layout.is_marked(&layout.fields(record));
            records.len() > 0 && records.all(marked)
        })
    }

    pub(super) fn record_bytes(self) -> usize {
        match self {
            Self::V1 => size_of::<V1>(),
            Self::V2 => size_of::<V2>(),
        }
    }

    fn fields(self, record: &[u8]) -> Fields {
        match self {
            Self::V1 => fields!(V1, record),
            Self::V2 => fields!(V2, record),
        }
    }

    fn is_marked(self, fields: &Fields) -> bool {
        let number = match self {
            Self::V1 => 1,
            Self::V2 => 2,
        };
        fields.command <= 0xff && fields.version >> 8 == number
    }

    /// Decodes one record; `None` for a command that moves no range.
    pub(super) fn decode(self, record: &[u8]) -> Result<Option<Record>, Problem> {
        let fields = self.fields(record);
        if !self.is_marked(&fields) {
            let Fields {
                version, command, ..
            } = fields;
            return Err(Problem::Record { version, command });
        }
        let Some(op) = operation(fields.command) else {
            return Ok(None);
        };
        let offset_bytes = fields
            .sector
            .checked_mul(SECTOR_BYTES)
            .ok_or(Problem::Overflow("the place of the request"))?;
        let time_ns = fields
            .time_us
            .checked_mul(1000)
            .ok_or(Problem::Overflow("the time"))?;
        Record::new(time_ns, op, offset_bytes, u64::from(fields.length)).map(Some)
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
