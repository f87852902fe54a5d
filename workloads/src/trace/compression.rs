//! What a trace is compressed with, undone.
//!
//! Compression is recognised by its magic bytes, whatever the file is called. A file may
//! hold several streams, one after the other, which read as one: members of gzip, frames
//! of zstd. What follows the last stream and is none is left out, as gzip(1) does, and
//! remembered.
//!
//! Decoders need memory for a window of what they wrote last, and the file says how
//! large it is. All of gzip and bzip2 takes less than 8 MiB; of the others, windows up to
//! [`WINDOW_BYTES_MAX`] are read, which is the most that zstd(1) writes.

use core::fmt;
use core::mem;
use std::boxed::Box;
use std::io::{self, BufRead, BufReader, Read};
use std::string::ToString;
use std::vec::Vec;

use flate2::bufread::GzDecoder;

use super::Problem;

/// The widest window of zstd, and dictionary of xz, that is read: 2 GiB, as of
/// `zstd --long=31`. Only as much of it is touched as the content fills.
pub const WINDOW_BYTES_MAX: u64 = 1 << WINDOW_LOG_MAX;

const WINDOW_LOG_MAX: u32 = 31;

/// What an xz decoder may take in KiB: the dictionary, and a little more.
const XZ_KIB_MAX: u32 = (WINDOW_BYTES_MAX >> 10) as u32 + 1024;

/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// Bytes that tell compressions apart.
const MAGIC_BYTES: usize = 6;

/// A way to compress that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, by any number of members.
    Gzip,
    /// RFC 8878, skippable frames among them.
    Zstd,
    /// bzip2(1).
    Bzip2,
    /// xz(1), not the older `.lzma`.
    Xz,
}

/// Why a file whose magic bytes are known is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRead {
    /// What the file is.
    pub what: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const UNPACK: &str = "unpack it, and give the trace that is in it";

/// Magic bytes of what a trace may come in and is not read from.
const NOT_READ: [(&[u8], NotRead); 13] = [
    (b"PK\x03\x04", archive("a zip archive")),
    (b"PK\x05\x06", archive("an empty zip archive")),
    (b"7z\xbc\xaf\x27\x1c", archive("a 7z archive")),
    (b"Rar!\x1a\x07", archive("a RAR archive")),
    (b"\x04\x22\x4d\x18", decompress("compressed by lz4")),
    (b"\x02\x21\x4c\x18", decompress("compressed by lz4")),
    (b"\x89LZO\0", decompress("compressed by lzop")),
    (b"LZIP", decompress("compressed by lzip")),
    (b"\x1f\x9d", decompress("compressed by compress(1)")),
    (b"\xff\x06\0\0sNaPpY", decompress("compressed by Snappy")),
    (b"PAR1", archive("an Apache Parquet file")),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
];

const UTF_16: NotRead = NotRead {
    what: "UTF-16 text",
    remedy: "convert it with `iconv -f UTF-16 -t UTF-8`",
};

const fn archive(what: &'static str) -> NotRead {
    let remedy = UNPACK;
    NotRead { what, remedy }
}

const fn decompress(what: &'static str) -> NotRead {
    NotRead {
        what,
        remedy: "decompress it, or compress it with gzip, zstd, bzip2 or xz",
    }
}

/// Recognises UTF-16 without a mark: every other byte is 0, the others are printable.
fn is_utf_16(head: &[u8]) -> bool {
    let (pairs, _) = head.as_chunks::<2>();
    let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
    let of = |text: usize| {
        let mut first = pairs.iter().take(8);
        first.len() == 8 && first.all(|pair| is_text(&pair[text]) && pair[1 - text] == 0)
    };
    of(0) || of(1)
}

