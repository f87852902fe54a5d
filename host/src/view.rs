//! The state of a vSSD's device, readable without waiting for it.

use std::collections::VecDeque;

use vssd::device::Resize;
use vssd::wire::Encoding;

use crate::vssd::{Finished, State};

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
    /// The resize under way.
    pub resize: Option<Resize>,
    /// The resize that ended last.
    pub last: Option<Finished>,
}

impl View {
    /// All but the digest, which takes a pass over all blocks.
    pub(crate) fn of(state: &State) -> Self {
        let device = &state.device;
        Self {
            held: device.granted().len(),
            digest: 0,
            agreed: device.is_agreed(),
            driver: device.has_session(),
            encoding: device.encoding(),
            resize: device.resize_under_way().cloned(),
            last: state.all_finished().front().copied(),
        }
    }
}

/// A copy beside the state, current whenever the state is not locked.
pub(crate) struct Published {
    /// Without the digest.
    pub(crate) view: View,
    /// Outcomes that are kept for threads that wait for one.
    pub(crate) finished: VecDeque<Finished>,
}

impl Published {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            view: View::of(state),
            finished: state.all_finished().clone(),
        }
    }
}
