//! Write-back: a write is done when the vSSD has it. It comes to the origin later, in any
//! order; between two flushes the origin may be at a state that never was.
//!
//! Koller et al., FAST 2013, section 2: the fastest, and the one that needs a file system
//! or a database above it that knows what a flush is for.

use crate::block_cache::requests::{Request, is_zeros};
use crate::block_cache::state::{Arrival, Core, Kind};
use crate::block_cache::{BlockCache, CacheError, Served};
use crate::device::BlockDevice;

impl Core {
    /// A write arrives: its block is overwritten where it is, or admitted.
    pub(crate) fn arrive_write_back(
        &mut self,
        block: u32,
        found: Option<u32>,
        is_admitted: Result<(), Served>,
    ) -> Arrival {
        match found {
            Some(slot) => Ok(self.overwrite(block, slot)),
            None => self.admit(block, is_admitted),
        }
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes to the slot; or, if that is not to be, to the origin.
    pub(crate) async fn write_later(
        &self,
        mut request: Request<'_, S, O>,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        request.acquire().await;
        let (block, served) = (request.job.block, request.job.served);
        if self.write_in_place(&mut request, data).await {
            return request.over(Ok(served));
        }
        let written = self.write_behind(block, data).await;
        let is_unknown = request.job.has_begun || request.job.kind == Kind::Fill;
        let mut core = self.core.borrow_mut();
        let version = request.job.version;
        let was_dirty = version.and_then(|id| core.dirty.get(id));
        let was_dirty = was_dirty.is_some_and(|version| version.is_valid);
        if let (Some(id), true) = (version, written.is_ok()) {
            // The origin has what is newer.
            core.remove_version(id);
        }
        drop(core);
        if written.is_ok() || is_unknown && !was_dirty {
            request.invalidate();
        }
        request.over(written.map(|()| served))
    }

    async fn write_in_place(&self, request: &mut Request<'_, S, O>, data: &[u8]) -> bool {
        let Some(id) = request.job.version else {
            return false;
        };
        let is_filled = request.job.kind == Kind::Fill;
        if request.slot().is_none() || is_filled && request.settle().await.is_err() {
            return false;
        }
        let is_zeros = is_zeros(data);
        if !self.prepare_record(id, is_zeros).await {
            return false;
        }
        let Some(slot) = request.slot() else {
            return false;
        };
        request.job.has_begun = true;
        if self.write_slot(slot, data).await.is_err() || request.slot().is_none() {
            return false;
        }
        let mut core = self.core.borrow_mut();
        core.written(id, is_zeros);
        core.mend(request.job.block);
        if let Some(stray) = core.dirty.find_stray(request.job.block) {
            core.remove_version(stray);
        }
        true
    }
}