/// Recognises, by its first bytes, a file that is not read.
pub(super) fn not_read(head: &[u8]) -> Option<NotRead> {
    let known = NOT_READ.iter().find(|(magic, _)| head.starts_with(magic));
    // The mark of a tar archive is in the header of its first file.
    let tar = || head.get(257..262) == Some(b"ustar");
    known
        .map(|(_, not_read)| *not_read)
        .or_else(|| tar().then_some(archive("a tar archive")))
        .or_else(|| is_utf_16(head).then_some(UTF_16))
}

/// The same by bytes that a trace in a binary format may begin with as well.
pub(super) fn not_read_weak(head: &[u8]) -> Option<NotRead> {
    match head {
        // The header of RFC 1950, of each level.
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(decompress("a zlib stream")),
        // The usual properties, then the size of the dictionary, 64 KiB or more, and that of
        // the content, unknown or less than 2^48.
        [0x5d, 0, 0, _, _, _, _, _, _, _, _, 0, 0, ..]
        | [
            0x5d,
            0,
            0,
            _,
            _,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            ..,
        ] => Some(decompress("compressed in the .lzma format")),
        _ => None,
    }
}

impl Compression {
    fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            // A frame, or a skippable frame, which parallel compressors put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    /// The problem behind a decoder's error. An error of the system has a number, an error of
    /// a decoder has none.
    pub(super) fn problem(self, error: io::Error) -> Problem {
        let too_wide = match self {
            // The text of the library; the error has no kind for it.
            Self::Zstd => error.to_string().contains("too much memory"),
            Self::Xz => error.kind() == io::ErrorKind::OutOfMemory,
            Self::Gzip | Self::Bzip2 => false,
        };
        match error.raw_os_error() {
            Some(_) => Problem::Io(error),
            None if too_wide => Problem::Window(self),
            None => Problem::Damaged {
                compression: self,
                error,
            },
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

/// An input with lookahead.
pub(super) struct Lookahead<R> {
    // What was read and is still to be given, from `at` on, and what came after it.
    ahead: Vec<u8>,
    at: usize,
    failed: Option<io::Error>,
    inner: R,
}

impl<R: BufRead> Lookahead<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            ahead: Vec::new(),
            at: 0,
            failed: None,
            inner,
        }
    }

    pub(super) fn inner(&self) -> &R {
        &self.inner
    }

    /// The next `count` bytes, or all that are left if there are fewer. An error comes
    /// in its place, behind the last byte that can be read.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        self.ahead.drain(..self.at);
        self.at = 0;
        let missing = count.saturating_sub(self.ahead.len()) as u64;
        if self.failed.is_none() {
            let mut input = self.inner.by_ref().take(missing);
            self.failed = input.read_to_end(&mut self.ahead).err();
        }
        match self.failed.take_if(|_| self.ahead.is_empty()) {
            Some(error) => Err(error),
            None => Ok(&self.ahead[..count.min(self.ahead.len())]),
        }
    }
}

impl<R: BufRead> Read for Lookahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Lookahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.ahead.len() {
            return Ok(&self.ahead[self.at..]);
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.inner.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        if self.at < self.ahead.len() {
            self.at += count;
        } else {
            self.inner.consume(count);
        }
    }
}

type Input = Lookahead<BufReader<Box<dyn Read + Send>>>;

/// The content of a file, decompressed where it is compressed.
pub(super) struct Content {
    compression: Option<Compression>,
    stream: Stream,
    trailing: bool,
}

enum Stream {
    Plain(Input),
    Gzip(GzDecoder<Input>),
    Zstd(zstd::stream::read::Decoder<'static, Input>),
    Bzip2(bzip2::bufread::BzDecoder<Input>),
    Xz(Box<lzma_rust2::XzReader<Input>>),
    Ended,
}

impl Content {
    pub(super) fn of(input: impl Read + Send + 'static) -> io::Result<Self> {
        let input: Box<dyn Read + Send> = Box::new(input);
        let mut input = Lookahead::new(BufReader::with_capacity(BUFFER_BYTES, input));
        let compression = Compression::of(input.peek(MAGIC_BYTES)?);
        Ok(Self {
            compression,
            stream: Stream::open(compression, input)?,
            trailing: false,
        })
    }

