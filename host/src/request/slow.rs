//! Requests that a backing cannot take as they came from the guest: buffers or lengths that direct
//! I/O refuses.
//!
//! Such requests are rare: boot firmware makes them, and guests that write single sectors. They are
//! carried out synchronously, through an aligned buffer.

use std::io;
use std::sync::atomic::AtomicU8;

use parking_lot::MutexGuard;
use vm_memory::VolatileSlice;

use super::chain::Buffers;
use super::parse::Op;
use super::pass::{Pass, submit};
use super::queue::SLOW;
use super::slot::{Clip, Failure, clear};
use crate::backing::Alignment;
use crate::io::Direction;
use crate::pool::volume::Extent;

/// Bytes that go through the buffer at a time, at least one block.
const BOUNCE_LEN: usize = 64 << 10;

/// Bytes of [`ZEROS`].
const ZEROS_LEN: usize = 256 << 10;

/// Zeros to write where a guest requests zeros, repeated as needed. Atomic, so that they take no
/// space in the program's file.
#[repr(align(4096))]
struct Zeros([AtomicU8; ZEROS_LEN]);

static ZEROS: Zeros = Zeros([const { AtomicU8::new(0) }; ZEROS_LEN]);

/// `len` zeros, as the data of a request.
pub(super) fn zeros(len: usize) -> Buffers<'static> {
    // SAFETY: the memory is there for good, and may be written through a shared reference,
    // although that does not happen: these are the data of writes.
    #[allow(unsafe_code)]
    let all = unsafe { VolatileSlice::new(ZEROS.0.as_ptr().cast_mut().cast(), ZEROS_LEN) };
    let parts = (0..len).step_by(ZEROS_LEN);
    parts
        .filter_map(|at| all.subslice(0, ZEROS_LEN.min(len - at)).ok())
        .collect()
}

/// An aligned buffer, allocated when it is first needed.
#[derive(Default)]
pub(super) struct Bounce {
    bytes: Vec<u8>,
    len: usize,
    alignment: Alignment,
}

impl Bounce {
    pub(super) fn new(block_size: u32, alignment: Alignment) -> Self {
        Self {
            bytes: Vec::new(),
            len: BOUNCE_LEN.max(block_size as usize),
            alignment,
        }
    }

    /// The first `len` bytes.
    fn front(&mut self, len: usize) -> VolatileSlice<'_> {
        let address = self.alignment.address;
        if self.bytes.is_empty() {
            self.bytes = vec![0; self.len + address];
        }
        let skip = self.bytes.as_ptr().align_offset(address);
        VolatileSlice::from(&mut self.bytes[skip..skip + len])
    }

    /// The aligned range that contains `clip`: its start within the blocks, its bytes before
    /// `clip`, and its length.
    fn cover(&self, clip: Clip) -> (u64, usize, usize) {
        let len = self.alignment.len as u64;
        let begin = clip.within / len * len;
        let end = (clip.within + clip.len as u64).next_multiple_of(len);
        (
            begin,
            (clip.within - begin) as usize,
            (end - begin) as usize,
        )
    }
}

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
