//! Reads, checks and rewrites held blocks at random while resizes go on.

use alloc::vec::Vec;

use rand::RngExt;
use workloads::pattern::{Rng, rng};
use workloads::report::{StressFault, Wrong};
use workloads::{Report, report};

use super::doubtful::Doubtful;
use super::latency::Latencies;
use super::{Job, Next, View};
use crate::app::App;
use crate::contents::Found;
use crate::disk::{BlockRequest, Completion};
use crate::phases::Phase;
use crate::port::{BlkOp, BlkStatus};

/// Faults that are reported one by one; the others are counted.
const FAULTS_REPORTED: usize = 8;

/// See [`workloads::Command::Stress`].
pub struct Stress {
    /// Requests left to submit; `None` until the next command arrives.
    left: Option<u64>,
    rng: Rng,
    depth: usize,
    writes_percent: u32,
    reads: u64,
    writes: u64,
    lost_race: u64,
    corrupt: u64,
    /// The first reads that returned other data.
    faults: Vec<StressFault>,
    doubtful: Doubtful<StressFault>,
    latencies: Option<Latencies>,
}

impl Stress {
    /// `count` requests, or as many as come before the next command if 0;
    /// `timed` measures each.
    pub fn new(count: u64, seed: u64, depth: u32, writes_percent: u32, timed: bool) -> Self {
        Self {
            left: (count > 0).then_some(count),
            rng: rng(seed),
            depth: depth.max(1) as usize,
            writes_percent,
            reads: 0,
            writes: 0,
            lost_race: 0,
            corrupt: 0,
            faults: Vec::new(),
            doubtful: Doubtful::new(),
            latencies: timed.then(Latencies::new),
        }
    }
}

/// What a read returned that returned something else than was written last.
fn other_data(bytes: &[u8]) -> Wrong {
    let (words, _) = bytes.as_chunks::<8>();
    let word = |word: Option<&[u8; 8]>| word.map_or(0, |word| u64::from_le_bytes(*word));
    Wrong::OtherData {
        first_word: word(words.first()),
        last_word: word(words.last()),
    }
}

impl Stress {
    fn fault(&self, block: u32, wrong: Wrong, app: &App) -> StressFault {
        let came_back =
            self.reads + self.writes + self.lost_race + self.corrupt + self.doubtful.count();
        StressFault {
            block,
            wrong,
            expected: app.contents.expected(block),
            after_requests: came_back,
        }
    }
}

impl Job for Stress {
    fn depth(&self) -> usize {
        self.depth
    }

    fn is_timed(&self) -> bool {
        self.latencies.is_some()
    }

    fn next(&mut self, view: &View<'_>, app: &mut App, buffer: &mut [u8]) -> Next {
        if self.left == Some(0) || self.left.is_none() && view.is_interrupted {
            return Next::End;
        }
        self.doubtful.resolve(view.disk.driver(), app);
        let held = view.disk.driver().held();
        let from = self.rng.random_range(0..held.capacity());
        let Some(block) = held.next_in(from).or_else(|| held.next_in(0)) else {
            return match self.left {
                Some(_) => Next::End,
                None => Next::Later,
            };
        };
        // One request to a block at a time, so that what it must contain is
        // known; with far more blocks than requests this is rare.
        if view.disk.is_busy(block, 1) {
            return Next::Later;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        let op = if self.rng.random_range(0..100) < self.writes_percent {
            let bytes = &mut buffer[..view.geometry.block_size() as usize];
            let version = app.contents.next_version(block, bytes);
            app.contents.doubt(block, version);
            BlkOp::Write
        } else {
            BlkOp::Read
        };
        Next::Request(BlockRequest {
            op,
            first: block,
            count: 1,
        })
    }

    fn done(&mut self, done: &Completion, view: &View<'_>, app: &mut App, buffer: &[u8]) {
        if let (Some(latencies), Some(timing)) = (&mut self.latencies, &done.timing) {
            latencies.record(timing, view.disk.in_flight());
        }
        self.doubtful.resolve(view.disk.driver(), app);
        let block = done.request.first;
        match (done.revoked, done.status, done.request.op) {
            (true, _, _) => self.lost_race += 1,
            (_, BlkStatus::Ok, BlkOp::Write) => {
                app.contents.confirm(block);
                self.writes += 1;
            }
            (_, BlkStatus::Ok, _) => match app.contents.check(block, buffer) {
                Found::Corrupt => {
                    if self.faults.len() < FAULTS_REPORTED {
                        let fault = self.fault(block, other_data(buffer), app);
                        self.faults.push(fault);
                    }
                    self.corrupt += 1;
                }
                Found::AsWritten | Found::Zeros => self.reads += 1,
            },
            (_, _, op) => {
                let wrong = match op {
                    BlkOp::Write => Wrong::WriteFailed,
                    BlkOp::Read | BlkOp::Flush | BlkOp::Discard => Wrong::ReadFailed,
                };
                let fault = self.fault(block, wrong, app);
                self.doubtful.push(block, done.doubt, fault, app);
            }
        }
    }

    fn ended(&mut self, _started_ns: u64, ended_ns: u64, phases: &[Phase]) {
        if let Some(latencies) = &mut self.latencies {
            latencies.end(phases, ended_ns);
        }
    }

    fn reports(self, app: &App) -> Vec<Report> {
        let (raced, failed) = self.doubtful.settle(app);
        let errors = failed.len() as u64;
        let mut reports = self.latencies.map_or_else(Vec::new, Latencies::reports);
        let mut faults = self.faults;
        faults.extend(failed);
        faults.sort_by_key(|fault| fault.after_requests);
        faults.truncate(FAULTS_REPORTED);
        reports.extend(faults.into_iter().map(Report::StressFault));
        reports.push(Report::Stressed(report::Stressed {
            reads: self.reads,
            writes: self.writes,
            lost_race: self.lost_race + raced.len() as u64,
            errors,
            corrupt: self.corrupt,
        }));
        reports
    }
}
