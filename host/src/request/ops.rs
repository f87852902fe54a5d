//! The operations of each kind of request.

use parking_lot::MutexGuard;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR};
use vm_memory::VolatileSlice;
use vssd::block_set::spans;
use vssd::error::Reject;

use super::pass::{Pass, submit};
use super::slot::{Failure, Step, clear};
use crate::io::Direction;
use crate::pool::PendingCommit;
use crate::pool::allocator::Denied;
use crate::pool::volume::Extent;

/// A buffer with a shorter lifetime, to be put in a list with others.
fn as_brief<'a>(slice: VolatileSlice<'static>) -> VolatileSlice<'a> {
    slice
}

impl Pass<'_> {
    pub(super) fn read(&mut self, index: usize) {
        let token = self.token(index);
        let pool = &*self.vssd.pool;
        let slot = &mut self.queue.slots[index];
        let Step::Moving { next, .. } = slot.step else {
            return;
        };
        let mut at = next;
        for extent in self.vssd.volume.extents(at, slot.first + slot.count - at) {
            let clip = slot.clip((extent.first, extent.count), pool.block_size());
            match extent.physical {
                None if pool.keeps_data() => {
                    for slice in slot.data.range(clip.skip, clip.len) {
                        clear(slice);
                    }
                }
                None => {}
                Some(physical) => {
                    if self.queue.engine.room() == 0 {
                        break;
                    }
                    let offset = pool.offset(physical) + clip.within;
                    // SAFETY: by the contract of `push` the buffers stay until
                    // the slot is popped, which waits for its transfers.
                    #[allow(unsafe_code)]
                    unsafe {
                        let mut data = slot.data.range(clip.skip, clip.len);
                        let engine = &mut *self.queue.engine;
                        let stats = &mut self.stats;
                        submit(engine, stats, token, Direction::Read, offset, &mut data);
                    }
                    slot.transfers += 1;
                }
            }
            at = extent.first + extent.count;
        }
        self.went_to(index, at, None);
    }

    /// Records the block at which a request continues.
    pub(super) fn went_to(
        &mut self,
        index: usize,
        next: u32,
        physical_blocks: Option<PendingCommit>,
    ) {
        let slot = &mut self.queue.slots[index];
        slot.step = Step::Moving {
            next,
            physical_blocks,
        };
        self.queue.stalled += usize::from(next < slot.first + slot.count);
    }

    pub(super) fn write(&mut self, index: usize) {
        let Step::Moving { next, .. } = self.queue.slots[index].step else {
            return;
        };
        let slot = &self.queue.slots[index];
        let end = slot.first + slot.count;
        let mut at = next;
        let mut physical_blocks = None;
        while at < end {
            let extent = self.vssd.volume.extents(at, end - at).next();
            let mut extent = extent.expect("the range is not empty");
            if self.queue.engine.room() == 0 {
                break;
            }
            let first_write = extent.physical.is_none();
            if first_write {
                match self.allocate(extent.first, extent.count) {
                    Ok(fresh) => {
                        extent = fresh;
                        self.queue.slots[index].fresh.push(fresh);
                    }
                    Err(Some(pending)) => {
                        physical_blocks = Some(pending);
                        break;
                    }
                    Err(None) => {
                        let slot = &mut self.queue.slots[index];
                        slot.failure = Some(Failure::NoSpace);
                        at = end;
                        break;
                    }
                }
            }
            self.submit_write(index, extent, first_write);
            at = extent.first + extent.count;
        }
        self.went_to(index, at, physical_blocks);
    }

    /// Submits the part of a write that concerns these blocks. A first write fills them: the rest
    /// of the blocks reads as zeros from then on.
    fn submit_write(&mut self, index: usize, extent: Extent, first_write: bool) {
        let token = self.token(index);
        let pool = &*self.vssd.pool;
        let block_size = pool.block_size();
        let slot = &mut self.queue.slots[index];
        let clip = slot.clip((extent.first, extent.count), block_size);
        let physical = extent.physical.expect("the extent has physical blocks");
        let (before, after) = if first_write {
            let len = u64::from(extent.count) * u64::from(block_size);
            (clip.within, len - clip.within - clip.len as u64)
        } else {
            (0, 0)
        };
        let offset = pool.offset(physical) + clip.within - before;
        let padding = &mut self.queue.padding;
        let [before, after] = padding.around(before as usize, after as usize);
        // SAFETY: as in `read`. The zeros stay where they are once there are any, and are
        // dropped after the engine.
        #[allow(unsafe_code)]
        unsafe {
            let data = slot.data.range(clip.skip, clip.len).map(as_brief);
            let mut data = before.chain(data).chain(after);
            let engine = &mut *self.queue.engine;
            let stats = &mut self.stats;
            submit(engine, stats, token, Direction::Write, offset, &mut data);
        }
        slot.transfers += 1;
    }

    /// Finds physical blocks in a row for the first of these blocks, which were never written. If
    /// none is free: the commit that will free some, or nothing if none will.
    pub(super) fn allocate(
        &mut self,
        first: u32,
        count: u32,
    ) -> Result<Extent, Option<PendingCommit>> {
        let pool = &*self.vssd.pool;
        let volume = &self.vssd.volume;
        let (mut state, physical) = loop {
            let mut state = pool.state_for_io(&mut self.stats.latency, self.activity);
            match volume.allocate(&mut state.allocator, first) {
                Ok(physical) => break (state, physical),
                Err(Denied::Punching) => {
                    drop(state);
                    MutexGuard::unlocked(&mut self.stats, || pool.wait_for_hole());
                }
                Err(Denied::Full { settling: true }) => {
                    drop(state);
                    // Before the commit can be over.
                    self.queue.commits.expect();
                    return Err(pool.pending_free());
                }
                Err(_) => return Err(None),
            }
        };
        let mut fresh = Extent {
            first,
            count: 1,
            physical: Some(physical),
        };
        while fresh.count < count {
            let block = first + fresh.count;
            match volume.allocate(&mut state.allocator, block) {
                Ok(next) if next == physical + fresh.count => fresh.count += 1,
                Ok(stray) => {
                    volume.abandon(&mut state.allocator, block, stray);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(fresh)
    }

    /// The first writes of `fresh` have ended.
    pub(super) fn map(&mut self, fresh: &[Extent], written: bool) {
        let pool = &*self.vssd.pool;
        let mut state = pool.state_for_io(&mut self.stats.latency, self.activity);
        for extent in fresh {
            if written {
                let physical = extent.physical.expect("the extent has physical blocks");
                state.map(&self.vssd.volume, extent.first, physical, extent.count);
            } else {
                state.abandon(&self.vssd.volume, *extent);
            }
        }
    }

    /// Releases the physical blocks of whole blocks, and overwrites the rest.
    pub(super) fn zero(&mut self, index: usize) {
        let slot = &self.queue.slots[index];
        let (first, last) = (slot.first, slot.first + slot.count);
        let whole = slot.request.whole_blocks(self.vssd.geometry.block_size());
        let (whole_first, whole_last) = (whole.start, whole.end);
        if whole_first < whole_last {
            let pool = &*self.vssd.pool;
            let mut state = pool.state_for_io(&mut self.stats.latency, self.activity);
            let mut changed = false;
            for word in spans(whole_first, whole_last - whole_first) {
                changed |= state.unmap(&self.vssd.volume, word);
            }
            drop(state);
            self.queue.slots[index].changed |= changed;
        }
        if whole_first > whole_last {
            // Within one block.
            self.slowly_from(index, first, last);
        } else {
            self.slowly_from(index, first, whole_first);
            self.slowly_from(index, whole_last, last);
        }
        self.went_to(index, last, None);
    }

    pub(super) fn flush(&mut self, index: usize) {
        match self.vssd.pool.flush() {
            Ok(None) => {}
            Ok(Some(pending)) => self.record(index, pending),
            Err(error) => self.queue.slots[index].failure = Some(error.into()),
        }
    }

    pub(super) fn identify(&mut self, index: usize) {
        let name = self.vssd.name.as_bytes();
        let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
        let len = name.len().min(id.len());
        id[..len].copy_from_slice(&name[..len]);
        let slot = &mut self.queue.slots[index];
        if slot.data.copy_from(&id) {
            slot.request.bytes = id.len() as u64;
        } else {
            self.stats.counters.reject(Reject::Malformed);
            slot.step = Step::Ended {
                status: VIRTIO_BLK_S_IOERR,
                len: 1,
            };
        }
    }
}
