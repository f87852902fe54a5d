//! The canonical form of a device ([`Names`]).

use super::{Device, Phase, PickedBy, RESPONSE_HEADER_LEN, ResizeRequest};
use crate::model::Names;

/// In place of the request of a resize that moves no more blocks.
const SETTLED: ResizeRequest = ResizeRequest {
    target: 0,
    picked_by: PickedBy::Guest,
    deadline_ns: None,
    revoke: false,
    force: false,
};

impl Device {
    /// The generation of its goal, which the next one exceeds by 1.
    pub(crate) fn generation(&self) -> u64 {
        self.goal.generation
    }

    /// Blocks that the guest is to give up.
    pub(crate) fn excess(&self) -> u32 {
        self.granted.len().saturating_sub(self.target())
    }

    /// The session that it is in; 0 for none.
    pub(crate) fn session_id(&self) -> u64 {
        self.session.map_or(0, |session| session.id)
    }

    /// `may_repeat` if a command may come again.
    pub(crate) fn visit(&mut self, may_repeat: bool, names: &mut Names) {
        let id = self.session_id();
        if !may_repeat {
            self.response_len = 0;
        }
        self.response.truncate(self.response_len);
        names.response(id, &mut self.response);
        if let Some(session) = &mut self.session {
            names.sequence(id, &mut session.sequence);
            names.session(&mut session.id);
        }
        names.goal(&mut self.goal);
        if let Some(resize) = &mut self.resize {
            if let Some(deadline) = &mut resize.request.deadline_ns {
                names.instant(deadline);
            }
            if let Phase::Settling { until_ns } = &mut resize.phase {
                names.instant(until_ns);
            }
            (resize.id, resize.started_ns) = (0, 0);
            (resize.revoked, resize.exchanges) = (0, 0);
            resize.from = if resize.is_shrink() { u32::MAX } else { 0 };
            if !resize.is_moving() {
                // Only the outcome says more than when it ends.
                resize.shortfall = None;
                resize.from = 0;
                resize.request = SETTLED;
            }
        }
        // Larger than all, or for the caller only.
        (self.next_session, self.next_resize) = (0, 0);
        self.outcome = None;
        self.payload_end = 0;
        self.refusal = [0; RESPONSE_HEADER_LEN];
    }
}
