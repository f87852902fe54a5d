//! The iterator over a trace.

use core::mem;
use core::num::NonZeroU64;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::string::{String, ToString};
use std::vec::Vec;

use super::compression::Compression;
use super::csv::Csv;
use super::disk::Disk;
use super::error::Size;
use super::msr::{self, Msr};
use super::oracle::{Ids, Oracle, Overlap};
use super::order::Order;
use super::source::{Source, Trouble};
use super::spc::{self, Spc};
use super::vscsi::Layout;
use super::{
    Beyond, Format, Position, Problem, Record, Setting, TimeOrder, TraceError, lis, oracle,
};

/// How to read a trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its format; guessed when there is none.
    pub format: Option<Format>,
    /// What to do when times go back.
    pub order: TimeOrder,
    /// Settings that the format must have a use for; the trace is refused otherwise.
    pub asked: Vec<Setting>,
    /// The longest request taken, 64 MiB unless said otherwise: some times what
    /// block layers let through, and less than most garbage says. At most
    /// [`Record::LENGTH_BYTES_CAP`].
    pub length_bytes_max: u32,
    /// The size of the disk that the trace is for; any place goes when there is
    /// none.
    pub disk_bytes: Option<u64>,
    /// What to do with requests past the end of that disk.
    pub beyond: Beyond,
    /// The room that each volume of a trace with several gets: 1 TiB unless
    /// said otherwise. Formats `spc` and `msr`.
    pub volume_bytes: u64,
    /// What the ids of objects are: names unless said otherwise. Format
    /// `oracle-general`.
    pub ids: Ids,
    /// How many requests are given at most, all of them unless said otherwise. The
    /// rest of the file is not looked at.
    pub limit: Option<NonZeroU64>,
}

/// What a reader did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records given.
    pub given: u64,
    /// Records that are neither read nor write, left out.
    pub other_commands: u64,
    /// Requests past the end of the disk, left out.
    pub beyond_disk: u64,
    /// Records given with a later time than they had.
    pub clamped: u64,
    /// Records given as one block each whose objects are larger.
    pub larger_objects: u64,
    /// Volumes, of a format that has them.
    pub volumes: u64,
    /// The line that names the columns and is not a request, of a format that needs none.
    pub header_line: Option<u64>,
    /// The compression behind whose data other bytes were left out.
    pub trailing: Option<Compression>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            order: TimeOrder::default(),
            asked: Vec::new(),
            length_bytes_max: 64 << 20,
            disk_bytes: None,
            beyond: Beyond::default(),
            volume_bytes: 1 << 40,
            ids: Ids::default(),
            limit: None,
        }
    }
}

enum Decoder {
    Vscsi(Layout),
    OracleGeneral(Oracle),
    Spc(Spc),
    Msr(Msr),
    Lis,
    Csv(Csv),
    TraceDisk(Disk),
}

/// The requests of a trace, one after the other. Ends with the file, or after
/// the first error.
pub struct Reader {
    file: String,
    format: Format,
    source: Source,
    decoder: Decoder,
    order: Order,
    options: Options,
    counts: Counts,
    // No line was decoded yet, so the next one may name the columns.
    at_start: bool,
    // What the file ended with, held while records wait to be sorted.
    end: Option<Result<(), Trouble>>,
    done: bool,
}

