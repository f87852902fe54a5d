//! Reads every block of the device in order and checks what it reads.
//!
//! Where a stretch of the device is wholly held it is read by large requests,
//! otherwise run by run; a request that fails is read again block by block, so
//! that every block is judged on its own.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use workloads::command::Enforce;
use workloads::{Report, report};

use super::{Job, Next, View};
use crate::app::App;
use crate::contents::Found;
use crate::disk::{BlockRequest, Completion};
use crate::port::{BlkOp, BlkStatus};

/// See [`workloads::Command::Verify`].
pub struct Verify {
    enforce: Enforce,
    cursor: u32,
    /// Blocks of failed requests, to be read one by one. Bounded by the
    /// requests in flight times the blocks of the longest.
    singly: VecDeque<u32>,
    ok: u32,
    zeros: u32,
    corrupt: u32,
    by_driver: u32,
    by_device: u32,
    unexpected: u32,
    first_bad: u32,
}

impl Verify {
    /// A check of a device of `capacity` blocks.
    pub fn new(enforce: Enforce, capacity: u32) -> Self {
        Self {
            enforce,
            cursor: 0,
            singly: VecDeque::new(),
            ok: 0,
            zeros: 0,
            corrupt: 0,
            by_driver: 0,
            by_device: 0,
            unexpected: 0,
            first_bad: capacity,
        }
    }

    fn bad(&mut self, block: u32) {
        self.first_bad = self.first_bad.min(block);
    }

    fn read(first: u32, count: u32) -> Next {
        Next::Request(BlockRequest {
            op: BlkOp::Read,
            first,
            count,
        })
    }

    /// A block that the guest does not hold: refused here, or by the device.
    fn outside(&mut self, block: u32) -> Next {
        match self.enforce {
            Enforce::Device => Self::read(block, 1),
            Enforce::Driver => {
                self.by_driver += 1;
                Next::Counted
            }
        }
    }
}

impl Job for Verify {
    fn next(&mut self, view: &View<'_>, _app: &mut App, buffer: &mut [u8]) -> Next {
        let held = view.disk.driver().held();
        if let Some(block) = self.singly.pop_front() {
            return if held.contains(block) {
                Self::read(block, 1)
            } else {
                self.outside(block)
            };
        }
        let first = self.cursor;
        if first >= held.capacity() {
            return match view.disk.in_flight() {
                0 => Next::End,
                _ => Next::Later,
            };
        }
        if !held.contains(first) {
            self.cursor += 1;
            return self.outside(first);
        }
        let longest = buffer.len() as u32 / view.geometry.block_size();
        let end = held.next_out(first).unwrap_or(held.capacity());
        let count = (end - first).min(longest);
        self.cursor += count;
        Self::read(first, count)
    }

    fn done(&mut self, done: &Completion, view: &View<'_>, app: &mut App, buffer: &[u8]) {
        let BlockRequest { first, count, .. } = done.request;
        if done.status != BlkStatus::Ok && count > 1 {
            self.singly.extend(first..first + count);
            return;
        }
        let held = view.disk.driver().held();
        if done.status != BlkStatus::Ok {
            self.by_device += 1;
            if held.contains(first) {
                self.unexpected += 1;
                self.bad(first);
            }
            return;
        }
        let block_size = view.geometry.block_size() as usize;
        for (block, bytes) in (first..first + count).zip(buffer.chunks(block_size)) {
            // A block given up since it was read was still readable then.
            let readable = held.contains(block) || self.enforce == Enforce::Driver;
            match app.contents.check(block, bytes) {
                Found::AsWritten => self.ok += 1,
                Found::Zeros => self.zeros += 1,
                Found::Corrupt => {
                    self.corrupt += 1;
                    self.bad(block);
                }
            }
            if !readable {
                self.unexpected += 1;
                self.bad(block);
            }
        }
    }

    fn reports(self, _app: &App) -> Vec<Report> {
        vec![Report::Verified(report::Verified {
            ok: self.ok,
            zeros: self.zeros,
            corrupt: self.corrupt,
            errors: self.by_driver + self.by_device,
            refused_by_driver: self.by_driver,
            refused_by_device: self.by_device,
            unexpected: self.unexpected,
            first_bad: self.first_bad,
        })]
    }
}
