//! The bytes of a trace: decompressed, in records or lines, with their place.

use std::boxed::Box;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::vec::Vec;

use super::{Position, Problem};

/// The longest line that a text trace may have: about ten times what any of
/// the formats takes.
pub const LINE_BYTES_MAX: usize = 4096;

/// What is looked at to recognise a format.
const HEAD_BYTES: usize = 4096;

/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// A decompressed stream that knows where it is.
pub(super) struct Source {
    input: Box<dyn BufRead + Send>,
    head: Vec<u8>,
    bytes: u64,
    lines: u64,
    line: Vec<u8>,
}

/// Reads the first `count` bytes, or all there are, and gives the whole stream
/// back.
fn peek<R: Read>(mut input: R, count: usize) -> io::Result<(Vec<u8>, impl Read + use<R>)> {
    let mut head = Vec::with_capacity(count);
    input.by_ref().take(count as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(input)))
}

/// Undoes gzip or zstd where the magic bytes say so; a file of several members
/// or frames reads as one.
fn decompressed(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (magic, input) = peek(input, 4)?;
    Ok(match magic[..] {
        [0x1f, 0x8b, 8, _] => Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(BUFFER_BYTES, input),
        )),
        // A frame, or a skippable frame, which parallel compressors put first.
        // The library refuses windows past 128 MiB, so memory stays bounded.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(zstd::stream::read::Decoder::new(input)?)
        }
        _ => Box::new(input),
    })
}

impl Source {
    pub(super) fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (head, input) = peek(decompressed(input)?, HEAD_BYTES)?;
        Ok(Self {
            input: Box::new(BufReader::with_capacity(BUFFER_BYTES, input)),
            head,
            bytes: 0,
            lines: 0,
            line: Vec::new(),
        })
    }

    /// The first bytes of the trace, to recognise it by.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Where the next binary record begins.
    pub(super) fn position(&self) -> Position {
        Position::Byte(self.bytes)
    }

    /// Fills `record` and says where it began; `None` at the end of the file.
    pub(super) fn record(&mut self, record: &mut [u8]) -> Result<Option<Position>, Trouble> {
        let position = self.position();
        let mut found_bytes = 0;
        while found_bytes < record.len() {
            match self.input.read(&mut record[found_bytes..]) {
                Ok(0) if found_bytes == 0 => return Ok(None),
                Ok(0) => {
                    let record_bytes = record.len();
                    return Err((
                        position,
                        Problem::CutRecord {
                            found_bytes,
                            record_bytes,
                        },
                    ));
                }
                Ok(count) => found_bytes += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((position, Problem::Io(error))),
            }
        }
        self.bytes += record.len() as u64;
        Ok(Some(position))
    }

    /// The next line that is not blank, without its end, and where it is;
    /// `None` at the end of the file.
    pub(super) fn line(&mut self) -> Result<Option<(Position, &str)>, Trouble> {
        loop {
            let position = Position::Line(self.lines + 1);
            self.line.clear();
            // One more than a line may have, with its newline.
            let limit = LINE_BYTES_MAX as u64 + 1;
            let count = (&mut self.input)
                .take(limit)
                .read_until(b'\n', &mut self.line)
                .map_err(|error| (position, Problem::Io(error)))?;
            if count == 0 {
                return Ok(None);
            }
            if self.line.ends_with(b"\n") {
                self.line.pop();
            } else if count as u64 == limit {
                return Err((position, Problem::LineTooLong));
            }
            self.lines += 1;
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let position = Position::Line(self.lines);
        match str::from_utf8(&self.line) {
            Ok(text) => Ok(Some((position, text.trim_ascii()))),
            Err(_) => Err((position, Problem::NotText)),
        }
    }
}

/// A problem and its place, of a file that the caller knows.
pub(super) type Trouble = (Position, Problem);