impl Reader {
    /// Opens the trace at `path`.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, TraceError> {
        Self::open_through(path, options, |file| file)
    }

    /// Opens the trace at `path` and reads it through what `wrap` makes of the file,
    /// such as one that shows how far it is.
    pub fn open_through<R: Read + Send + 'static>(
        path: impl AsRef<Path>,
        options: Options,
        wrap: impl FnOnce(File) -> R,
    ) -> Result<Self, TraceError> {
        let name = path.as_ref().display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(&name, wrap(file), options),
            Err(error) => Err(TraceError {
                file: name,
                position: Position::File,
                problem: Problem::Io(error),
            }),
        }
    }

    /// Reads the trace called `name` from `input`.
    pub fn new(
        name: &str,
        input: impl Read + Send + 'static,
        options: Options,
    ) -> Result<Self, TraceError> {
        let (format, source, decoder) =
            prepare(name, input, &options).map_err(|trouble| located(name, trouble))?;
        Ok(Self {
            file: name.to_string(),
            format,
            source,
            decoder,
            order: Order::new(options.order),
            options,
            counts: Counts::default(),
            at_start: true,
            end: None,
            done: false,
        })
    }

    /// The format of the trace, named or guessed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What was given and left out so far.
    pub fn counts(&self) -> Counts {
        let volumes = match &self.decoder {
            Decoder::Spc(spc) => spc.volumes(),
            Decoder::Msr(msr) => msr.volumes(),
            _ => 0,
        };
        let larger_objects = match &self.decoder {
            Decoder::OracleGeneral(oracle) => oracle.larger(),
            _ => 0,
        };
        Counts {
            clamped: self.order.clamped(),
            larger_objects,
            volumes: volumes as u64,
            trailing: self.source.trailing(),
            ..self.counts
        }
    }

    /// What the file does not say and was taken to be so, in sentences.
    pub fn assumptions(&self) -> Vec<String> {
        let mut all = Vec::new();
        match &self.decoder {
            Decoder::OracleGeneral(oracle) => {
                all.push(match oracle.ids() {
                    Ids::Objects => String::from(
                        "Each id is an object of its own and takes one block of 4 KiB, whatever its size, \
                         as in libCacheSim with ignore_obj_size.",
                    ),
                    Ids::Addresses {
                        unit_bytes,
                        overlap,
                    } => std::format!(
                        "Ids are addresses in units of {unit_bytes} {}, and ranges of different ids {}.",
                        if unit_bytes.get() == 1 { "byte" } else { "bytes" },
                        match overlap {
                            Overlap::Reject => "do not overlap",
                            Overlap::Allow => "may overlap",
                        }
                    ),
                });
                all.push(String::from("All requests are reads."));
            }
            Decoder::Spc(_) => all.push(String::from("Addresses count blocks of 512 bytes.")),
            Decoder::Lis => all.extend([
                String::from("Addresses and lengths count blocks of 512 bytes."),
                String::from("The trace has no times: all requests are at time 0."),
                String::from("The trace does not tell reads from writes: all requests are reads."),
            ]),
            _ => {}
        }
        let volumes = self.counts().volumes;
        if volumes > 1 {
            all.push(std::format!(
                "Its {volumes} volumes lie side by side, {} apart.",
                Size(self.options.volume_bytes)
            ));
        }
        all
    }

    /// The next request as the file has it.
    fn decode(&mut self) -> Result<Option<(Position, Record)>, Trouble> {
        loop {
            let (position, decoded) = match &mut self.decoder {
                Decoder::Vscsi(layout) => {
                    let mut bytes = [0; 40];
                    let bytes = &mut bytes[..layout.record_bytes()];
                    let Some(position) = self.source.record(bytes)? else {
                        return Ok(None);
                    };
                    (position, layout.decode(bytes))
                }
                Decoder::OracleGeneral(oracle) => {
                    let mut bytes = [0; oracle::RECORD_BYTES];
                    let Some(position) = self.source.record(&mut bytes)? else {
                        return Ok(None);
                    };
                    (position, oracle.decode(&bytes).map(Some))
                }
                Decoder::TraceDisk(disk) => {
                    let Some((position, record)) = disk.next(&mut self.source)? else {
                        return Ok(None);
                    };
                    (position, Ok(Some(record)))
                }
                text => {
                    let Some((position, line)) = self.source.line()? else {
                        return Ok(None);
                    };
                    if mem::take(&mut self.at_start)
                        && text.is_header(line)
                        && let Position::Line(number) = position
                    {
                        self.counts.header_line = Some(number);
                        continue;
                    }
                    (position, text.line(line).map(Some))
                }
            };
            match decoded.and_then(|record| self.check(record)) {
                Ok(Some(record)) => return Ok(Some((position, record))),
                Ok(None) => {}
                Err(problem) => return Err((position, problem)),
            }
        }
    }

    /// Holds a record against the options; `None` when it is left out.
    fn check(&mut self, record: Option<Record>) -> Result<Option<Record>, Problem> {
        let Some(record) = record else {
            self.counts.other_commands += 1;
            return Ok(None);
        };
        if record.length_bytes() > self.options.length_bytes_max {
            return Err(Problem::TooLong {
                length_bytes: u64::from(record.length_bytes()),
                max: self.options.length_bytes_max,
            });
        }
        match self.options.disk_bytes {
            Some(disk_bytes) if record.end_bytes() > disk_bytes => match self.options.beyond {
                Beyond::Reject => Err(Problem::BeyondDisk {
                    end_bytes: record.end_bytes(),
                    disk_bytes,
                }),
                Beyond::Skip => {
                    self.counts.beyond_disk += 1;
                    Ok(None)
                }
            },
            _ => Ok(Some(record)),
        }
    }

    /// The next record in order; what the file ends with comes last.
    fn advance(&mut self) -> Result<Option<Record>, Trouble> {
        while self.end.is_none() {
            match self.decode() {
                Ok(Some((position, record))) => {
                    if let Some(record) = self.order.push(position, record)? {
                        return Ok(Some(record));
                    }
                }
                Ok(None) => self.end = Some(Ok(())),
                Err(trouble) => self.end = Some(Err(trouble)),
            }
        }
        if let Some(record) = self.order.pop()? {
            return Ok(Some(record));
        }
        match self.end.replace(Ok(())) {
            Some(Err(trouble)) => Err(trouble),
            _ if self.at_start && self.decoder.is_text() => {
                Err((Position::File, Problem::OnlyComments))
            }
            // All left out, as asked for, is not nothing there.
            _ if self.counts.given + self.counts.beyond_disk == 0 => {
                Err((Position::File, Problem::NoRequests))
            }
            _ => Ok(None),
        }
    }
}

