//! Journaled write-back: a write is done when the vSSD has it, and writes come to the origin
//! by groups, each of which is there whole or not at all.
//!
//! Koller et al., FAST 2013, section 3.2: a group is written to a journal on the origin
//! first, and to its places once the journal has it durably. Writes to a block within a
//! group are one in the end, so that less is written than in order, and the origin is
//! at the end of a group whenever the vSSD is lost.

use crate::block_cache::epochs::newest;
use crate::block_cache::state::{Arrival, Core};
use crate::block_cache::{BlockCache, Served};
use crate::device::BlockDevice;
use crate::origin_journal::{TRANSACTION_BLOCKS, Transaction};

impl Core {
    /// A write arrives: a group that has as many blocks as the journal takes is over.
    pub(crate) fn arrive_journaled(
        &mut self,
        block: u32,
        found: Option<u32>,
        is_admitted: Result<(), Served>,
    ) -> Arrival {
        if self.dirty.in_epoch >= TRANSACTION_BLOCKS as u32 {
            self.dirty.close_epoch();
        }
        self.arrive_in_epoch(block, found, is_admitted)
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Brings the blocks of an epoch to the origin, by its journal. Whether they are there,
    /// durably.
    pub(crate) async fn apply_journaled(&self, epoch: u32) -> bool {
        let Some(loaded) = self.load_epoch(epoch).await else {
            return false;
        };
        let mut versions = newest(&loaded).peekable();
        // Only what an earlier cache left, without a journal, can be more than one.
        while versions.peek().is_some() {
            let mut transaction = Transaction::new();
            for version in versions.by_ref().take(TRANSACTION_BLOCKS) {
                transaction.push(version.block, &version.data);
            }
            if !self.write_transaction(&mut transaction).await {
                return false;
            }
        }
        drop(versions);
        self.applied(loaded);
        true
    }
}
