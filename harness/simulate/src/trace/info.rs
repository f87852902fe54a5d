//! What is in a trace, for a person and as JSON.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use terminal::progress::Progress;
use workloads::trace::{BLOCK_BYTES, Options};

use super::distinct::{Count, Distinct};
use super::pass::{Summary, pass};

/// What `harness trace info` says, and `convert` of what it converted.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The trace.
    pub file: PathBuf,
    /// The name of its format.
    pub format: &'static str,
    /// Requests, those that move nothing among them.
    pub requests: u64,
    /// Requests that read.
    pub reads: u64,
    /// Requests that write.
    pub writes: u64,
    /// Requests that move nothing.
    pub empty_requests: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Accesses to single blocks of 4 KiB.
    pub accesses: u64,
    /// Of these, writes.
    pub write_accesses: u64,
    /// Different blocks accessed.
    pub distinct_blocks: u64,
    /// Whether that number is exact, and no estimate.
    pub distinct_exact: bool,
    /// The lowest block accessed.
    pub first_block: u64,
    /// The block after the highest one.
    pub end_block: u64,
    /// From the first request to the last, nanoseconds.
    pub duration_ns: u64,
    /// Records that are neither read nor write.
    pub other_commands: u64,
    /// Requests past the end of the disk, left out.
    pub beyond_disk: u64,
    /// Records earlier than the one before.
    pub clamped: u64,
    /// Requests of objects larger than the one block that each counts as.
    pub larger_objects: u64,
    /// Volumes, of a format that has them.
    pub volumes: u64,
    /// What the file does not say and was taken to be so, in sentences.
    pub assumptions: Vec<String>,
    /// What was left out, or changed, in sentences.
    pub notes: Vec<String>,
}

impl Info {
    /// Of a trace that was read.
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

    /// Reads the trace at `path` for it.
    ///
    /// # Errors
    /// When it cannot be read to its end or accesses nothing, or when the run is to stop.
    pub fn read(path: &Path, options: Options, progress: Progress) -> Result<Self> {
        let mut distinct = Distinct::default();
        let summary = pass(path, options, progress, "reading", |record| {
            record.blocks().for_each(|block| distinct.add(block));
            Ok(())
        })?;
        Ok(Self::new(path, &summary, distinct.count()))
    }
}

/// Bytes in the largest binary unit of which there is one.
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
                "{}: {} reads of {}, {} writes of {}, {} of nothing",
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
                "{} to blocks of 4 KiB, {} of them writes",
                self.accesses, self.write_accesses
            ),
        )?;
        line(
            "blocks",
            format!(
                "{}{} different ones, {}",
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
                room_for(self.end_block)
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

/// Which disk the blocks before `end` need, or what to do where none is large enough: the
/// volumes of a trace lie one behind the other.
fn room_for(end: u64) -> String {
    let bytes = end.saturating_mul(BLOCK_BYTES);
    match end <= u64::from(u32::MAX) {
        true => format!(
            "a disk of {bytes} bytes ({}) has room for them",
            Size(bytes)
        ),
        false => format!(
            "{}, more than the 16 TiB of a trace disk: volumes that are smaller take less, \
             `--volume SIZE`",
            Size(bytes)
        ),
    }
}
