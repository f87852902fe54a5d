//! Block traces that others recorded, read as a stream of requests.
//!
//! A [`Reader`] is an iterator over the [`Record`]s of one file. Each record is
//! decoded and checked once, here: its range exists, and it covers a bounded
//! number of blocks. A reader never holds the whole file, only a few buffers,
//! one line, and the window of [`TimeOrder::Sort`].
//!
//! ```text
//!  file ─ source ─ bytes or lines ─ vscsi | oracle | spc | msr | lis | csv | disk ─ order ─▶ Record ─ expand ─▶ TimedAccess
//!     (gzip, zstd, bzip2, xz)       (one file a format)
//! ```
//!
//! # Formats
//!
//! | name | layout | time | place | length | operation |
//! |---|---|---|---|---|---|
//! | `vscsi` | records of 32 bytes (v1) or 40 (v2) | microseconds | 512-byte sectors | bytes | SCSI command |
//! | `oracle-general` | records of 24 bytes | seconds | object id | one block, or bytes | not recorded: all reads |
//! | `spc` | lines `asu,lba,size,opcode,timestamp` | decimal seconds | 512-byte sectors of an ASU | bytes | `r`, `w` |
//! | `msr` | lines `timestamp,host,disk,type,offset,size,latency` | units of 100 ns | bytes of a disk | bytes | `Read`, `Write` |
//! | `lis` | lines of a first block, a number of blocks, 0, and a request number | none: all 0 | 512-byte blocks | blocks | not recorded: all reads |
//! | `csv` | a header, then lines | by the header | by the header | by the header | `read`, `write`, `r`, `w` |
//! | `trace-disk` | a header of 4096 bytes, records of 8 | none: all 0 | 4096-byte blocks | one block | a bit |
//!
//! The modules [`vscsi`], [`oracle`], [`spc`], [`msr`], [`lis`] and [`csv`]
//! and [`crate::trace_disk`] give the exact layouts. Compression (gzip, zstd, bzip2,
//! xz) is recognised by its magic bytes, whatever the file is called. A
//! format that is not named is guessed, see [`Format`].
//!
//! The lines of text formats end with a newline, with or without a carriage return before
//! it, or with a carriage return alone. A byte order mark, blank lines, and lines that
//! begin with `#` are skipped. Fields between commas may be in quotes, as in CSV, but not
//! over several lines. Skipped is also a first line that names the columns of `spc` or
//! `msr`: one in which no column that must be a number begins like one. Columns that are
//! not used may hold any bytes, except in `lis`, whose lines are four numbers.
//!
//! # What a reader answers
//!
//! | found | answer |
//! |---|---|
//! | the last binary record is cut | all whole records, then [`Problem::CutRecord`] |
//! | the last line has no newline | taken as it is: many files end so, and nothing tells a cut number |
//! | a request of zero bytes | a record that covers no block |
//! | bytes behind compressed data that are none | left out, and [`Counts::trailing`] |
//! | a window of more than [`WINDOW_BYTES_MAX`] | [`Problem::Window`] |
//! | an archive, another compression, UTF-16 | [`Problem::NotRead`], which names it |
//! | objects that overlap, of addresses | by [`Overlap`] |
//! | more than [`OBJECTS_MAX`] objects to keep | [`Problem::TooManyObjects`] |
//! | a request that ends past [`Options::disk_bytes`] | by [`Options::beyond`]: refused, or skipped and counted |
//! | a time before the record before | by [`Options::order`] |
//! | a place or time past 64 bits | [`Problem::Overflow`] |
//! | a request longer than [`Options::length_bytes_max`] | [`Problem::TooLong`] |
//! | a line longer than [`LINE_BYTES_MAX`] | [`Problem::LineTooLong`] |
//! | bytes that are no record of the format | an error with the position and the problem |
//! | more requests than [`Options::limit`] | the rest of the file is not read |
//! | a file of no byte, or of comments alone | [`Problem::Empty`], [`Problem::OnlyComments`] |
//! | no request at all | [`Problem::NoRequests`]: it is never replayed on purpose |
//! | a setting asked for that the format has no use for | [`Problem::NoUse`] |
//!
//! The first error ends the iteration: past a record that cannot be decoded,
//! the start of the next one is unknown.

mod beyond;
mod compression;
pub mod csv;
mod disk;
mod error;
mod expand;
mod format;
pub mod lis;
pub mod msr;
pub mod oracle;
mod order;
mod reader;
mod record;
mod setting;
mod source;
pub mod spc;
mod text;
mod volumes;
pub mod vscsi;

pub use beyond::Beyond;
pub use compression::{Compression, NotRead, WINDOW_BYTES_MAX};
pub use error::{OddLine, Position, Problem, TraceError};
pub use expand::{Accesses, TimedAccess};
pub use format::{Format, UnknownFormat};
pub use oracle::{Ids, OBJECTS_MAX, Overlap};
pub use order::TimeOrder;
pub use reader::{Counts, Options, Reader};
pub use record::{BLOCK_BYTES, Op, Record};
pub use setting::Setting;
pub use source::LINE_BYTES_MAX;
