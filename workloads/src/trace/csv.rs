//! CSV: any trace, its columns named by a header.
//!
//! The first line with content names the columns, in any order and case. Four things are
//! needed, each by exactly one column, whose name says its unit; other columns
//! are ignored:
//!
//! | thing | columns |
//! |---|---|
//! | time | `time_ns`, `time_us`, `time_ms`, `time_s`: decimal numbers |
//! | operation | `op`: `read`, `write`, `r` or `w`, of either case |
//! | place | `offset_bytes`; `sector`, of 512 bytes; `block`, of 4096 bytes |
//! | length | `length_bytes`; `sectors`; `blocks` |
//!
//! Fields are separated by commas; blanks and quotes around them do not count.
//!
//! ```text
//! time_us,op,block,blocks
//! 0,read,17,1
//! 250,write,4,8
//! ```

use super::record::{BLOCK_BYTES, SECTOR_BYTES};
use super::text::{Field, Fields, quoted_line, separated};
use super::{Problem, Record};

/// The columns of one thing: their names and units, and what they are called in
/// an error.
struct Choices {
    names: &'static [(&'static str, u64)],
    shown: &'static str,
}

const TIME: Choices = Choices {
    names: &[
        ("time_ns", 1),
        ("time_us", 1000),
        ("time_ms", 1_000_000),
        ("time_s", 1_000_000_000),
    ],
    shown: "time_ns, time_us, time_ms or time_s",
};
const OPERATION: Choices = Choices {
    names: &[("op", 1)],
    shown: "op",
};
const PLACE: Choices = Choices {
    names: &[
        ("offset_bytes", 1),
        ("sector", SECTOR_BYTES),
        ("block", BLOCK_BYTES),
    ],
    shown: "offset_bytes, sector or block",
};
const LENGTH: Choices = Choices {
    names: &[
        ("length_bytes", 1),
        ("sectors", SECTOR_BYTES),
        ("blocks", BLOCK_BYTES),
    ],
    shown: "length_bytes, sectors or blocks",
};

/// Where in a line one thing is, and its unit in bytes or nanoseconds.
#[derive(Clone, Copy)]
struct Column {
    index: usize,
    unit: u64,
}

/// What the header said.
pub(super) struct Csv {
    time: Column,
    operation: Column,
    place: Column,
    length: Column,
}

impl Choices {
    fn find(&self, header: &[u8]) -> Result<Column, Problem> {
        let mut found = 0;
        let mut column = None;
        for (index, name) in Fields::of(header).enumerate() {
            if let Some(unit) = self.unit(name) {
                found += 1;
                column = Some(Column { index, unit });
            }
        }
        let names_one = |_, names: &[&[u8]]| {
            let all = [TIME, OPERATION, PLACE, LENGTH];
            names
                .iter()
                .any(|name| all.iter().any(|of| of.unit(name).is_some()))
        };
        column.filter(|_| found == 1).ok_or_else(|| {
            separated(header, names_one).unwrap_or_else(|| Problem::Column {
                choices: self.shown,
                found,
                line: quoted_line(header),
            })
        })
    }

    /// The unit that a column of this name has, if it is one of these.
    fn unit(&self, name: &[u8]) -> Option<u64> {
        let is_it = |(choice, _): &&(&str, u64)| name.eq_ignore_ascii_case(choice.as_bytes());
        self.names.iter().find(is_it).map(|(_, unit)| *unit)
    }
}

impl Csv {
    /// Reads the header.
    pub(super) fn new(header: &[u8]) -> Result<Self, Problem> {
        Ok(Self {
            time: TIME.find(header)?,
            operation: OPERATION.find(header)?,
            place: PLACE.find(header)?,
            length: LENGTH.find(header)?,
        })
    }

    pub(super) fn decode(&self, line: &[u8]) -> Result<Record, Problem> {
        let field = |column: Column, name| -> Result<Field<'_>, Problem> {
            let mut fields = Fields::of(line);
            for _ in 0..column.index {
                fields.need(name)?;
            }
            fields.need(name)
        };
        let time_ns = field(self.time, "time")?.decimal(self.time.unit)?;
        let op = field(self.operation, "operation")?.operation()?;
        let offset_bytes = field(self.place, "place")?.whole(self.place.unit)?;
        let length_bytes = field(self.length, "length")?.whole(self.length.unit)?;
        Record::new(time_ns, op, offset_bytes, length_bytes)
    }
}

/// Why a line is not a header of this format.
pub(super) fn oddity(line: &[u8]) -> Option<Problem> {
    Csv::new(line).err()
}

/// True for a header of this format.
pub(super) fn is_named_header(line: &[u8]) -> bool {
    oddity(line).is_none()
}
