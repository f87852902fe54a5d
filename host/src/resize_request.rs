//! A request to resize a vSSD, and why one is refused.

use std::fmt;
use std::time::Duration;

use vssd::device::ResizeError;

use crate::pool::allocator::Refusal;
use crate::size::Blocks;
use crate::transport::Transport;
use workloads::{HostPick, Pick};

/// Why a resize did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The vSSD is not served any more.
    #[error("the vSSD has just been removed")]
    Removed,
    /// The device refused it.
    #[error(transparent)]
    Device(#[from] ResizeError),
    /// The pool refused it.
    #[error(transparent)]
    Denied(#[from] Refusal),
    /// Blocks can only be taken by force.
    #[error(transparent)]
    Unforced(#[from] Unforced),
    /// The shrink is larger than what the guest holds.
    #[error("cannot take {by}: the guest holds {held}")]
    Below {
        /// Blocks to be taken.
        by: Blocks,
        /// Blocks held.
        held: Blocks,
    },
    /// The target is above the capacity.
    #[error("the guest cannot hold {target}: the vSSD has at most {capacity}")]
    Beyond {
        /// Blocks asked for.
        target: Blocks,
        /// The capacity.
        capacity: Blocks,
    },
    /// The guest does not hold a block that is to be taken.
    #[error("block {0} is not held by the guest; nothing was taken")]
    NotHeld(u32),
    /// Requests are not tracked for this pick.
    #[error(
        "pick `{0}` needs request tracking for it, which is off: enable it with `vssdctl track NAME {0}`"
    )]
    NotTracked(HostPick),
}

/// What lost blocks do to a file system that is in use.
pub const MOUNTED: &str = "which breaks a mounted file system (ext4 stops at its journal, XFS and \
                           F2FS do not mount again)";

/// Who speaks for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// No driver and no agent.
    No,
    /// An agent, which gives blocks up if it is asked for them.
    Agent,
}

/// Blocks would be taken that the guest did not give up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unforced {
    /// A frontend is connected: the guest has a plain driver, or is stopped.
    pub connected: bool,
    /// How it would speak.
    pub transport: Transport,
    /// Who does.
    pub answers: Answers,
    /// Blocks to be taken.
    pub wanted: Blocks,
    /// Blocks that the guest holds.
    pub held: Blocks,
    /// Of all its blocks, those that were written.
    pub written: Blocks,
}

impl fmt::Display for Unforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speaker = match self.transport {
            Transport::Virtqueues => "vSSD driver",
            Transport::Stream { .. } => "agent",
        };
        match (self.answers, self.connected) {
            (Answers::Agent, _) => f.write_str("the guest's agent was not asked")?,
            (Answers::No, true) => write!(f, "no {speaker} answers in the guest")?,
            (Answers::No, false) => f.write_str("no guest is connected")?,
        }
        let harm = match self.transport {
            Transport::Virtqueues => "which breaks a file system",
            Transport::Stream { .. } => MOUNTED,
        };
        write!(
            f,
            ", so nothing was taken. Taking {} by force would lose the contents of these blocks, \
             and their reads and writes would fail, {harm}: the guest holds {}, \
             of which {} are written. To take them anyway, add --force",
            self.wanted, self.held, self.written
        )
    }
}

/// The number of blocks that a guest is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Exactly this many.
    To(u64),
    /// This many fewer than it holds.
    Shrink(u64),
    /// This many more than it holds.
    Grow(u64),
}

impl Target {
    /// The number of blocks of `block_size` bytes, given how many are held.
    ///
    /// # Errors
    /// When it is below zero or above the capacity.
    pub fn blocks(self, held: u32, capacity: u32, block_size: u32) -> Result<u32, StartError> {
        let blocks = |count: u64| Blocks { count, block_size };
        let target = match self {
            Self::To(blocks) => blocks,
            Self::Grow(by) => u64::from(held).saturating_add(by),
            Self::Shrink(by) => {
                u64::from(held)
                    .checked_sub(by)
                    .ok_or_else(|| StartError::Below {
                        by: blocks(by),
                        held: blocks(held.into()),
                    })?
            }
        };
        let fits = u32::try_from(target).ok().filter(|t| *t <= capacity);
        fits.ok_or_else(|| StartError::Beyond {
            target: blocks(target),
            capacity: blocks(capacity.into()),
        })
    }
}

/// A resize as its caller requests it; the device gets absolute numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeRequest {
    /// Blocks that the guest is to hold.
    pub target: Target,
    /// Who picks the blocks of a shrink.
    pub pick: Pick,
    /// How long the guest may be asked.
    pub deadline: Option<Duration>,
    /// Whether the hypervisor takes what the guest has not given up by then, each block equally
    /// likely.
    pub revoke: bool,
    /// Whether it takes blocks while there is no driver that could pick them.
    pub force: bool,
    /// Seed of the hypervisor's picks.
    pub seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_checked_and_printed_as_sizes() {
        let target = |target: Target| target.blocks(512, 1024, 4096);
        assert_eq!(target(Target::Shrink(512)), Ok(0));
        assert_eq!(target(Target::Grow(512)), Ok(1024));
        assert_eq!(target(Target::To(3)), Ok(3));
        let below = target(Target::Shrink(5120)).unwrap_err().to_string();
        assert!(below.contains("20MiB (5120 blocks)"), "{below}");
        assert!(below.contains("2MiB (512 blocks)"), "{below}");
        for beyond in [Target::To(u64::MAX), Target::Grow(u64::MAX)] {
            let beyond = target(beyond).unwrap_err().to_string();
            assert!(beyond.contains("4MiB (1024 blocks)"), "{beyond}");
        }
    }
}