    pub(super) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Whether bytes followed the compressed data, and were left out.
    pub(super) fn has_trailing_bytes(&self) -> bool {
        self.trailing
    }

    /// Reads from the current stream.
    fn read_stream(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(input) => input.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
            Stream::Zstd(decoder) => decoder.read(buffer),
            Stream::Bzip2(decoder) => decoder.read(buffer),
            Stream::Xz(decoder) => decoder.read(buffer),
            Stream::Ended => Ok(0),
        }
    }

    /// Goes on behind the end of a stream; false at the end of the file.
    fn next_stream(&mut self) -> io::Result<bool> {
        let Some(mut input) = mem::replace(&mut self.stream, Stream::Ended).into_input() else {
            return Ok(false);
        };
        // Zeros fill up blocks of tapes, and xz allows them between streams.
        while let zeros @ [0, ..] = input.fill_buf()? {
            let count = zeros.iter().take_while(|byte| **byte == 0).count();
            input.consume(count);
        }
        let magic = input.peek(MAGIC_BYTES)?;
        if magic.is_empty() {
            return Ok(false);
        }
        if Compression::of(magic) != self.compression {
            self.trailing = true;
            return Ok(false);
        }
        self.stream = Stream::open(self.compression, input)?;
        Ok(true)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.read_stream(buffer) {
                Ok(0) if self.next_stream()? => {}
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    // No decoder is asked again after it failed.
                    self.stream = Stream::Ended;
                    return Err(error);
                }
            }
        }
    }
}

impl Stream {
    fn open(compression: Option<Compression>, input: Input) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain(input),
            Some(Compression::Gzip) => Self::Gzip(GzDecoder::new(input)),
            Some(Compression::Zstd) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                let mut decoder = decoder.single_frame();
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Self::Zstd(decoder)
            }
            Some(Compression::Bzip2) => Self::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            Some(Compression::Xz) => {
                let decoder = lzma_rust2::XzReader::new_mem_limit(input, false, XZ_KIB_MAX);
                Self::Xz(Box::new(decoder))
            }
        })
    }

    /// What follows the stream, which was read to its end; nothing follows plain content.
    fn into_input(self) -> Option<Input> {
        match self {
            Self::Plain(_) | Self::Ended => None,
            Self::Gzip(decoder) => Some(decoder.into_inner()),
            Self::Zstd(decoder) => Some(decoder.finish()),
            Self::Bzip2(decoder) => Some(decoder.into_inner()),
            Self::Xz(decoder) => Some(decoder.into_inner()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_still_there() {
        let mut input = Lookahead::new(BufReader::with_capacity(2, &b"abcdefg"[..]));
        assert_eq!(input.peek(3).unwrap(), b"abc");
        assert_eq!(input.peek(1).unwrap(), b"a");
        let mut two = [0; 2];
        input.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"ab");
        assert_eq!(input.peek(4).unwrap(), b"cdef");
        let mut rest = Vec::new();
        input.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"cdefg");
        assert_eq!(input.peek(4).unwrap(), b"");
    }

    /// Fails once, behind its bytes, and has no end.
    struct Failing(&'static [u8], bool);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && !mem::replace(&mut self.1, true) {
                Err(io::Error::other("worn out"))
            } else {
                self.0.read(buffer)
            }
        }
    }

    #[test]
    fn an_error_comes_behind_what_there_is() {
        let mut input = Lookahead::new(BufReader::new(Failing(b"abc", false)));
        assert_eq!(input.peek(8).unwrap(), b"abc");
        let mut all = Vec::new();
        assert!(input.read_to_end(&mut all).is_err());
        assert_eq!(all, b"abc");
        let mut input = Lookahead::new(BufReader::new(Failing(b"", false)));
        assert!(input.peek(8).is_err());
    }
}
