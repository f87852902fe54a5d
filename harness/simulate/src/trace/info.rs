//! The description of a trace, as text and as JSON.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use terminal::progress::Progress;
use workloads::trace::{BLOCK_BYTES, Options};

use super::distinct::{Count, Distinct};
use super::pass::{Summary, pass};

/// The output of `harness trace info` and `harness trace convert`.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    pub file: PathBuf,
    pub format: &'static str,
    /// Requests, empty ones included.
    pub requests: u64,
    pub reads: u64,
    pub writes: u64,
    /// Requests of 0 bytes.
    pub empty_requests: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    /// Accesses to single blocks of 4 KiB.
    pub accesses: u64,
    /// Accesses that write.
    pub write_accesses: u64,
    pub distinct_blocks: u64,
    /// False if `distinct_blocks` is an estimate.
    pub distinct_exact: bool,
    /// The lowest block accessed.
    pub first_block: u64,
    /// The block after the highest one accessed.
    pub end_block: u64,
    /// From the first request to the last, nanoseconds.
    pub duration_ns: u64,
    /// Skipped records that are neither reads nor writes.
    pub other_commands: u64,
    /// Skipped requests past the end of the disk.
    pub beyond_disk: u64,
    /// Records earlier than their predecessor, whose times were clamped.
    pub clamped: u64,
    /// Requests of objects larger than the one block that each counts as.
    pub larger_objects: u64,
    /// Number of volumes; 0 for formats without volumes.
    pub volumes: u64,
    /// Assumptions about what the file does not specify, in sentences.
    pub assumptions: Vec<String>,
    /// What was skipped or changed, in sentences.
    pub notes: Vec<String>,
}

impl Info {
    pub fn new(file: &Path, summary: &Summary, distinct: Count) -> Self {
        Self {
            file: file.to_owned(),
            format: summary.format.name(),
            requests: summary.requests(),
            reads: summary.reads,
            writes: summary.writes,
            empty_requests: summary.empty,
            read_bytes: summary.bytes_read,
            write_bytes: summary.bytes_written,
            accesses: summary.accesses(),
            write_accesses: summary.blocks_written,
            distinct_blocks: distinct.blocks,
            distinct_exact: distinct.exact,
            first_block: summary.first_block,
            end_block: summary.end_block,
            duration_ns: summary.duration_ns,
            other_commands: summary.counts.other_commands,
            beyond_disk: summary.counts.beyond_disk,
            clamped: summary.counts.clamped,
            larger_objects: summary.counts.larger_objects,
            volumes: summary.counts.volumes,
            assumptions: summary.assumptions.clone(),
            notes: summary.notes(),
        }
    }

    /// Reads the trace at `path`.
    ///
    /// # Errors
    /// When it cannot be read to its end or accesses no block, or on an interrupt.
    pub fn read(path: &Path, options: Options, progress: Progress) -> Result<Self> {
        let mut distinct = Distinct::default();
        let summary = pass(path, options, progress, "reading", |record| {
            record.blocks().for_each(|block| distinct.add(block));
            Ok(())
        })?;
        Ok(Self::new(path, &summary, distinct.count()))
    }
}

/// Bytes in the largest binary unit that gives at least 1.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => {
                write!(f, "{:.1} {unit}", self.0 as f64 / (1u64 << shift) as f64)
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<10} {value}");
        line(
            "trace",
            format!("{} ({})", self.file.display(), self.format),
        )?;
        line(
            "requests",
            format!(
                "{}: {} reads of {}, {} writes of {}, {} empty",
                self.requests,
                self.reads,
                Size(self.read_bytes),
                self.writes,
                Size(self.write_bytes),
                self.empty_requests
            ),
        )?;
        line(
            "accesses",
            format!(
                "{} of 4 KiB blocks, {} of them writes",
                self.accesses, self.write_accesses
            ),
        )?;
        line(
            "blocks",
            format!(
                "{}{} distinct, {}",
                if self.distinct_exact { "" } else { "about " },
                self.distinct_blocks,
                Size(self.distinct_blocks.saturating_mul(BLOCK_BYTES))
            ),
        )?;
        line(
            "span",
            format!(
                "blocks {} to {}: {}",
                self.first_block,
                self.end_block - 1,
                disk_needed(self.end_block)
            ),
        )?;
        line(
            "duration",
            format!("{:.3} s", self.duration_ns as f64 / 1e9),
        )?;
        let assumed = self.assumptions.iter().map(|text| ("assumed", text));
        let notes = self.notes.iter().map(|text| ("note", text));
        assumed
            .chain(notes)
            .try_for_each(|(name, text)| line(name, text.clone()))
    }
}

/// The disk size that the blocks before `end` need, or advice if that exceeds a trace disk.
fn disk_needed(end: u64) -> String {
    let bytes = end.saturating_mul(BLOCK_BYTES);
    if end <= u64::from(u32::MAX) {
        format!("a disk of {bytes} bytes ({}) fits them", Size(bytes))
    } else {
        format!(
            "{}, more than the 16 TiB of a trace disk: place volumes closer with `--volume SIZE`",
            Size(bytes)
        )
    }
}
