//! The contents of the slots, recorded on the vSSD itself, so that a guest that was killed or lost
//! power starts warm and loses nothing that it had flushed.
//!
//! The first [`region_blocks`] blocks of the vSSD are the *region*. In it is a log
//! with checkpoints: a checkpoint says what every slot holds, the log what has
//! changed since, a commit at a time. The hypervisor may take any block of the
//! region as it may any other, so nothing has a fixed place: each block says what
//! it is, and each block of the log says where the next one will be.
//!
//! ```text
//!  checkpoint N          log
//!  ┌───┬───┬─···─┬───┐   ┌─────────┐ next ┌─────┬─────┐ next
//!  │ 0 │ 1 │     │end│──>│ commit  │─────>│ commit    │─────> a block that is
//!  └───┴───┴─···─┴───┘   └─────────┘      └─────┴─────┘      none, but not zeros
//! ```
//!
//! **Stale logs after a crash.** Revoked blocks read as zeros when they come back. A log that merely ended where no further commit is found would
//! take a log whose last commits were revoked for an older, whole one, and old
//! records name slots that hold other blocks by now. So a block of the region is
//! used only after something that is not zeros was made durable in it, and a
//! log ends only at a block that is there and is not zeros; anything else is
//! [`Unrecovered::Broken`]. For the same reason a replaced checkpoint is erased
//! before any block that it or its log took is used again.
//!
//! **Checkpoints beside commits.** A checkpoint of a full vSSD of 64 GiB is 195 MiB.
//! It is written a few blocks with each commit, from what [`Snapshot`] says at that
//! moment, while commits go on in the log: the checkpoint names the place in the
//! log where it was begun, and what was committed since overrides it (a fuzzy
//! checkpoint: Gray and Reuter, *Transaction Processing*, 1993, 11.5). So every
//! commit is short, and the state is kept once.
//!
//! A commit is planned, written and finished, so that grants and revocations may
//! come in between ([`MetaLog::plan`], [`Plan::write`], [`MetaLog::finish`];
//! [`commit`] is all three).
//!
//! Inside: `layout` has the bytes, `space` what each block of the region is for,
//! `scan` what is found in it, `log` what to write next (`plan`), `outcome` what has come of
//! it, and `recovery` the way from the blocks back to the state.

mod layout;
mod log;
mod outcome;
mod plan;
mod recovery;
mod scan;
mod space;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::cell::RefCell;

pub use layout::VERSION;
pub use log::MetaLog;
pub use outcome::Step;
pub use plan::Plan;
pub use recovery::{Recovered, Unrecovered};

use crate::device::{BlockDevice, IoError};
use layout::PER_BLOCK;

/// Records that one commit may have: 12 blocks of the log.
pub const MAX_RECORDS: usize = 12 * PER_BLOCK;

/// The fewest blocks of a region.
const MIN_REGION: u32 = 16;

/// Blocks at the front of a vSSD of `capacity` blocks that are for the metadata.
///
/// A hundredth: two checkpoints of all slots take 0.6 %, the log has the rest.
pub fn region_blocks(capacity: u32) -> u32 {
    capacity.div_ceil(100).max(MIN_REGION).min(capacity)
}

/// What is recorded about a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing of value.
    #[default]
    Free,
    /// What the origin has at `block`.
    Clean {
        /// The block of the origin.
        block: u32,
    },
    /// A write to `block` that the origin does not have yet.
    Dirty {
        /// The block of the origin.
        block: u32,
        /// When several slots have versions of a block, the highest is the newest.
        epoch: u32,
        /// Whether the data were all zeros, which distinguishes them from a slot that was revoked
        /// and came back.
        zeros: bool,
    },
}

/// A change of what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// What a slot holds from now on.
    Slot {
        /// A slot behind the region.
        slot: u32,
        /// What it holds.
        state: SlotState,
    },
    /// The last write to a block of the origin is lost.
    Lost {
        /// The block.
        block: u32,
    },
    /// A lost block has been written again.
    Found {
        /// The block.
        block: u32,
    },
}

/// All that may be recorded, a part at a time, for checkpoints.
///
/// Parts of one checkpoint are requested by several plans, and the state may change in
/// between. What is given must be what a commit might record *at that moment*: only
/// slots whose data are durable, and every slot and lost block that is recorded and
/// must stay so. What is not given is free. A slot may be given twice; the last
/// counts, and whatever was committed since the checkpoint was begun counts more.
///
/// A slot may move in between only from what is given earlier to what is given
/// later, or it would be missed.
///
/// What has been given counts as recorded from then on, as the records of a commit
/// do from the moment they are planned, even if writing them fails: the slot may
/// not be overwritten before a commit that says otherwise has ended well.
pub trait Snapshot {
    /// The most records that there may be now: cached slots, kept versions, lost
    /// blocks.
    fn len(&self) -> usize;

    /// Appends at most `limit` records to `out`, from `cursor` on, which is 0 at
    /// first. Returns the cursor of those that come next, or `None` after the last;
    /// what a cursor means is the implementer's own. May append none and go on.
    fn read(&self, cursor: u64, limit: usize, out: &mut Vec<Record>) -> Option<u64>;

    /// Whether there are no records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why records are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaError {
    /// The vSSD failed. The records of the commit may or may not be found by
    /// recovery, until a later commit has ended well.
    Device(IoError),
    /// The blocks of the region that are held do not suffice. Nothing of the commit
    /// was written.
    Full {
        /// Blocks of the region that are held.
        held: u32,
        /// Records of a checkpoint.
        records: usize,
    },
}

impl core::fmt::Display for MetaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(error) => write!(f, "write the metadata: {error}"),
            Self::Full { held, records } => {
                write!(
                    f,
                    "{held} blocks are too few for the metadata of {records} slots"
                )
            }
        }
    }
}

// The guest logs an error alone, so its cause is in the text, and not a source besides.
impl core::error::Error for MetaError {}

/// Makes `records` durable, all or none: writes blocks of the log, and what else the
/// log needs, and flushes `device`. The data that the records describe must be
/// durable before this is called.
///
/// With no records it only goes on with a checkpoint that is due
/// ([`MetaLog::needs_checkpoint`]), by one step.
///
/// # Errors
/// When the records are not durable.
///
/// # Panics
/// With more than [`MAX_RECORDS`], or while another commit is under way.
pub async fn commit(
    log: &RefCell<MetaLog>,
    device: &impl BlockDevice,
    records: &[Record],
    snapshot: &impl Snapshot,
) -> Result<(), MetaError> {
    loop {
        let plan = log.borrow_mut().plan(records, snapshot)?;
        let written = plan.write(device).await;
        match log.borrow_mut().finish(plan, written)? {
            Step::Committed => return Ok(()),
            Step::Again => {}
        }
    }
}
