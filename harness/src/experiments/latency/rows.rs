//! What the latency experiment records.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// Where a latency was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// From the submission of a request until the guest took it back.
    Guest,
    /// From when a request was taken from its ring until it was served.
    Backend,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Guest, Self::Backend];

    pub fn label(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Backend => "backend",
        }
    }
}

/// When a latency was measured: phases of a cycle, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyPhase {
    /// The guest holds the whole device.
    Before,
    /// The shrink is under way.
    Shrink,
    /// The guest holds what the shrink left it.
    Between,
    /// The grow is under way.
    Grow,
    /// The guest holds the whole device again.
    After,
}

impl LatencyPhase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Before,
        Self::Shrink,
        Self::Between,
        Self::Grow,
        Self::After,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Shrink => "shrink",
            Self::Between => "between",
            Self::Grow => "grow",
            Self::After => "after",
        }
    }
}

/// What one side measured in one phase of one cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyRow {
    /// How sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0.
    pub cycle: u32,
    /// Who measured.
    pub side: Side,
    /// When.
    pub phase: LatencyPhase,
    /// Requests that belong to the phase.
    pub requests: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub p99_ns: u64,
    /// 999 of a thousand took no longer.
    pub p999_ns: u64,
    /// None took longer.
    pub max_ns: u64,
    /// Guest: the longest time in which requests were in flight and none came
    /// back. Backend: the longest command or revocation, which requests wait for.
    pub longest_stall_ns: u64,
    /// How long the phase was, by the clock of its side.
    pub phase_ns: u64,
}

impl Row for LatencyRow {
    const FILE: &'static str = "latency.csv";
}

/// One cycle: a shrink under load and the grow that took it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyCycleRow {
    /// How sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0.
    pub cycle: u32,
    /// How the guest picked, a `workloads::Policy` by name.
    pub pick: String,
    /// Whether every block was written before; otherwise only the load wrote.
    pub filled: bool,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// Requests in flight, at most.
    pub depth: u32,
    /// Requests of the guest.
    pub requests: u64,
    /// Of these, failed or returned other data than were written last.
    pub failed: u64,
    /// Shrink, from the backend taking the command to both lists agreed.
    pub shrink_ns: u64,
    /// SURRENDERs.
    pub shrink_exchanges: u32,
    /// Grow, likewise.
    pub grow_ns: u64,
    /// ACCEPTs.
    pub grow_exchanges: u32,
    /// Whether the driver confirmed both lists.
    pub agreed: bool,
}

impl Row for LatencyCycleRow {
    const FILE: &'static str = "latency_cycles.csv";
}

/// A bucket of the histograms over all cycles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyBucketRow {
    /// How sets travelled.
    pub encoding: String,
    /// Who measured.
    pub side: Side,
    /// The lowest latency of the bucket; buckets without requests have no row.
    pub value_ns: u64,
    /// Requests in it that belong to this phase.
    pub before: u64,
    pub shrink: u64,
    pub between: u64,
    pub grow: u64,
    pub after: u64,
}

impl LatencyBucketRow {
    /// Requests in it, by [`LatencyPhase::ALL`]'s order.
    pub fn counts(&self) -> [u64; LatencyPhase::ALL.len()] {
        [
            self.before,
            self.shrink,
            self.between,
            self.grow,
            self.after,
        ]
    }
}

impl Row for LatencyBucketRow {
    const FILE: &'static str = "latency_histograms.csv";
}
