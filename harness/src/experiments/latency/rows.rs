//! What the latency experiment records.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a latency was measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// From submission until the guest took the request back, by its own clock.
    Guest,
    /// From taking the request off its ring until it was served.
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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

/// One row for each phase of each cycle, as one side measured it. A quantile is the highest value
/// of a bucket that is 1 in 128 wide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyRow {
    /// How block sets travelled: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0, for each encoding.
    pub cycle: u32,
    /// Side that measured.
    pub side: Side,
    /// Phase of the cycle.
    pub phase: LatencyPhase,
    /// Requests that belong to the phase.
    pub requests: u64,
    /// 50 % of the requests took no longer.
    pub p50_ns: u64,
    /// 99 % of the requests took no longer.
    pub p99_ns: u64,
    /// 99.9 % of the requests took no longer.
    pub p999_ns: u64,
    /// No request took longer.
    pub max_ns: u64,
    /// Guest: the longest time in which requests were in flight and none came back. Backend: the
    /// longest time for which a first write waited for the lock of the pool, 0 where none did.
    pub longest_stall_ns: u64,
    /// Length of the phase, by the clock of its side.
    pub phase_ns: u64,
}

impl Row for LatencyRow {
    const FILE: &'static str = "latency.csv";
}

/// One row for each cycle: a shrink and the grow that takes it back, under load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyCycleRow {
    /// As in `latency.csv`.
    pub encoding: String,
    /// As in `latency.csv`.
    pub cycle: u32,
    /// How the guest picked blocks to give up.
    pub pick: String,
    /// Whether every block was written before; otherwise only what the load wrote.
    pub filled: bool,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// Requests in flight, at most.
    pub depth: u32,
    /// Requests of the guest, in all phases.
    pub requests: u64,
    /// Of these, failed or returned other data than were written last.
    pub failed: u64,
    /// The shrink, by the backend, from the command until both lists agreed.
    pub shrink_ns: u64,
    /// SURRENDERs carried out.
    pub shrink_exchanges: u32,
    /// The grow, by the backend, from the command until both lists agreed.
    pub grow_ns: u64,
    /// ACCEPTs carried out.
    pub grow_exchanges: u32,
    /// Whether the driver confirmed both lists.
    pub agreed: bool,
}

impl Row for LatencyCycleRow {
    const FILE: &'static str = "latency_cycles.csv";
}

/// One row for each bucket in which any phase has a request, over all cycles, in ascending order.
/// All quantiles of report and figures come from these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyBucketRow {
    /// As in `latency.csv`.
    pub encoding: String,
    /// Side that measured.
    pub side: Side,
    /// The lowest value of the bucket.
    pub value_ns: u64,
    /// Requests in the bucket before the shrink.
    pub before: u64,
    /// Requests in the bucket during the shrink.
    pub shrink: u64,
    /// Requests in the bucket between shrink and grow.
    pub between: u64,
    /// Requests in the bucket during the grow.
    pub grow: u64,
    /// Requests in the bucket after the grow.
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
