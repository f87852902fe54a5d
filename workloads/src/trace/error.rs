//! What is wrong with a trace, where, and what to do about it.

use core::fmt;
use std::io;
use std::string::String;

use super::Format;

/// Why a trace cannot be read, or not further. Displays as one sentence that
/// names the file, the place and a way out.
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

/// What is wrong.
#[derive(Debug)]
pub enum Problem {
    /// The file cannot be read, or its compression is broken.
    Io(io::Error),
    /// No format was named, and neither name nor content says one.
    UnknownFormat,
    /// No format was named, and name and content say different ones.
    Contradiction {
        /// What the name of the file says.
        by_name: Format,
        /// What its content looks like.
        by_content: Format,
    },
    /// The file is not what it was said to be.
    NotThisFormat(Format),
    /// The trace holds no read and no write.
    NoRequests,
    /// The file ends within a binary record.
    CutRecord {
        /// What is there of it.
        found_bytes: usize,
        /// What a record takes.
        record_bytes: usize,
    },
    /// A line does not end.
    LineTooLong,
    /// A line is not text.
    NotText,
    /// A line has fewer fields than its format.
    FieldMissing(&'static str),
    /// A field does not say what it should.
    Field {
        /// Which one.
        name: &'static str,
        /// What it says.
        text: String,
        /// What it should say.
        expected: &'static str,
    },
    /// The header of a CSV file lacks a column or has it twice.
    Column {
        /// The names that the column can have.
        choices: &'static str,
        /// How many of them there are.
        found: usize,
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
    /// A record is earlier than one before it.
    TimeGoesBack {
        /// By how much.
        by_ns: u64,
    },
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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(
                f,
                "cannot be read ({error}): see that the file is there and complete"
            ),
            Self::UnknownFormat => write!(
                f,
                "neither its name nor its content says what format it is: name one of {}",
                Format::NAMES
            ),
            Self::Contradiction {
                by_name,
                by_content,
            } => write!(
                f,
                "is called like {by_name} but looks like {by_content}: name the format"
            ),
            Self::NotThisFormat(format) => write!(
                f,
                "does not begin like a trace of format {format}: name another of {}",
                Format::NAMES
            ),
            Self::NoRequests => f.write_str(
                "holds no read and no write: see that the file is complete and of this format",
            ),
            Self::CutRecord {
                found_bytes,
                record_bytes,
            } => write!(
                f,
                "the file ends after {found_bytes} of the {record_bytes} bytes of a record: \
                 get it whole, or cut it to this byte"
            ),
            Self::LineTooLong => write!(
                f,
                "the line is longer than {} bytes: this is no text trace, name its format",
                super::LINE_BYTES_MAX
            ),
            Self::NotText => {
                f.write_str("the line is not text: this is no text trace, name its format")
            }
            Self::FieldMissing(name) => write!(
                f,
                "the line ends before its {name}: complete or remove the line"
            ),
            Self::Field {
                name,
                text,
                expected,
            } => write!(
                f,
                "the {name} is {text:?}, which is not {expected}: correct or remove the line"
            ),
            Self::Column { choices, found } => write!(
                f,
                "the header has {found} columns for what takes one of {choices}: \
                 give it exactly one of them"
            ),
            Self::Record { version, command } => write!(
                f,
                "version {version:#06x} with command {command:#06x} is no record of this trace: \
                 name another format, or cut the file to this byte"
            ),
            Self::Overflow(what) => write!(
                f,
                "{what} is past 64 bits: check the unit, or remove the record"
            ),
            Self::TooLong { length_bytes, max } => write!(
                f,
                "a request of {length_bytes} bytes, where {max} is the most: \
                 raise the limit (up to {}) if it is real",
                super::Record::LENGTH_BYTES_CAP
            ),
            Self::BeyondDisk {
                end_bytes,
                disk_bytes,
            } => write!(
                f,
                "the request ends at byte {end_bytes} of a disk of {disk_bytes}: \
                 give a larger disk, or have such requests skipped"
            ),
            Self::BeyondVolume {
                end_bytes,
                volume_bytes,
            } => write!(
                f,
                "the request ends at byte {end_bytes} of a volume given {volume_bytes}: \
                 give each volume more room"
            ),
            Self::TooManyVolumes(max) => write!(
                f,
                "more than {max} volumes: split the file, one volume each"
            ),
            Self::TimeGoesBack { by_ns } => write!(
                f,
                "the record is {by_ns} ns earlier than one before it: \
                 have times clamped, or sorted within a (larger) window"
            ),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {}", self.file, self.position, self.problem)
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}
