//! The bytes of a trace: decompressed, in records or lines, with their place.

use std::io::{self, BufRead, BufReader, Read};
use std::vec::Vec;

use super::compression::{Compression, Content, Lookahead, not_read};
use super::{Position, Problem, text, vscsi};

/// The longest line that a text trace may have: about ten times what any of
/// the formats takes.
pub const LINE_BYTES_MAX: usize = 4096;

/// What is looked at to recognise a format: a page of comments may come first.
const HEAD_BYTES: usize = 1 << 16;

/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// A decompressed stream with its position.
pub(super) struct Source {
    input: Lookahead<BufReader<Content>>,
    head: Vec<u8>,
    bytes: u64,
    lines: u64,
    line: Vec<u8>,
    // The last line ended with a carriage return: a newline next belongs to it.
    after_return: bool,
}

impl Source {
    pub(super) fn new(input: impl Read + Send + 'static) -> Result<Self, Problem> {
        let content = Content::of(input).map_err(Problem::Io)?;
        let mut source = Self {
            input: Lookahead::new(BufReader::with_capacity(BUFFER_BYTES, content)),
            head: Vec::new(),
            bytes: 0,
            lines: 0,
            line: Vec::new(),
            after_return: false,
        };
        let head = source.input.peek(HEAD_BYTES).map(<[u8]>::to_vec);
        source.head = head.map_err(|error| source.problem(error))?;
        match not_read(&source.head) {
            // A vSCSI trace begins with a number, which may be any.
            Some(found) if vscsi::Layout::of(&source.head).is_none() => {
                Err(Problem::NotRead(found))
            }
            _ => Ok(source),
        }
    }

    /// The first bytes of the trace, to recognise it by.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether these are all bytes of the trace.
    pub(super) fn is_whole(&self) -> bool {
        self.head.len() < HEAD_BYTES
    }

    /// Whether bytes followed the compressed data, and were left out.
    pub(super) fn trailing(&self) -> Option<Compression> {
        let content = self.input.inner().get_ref();
        content
            .compression()
            .filter(|_| content.has_trailing_bytes())
    }

    fn problem(&self, error: io::Error) -> Problem {
        match self.input.inner().get_ref().compression() {
            Some(compression) => compression.problem(error),
            None => Problem::Io(error),
        }
    }

    /// Where the next binary record begins.
    pub(super) fn position(&self) -> Position {
        Position::Byte(self.bytes)
    }

    /// Fills `record` and returns where it began; `None` at the end of the file.
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
                Err(error) => return Err((position, self.problem(error))),
            }
        }
        self.bytes += record.len() as u64;
        Ok(Some(position))
    }

    /// Reads a line, or as much of one as shows that it is too long; false at the end of the
    /// file.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut any = false;
        while self.line.len() <= LINE_BYTES_MAX {
            let found = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                found => found?,
            };
            let Some(first) = found.first() else {
                break;
            };
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                self.input.consume(1);
                continue;
            }
            any = true;
            let most = found.len().min(LINE_BYTES_MAX + 1 - self.line.len());
            let found = &found[..most];
            let end = found.iter().position(text::ends_line);
            self.line.extend(&found[..end.unwrap_or(most)]);
            if let Some(end) = end {
                self.after_return = found[end] == b'\r';
                self.input.consume(end + 1);
                break;
            }
            self.input.consume(most);
        }
        Ok(any)
    }

    /// The next line with content, without its end and the blanks around it, and where
    /// it is; `None` at the end of the file.
    pub(super) fn line(&mut self) -> Result<Option<(Position, &[u8])>, Trouble> {
        loop {
            let position = Position::Line(self.lines + 1);
            match self.read_line() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => return Err((position, self.problem(error))),
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err((position, Problem::LineTooLong));
            }
            self.lines += 1;
            if text::content(&self.line, self.lines).is_some() {
                break;
            }
        }
        let position = Position::Line(self.lines);
        match text::content(&self.line, self.lines) {
            Some(line) if line.contains(&0) => Err((position, Problem::NotText)),
            line => Ok(line.map(|line| (position, line))),
        }
    }
}

/// A problem and its place, of a file that the caller knows.
pub(super) type Trouble = (Position, Problem);
