//! Reads single blocks of a workload and counts hits and misses.

use alloc::vec;
use alloc::vec::Vec;

use workloads::Report;
use workloads::pattern::Stream;

use super::{Job, Next, View};
use crate::app::App;
use crate::contents::Found;
use crate::disk::{BlockRequest, Completion};
use crate::phases::Phase;
use crate::port::{BlkOp, BlkStatus};

/// Blocks in one [`Report::Counts`]: a line of about 64 KiB.
const COUNTS_PER_LINE: usize = 4096;

/// See [`workloads::Command::Read`].
pub struct Read {
    stream: Stream,
    left: u64,
    depth: usize,
    elapsed_ns: u64,
    hits: u64,
    misses: u64,
    errors: u64,
    /// Hits and misses of each block; empty when nobody asked for them.
    per_block: Vec<(u32, u32)>,
    /// Failed reads of blocks held as far as the guest knew.
    doubtful: Vec<u32>,
}

impl Read {
    /// `count` reads of `stream`, at most `depth` in flight, counted for each
    /// of `per_block` blocks if that is given.
    pub fn new(stream: Stream, count: u64, depth: u32, per_block: Option<u32>) -> Self {
        Self {
            stream,
            left: count,
            depth: depth.max(1) as usize,
            elapsed_ns: 0,
            hits: 0,
            misses: 0,
            errors: 0,
            per_block: vec![(0, 0); per_block.unwrap_or(0) as usize],
            doubtful: Vec::new(),
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
        self.depth
    }

    fn next(&mut self, view: &View<'_>, _app: &mut App, _buffer: &mut [u8]) -> Next {
        if self.left == 0 {
            return Next::End;
        }
        self.left -= 1;
        let block = self.stream.next_block();
        if !view.disk.holds(block, 1) {
            self.miss(block);
            return Next::Counted;
        }
        Next::Request(BlockRequest {
            op: BlkOp::Read,
            first: block,
            count: 1,
        })
    }

    fn done(&mut self, done: &Completion, _view: &View<'_>, app: &mut App, buffer: &[u8]) {
        let block = done.request.first;
        if done.status != BlkStatus::Ok {
            // Revoked, perhaps, without the guest having heard of it yet.
            self.doubtful.push(block);
            return;
        }
        if !done.revoked && app.contents.check(block, buffer) == Found::Corrupt {
            self.errors += 1;
            return;
        }
        self.hits += 1;
        if let Some(counts) = self.per_block.get_mut(block as usize) {
            counts.0 += 1;
        }
    }

    fn ended(&mut self, started_ns: u64, ended_ns: u64, _phases: &[Phase]) {
        self.elapsed_ns = ended_ns - started_ns;
    }

    fn reports(mut self, app: &App) -> Vec<Report> {
        for block in core::mem::take(&mut self.doubtful) {
            match app.lost.contains(block) {
                true => self.miss(block),
                false => self.errors += 1,
            }
        }
        let touched: Vec<(u32, u32, u32)> = (0..)
            .zip(&self.per_block)
            .filter(|(_, (hits, misses))| hits + misses > 0)
            .map(|(block, &(hits, misses))| (block, hits, misses))
            .collect();
        let mut reports: Vec<Report> = touched
            .chunks(COUNTS_PER_LINE)
            .map(|counts| Report::Counts {
                counts: counts.to_vec(),
            })
            .collect();
        reports.push(Report::Read {
            hits: self.hits,
            misses: self.misses,
            errors: self.errors,
            elapsed_ns: self.elapsed_ns,
        });
        reports
    }
}
