//! Read-only: a write goes to the origin, and what is cached of its block is forgotten.
//! The vSSD is written for reads alone. Writes that bypass a cache of another policy go the same way.

use crate::block_cache::requests::Request;
use crate::block_cache::state::{Arrival, Core, Kind};
use crate::block_cache::{BlockCache, CacheError, Served};
use crate::device::BlockDevice;

impl Core {
    /// A write arrives: its block goes.
    pub(crate) fn arrive_read_only(&mut self, block: u32, found: Option<u32>) -> Arrival {
        found
            .map(|slot| self.discard(block, slot))
            .ok_or(Served::Miss)
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes to the origin, once no record is left of the block [C3].
    pub(crate) async fn write_past(
        &self,
        mut request: Request<'_, S, O>,
        data: &[u8],
    ) -> Result<Served, CacheError> {
        request.acquire().await;
        let (block, served) = (request.job.block, request.job.served);
        let is_recorded = request.job.kind == Kind::Discard && request.settle().await.is_err();
        // What is kept dirty is durable at the next flush only, which sees to the record.
        let must_wait = is_recorded && self.is_strict();
        if must_wait && self.until_nothing_recorded().await.is_err() {
            return request.over(Err(CacheError::Failed));
        }
        let written = self.write_behind(block, data).await;
        request.over(written.map(|()| served))
    }
}
