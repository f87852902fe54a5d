//! What is wrong with a trace, where, and what to do about it.

use core::fmt;
use std::io;
use std::string::{String, ToString};
use std::vec::Vec;

use super::compression::{Compression, NotRead};
use super::{Format, Setting};

/// Why a trace cannot be read, or not further. Displays as one sentence that
/// names the file, the place and, where there is one, a way out.
#[derive(Debug)]
pub struct TraceError {
    /// The file, as the caller called it.
    pub file: String,
    /// The place of the trouble in it.
    pub position: Position,
    /// The trouble.
    pub problem: Problem,
}

/// A place in a trace, of the decompressed content where it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// No place: the file as a whole.
    File,
    /// The byte at which a binary record begins, from 0.
    Byte(u64),
    /// A line of text, from 1.
    Line(u64),
}

/// What is wrong. [`Problem::remedy`] has what to do about it, as far as that does not
/// depend on the names of a caller's options.
#[derive(Debug)]
pub enum Problem {
    /// The file cannot be read.
    Io(io::Error),
    /// Its compression is broken, or ends early.
    Damaged {
        /// What it is compressed with.
        compression: Compression,
        /// The error of the decoder.
        error: io::Error,
    },
    /// To decompress it takes a window of more than [`super::WINDOW_BYTES_MAX`].
    Window(Compression),
    /// It is in an archive, compression or encoding that is not supported.
    NotRead(NotRead),
    /// No format was given, and neither name nor content identifies one.
    UnknownFormat(Vec<OddLine>),
    /// No format was given, and name and content point to different ones.
    Contradiction {
        /// The format by the name of the file.
        by_name: Format,
        /// What its content looks like.
        by_content: Format,
    },
    /// The file is not of the given format.
    NotThisFormat(Format, Vec<OddLine>),
    /// The file, or what it decompresses to, has no byte.
    Empty,
    /// A text of nothing but blank lines and comments.
    OnlyComments,
    /// The trace holds neither a read nor a write.
    NoRequests,
    /// A setting of [`super::Options::asked`] that the format has no use for.
    NoUse {
        /// The format.
        format: Format,
        /// The setting.
        setting: Setting,
    },
    /// The file ends within a binary record.
    CutRecord {
        /// What is there of it.
        found_bytes: usize,
        /// What a record takes.
        record_bytes: usize,
    },
    /// A line does not end.
    LineTooLong,
    /// A line holds a byte of 0.
    NotText,
    /// A line has fewer fields than its format.
    FieldMissing {
        /// The first that is missing.
        name: &'static str,
        /// The line, quoted.
        line: String,
    },
    /// A line has something else between its fields than commas.
    Separator {
        /// What it has.
        separators: &'static str,
        /// The line, quoted.
        line: String,
    },
    /// A field does not say what it should.
    Field {
        /// Which one.
        name: &'static str,
        /// What it says, quoted.
        text: String,
        /// What it should say.
        expected: &'static str,
        /// The line, quoted.
        line: String,
    },
    /// The header of a CSV file lacks a column or has it twice.
    Column {
        /// The names that the column can have.
        choices: &'static str,
        /// How many of them there are.
        found: usize,
        /// The header, quoted.
        line: String,
    },
    /// A vSCSI record is not of the version that the file began with, or its
    /// command is none.
    Record {
        /// The version field of the record.
        version: u16,
        /// Its command field.
        command: u16,
    },
    /// A number does not fit 64 bits, in bytes or nanoseconds.
    Overflow(&'static str),
    /// A request is longer than [`super::Options::length_bytes_max`].
    TooLong {
        /// Its length.
        length_bytes: u64,
        /// The longest allowed.
        max: u32,
    },
    /// A request ends past [`super::Options::disk_bytes`].
    BeyondDisk {
        /// Where it ends.
        end_bytes: u64,
        /// Where the disk does.
        disk_bytes: u64,
    },
    /// A place lies past [`super::Options::volume_bytes`].
    BeyondVolume {
        /// The end of the request within its volume.
        end_bytes: u64,
        /// The room of a volume.
        volume_bytes: u64,
    },
    /// There are more volumes than a reader keeps apart.
    TooManyVolumes(usize),
    /// There are more objects than a reader keeps apart.
    TooManyObjects(usize),
    /// Two objects share bytes, so their ids are no addresses of this unit.
    Overlap {
        /// The id of the one that begins first.
        first: u64,
        /// Where it ends.
        first_end_bytes: u64,
        /// The id of the other.
        second: u64,
        /// Where that begins.
        second_begin_bytes: u64,
    },
    /// A record is earlier than one before it.
    TimeGoesBack {
        /// By how much.
        by_ns: u64,
    },
}

/// A line at the head of a file, and why it is not of the formats that it might be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddLine {
    /// Its number, from 1.
    pub number: u64,
    /// The line, quoted.
    pub line: String,
    /// What each of these formats misses in it.
    pub odd: Vec<(Format, String)>,
}

