//! Writes a new version of every held block, in order.

use alloc::vec;
use alloc::vec::Vec;

use workloads::{Report, report};

use super::{Job, Next, View};
use crate::app::App;
use crate::disk::{BlockRequest, Completion};
use crate::port::{BlkOp, BlkStatus};

/// See [`workloads::Command::Fill`].
#[derive(Default)]
pub struct Fill {
    cursor: u32,
    blocks: u32,
    errors: u32,
}

impl Job for Fill {
    fn next(&mut self, view: &View<'_>, app: &mut App, buffer: &mut [u8]) -> Next {
        let held = view.disk.driver().held();
        let Some(first) = held.next_in(self.cursor) else {
            return Next::End;
        };
        let block_size = view.geometry.block_size() as usize;
        let longest = (buffer.len() / block_size) as u32;
        let end = held.next_out(first).unwrap_or(held.capacity());
        let count = (end - first).min(longest);
        for (block, bytes) in (first..).zip(buffer.chunks_mut(block_size).take(count as usize)) {
            let version = app.contents.next_version(block, bytes);
            // Until the write is back, either version may be there.
            app.contents.doubt(block, version);
        }
        self.cursor = first + count;
        Next::Request(BlockRequest {
            op: BlkOp::Write,
            first,
            count,
        })
    }

    fn done(&mut self, done: &Completion, _view: &View<'_>, app: &mut App, _buffer: &[u8]) {
        let request = done.request;
        if done.status != BlkStatus::Ok {
            self.errors += request.count;
            return;
        }
        self.blocks += request.count;
        if !done.revoked {
            for block in request.first..request.first + request.count {
                app.contents.confirm(block);
            }
        }
    }

    fn reports(self, _app: &App) -> Vec<Report> {
        vec![Report::Filled(report::Filled {
            blocks: self.blocks,
            errors: self.errors,
        })]
    }
}
