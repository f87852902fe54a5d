//! One pass over a trace, from its first request to its last.

use std::path::Path;

use anyhow::{Result, ensure};
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::trace::{Counts, Format, Op, Options, Reader, Record};

/// Totals of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The format, given or detected.
    pub format: Format,
    pub reads: u64,
    pub writes: u64,
    /// Reads and writes of 0 bytes.
    pub empty: u64,
    /// Block accesses of reads.
    pub blocks_read: u64,
    /// Block accesses of writes.
    pub blocks_written: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// The lowest block accessed.
    pub first_block: u64,
    /// The block after the highest one accessed.
    pub end_block: u64,
    /// From the first request to the last.
    pub duration_ns: u64,
    /// What was skipped or changed.
    pub counts: Counts,
    /// Assumptions about what the file does not specify, in sentences.
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

    /// What was skipped or changed, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let counts = &self.counts;
        // The singular and the plural of each.
        let counted = [
            (
                counts.other_commands,
                "record is neither a read nor a write and was skipped.",
                "records are neither reads nor writes and were skipped.",
            ),
            (
                counts.beyond_disk,
                "request ends past the end of the disk and was skipped.",
                "requests end past the end of the disk and were skipped.",
            ),
            (
                counts.clamped,
                "record was earlier than its predecessor and got its time.",
                "records were earlier than their predecessors and got their times.",
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
            .map(|line| format!("Line {line} names the columns and is not a request."));
        let trailing = counts.trailing.map(|compression| {
            format!("Trailing bytes after the {compression} data were ignored.")
        });
        counted.chain(header).chain(trailing).collect()
    }
}

/// Reads the trace at `path` and calls `visit` with each request. The progress bar `name` counts
/// the bytes of the file, which may be compressed.
///
/// # Errors
/// When the trace cannot be read to its end, no request accesses a block, or `visit` fails, and
/// on an interrupt.
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
        "{}: no request accesses a block{}",
        path.display(),
        match summary.counts.beyond_disk {
            0 => String::new(),
            1 => " (1 ends past the end of the disk and was skipped)".to_owned(),
            beyond => format!(" ({beyond} end past the end of the disk and were skipped)"),
        }
    );
    Ok(summary)
}
