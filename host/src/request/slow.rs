//! Requests that a backing cannot take as they came from the guest: buffers or lengths that direct
//! I/O refuses.
//!
//! Such requests are rare: boot firmware makes them, and guests that write single sectors. They are
//! carried out synchronously, through an aligned buffer.

use std::io;

use parking_lot::MutexGuard;
use vm_memory::VolatileSlice;

use super::bounce::Bounce;
use super::parse::Op;
use super::pass::{Pass, submit};
use super::slot::{Clip, Failure, clear};
use crate::io::Direction;
use crate::pool::volume::Extent;

/// The token of transfers that are waited for at once.
const SLOW: u64 = u64::MAX;

impl Pass<'_> {
    /// Carries out an exclusive read or write.
    pub(super) fn slowly(&mut self, index: usize) {
        let slot = self.slot(index);
        let (first, end) = (slot.first, slot.first + slot.count);
        self.slowly_from(index, first, end);
        self.went_to(index, end, None);
    }

    /// Does so for the blocks from `first` to `end`. A request to zero them
    /// overwrites what of them was ever written.
    pub(super) fn slowly_from(&mut self, index: usize, first: u32, end: u32) {
        let mut bounce = std::mem::take(&mut self.queue.bounce);
        let per_step = bounce.len as u32 / self.vssd.geometry.block_size();
        let mut at = first;
        while at < end {
            let extent = self.vssd.volume.extents(at, end - at).next();
            let mut extent = extent.expect("the range is not empty");
            if extent.physical.is_some() {
                extent.count = extent.count.min(per_step);
            } else if self.slot(index).request.op == Op::Write {
                extent.count = 1;
            }
            if let Err(failure) = self.slow_step(index, extent, &mut bounce) {
                self.slot_mut(index).failure = Some(failure);
                break;
            }
            at += extent.count;
        }
        self.queue.bounce = bounce;
    }

    fn slow_step(
        &mut self,
        index: usize,
        extent: Extent,
        bounce: &mut Bounce,
    ) -> Result<(), Failure> {
        let slot = self.slot(index);
        let blocks = (extent.first, extent.count);
        let clip = slot.clip(blocks, self.vssd.geometry.block_size());
        match (slot.request.op, extent.physical) {
            (Op::Read, None) => {
                slot.data.range(clip.skip, clip.len).for_each(clear);
                Ok(())
            }
            (Op::Write, None) => self.write_part_first(index, extent.first, clip, bounce),
            (op, Some(physical)) => {
                let (begin, before, len) = bounce.cover(clip);
                let offset = self.vssd.pool.offset(physical) + begin;
                if op == Op::Read || len > clip.len {
                    self.transfer(Direction::Read, offset, bounce.front(len))?;
                }
                self.exchange(index, clip, before, bounce);
                match op {
                    Op::Read => Ok(()),
                    _ => Ok(self.transfer(Direction::Write, offset, bounce.front(len))?),
                }
            }
            _ => Ok(()),
        }
    }

    /// Writes a block for the first time, of which the request has only a part:
    /// the rest of it reads as zeros.
    fn write_part_first(
        &mut self,
        index: usize,
        block: u32,
        clip: Clip,
        bounce: &mut Bounce,
    ) -> Result<(), Failure> {
        let fresh = loop {
            match self.allocate(block, 1) {
                Ok(fresh) => break fresh,
                Err(Some(pending)) => {
                    let pool = &self.vssd.pool;
                    MutexGuard::unlocked(&mut self.stats, || pool.wait(pending))?;
                }
                Err(None) => return Err(Failure::NoSpace),
            }
        };
        let len = self.vssd.geometry.block_size() as usize;
        clear(bounce.front(len));
        self.exchange(index, clip, clip.within as usize, bounce);
        let physical = fresh.physical.expect("the extent has physical blocks");
        let offset = self.vssd.pool.offset(physical);
        let result = self.transfer(Direction::Write, offset, bounce.front(len));
        self.map(&[fresh], result.is_ok());
        self.slot_mut(index).changed |= result.is_ok();
        Ok(result?)
    }

    /// Copies the bytes of a request between its buffers and `bounce`, skipping the first `before`
    /// bytes of the latter.
    fn exchange(&mut self, index: usize, clip: Clip, before: usize, bounce: &mut Bounce) {
        let slot = self.slot(index);
        let whole = bounce.front(before + clip.len);
        let Ok(mut rest) = whole.offset(before) else {
            return;
        };
        if slot.request.op == Op::Zero {
            return clear(rest);
        }
        for slice in slot.data.range(clip.skip, clip.len) {
            match slot.request.op {
                Op::Read => rest.copy_to_volatile_slice(slice),
                _ => slice.copy_to_volatile_slice(rest),
            }
            match rest.offset(slice.len()) {
                Ok(next) => rest = next,
                Err(_) => return,
            }
        }
    }

    /// Moves bytes and waits until they are moved. Transfers of other requests
    /// may end meanwhile.
    fn transfer(
        &mut self,
        direction: Direction,
        offset: u64,
        slice: VolatileSlice<'_>,
    ) -> io::Result<()> {
        loop {
            while let Some((token, result)) = self.queue.engine.ended() {
                self.moved(token, result);
            }
            if self.queue.engine.room() > 0 {
                break;
            }
            self.wait_for_engine();
        }
        // SAFETY: the slice is borrowed until this function returns, which is
        // when the transfer has ended.
        #[allow(unsafe_code)]
        unsafe {
            let engine = &mut *self.queue.engine;
            let stats = &mut self.stats;
            submit(
                engine,
                stats,
                SLOW,
                direction,
                offset,
                &mut [slice].into_iter(),
            );
        }
        loop {
            self.queue.engine.kick();
            while let Some((token, result)) = self.queue.engine.ended() {
                if token == SLOW {
                    return result;
                }
                self.moved(token, result);
            }
            self.wait_for_engine();
        }
    }

    /// Waits for a transfer. The statistics are unlocked meanwhile.
    fn wait_for_engine(&mut self) {
        let engine = &mut self.queue.engine;
        MutexGuard::unlocked(&mut self.stats, || engine.wait());
    }
}
