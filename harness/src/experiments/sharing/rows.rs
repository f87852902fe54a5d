//! Rows of the sharing experiment.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// A resize of one of several VMs that share a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharingRow {
    /// Counts from 0.
    pub round: u32,
    /// Name of its vSSD.
    pub vssd: String,
    /// `shrink` (the guest picks), `revoke` (the host picks) or `grow`.
    pub kind: String,
    /// Whether the harness took it back as soon as it had begun.
    pub cancelled: bool,
    /// Blocks held before.
    pub from_blocks: u32,
    /// Blocks that were to be held.
    pub target_blocks: u32,
    /// Blocks held afterwards.
    pub held_blocks: u32,
    /// Blocks taken without the guest's word.
    pub revoked_blocks: u32,
    /// How it ended: the backend's word, or `refused` where it did not begin.
    pub ended: String,
    /// Whether the driver confirmed the list that resulted.
    pub agreed: bool,
    /// When it ended, from the start of the experiment.
    pub at_ns: u64,
    /// How long it took, by the backend; 0 where it did not begin.
    pub elapsed_ns: u64,
}

impl Row for SharingRow {
    const FILE: &'static str = "sharing.csv";
}

/// A VM at a point at which nothing moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharingCheckRow {
    /// Counts from 0.
    pub round: u32,
    /// `start`; `killed`: its guest was, and has just booted again; otherwise the
    /// end of a round, and what it began with: `calm`, `rebooted`, `backend-restarted`.
    pub after: String,
    /// Name of its vSSD.
    pub vssd: String,
    /// When, from the start of the experiment.
    pub at_ns: u64,
    /// Blocks of the vSSD.
    pub capacity_blocks: u32,
    /// Blocks that it holds, by the backend.
    pub held_blocks: u32,
    /// Blocks that all VMs hold together, by the backend.
    pub held_by_all_blocks: u32,
    /// Blocks that the pool may promise.
    pub limit_blocks: u32,
    /// Whether number and digest of the guest's and the backend's list are equal.
    pub lists_equal: bool,
    /// Blocks that carry what this VM wrote.
    pub own_blocks: u32,
    /// Blocks that read as zeros, rightly.
    pub zero_blocks: u32,
    /// Blocks that read as something else.
    pub foreign_blocks: u32,
    /// Blocks that failed though held, or were readable though not.
    pub unexpected_blocks: u32,
    /// Requests during the round before.
    pub inflight_requests: u64,
    /// Of these, failed though their block was held throughout, or returned
    /// other data than were written last.
    pub inflight_errors: u64,
}

impl Row for SharingCheckRow {
    const FILE: &'static str = "sharing_checks.csv";
}
