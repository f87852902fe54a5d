//! Rows of the latency experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

/// Where a latency was measured.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Side {
    /// From submission until the guest took the request back, by the guest's clock.
    Guest,
    /// From taking the request off its ring until it was served, by the host's clock.
    Backend,
}

impl Side {
    /// Both sides.
    pub const ALL: [Self; 2] = [Self::Guest, Self::Backend];
}

/// When a latency was measured: phases of a cycle, in order.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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
    /// All phases, in order.
    pub const ALL: [Self; 5] = [
        Self::Before,
        Self::Shrink,
        Self::Between,
        Self::Grow,
        Self::After,
    ];
}

/// One row for each phase of each cycle and side. A quantile is the highest value of its histogram
/// bucket, whose width is 1/128 of the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyRow {
    /// Encoding of block sets: `compact` or `list-4096`.
    pub encoding: String,
    /// Counts from 0, for each encoding.
    pub cycle: u32,
    /// Side that measured.
    pub side: Side,
    /// Phase of the cycle.
    pub phase: LatencyPhase,
    /// Requests that belong to the phase.
    pub requests: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// Maximum.
    pub max_ns: u64,
    /// Guest: longest time with requests in flight and no completion. Backend: longest wait of a
    /// first write for the lock of the pool; 0 if none waited.
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
    /// How the guest picked the blocks to give up.
    pub pick: String,
    /// Whether every block was written before; otherwise only the blocks that the load wrote.
    pub filled: bool,
    /// Bytes in a block.
    pub block_size_bytes: u32,
    /// Blocks taken and given back.
    pub blocks: u32,
    /// Maximum number of requests in flight.
    pub depth: u32,
    /// Requests of the guest in all phases.
    pub requests: u64,
    /// Of these, requests that failed or returned data other than the last write.
    pub failed: u64,
    /// Duration of the shrink by the backend, from the command until both lists agreed.
    pub shrink_ns: u64,
    /// SURRENDER messages of the shrink.
    pub shrink_exchanges: u32,
    /// Duration of the grow by the backend, from the command until both lists agreed.
    pub grow_ns: u64,
    /// ACCEPT messages of the grow.
    pub grow_exchanges: u32,
    /// Whether the driver confirmed both lists.
    pub agreed: bool,
}

impl Row for LatencyCycleRow {
    const FILE: &'static str = "latency_cycles.csv";
}

/// One row for each cycle that shrinks by a single block and grows back, under the same load: the
/// yardstick of what a resize costs whatever it moves, its durable commit above all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyYardstickRow {
    /// Counts from 0.
    pub cycle: u32,
    /// Requests of the guest in all phases.
    pub requests: u64,
    /// Of these, requests that failed or returned data other than the last write.
    pub failed: u64,
    /// Duration of the shrink by the backend, from the command until both lists agreed.
    pub shrink_ns: u64,
    /// Duration of the grow by the backend, from the command until both lists agreed.
    pub grow_ns: u64,
    /// Longest time during the shrink or the grow with requests in flight and no completion, by the
    /// guest's clock.
    pub longest_stall_ns: u64,
    /// Whether the driver confirmed both lists.
    pub agreed: bool,
}

impl Row for LatencyYardstickRow {
    const FILE: &'static str = "latency_yardsticks.csv";
}

/// One row for each histogram bucket with a request of any phase, summed over all cycles, in
/// ascending order. All quantiles of the report and the figures are computed from these rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyBucketRow {
    /// As in `latency.csv`.
    pub encoding: String,
    /// Side that measured.
    pub side: Side,
    /// Lowest value of the bucket.
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
    /// Requests by phase, in the order of [`LatencyPhase::ALL`].
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
