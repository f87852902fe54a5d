//! A pass over the queue: requests are advanced and completed.

use std::io;

use parking_lot::MutexGuard;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK};
use vm_memory::VolatileSlice;
use vssd::units::SECTOR_SIZE;

use super::chain::{Chain, Origin};
use super::parse::{Op, Request};
use super::queue::{Done, RequestQueue};
use super::slot::{Failure, Slot, Step};
use crate::backing::Alignment;
use crate::io::{Direction, Engine};
use crate::latency::Activity;
use crate::pool::PendingCommit;
use crate::stats::Stats;
use crate::vssd::Vssd;

/// A pass over the queue: one epoch of [`quiescence`](crate::pool::quiescence). It ends when it is
/// dropped.
pub struct Pass<'a> {
    pub(super) vssd: &'a Vssd,
    pub(super) queue: &'a mut RequestQueue,
    pub(super) stats: MutexGuard<'a, Stats>,
    pub(super) activity: Activity,
    pub(super) now_ns: u64,
    pub(super) begun: u64,
    ended: u64,
}

/// Starts a transfer. If the engine moves the bytes before it returns, the statistics are unlocked
/// meanwhile.
///
/// # Safety
/// That of [`Engine::submit`].
#[allow(unsafe_code)]
pub(super) unsafe fn submit(
    engine: &mut dyn Engine,
    stats: &mut MutexGuard<'_, Stats>,
    token: u64,
    direction: Direction,
    offset: u64,
    buffers: &mut dyn Iterator<Item = VolatileSlice<'_>>,
) {
    let waits = engine.may_block();
    // SAFETY: the caller's promise is that of both.
    let mut start = || unsafe { engine.submit(token, direction, offset, buffers) };
    if waits {
        MutexGuard::unlocked(stats, start);
    } else {
        start();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.vssd.volume.quiescence().end(self.begun, self.ended);
    }
}

impl<'a> Pass<'a> {
    /// Begins a pass.
    pub fn begin(vssd: &'a Vssd, queue: &'a mut RequestQueue) -> Self {
        vssd.volume.quiescence().begin();
        let (mut stats, now_ns) = (vssd.stats(), vssd.now_ns());
        let Stats {
            recent, counters, ..
        } = &mut *stats;
        recent.mark(now_ns, counters);
        Self {
            vssd,
            queue,
            stats,
            activity: vssd.activity(),
            now_ns,
            begun: 0,
            ended: 0,
        }
    }

    /// Serves one request to its end; returns the number of bytes written to its buffers.
    ///
    /// # Panics
    /// When others are under way.
    pub fn serve(&mut self, chain: Chain<'_>) -> u32 {
        assert!(self.queue.slots.is_empty(), "requests are under way");
        // SAFETY: the buffers are borrowed until this function returns, and it
        // does not return before the request has been popped.
        #[allow(unsafe_code)]
        unsafe {
            self.push(Origin::default(), chain, None);
        }
        loop {
            self.poll();
            if let Some(done) = self.pop() {
                return done.len;
            }
            let (queue, vssd) = (&mut *self.queue, self.vssd);
            MutexGuard::unlocked(&mut self.stats, || queue.wait(vssd));
        }
    }

    /// Starts a parked request if nothing blocks it.
    pub(super) fn start(&mut self, index: usize) {
        let slot = &self.queue.slots[index];
        let (exclusive, slow) = match slot.request.op {
            Op::Read => {
                let slow = !self.is_aligned(slot);
                (slow, slow)
            }
            Op::Write => {
                let slow = !self.is_aligned(slot);
                (slow || self.has_first_write(slot), slow)
            }
            Op::Zero => (true, false),
            Op::Flush | Op::Identify => (false, false),
        };
        if self.is_blocked(index, exclusive) {
            return;
        }
        self.queue.parked -= 1;
        let slot = &mut self.queue.slots[index];
        slot.exclusive = exclusive;
        slot.step = Step::Moving {
            next: slot.first,
            physical_blocks: None,
        };
        self.queue.exclusive += usize::from(exclusive);
        match slot.request.op {
            Op::Read | Op::Write if slow => self.slowly(index),
            Op::Read => self.read(index),
            Op::Write => self.write(index),
            Op::Zero => self.zero(index),
            Op::Flush => self.flush(index),
            Op::Identify => self.identify(index),
        }
        self.settle(index);
    }

