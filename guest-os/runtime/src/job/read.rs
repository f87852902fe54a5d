//! Reads single blocks of a workload and counts hits and misses.

use alloc::vec;
use alloc::vec::Vec;

use workloads::pattern::Stream;
use workloads::{Report, report};

use super::doubtful::Doubtful;
use super::{Job, Next, View};
use crate::app::App;
use crate::contents::Found;
use crate::disk::{BlockRequest, Completion};
use crate::phases::Phase;
use crate::port::{BlkOp, BlkStatus};

/// Blocks in one [`Report::Counts`]: a line of about 64 KiB.
const COUNTS_PER_LINE: usize = 4096;

/// How the reads are to be made.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Number of reads.
    pub count: u64,
    /// Reads in flight at most.
    pub depth: u32,
    /// Blocks to be counted one by one; 0 for totals alone.
    pub counted_blocks: u32,
    /// Whether what is read is compared with what was written last.
    pub check: bool,
}

/// See [`workloads::Command::Read`].
pub struct Read {
    stream: Stream,
    options: ReadOptions,
    left: u64,
    elapsed_ns: u64,
    hits: u64,
    misses: u64,
    errors: u64,
    /// Hits and misses of each block; empty unless requested.
    per_block: Vec<(u32, u32)>,
    /// Failed reads, and failed writes of empty blocks, which have been counted as reads.
    doubtful: Doubtful<(BlkOp, u32)>,
}

impl Read {
    /// Reads blocks of `stream`.
    pub fn new(stream: Stream, options: ReadOptions) -> Self {
        Self {
            stream,
            options,
            left: options.count,
            elapsed_ns: 0,
            hits: 0,
            misses: 0,
            errors: 0,
            per_block: vec![(0, 0); options.counted_blocks as usize],
            doubtful: Doubtful::new(),
        }
    }

    fn miss(&mut self, block: u32) {
        self.misses += 1;
        if let Some(counts) = self.per_block.get_mut(block as usize) {
            counts.1 += 1;
        }
    }
}

impl Job for Read {
    fn depth(&self) -> usize {
        self.options.depth.max(1) as usize
    }

    fn next(&mut self, view: &View<'_>, app: &mut App, buffer: &mut [u8]) -> Next {
        if self.left == 0 {
            return Next::End;
        }
        self.left -= 1;
        self.doubtful.resolve(view.disk.driver(), app);
        let block = self.stream.next_block();
        app.accessed(block);
        if !view.disk.holds(block, 1) {
            self.miss(block);
            return Next::Counted;
        }
        let mut op = BlkOp::Read;
        if app.contents.is_empty(block) {
            // Its content is gone. The application restores it from its source, and the next read
            // finds it here.
            self.miss(block);
            let buffer = if self.options.check {
                &mut buffer[..view.geometry.block_size() as usize]
            } else {
                &mut []
            };
            let version = app.contents.next_version(block, buffer);
            app.contents.doubt(block, version);
            op = BlkOp::Write;
        }
        Next::Request(BlockRequest {
            op,
            first: block,
            count: 1,
        })
    }

    fn done(&mut self, done: &Completion, view: &View<'_>, app: &mut App, buffer: &[u8]) {
        self.doubtful.resolve(view.disk.driver(), app);
        let block = done.request.first;
        let succeeded = done.status == BlkStatus::Ok;
        match done.request.op {
            BlkOp::Write if succeeded && !done.revoked => app.contents.confirm(block),
            BlkOp::Write if succeeded => {}
            // Perhaps revoked before the guest has learned of it.
            op if !succeeded => self.doubtful.push(block, done.doubt, (op, block), app),
            _ => {
                let checked = self.options.check && !done.revoked;
                if checked && app.contents.check(block, buffer) == Found::Corrupt {
                    self.errors += 1;
                    return;
                }
                self.hits += 1;
                if let Some(counts) = self.per_block.get_mut(block as usize) {
                    counts.0 += 1;
                }
            }
        }
    }

    fn ended(&mut self, started_ns: u64, ended_ns: u64, _phases: &[Phase]) {
        self.elapsed_ns = ended_ns - started_ns;
    }

    fn reports(mut self, app: &App) -> Vec<Report> {
        let doubtful = core::mem::replace(&mut self.doubtful, Doubtful::new());
        let (lost, failed) = doubtful.settle(app);
        for (op, block) in lost {
            if op == BlkOp::Read {
                self.miss(block);
            }
        }
        self.errors += failed.len() as u64;
        let touched: Vec<(u32, u32, u32)> = (0..)
            .zip(&self.per_block)
            .filter(|(_, (hits, misses))| hits + misses > 0)
            .map(|(block, &(hits, misses))| (block, hits, misses))
            .collect();
        let mut reports: Vec<Report> = touched
            .chunks(COUNTS_PER_LINE)
            .map(|counts| {
                Report::Counts(report::Counts {
                    counts: counts.to_vec(),
                })
            })
            .collect();
        reports.push(Report::Read(report::Read {
            hits: self.hits,
            misses: self.misses,
            errors: self.errors,
            elapsed_ns: self.elapsed_ns,
        }));
        reports
    }
}
