//! Which format a trace has: named, or guessed.

use core::fmt;
use std::string::String;
use std::vec::Vec;

use super::error::OddLine;
use super::source::Source;
use super::text::{content_lines, quoted_line};
use super::{Problem, compression, csv, disk, lis, msr, spc, vscsi};

/// A format that can be read. Without a name, a file is recognised where that
/// is certain:
///
/// - `vscsi` by the versions and commands of its first records, `spc` and `msr`
///   by their first line, or by the second where the first names columns, `lis` by its
///   first line, `csv` by its header, `trace-disk` by its magic bytes; blank lines and
///   comments do not count;
/// - `oracle-general`, whose content has no marks, by a name that ends in
///   `.oracleGeneral` or `.oracleGeneral.bin`;
/// - a name that ends in `.vscsi`, `.spc`, `.msr` or `.lis` must agree with the
///   content; `.csv` decides nothing, as three formats use it.
///
/// A last `.gz`, `.zst`, `.bz2` or `.xz` of the name does not count.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = UnknownFormat,
    parse_err_fn = UnknownFormat::of
)]
pub enum Format {
    /// VMware's virtual SCSI traces, version 1 or 2.
    Vscsi,
    /// libCacheSim's oracleGeneral.
    OracleGeneral,
    /// The Storage Performance Council's text format.
    Spc,
    /// The text format of the MSR Cambridge traces.
    Msr,
    /// The text format of the traces of the ARC cache.
    Lis,
    /// Text with a header that names the columns.
    Csv,
    /// The image that a guest replays.
    TraceDisk,
}

/// A name that is none of the formats'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl Format {
    /// All names, for messages.
    pub fn names() -> String {
        <Self as strum::VariantNames>::VARIANTS.join(", ")
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The format of the file called `name`: as it was `named`, or recognised.
    pub(super) fn of(name: &str, source: &Source, named: Option<Self>) -> Result<Self, Problem> {
        let head = source.head();
        let format = named.map_or_else(|| Self::guess(name, head), Ok);
        let content = by_content(head);
        // Its traces may begin with any bytes.
        let is_any = matches!(format, Ok(Self::OracleGeneral));
        // A line of numbers between blanks is of no other format: the whole file is not as
        // named, not only that line.
        if let (Some(named), Some(found)) = (named, content)
            && !is_any
            && named != found
            && [named, found].contains(&Self::Lis)
        {
            return Err(Problem::NotThisFormat(named, odd_lines(head, &[named])));
        }
        if is_any || content.is_some() {
            return format;
        }
        if let Some(found) = compression::not_read_weak(head) {
            return Err(Problem::NotRead(found));
        }
        let mut lines = content_lines(head).map(|(_, line)| line);
        match lines.next() {
            None if source.is_whole() && !head.contains(&0) => Err(Problem::OnlyComments),
            _ => format,
        }
    }

    /// Recognises the file called `name` that begins with `head`.
    fn guess(name: &str, head: &[u8]) -> Result<Self, Problem> {
        match (by_name(name), by_content(head)) {
            (None, None) => {
                let lines = odd_lines(head, &[Self::Csv, Self::Msr, Self::Spc, Self::Lis]);
                Err(Problem::UnknownFormat(lines))
            }
            (None, Some(format)) => Ok(format),
            // No content contradicts it, and none proves it.
            (Some(Self::OracleGeneral), None) => Ok(Self::OracleGeneral),
            (Some(format), None) => Err(Problem::NotThisFormat(format, odd_lines(head, &[format]))),
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
    let compressed = [".gz", ".zst", ".bz2", ".xz"];
    let name = compressed
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    let endings = [
        (".vscsi", Format::Vscsi),
        (".oraclegeneral", Format::OracleGeneral),
        (".oraclegeneral.bin", Format::OracleGeneral),
        (".spc", Format::Spc),
        (".msr", Format::Msr),
        (".lis", Format::Lis),
    ];
    let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
    found.map(|(_, format)| *format)
}

fn by_content(head: &[u8]) -> Option<Format> {
    if disk::has_magic(head) {
        return Some(Format::TraceDisk);
    }
    if vscsi::Layout::of(head).is_some() {
        return Some(Format::Vscsi);
    }
    let mut lines = content_lines(head).map(|(_, line)| line);
    let first = lines.next()?;
    if csv::is_named_header(first) {
        return Some(Format::Csv);
    }
    if lis::oddity(first).is_none() {
        return Some(Format::Lis);
    }
    // Both may use the same column names: then the next line decides.
    let second = lines.next();
    let request = |is_header: bool| if is_header { second } else { Some(first) };
    if request(msr::is_header(first)).is_some_and(msr::is_request) {
        return Some(Format::Msr);
    }
    let is_spc = |line| spc::oddity(line).is_none();
    request(spc::is_header(first))
        .is_some_and(is_spc)
        .then_some(Format::Spc)
}

/// What is odd, for each of these formats, in the first line with content of a file that
/// begins with `head`, or in the second where the first names its columns. Nothing where
/// the file is not text.
fn odd_lines(head: &[u8], formats: &[Format]) -> Vec<OddLine> {
    let mut found: Vec<OddLine> = Vec::new();
    let is_text = |line: &[u8]| !line.iter().any(|byte| *byte < b' ' && *byte != b'\t');
    let lines: Vec<_> = content_lines(head).take(2).collect();
    let Some((first, line)) = lines.first().filter(|(_, line)| is_text(line)) else {
        return found;
    };
    let mut note = |number: u64, line: &[u8], format: Format, problem: Option<Problem>| {
        let Some(problem) = problem else {
            return;
        };
        let odd = (format, problem.brief());
        match found.iter_mut().find(|of| of.number == number) {
            Some(of) => of.odd.push(odd),
            None => found.push(OddLine {
                number,
                line: quoted_line(line),
                odd: Vec::from([odd]),
            }),
        }
    };
    for format in formats {
        let is_header = match format {
            Format::Msr => msr::is_header(line),
            Format::Spc => spc::is_header(line),
            _ => false,
        };
        let second = lines.get(1).filter(|_| is_header);
        let (number, line) = *second.unwrap_or(&(*first, *line));
        let oddity = match format {
            Format::Csv => csv::oddity(line),
            Format::Msr => msr::oddity(line),
            Format::Spc => spc::oddity(line),
            Format::Lis => lis::oddity(line),
            Format::Vscsi | Format::OracleGeneral | Format::TraceDisk => None,
        };
        note(number, line, *format, oddity);
    }
    found
}

impl UnknownFormat {
    fn of(name: &str) -> Self {
        Self(String::from(name))
    }
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        let names = Format::names();
        write!(f, "invalid trace format {name:?}; expected one of {names}")
    }
}

impl std::error::Error for UnknownFormat {}
