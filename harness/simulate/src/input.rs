//! The accesses of a simulation.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use guest_cache::cache::MAX_SLOTS;
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::Workload;
use workloads::replay::{AccessKind, Replay};
use workloads::trace::{Op, Options};

use crate::trace::pass;

/// Accesses between two checks for an interrupt.
const STRIDE: usize = 1 << 16;

/// Accesses in order. Blocks are numbered in order of appearance: policies depend on the
/// identity of blocks, not on their addresses.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The block of each access.
    pub blocks: Vec<u32>,
    /// Whether each access is a write; those beyond the end are reads.
    pub writes: Vec<bool>,
    /// Number of distinct blocks.
    pub distinct: u32,
    /// Description for reports.
    pub what: String,
    /// What was assumed about the trace, left out of it, or changed.
    pub notes: Vec<String>,
}

impl Input {
    /// All accesses of a trace.
    ///
    /// # Errors
    /// When the trace cannot be read to its end, or has more blocks than a cache can address.
    pub fn from_trace(path: &Path, options: Options, progress: Progress) -> Result<Self> {
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut input = Self::default();
        let summary = pass(path, options, progress, "reading", |record| {
            for block in record.blocks() {
                let next = numbers.len() as u32;
                ensure!(
                    next < u32::MAX / 2,
                    "{}: the trace has more than {next} distinct blocks, the limit of a simulated \
                     cache: shorten it with `--limit REQUESTS`",
                    path.display()
                );
                input.blocks.push(*numbers.entry(block).or_insert(next));
                input.writes.push(record.op() == Op::Write);
            }
            Ok(())
        })?;
        if summary.writes == 0 {
            input.writes = Vec::new();
        }
        input.distinct = numbers.len() as u32;
        let name = path.file_name().unwrap_or(path.as_os_str());
        input.what = format!("the trace {} ({})", name.display(), summary.format);
        let assumed = summary.assumptions.iter();
        input.notes = assumed.map(|text| format!("Assumed: {text}")).collect();
        input.notes.extend(summary.notes());
        Ok(input)
    }

    /// `requests` accesses of a workload on `blocks` blocks: reads, unless the workload has
    /// its own writes. The blocks of deleted files stay as they are.
    ///
    /// # Errors
    /// When a number is out of range, or the workload is invalid for this many blocks.
    pub fn from_workload(
        workload: Workload,
        blocks: u32,
        requests: u64,
        seed: u64,
    ) -> Result<Self> {
        ensure!(
            (1..=u64::from(u32::MAX)).contains(&requests),
            "invalid --requests {requests}; expected 1 to {}",
            u32::MAX
        );
        ensure!(
            (1..=MAX_SLOTS).contains(&blocks),
            "invalid --blocks {blocks}; expected 1 to {MAX_SLOTS}"
        );
        let replay = Replay::new(workload, blocks, seed, 0, 0);
        let mut replay = replay.with_context(|| format!("the workload {workload}"))?;
        let accesses = core::iter::repeat_with(|| replay.next_access());
        let accesses = accesses.filter(|access| access.kind != AccessKind::Discard);
        let mut numbers = vec![u32::MAX; blocks as usize];
        let mut input = Self::default();
        input.blocks.reserve(requests as usize);
        for (at, access) in (0..requests).zip(accesses) {
            let number = &mut numbers[access.block as usize];
            if *number == u32::MAX {
                *number = input.distinct;
                input.distinct += 1;
            }
            input.blocks.push(*number);
            if access.kind == AccessKind::Write {
                input.writes.resize(input.blocks.len() - 1, false);
                input.writes.push(true);
            }
            if (at as usize).is_multiple_of(STRIDE) {
                interrupt::check()?;
            }
        }
        let kind = if input.writes.is_empty() {
            "reads"
        } else {
            "accesses"
        };
        input.what = format!("{requests} {kind} of {workload} on {blocks} blocks, seed {seed}");
        Ok(input)
    }

    /// Number of accesses.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    #[inline]
    pub fn is_write(&self, at: usize) -> bool {
        self.writes.get(at).is_some_and(|write| *write)
    }
}
