//! Ordered write-back: a write is done when the vSSD has it, and writes come to the origin
//! in the order in which they were done.
//!
//! Koller et al., FAST 2013, section 3.1: at every moment the origin is as it was once,
//! so a loss of the vSSD loses recent writes, but no consistency. Writes that were
//! under way side by side have no order between them; they are an *epoch*, and a new one
//! begins when a write arrives after one of the present epoch has ended.

use crate::block_cache::epochs::newest;
use crate::block_cache::state::{Arrival, Core};
use crate::block_cache::wait::all;
use crate::block_cache::{BlockCache, Served};
use crate::device::BlockDevice;

/// Transfers of an epoch side by side.
const SIDE_BY_SIDE: usize = 32;

impl Core {
    /// A write arrives: it may be ordered after one that has ended.
    pub(crate) fn arrive_ordered(
        &mut self,
        block: u32,
        found: Option<u32>,
        is_admitted: Result<(), Served>,
    ) -> Arrival {
        if self.dirty.has_ended {
            self.dirty.close_epoch();
        }
        self.arrive_in_epoch(block, found, is_admitted)
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Writes the blocks of an epoch to the origin, which has all earlier ones durably, and
    /// makes them durable. Whether that is so.
    pub(crate) async fn apply_ordered(&self, epoch: u32) -> bool {
        let Some(loaded) = self.load_epoch(epoch).await else {
            return false;
        };
        let mut is_whole = true;
        {
            let mut writes = newest(&loaded);
            let next = || {
                let next = writes.next()?;
                Some(self.write_origin(next.block, &next.data))
            };
            all(SIDE_BY_SIDE, next, |done| is_whole &= done.is_ok()).await;
        }
        if !is_whole || !self.flush_origin().await {
            return false;
        }
        self.applied(loaded);
        true
    }
}
