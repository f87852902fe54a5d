//! What is where in the region, and what to write next.
use super::*;
use core::ops::Range;

/// What has come of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The records are durable.
    Committed,
    /// They are not yet: plan the same records again.
    Again,
}

/// The metadata's log.
#[derive(Debug)]
pub struct MetaLog {}

#[allow(unused_variables, missing_docs)]
impl MetaLog {
    /// An empty log for the vSSD `device`, of which the blocks `held` are held. Writes
    /// every held block of the region, so that nothing that was there is believed again,
    /// and flushes. `id` should differ from that of any cache before. Works with nothing
    /// held too; then it is not durable until enough is granted.
    pub async fn format(
        device: &impl BlockDevice,
        id: u64,
        held: &[Range<u32>],
    ) -> Result<Self, MetaError> {
        todo!()
    }

    /// Reads what was recorded.
    pub async fn recover(
        device: &impl BlockDevice,
        held: &[Range<u32>],
    ) -> Result<Recovered, Unrecovered> {
        todo!()
    }

    /// What to write next. At most one plan at a time; a plan that is dropped instead of
    /// finished is a bug of the caller's.
    pub fn plan(
        &mut self,
        records: &[Record],
        snapshot: &impl Snapshot,
    ) -> Result<Plan, MetaError> {
        todo!()
    }

    /// Takes note of how a plan ended.
    pub fn finish(&mut self, plan: Plan, written: Result<(), IoError>) -> Result<Step, MetaError> {
        todo!()
    }

    /// Blocks came (ranges may reach beyond the region; only what is in it counts).
    pub fn granted(&mut self, blocks: &[Range<u32>]) {}

    /// Blocks went, with what was in them (same).
    pub fn revoked(&mut self, blocks: &[Range<u32>]) {}

    /// Gives up to `max` blocks of the region up, those first that nothing needs; when it
    /// takes one that is needed, nothing is on record any more, so everything dirty must
    /// have been written back. A block of a plan under way stays.
    pub fn surrender(&mut self, max: u32) -> Vec<u32> {
        todo!()
    }

    /// Gives up what is on record, when it cannot be kept up to date ([`MetaError::Full`]).
    /// Everything dirty must have been written back. The next commits erase it and begin anew;
    /// it is gone for certain when `is_void`.
    pub fn forget(&mut self) {}

    /// Nothing is on record on the vSSD: slots may be overwritten freely.
    pub fn is_void(&self) -> bool {
        todo!()
    }

    /// Blocks of the region that are held.
    pub fn held(&self) -> u32 {
        todo!()
    }

    /// Whether the held blocks suffice for a log of so many records (`Snapshot::len`).
    pub fn is_durable(&self, records: usize) -> bool {
        todo!()
    }

    /// Whether a commit without records would have something to do.
    pub fn needs_checkpoint(&self, records: usize) -> bool {
        todo!()
    }

    /// Blocks written to the region so far.
    pub fn blocks_written(&self) -> u64 {
        todo!()
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}