impl fmt::Display for OddLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is {}", self.number, self.line)?;
        for (format, odd) in &self.odd {
            write!(f, ", not {format} as {odd}")?;
        }
        Ok(())
    }
}

/// Bytes as options say them: in the largest unit of which they are a whole number.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")];
        let whole = |(shift, _): &&(u32, &str)| self.0 >> shift << shift == self.0;
        let (shift, unit) = units
            .iter()
            .filter(|(shift, _)| self.0 >> shift > 0)
            .find(whole)
            .unwrap_or(&(0, "B"));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// How many columns a header has for one thing, of the names that such a column may have.
struct Columns(usize, &'static str);

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(found, choices) = self;
        match found {
            0 => write!(f, "has no column named {choices}"),
            _ => write!(
                f,
                "has {found} columns named {choices}, where one is needed"
            ),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::Line(line) => write!(f, ", line {line}"),
        }
    }
}

impl Problem {
    /// The same without the line that it quotes, for where that was quoted already.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::FieldMissing { name, .. } => std::format!("it ends before the {name}"),
            Self::Separator { separators, .. } => {
                std::format!("it has {separators} instead of commas")
            }
            Self::Field {
                name,
                text,
                expected,
                ..
            } => std::format!("the {name} is {text} and not {expected}"),
            Self::Column { choices, found, .. } => {
                std::format!("it {}", Columns(*found, choices))
            }
            other => other.to_string(),
        }
    }

    /// What to do about it, where that can be said without knowing the caller's options.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Io(_) | Self::Damaged { .. } | Self::TooManyObjects(_) => return None,
            Self::Window(Compression::Zstd) => {
                "compress it again with a smaller one (`zstd --long=31` at most)"
            }
            Self::Window(_) => "compress it again with a smaller one",
            Self::NotRead(found) => found.remedy,
            Self::UnknownFormat(_) => {
                "name one of vscsi, oracle-general, spc, msr, lis, csv, trace-disk"
            }
            Self::Contradiction { .. } => "name the format",
            Self::NotThisFormat(..) => "name another format",
            Self::Empty => "check that it was copied completely",
            Self::OnlyComments | Self::NoRequests => {
                "check that the file is complete and of this format"
            }
            Self::NoUse { .. } => "leave that setting out",
            Self::CutRecord { .. } => "get it whole, or cut it to this byte",
            Self::LineTooLong => "this is not a text trace, name its format",
            Self::NotText => "this is not a text trace, or one in UTF-16: name or convert it",
            Self::FieldMissing { .. } => "complete or remove the line",
            Self::Separator { .. } => "put commas in their place",
            Self::Field { .. } => "correct or remove the line",
            Self::Column { .. } => "give the header exactly one",
            Self::Record { .. } => "name another format, or cut the file to this byte",
            Self::Overflow(_) => "check the unit, or remove the record",
            Self::TooLong { max, .. } if *max == super::Record::LENGTH_BYTES_CAP => {
                "split or remove the request, or name another format"
            }
            Self::TooLong { .. } => "raise the limit if it is real, or name another format",
            Self::BeyondDisk { .. } => "give a larger disk, or have such requests skipped",
            Self::BeyondVolume { .. } => "give each volume more room",
            Self::TooManyVolumes(_) => "split the file, one volume each",
            Self::Overlap { .. } => "take ids as objects, or let addresses overlap",
            Self::TimeGoesBack { .. } => "have times clamped, or sorted within a (larger) window",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |f: &mut fmt::Formatter<'_>, lines: &[OddLine]| {
            lines.iter().try_for_each(|line| write!(f, "; {line}"))
        };
        match self {
            Self::Io(_) => f.write_str("cannot be read"),
            Self::Damaged { compression, error } => match error.kind() {
                io::ErrorKind::UnexpectedEof => write!(f, "its {compression} data ends early"),
                _ => write!(f, "its {compression} data is damaged"),
            },
            Self::Window(compression) => write!(
                f,
                "its {compression} data needs a window of more than {} GiB",
                super::WINDOW_BYTES_MAX >> 30
            ),
            Self::NotRead(found) => write!(f, "is {}, which is not supported", found.what),
            Self::UnknownFormat(odd) => {
                f.write_str("neither its name nor its content identifies the format")?;
                lines(f, odd)
            }
            Self::Contradiction {
                by_name,
                by_content,
            } => write!(
                f,
                "is named like {by_name}, but its content looks like {by_content}"
            ),
            Self::NotThisFormat(format, odd) => {
                write!(f, "does not start like a trace of format {format}")?;
                lines(f, odd)
            }
            Self::Empty => f.write_str("the file is empty"),
            Self::OnlyComments => f.write_str("has only comments and blank lines"),
            Self::NoRequests => f.write_str("has no read and no write request"),
            Self::NoUse { format, setting } => setting.why_unused(*format, f),
            Self::CutRecord {
                found_bytes,
                record_bytes,
            } => write!(
                f,
                "the file ends after {found_bytes} of the {record_bytes} bytes of a record"
            ),
            Self::LineTooLong => {
                write!(f, "the line is longer than {} bytes", super::LINE_BYTES_MAX)
            }
            Self::NotText => f.write_str("the line contains NUL bytes"),
            Self::FieldMissing { name, line } => {
                write!(f, "the line {line} ends before its {name}")
            }
            Self::Separator { separators, line } => {
                write!(f, "the line {line} has {separators} instead of commas")
            }
            Self::Field {
                name,
                text,
                expected,
                line,
            } => write!(
                f,
                "the {name} is {text}, which is not {expected}, in {line}"
            ),
            Self::Column {
                choices,
                found,
                line,
            } => write!(f, "the header {line} {}", Columns(*found, choices)),
            Self::Record { version, command } => write!(
                f,
                "version {version:#06x} with command {command:#06x} is not a record of this trace"
            ),
            Self::Overflow(what) => write!(f, "{what} exceeds 64 bits"),
            Self::TooLong { length_bytes, max } => write!(
                f,
                "a request of {length_bytes} bytes exceeds the limit of {}",
                Size((*max).into())
            ),
            Self::BeyondDisk {
                end_bytes,
                disk_bytes,
            } => write!(
                f,
                "the request ends at byte {end_bytes} of a disk of {}",
                Size(*disk_bytes)
            ),
            Self::BeyondVolume {
                end_bytes,
                volume_bytes,
            } => write!(
                f,
                "the request ends at byte {end_bytes} of a volume given {}",
                Size(*volume_bytes)
            ),
            Self::TooManyVolumes(max) => write!(f, "more than {max} volumes"),
            Self::TooManyObjects(max) => write!(
                f,
                "more than {max} different objects, the limit of what is kept in memory"
            ),
            Self::Overlap {
                first,
                first_end_bytes,
                second,
                second_begin_bytes,
            } => write!(
                f,
                "the objects {first} and {second}, taken as addresses, overlap: the one ends at \
                 byte {first_end_bytes} and the other begins at byte {second_begin_bytes}"
            ),
            Self::TimeGoesBack { by_ns } => {
                write!(f, "the record is {by_ns} ns earlier than one before it")
            }
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {}", self.file, self.position, self.problem)?;
        match self.problem.remedy() {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) | Problem::Damaged { error, .. } => Some(error),
            _ => None,
        }
    }
}
