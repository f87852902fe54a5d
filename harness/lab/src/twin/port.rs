//! The three queues of a twin's vSSD, in memory.
//!
//! When the doorbell rings, requests pass through the same [`RequestQueue`] as those of a
//! virtqueue, in order of submission.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::port::{BlkOp, BlkPort, BlkStatus, DiscardRange, VssdPort, feature};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use vssd::wire::{EVENT_LEN, MAX_MESSAGE};
use vssd_host::config_space::config_space;
use vssd_host::request::{Chain, Pass, RequestQueue};
use vssd_host::vssd::Vssd;

use super::buffers::{Buffers, SLOT_LEN, SLOTS};

/// Virtual time of a request. It must not be 0: a guest that is never idle must still reach its
/// deadlines.
pub(super) const REQUEST_NS: u64 = 1_000;

/// The header and status byte of a request.
#[derive(Clone, Copy, Default)]
struct Control {
    header: [u8; 16],
    status: [u8; 1],
}

/// A request before the doorbell rings.
struct Submitted {
    slot: usize,
    op: BlkOp,
    len: usize,
}

pub struct TwinPort {
    vssd: Arc<Vssd>,
    requests: RequestQueue,
    clock: Arc<AtomicU64>,
    controls: [Control; SLOTS],
    data: Buffers,
    submitted: Vec<Submitted>,
    finished: VecDeque<(usize, BlkStatus)>,
    command: Vec<u8>,
    response: Vec<u8>,
    responded: bool,
}

impl TwinPort {
    pub(super) fn new(vssd: Arc<Vssd>, clock: Arc<AtomicU64>) -> io::Result<Self> {
        Ok(Self {
            requests: RequestQueue::new(&vssd)?,
            vssd,
            clock,
            controls: [Control::default(); SLOTS],
            data: Buffers::new()?,
            submitted: Vec::with_capacity(SLOTS),
            finished: VecDeque::with_capacity(SLOTS),
            command: vec![0; MAX_MESSAGE],
            response: Vec::new(),
            responded: false,
        })
    }
}

impl BlkPort for TwinPort {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(
            &config_space(self.vssd.geometry, &self.vssd.transport)[offset..offset + out.len()],
        );
    }

    fn features(&self) -> u64 {
        feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::DISCARD
    }

    fn slot_count(&self) -> usize {
        SLOTS
    }

    fn slot_len(&self) -> usize {
        SLOT_LEN
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.data.slot(slot, SLOT_LEN)
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        let kind = match op {
            BlkOp::Read => VIRTIO_BLK_T_IN,
            BlkOp::Write => VIRTIO_BLK_T_OUT,
            BlkOp::Flush => VIRTIO_BLK_T_FLUSH,
            BlkOp::Discard => VIRTIO_BLK_T_DISCARD,
        };
        let (sector, len) = match op {
            BlkOp::Discard => (0, DiscardRange::new(sector, len).write(self.buffer(slot))),
            BlkOp::Read | BlkOp::Write | BlkOp::Flush => (sector, len),
        };
        let header = &mut self.controls[slot].header;
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.submitted.push(Submitted { slot, op, len });
    }

    fn kick(&mut self) {
        if self.submitted.is_empty() {
            return;
        }
        let mut pass = Pass::begin(&self.vssd, &mut self.requests);
        let requests = self.submitted.len() as u64;
        for Submitted { slot, op, len } in self.submitted.drain(..) {
            let Control { header, status } = &mut self.controls[slot];
            let data = self.data.slot(slot, len);
            let (header, data) = (header.as_mut_slice().into(), data.into());
            let status_byte = status.as_mut_slice().into();
            let chain = match op {
                BlkOp::Read => Chain::new([header], [data, status_byte]),
                BlkOp::Write | BlkOp::Flush | BlkOp::Discard => {
                    Chain::new([header, data], [status_byte])
                }
            };
            pass.serve(chain);
            let status = match u32::from(status[0]) {
                VIRTIO_BLK_S_OK => BlkStatus::Ok,
                VIRTIO_BLK_S_UNSUPP => BlkStatus::Unsupported,
                _ => BlkStatus::IoError,
            };
            self.finished.push_back((slot, status));
        }
        self.clock
            .fetch_add(requests * REQUEST_NS, Ordering::Relaxed);
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        self.finished.pop_front()
    }
}

impl VssdPort for TwinPort {
    fn queue_count(&self) -> usize {
        self.vssd.transport.queues()
    }

    fn event(&mut self, out: &mut [u8; EVENT_LEN]) -> Option<usize> {
        let now = self.clock.load(Ordering::Relaxed);
        *out = self.vssd.lock().device.take_event(now)?;
        Some(EVENT_LEN)
    }

    fn command_buffer(&mut self) -> &mut [u8] {
        &mut self.command
    }

    fn send_command(&mut self, len: usize) {
        let response = &mut self.response;
        self.vssd
            .command(&self.command[..len], MAX_MESSAGE, |bytes| {
                response.clear();
                response.extend_from_slice(bytes);
            });
        self.responded = true;
    }

    fn command_response(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.responded).then_some(&self.response)
    }
}
