//! One reading of a trace, from its first request to its last.

use std::path::Path;

use anyhow::{Result, ensure};
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::trace::{Counts, Format, Op, Options, Reader, Record};

/// What a trace added up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its format, named or guessed.
    pub format: Format,
    /// Requests that read.
    pub reads: u64,
    /// Requests that write.
    pub writes: u64,
    /// Of all of these, requests that move nothing.
    pub empty: u64,
    /// Blocks read, each as often as a request reads it.
    pub blocks_read: u64,
    /// Blocks written, each as often as a request writes it.
    pub blocks_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// The lowest block that a request touches.
    pub first_block: u64,
    /// The block after the highest one that a request touches: a disk of as many has
    /// room for all.
    pub end_block: u64,
    /// From the first request to the last.
    pub duration_ns: u64,
    /// What was left out, or changed.
    pub counts: Counts,
    /// What the file does not say and was taken to be so, in sentences.
    pub assumptions: Vec<String>,
}

impl Summary {
    fn of(format: Format) -> Self {
        Self {
            format,
            reads: 0,
            writes: 0,
            empty: 0,
            blocks_read: 0,
            blocks_written: 0,
            bytes_read: 0,
            bytes_written: 0,
            first_block: u64::MAX,
            end_block: 0,
            duration_ns: 0,
            counts: Counts::default(),
            assumptions: Vec::new(),
        }
    }

    /// Reads and writes.
    pub fn requests(&self) -> u64 {
        self.reads + self.writes
    }

    /// Accesses to single blocks.
    pub fn accesses(&self) -> u64 {
        self.blocks_read + self.blocks_written
    }

    fn add(&mut self, record: &Record) {
        let blocks = record.blocks();
        let count = blocks.end - blocks.start;
        let (requests, accesses, bytes) = match record.op() {
            Op::Read => (&mut self.reads, &mut self.blocks_read, &mut self.bytes_read),
            Op::Write => (
                &mut self.writes,
                &mut self.blocks_written,
                &mut self.bytes_written,
            ),
        };
        *requests += 1;
        *accesses += count;
        *bytes += u64::from(record.length_bytes());
        match count {
            0 => self.empty += 1,
            _ => {
                self.first_block = self.first_block.min(blocks.start);
                self.end_block = self.end_block.max(blocks.end);
            }
        }
        self.duration_ns = record.time_ns();
    }

    /// What was left out, or changed, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let counts = &self.counts;
        // Each of one, and of several.
        let counted = [
            (
                counts.other_commands,
                "record is neither a read nor a write, and was left out.",
                "records are neither reads nor writes, and were left out.",
            ),
            (
                counts.beyond_disk,
                "request ends past the end of the disk, and was left out.",
                "requests end past the end of the disk, and were left out.",
            ),
            (
                counts.clamped,
                "record was earlier than the one before; it counts as of the same time.",
                "records were earlier than the one before; they count as of the same time.",
            ),
            (
                counts.larger_objects,
                "request is for an object larger than the one block that it counts as.",
                "requests are for objects larger than the one block that each counts as.",
            ),
        ];
        let counted = counted
            .into_iter()
            .filter_map(|(count, one, several)| match count {
                0 => None,
                1 => Some(format!("1 {one}")),
                _ => Some(format!("{count} {several}")),
            });
        let header = counts
            .header_line
            .map(|line| format!("Line {line} names the columns, and is not a request."));
        let trailing = counts.trailing.map(|compression| {
            format!("Other bytes come after the {compression} data, and were left out.")
        });
        counted.chain(header).chain(trailing).collect()
    }
}

/// Reads the trace at `path` and shows `visit` each request. The bar, called `name`,
/// counts the bytes of the file, which may be compressed.
///
/// # Errors
/// When the trace cannot be read to its end, when no request of it accesses a block, when
/// `visit` fails, or when the run is to stop.
pub fn pass(
    path: &Path,
    options: Options,
    progress: Progress,
    name: &str,
    mut visit: impl FnMut(&Record) -> Result<()>,
) -> Result<Summary> {
    let file_bytes = path.metadata().map_or(0, |metadata| metadata.len());
    let bar = progress.bytes(name, file_bytes);
    let mut reader = Reader::open_through(path, options, |file| bar.wrap_read(file))?;
    let mut summary = Summary::of(reader.format());
    for record in &mut reader {
        let record = record?;
        interrupt::check()?;
        summary.add(&record);
        visit(&record)?;
    }
    bar.finish_and_clear();
    summary.counts = reader.counts();
    summary.assumptions = reader.assumptions();
    ensure!(
        summary.accesses() > 0,
        "{}: its requests access no block at all{}",
        path.display(),
        match summary.counts.beyond_disk {
            0 => String::new(),
            1 => " (1 ends past the end of the disk, and was left out)".to_owned(),
            beyond => format!(" ({beyond} end past the end of the disk, and were left out)"),
        }
    );
    Ok(summary)
}
