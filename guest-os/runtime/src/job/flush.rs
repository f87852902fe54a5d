//! One flush.

use alloc::vec::Vec;

use workloads::Report;

use super::{Job, Next, View};
use crate::app::App;
use crate::disk::{BlockRequest, Completion};
use crate::port::{BlkOp, BlkStatus};

/// See [`workloads::Command::Flush`].
#[derive(Default)]
pub struct Flush {
    is_sent: bool,
    /// Whether the device reported success.
    pub succeeded: bool,
}

impl Job for Flush {
    fn next(&mut self, _view: &View<'_>, _app: &mut App, _buffer: &mut [u8]) -> Next {
        if core::mem::replace(&mut self.is_sent, true) {
            return Next::End;
        }
        Next::Request(BlockRequest {
            op: BlkOp::Flush,
            first: 0,
            count: 0,
        })
    }

    fn done(&mut self, done: &Completion, _view: &View<'_>, _app: &mut App, _buffer: &[u8]) {
        self.succeeded = done.status == BlkStatus::Ok;
    }

    fn reports(self, _app: &App) -> Vec<Report> {
        Vec::new()
    }
}
