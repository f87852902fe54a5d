//! The state of a vSSD's device, readable without waiting for it.

use std::collections::VecDeque;

use vssd::advice::Advice;
use vssd::device::{Outcome, Resize};
use vssd::wire::Encoding;

/// A resize that ended, with its cost.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes in a block.
    pub block_size: u32,
    /// Time that the device worked for it: commands, ownership, revocation.
    pub device_ns: u64,
    /// Bytes of the commands and responses.
    pub message_bytes: u64,
    /// Blocks that the guest did not give were left to it, because it was not forced.
    pub withheld: bool,
}

/// The device of a vSSD, as it is reported.
#[derive(Clone, Debug)]
pub struct View {
    /// Blocks that the guest holds.
    pub held: u32,
    /// Digest of the list of these (SPEC.md, 4.9).
    pub digest: u64,
    /// Whether the driver confirmed that its list is the same.
    pub agreed: bool,
    /// Whether a driver of the vSSD contract said HELLO.
    pub driver: bool,
    /// How block sets travel.
    pub encoding: Encoding,
    /// What a cache on it is advised.
    pub advice: Advice,
    /// The resize under way.
    pub resize: Option<Resize>,
    /// The resize that ended last.
    pub last: Option<Finished>,
}

/// A copy beside the state, current whenever the state is not locked.
pub(crate) struct Published {
    /// Without the digest.
    pub(crate) view: View,
    /// Outcomes that are kept for threads that wait for one.
    pub(crate) finished: VecDeque<Finished>,
}