impl Decoder {
    /// Whether its trace is lines, none of which was read to make it.
    fn is_text(&self) -> bool {
        matches!(self, Self::Spc(_) | Self::Msr(_) | Self::Lis)
    }

    /// True for a first line that names columns where requests would do without.
    fn is_header(&self, line: &[u8]) -> bool {
        match self {
            Self::Spc(_) => spc::is_header(line),
            Self::Msr(_) => msr::is_header(line),
            _ => false,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Record, Problem> {
        match self {
            Self::Spc(spc) => spc.decode(line),
            Self::Msr(msr) => msr.decode(line),
            Self::Lis => lis::decode(line),
            Self::Csv(csv) => csv.decode(line),
            Self::Vscsi(_) | Self::OracleGeneral(_) | Self::TraceDisk(_) => {
                unreachable!("a binary format")
            }
        }
    }
}

fn located(name: &str, (position, problem): Trouble) -> TraceError {
    TraceError {
        file: name.to_string(),
        position,
        problem,
    }
}

/// Finds out what `input` is and how to decode it.
fn prepare(
    name: &str,
    input: impl Read + Send + 'static,
    options: &Options,
) -> Result<(Format, Source, Decoder), Trouble> {
    let whole = |problem| (Position::File, problem);
    let mut source = Source::new(input).map_err(whole)?;
    if source.head().is_empty() {
        return Err(whole(Problem::Empty));
    }
    let format = Format::of(name, &source, options.format).map_err(whole)?;
    if let Some(setting) = options.asked.iter().find(|of| !of.is_used(format, options)) {
        let setting = *setting;
        return Err(whole(Problem::NoUse { format, setting }));
    }
    let decoder = match format {
        Format::Vscsi => match Layout::of(source.head()) {
            Some(layout) => Decoder::Vscsi(layout),
            None => return Err(whole(Problem::NotThisFormat(format, Vec::new()))),
        },
        Format::OracleGeneral => Decoder::OracleGeneral(Oracle::new(options.ids)),
        Format::Spc => Decoder::Spc(Spc::new(options.volume_bytes)),
        Format::Msr => Decoder::Msr(Msr::new(options.volume_bytes)),
        Format::Lis => Decoder::Lis,
        Format::Csv => match source.line()? {
            Some((position, header)) => {
                Decoder::Csv(Csv::new(header).map_err(|problem| (position, problem))?)
            }
            None => return Err(whole(Problem::OnlyComments)),
        },
        Format::TraceDisk => Decoder::TraceDisk(Disk::new(&mut source)?),
    };
    Ok((format, source, decoder))
}

impl Iterator for Reader {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let full = |limit: NonZeroU64| self.counts.given >= limit.get();
        if self.done || self.options.limit.is_some_and(full) {
            return None;
        }
        match self.advance() {
            Ok(Some(record)) => {
                self.counts.given += 1;
                Some(Ok(record))
            }
            Ok(None) => {
                self.done = true;
                None
            }
            Err(trouble) => {
                self.done = true;
                Some(Err(located(&self.file, trouble)))
            }
        }
    }
}

impl core::iter::FusedIterator for Reader {}
