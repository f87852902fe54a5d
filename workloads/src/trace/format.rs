//! Which format a trace has: named, or guessed.

use core::fmt;
use std::string::String;

use super::{Problem, csv, disk, msr, spc, vscsi};

/// A format that can be read. Without a name, a file is recognised where that
/// is certain:
///
/// - `vscsi` by the versions and commands of its first records, `spc` and `msr`
///   by a first line that only they have, `csv` by its header, `trace-disk` by
///   its magic bytes;
/// - `oracle-general`, whose content has no marks, by a name that ends in
///   `.oracleGeneral` or `.oracleGeneral.bin`;
/// - a name that ends in `.vscsi`, `.spc` or `.msr` must agree with the
///   content; `.csv` says nothing, as three formats use it.
///
/// A last `.gz` or `.zst` of the name does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// VMware's virtual SCSI traces, version 1 or 2.
    Vscsi,
    /// libCacheSim's oracleGeneral.
    OracleGeneral,
    /// The Storage Performance Council's text format.
    Spc,
    /// The text format of the MSR Cambridge traces.
    Msr,
    /// Text with a header that names the columns.
    Csv,
    /// The image that a guest replays.
    TraceDisk,
}

/// A name that is none of the formats'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

const ALL: [Format; 6] = [
    Format::Vscsi,
    Format::OracleGeneral,
    Format::Spc,
    Format::Msr,
    Format::Csv,
    Format::TraceDisk,
];

impl Format {
    /// All names, to show to a person.
    pub const NAMES: &str = "vscsi, oracle-general, spc, msr, csv, trace-disk";

    /// What the format is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vscsi => "vscsi",
            Self::OracleGeneral => "oracle-general",
            Self::Spc => "spc",
            Self::Msr => "msr",
            Self::Csv => "csv",
            Self::TraceDisk => "trace-disk",
        }
    }

    /// Recognises the file called `name` that begins with `head`.
    pub(super) fn guess(name: &str, head: &[u8]) -> Result<Self, Problem> {
        if head.is_empty() {
            return Err(Problem::NoRequests);
        }
        match (by_name(name), by_content(head)) {
            (None, None) => Err(Problem::UnknownFormat),
            (None, Some(format)) => Ok(format),
            // No content contradicts it, and none proves it.
            (Some(Self::OracleGeneral), None) => Ok(Self::OracleGeneral),
            (Some(format), None) => Err(Problem::NotThisFormat(format)),
            (Some(by_name), Some(by_content)) if by_name == by_content => Ok(by_name),
            (Some(by_name), Some(by_content)) => Err(Problem::Contradiction {
                by_name,
                by_content,
            }),
        }
    }
}

fn by_name(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let name = name.strip_suffix(".zst").unwrap_or(name);
    let endings = [
        (".vscsi", Format::Vscsi),
        (".oraclegeneral", Format::OracleGeneral),
        (".oraclegeneral.bin", Format::OracleGeneral),
        (".spc", Format::Spc),
        (".msr", Format::Msr),
    ];
    let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
    found.map(|(_, format)| *format)
}

fn by_content(head: &[u8]) -> Option<Format> {
    if disk::recognises(head) {
        return Some(Format::TraceDisk);
    }
    if vscsi::Layout::of(head).is_some() {
        return Some(Format::Vscsi);
    }
    let first = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = str::from_utf8(first.into_iter().find(|line| !line.is_empty())?).ok()?;
    match () {
        () if csv::recognises(line) => Some(Format::Csv),
        () if msr::recognises(line) => Some(Format::Msr),
        () if spc::recognises(line) => Some(Format::Spc),
        () => None,
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat(String::from(name)))
    }
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        let names = Format::NAMES;
        write!(
            f,
            "{name:?} is no trace format that can be read: name one of {names}"
        )
    }
}

impl std::error::Error for UnknownFormat {}
