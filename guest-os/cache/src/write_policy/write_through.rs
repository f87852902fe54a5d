//! Write-through: a write goes to both disks, and is done when the origin has it.
//!
//! Koller et al., FAST 2013, section 2. Nothing is ever lost by it, and no write is faster
//! for it; what was written is read back from the vSSD.

use crate::block_cache::requests::Request;
use crate::block_cache::state::{Arrival, Core, Kind};
use crate::block_cache::wait::both;
use crate::block_cache::{BlockCache, CacheError, Served};
use crate::device::BlockDevice;

impl Core {
    /// A write arrives: its block is admitted as if it were read.
    pub(crate) fn arrive_write_through(
        &mut self,
        block: u32,
        found: Option<u32>,
        is_admitted: Result<(), Served>,
    ) -> Arrival {
        let Some(slot) = found else {
            return self.admit(block, is_admitted);
        };
        let mut job = self.overwrite(block, slot);
        // An earlier cache may have left the block dirty.
        job.victim = job.version.take();
        Ok(job)
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes to both disks, if the block has a slot, or to the origin.
    pub(crate) async fn write_through(
        &self,
        mut request: Request<'_, S, O>,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        request.acquire().await;
        let (block, served) = (request.job.block, request.job.served);
        if request.slot().is_some() && request.settle().await.is_err() {
            // [C3] A record that says what the block was must not outlive this write.
            let is_recorded = request.job.kind == Kind::Hit;
            request.invalidate();
            if is_recorded && self.until_nothing_recorded().await.is_err() {
                return request.over(Err(CacheError::Failed));
            }
        }
        let slot = request.slot().filter(|_| request.job.is_settled);
        let Some(slot) = slot else {
            let written = self.write_behind(block, data).await;
            return request.over(written.map(|()| served));
        };
        request.job.has_begun = true;
        let to_origin = self.write_behind(block, data);
        let (written, cached) = both(to_origin, self.write_slot(slot, data)).await;
        if written.is_err() || cached.is_err() {
            request.invalidate();
        }
        request.over(written.map(|()| served))
    }
}