    /// Whether the alignment of a request suits the backing.
    fn is_aligned(&self, slot: &Slot) -> bool {
        let Alignment { address, len } = self.queue.alignment;
        let begin = slot.request.sector * u64::from(SECTOR_SIZE);
        len == 1
            || begin.is_multiple_of(len as u64)
                && slot.request.bytes.is_multiple_of(len as u64)
                && slot.data.are_aligned(address, len)
    }

    fn has_first_write(&self, slot: &Slot) -> bool {
        let mut extents = self.vssd.volume.extents(slot.first, slot.count);
        extents.any(|extent| extent.physical.is_none())
    }

    /// Whether requests to the same blocks block it.
    fn is_blocked(&self, index: usize, exclusive: bool) -> bool {
        let queue = &*self.queue;
        if queue.exclusive == 0 && queue.parked == 1 && !exclusive {
            return false;
        }
        let slot = &queue.slots[index];
        queue.slots.iter().enumerate().any(|(at, other)| {
            let moving = other.is_moving() && (exclusive || other.exclusive);
            // A parked request is not overtaken forever.
            let earlier = at < index && other.step == Step::Parked;
            at != index && (moving || earlier) && slot.overlaps(other)
        })
    }

    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.queue.slots[index]
    }

    pub(super) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        &mut self.queue.slots[index]
    }

    pub(super) fn token(&self, index: usize) -> u64 {
        self.queue.base + index as u64
    }

    pub(super) fn record(&mut self, index: usize, pending: PendingCommit) {
        self.queue.recording += 1;
        self.queue.commits.expect();
        self.queue.slots[index].step = Step::Recording(pending);
    }

    /// Advances a request that may have nothing in flight any more.
    fn settle(&mut self, index: usize) {
        let slot = &mut self.queue.slots[index];
        let Step::Moving { next, .. } = slot.step else {
            return;
        };
        if slot.transfers > 0 {
            return;
        }
        let unfinished = next < slot.first + slot.count && slot.failure.is_none();
        let fresh = std::mem::take(&mut slot.fresh);
        if !fresh.is_empty() {
            let written = slot.failure.is_none();
            slot.changed |= written;
            self.map(&fresh, written);
        }
        if unfinished {
            return;
        }
        let slot = &mut self.queue.slots[index];
        self.queue.exclusive -= usize::from(slot.exclusive);
        // It failed before all of it was submitted.
        self.queue.stalled -= usize::from(next < slot.first + slot.count);
        let through = slot.request.op == Op::Write && self.vssd.is_write_through();
        let (changed, failed) = (slot.changed, slot.failure.is_some());
        let pool = &self.vssd.pool;
        let recorded = match (failed, through) {
            (true, _) => Ok(None),
            (false, true) => pool.flush(),
            (false, false) => Ok(changed.then(|| pool.note()).flatten()),
        };
        match recorded {
            Ok(Some(pending)) => self.record(index, pending),
            Ok(None) => self.end(index),
            Err(error) => {
                self.queue.slots[index].failure = Some(error.into());
                self.end(index);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let slot = &mut self.queue.slots[index];
        let Request {
            op, bytes, zeros, ..
        } = slot.request;
        if let Some(failure) = slot.failure.take() {
            let (name, notifier) = (&self.vssd.name, self.vssd.notifier());
            match failure {
                Failure::Backing(error) => self.stats.failed(name, notifier, &error),
                Failure::NoSpace => self.stats.found_no_space(name, notifier),
            }
            slot.step = Step::Ended {
                status: VIRTIO_BLK_S_IOERR,
                len: 1,
            };
            return;
        }
        let counters = &mut self.stats.counters;
        match op {
            Op::Read => counters.read.add(bytes),
            Op::Write if zeros => counters.zero.add(bytes),
            Op::Write => counters.write.add(bytes),
            Op::Zero => counters.zero.add(bytes),
            Op::Flush => counters.flush += 1,
            Op::Identify => {}
        }
        let filled = match op {
            Op::Read | Op::Identify => bytes as u32,
            _ => 0,
        };
        slot.step = Step::Ended {
            status: VIRTIO_BLK_S_OK,
            len: filled + 1,
        };
    }

    /// A transfer of the slot with this token has ended.
    pub(super) fn moved(&mut self, token: u64, result: io::Result<()>) {
        let index = (token - self.queue.base) as usize;
        let slot = &mut self.queue.slots[index];
        slot.transfers -= 1;
        if let Err(error) = result {
            slot.failure.get_or_insert(error.into());
        }
        self.settle(index);
    }

    /// Advances all requests that can proceed. Transfers are submitted: they are under way once the
    /// queue is kicked, waited for or parked.
    pub fn poll(&mut self) {
        let mut any = false;
        while let Some((token, result)) = self.queue.engine.ended() {
            self.moved(token, result);
            any = true;
        }
        if self.queue.recording > 0 {
            any |= self.poll_commits();
        }
        if self.queue.stalled > 0 {
            any |= self.resume();
        }
        if any {
            self.now_ns = self.vssd.now_ns();
            self.unpark();
        }
    }

    /// Starts parked requests that nothing blocks any more.
    fn unpark(&mut self) {
        for index in 0..self.queue.slots.len() {
            if self.queue.parked == 0 {
                return;
            }
            if self.queue.slots[index].step == Step::Parked {
                self.start(index);
            }
        }
    }

    /// Counts a chain that could not be answered.
    pub fn bad_chain(&mut self) {
        self.stats.counters.bad_chains += 1;
    }

    fn poll_commits(&mut self) -> bool {
        let mut any = false;
        self.queue.commits.expect();
        for index in 0..self.queue.slots.len() {
            let Step::Recording(pending) = self.queue.slots[index].step else {
                continue;
            };
            if let Some(result) = self.vssd.pool.outcome(pending) {
                any = true;
                self.queue.recording -= 1;
                self.queue.slots[index].failure = result.err().map(Failure::Backing);
                self.end(index);
            }
        }
        any
    }

    /// Continues requests that had no room or no physical blocks; true when one advanced.
    fn resume(&mut self) -> bool {
        let mut any = false;
        // Some may wait for physical blocks, which a commit frees.
        self.queue.commits.expect();
        for index in 0..self.queue.slots.len() {
            let slot = &self.queue.slots[index];
            let Step::Moving {
                next,
                physical_blocks,
            } = slot.step
            else {
                continue;
            };
            if next == slot.first + slot.count || self.queue.engine.room() == 0 {
                continue;
            }
            match physical_blocks.map(|pending| self.vssd.pool.outcome(pending)) {
                Some(None) => continue,
                Some(Some(Err(error))) => self.queue.slots[index].failure = Some(error.into()),
                _ => {
                    self.queue.stalled -= 1;
                    match self.queue.slots[index].request.op {
                        Op::Read => self.read(index),
                        _ => self.write(index),
                    }
                }
            }
            any = true;
            self.settle(index);
        }
        any
    }

    /// The next request in order, if it has ended.
    pub fn pop(&mut self) -> Option<Done> {
        let slot = self.queue.slots.front()?;
        let Step::Ended { status, len } = slot.step else {
            return None;
        };
        if let Some(byte) = slot.status {
            byte.copy_from(&[status as u8]);
        }
        if status == VIRTIO_BLK_S_OK
            && len > 0
            && let Some(operation) = slot.request.measured()
        {
            let service_ns = self.now_ns - slot.began_ns;
            let latency = &mut self.stats.latency;
            latency.served(self.activity, operation, service_ns);
        }
        let origin = slot.origin;
        self.queue.slots.pop_front();
        self.queue.base += 1;
        self.ended += 1;
        Some(Done { origin, len })
    }
}
