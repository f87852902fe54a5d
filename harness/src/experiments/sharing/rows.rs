//! Rows of the sharing experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each resize of one of several VMs that share a pool, in the order in which they
/// ended within a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SharingRow {
    /// Counts from 0.
    pub round: u32,
    /// Name of the VM's vSSD.
    pub vssd: String,
    /// `shrink`: the guest picks; `revoke`: the host picks; `grow`.
    pub kind: String,
    /// Whether the harness cancelled the resize as soon as it had begun.
    pub cancelled: bool,
    /// Blocks held before.
    pub from_blocks: u32,
    /// Blocks that were to be held.
    pub target_blocks: u32,
    /// Blocks held afterwards.
    pub held_blocks: u32,
    /// Blocks taken without the consent of the guest.
    pub revoked_blocks: u32,
    /// `complete`, `cancelled`, `storage` (the pool ran out of room during the resize) or `refused`
    /// (it had no room before).
    pub ended: String,
    /// Whether the driver confirmed the resulting list; `true` where the resize did not begin.
    pub agreed: bool,
    /// When it ended, from the start of the experiment.
    pub at_ns: u64,
    /// Duration by the backend; 0 where the resize did not begin.
    pub elapsed_ns: u64,
}

impl Row for SharingRow {
    const FILE: &'static str = "sharing.csv";
}

/// One row for each VM whenever no resize is under way: both lists compared, and every block of the
/// guest read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SharingCheckRow {
    /// Counts from 0.
    pub round: u32,
    /// `start`: all is written; `killed`: this guest was killed under load and has just booted
    /// again; otherwise the end of a round, and what it began with: `calm` (nothing), `rebooted` (a
    /// guest killed) or `backend-restarted` (the backend killed).
    pub after: String,
    /// Name of the VM's vSSD.
    pub vssd: String,
    /// When, from the start of the experiment.
    pub at_ns: u64,
    /// Blocks of the vSSD.
    pub capacity_blocks: u32,
    /// Blocks held by this VM, by the backend's list.
    pub held_blocks: u32,
    /// Blocks held by all VMs together, by the backend's lists.
    pub held_by_all_blocks: u32,
    /// Blocks in the pool.
    pub limit_blocks: u32,
    /// Whether number and digest of the guest's and the backend's list are equal.
    pub lists_equal: bool,
    /// Blocks that carry what this VM wrote.
    pub own_blocks: u32,
    /// Blocks that read as zeros because nothing was written since they were granted.
    pub zero_blocks: u32,
    /// Blocks that read as something else.
    pub foreign_blocks: u32,
    /// Blocks held but failing, or not held but readable.
    pub unexpected_blocks: u32,
    /// Requests of the guest during the round before.
    pub inflight_requests: u64,
    /// Of these, failed though their block was held throughout, or returned other data than were
    /// written last.
    pub inflight_errors: u64,
}

impl Row for SharingCheckRow {
    const FILE: &'static str = "sharing_checks.csv";
}

/// One row for each of the first requests of a guest in a round that failed though their block was
/// held throughout, or returned other data than were written last. A sound run has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SharingFaultRow {
    /// Counts from 0.
    pub round: u32,
    /// What the round began with, as in `sharing_checks.csv`.
    pub after: String,
    /// Name of the VM's vSSD.
    pub vssd: String,
    /// Block of the request.
    pub block: u32,
    /// `read-failed`, `write-failed`, or `other-data`: a read returned something else than was
    /// written last.
    pub wrong: String,
    /// What the block was to contain: `version` and its number, `zeros`, or `unknown` where a write
    /// was under way or the guest did not know.
    pub expected: String,
    /// Where the first word of the data is from: a version of a block of a VM, `zeros` or
    /// `unknown`; empty for a request that failed.
    pub first_word: String,
    /// The same of the last word: another origin than that of the first shows a torn block.
    pub last_word: String,
    /// Requests of the guest that ended in this round before it.
    pub after_requests: u64,
    /// Requests of the vSSD that failed because the pool had no physical block left, since the
    /// backend was started.
    pub no_space_requests: u64,
    /// Requests of the vSSD that the backing failed, since the backend was started.
    pub io_error_requests: u64,
}

impl Row for SharingFaultRow {
    const FILE: &'static str = "sharing_faults.csv";
}
