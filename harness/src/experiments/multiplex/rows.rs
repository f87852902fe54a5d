//! Rows of the multiplex experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each schedule, policy, pick and seed: the sums over all VMs and the periods that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MultiplexRow {
    /// What the VMs did.
    pub schedule: String,
    /// The policy of the arbiter.
    pub policy: String,
    /// Which side picked the blocks of shrinks, and how.
    pub pick: String,
    /// Seed of the accesses.
    pub seed: u64,
    /// Blocks of the pool.
    pub pool_blocks: u32,
    /// VMs that there were.
    pub vms: u32,
    /// VMs that arrived after the first period.
    pub arrivals: u32,
    /// VMs that departed before the last.
    pub departures: u32,
    /// Periods that count.
    pub periods: u32,
    /// Accesses.
    pub accesses: u64,
    /// Accesses served by the vSSDs.
    pub hits: u64,
    /// Other accesses.
    pub misses: u64,
    /// Accesses that failed.
    pub failed: u64,
    /// Blocks read from the origin disks.
    pub origin_reads: u64,
    /// Blocks written to the origin disks.
    pub origin_writes: u64,
    /// Blocks written to the vSSDs.
    pub ssd_writes: u64,
    /// Resizes that the arbiter decided, in all periods.
    pub resizes: u64,
    /// Of these, shrinks that were incomplete or revoked blocks.
    pub late: u64,
    /// Blocks that shrinks took.
    pub moved_blocks: u64,
    /// Periods in which VMs held more blocks than the pool has.
    pub violations: u64,
    /// How far VMs are from the part of the pool that their weight gives, relative to it: mean over active
    /// VMs and settled periods, millionths.
    pub share_error_ppm: u64,
    /// Periods after a change of weights until the share error was below 5 % for good, the most of all
    /// changes; 0 where weights do not change.
    pub converge_periods: u32,
    /// Jain's index of the hit ratios of active VMs, mean over periods; millionths.
    pub jain_ppm: u64,
    /// Blocks that can have been of use: of each VM as many as it both held and accessed in the period, as
    /// part of the pool, mean over periods; millionths.
    pub used_ppm: u64,
}

impl MultiplexRow {
    /// Blocks read from and written to the origin disks, for each 100 accesses.
    pub(super) fn traffic_percent(&self) -> f64 {
        100.0 * (self.origin_reads + self.origin_writes) as f64 / self.accesses.max(1) as f64
    }

    /// Blocks written to the vSSDs, for each 100 accesses.
    pub(super) fn ssd_percent(&self) -> f64 {
        100.0 * self.ssd_writes as f64 / self.accesses.max(1) as f64
    }

    /// Reads served by the vSSDs, of 100 reads. A write that hits saves nothing here: each goes to the
    /// origin disk.
    pub(super) fn read_hit_percent(&self) -> f64 {
        let reads = self.accesses.saturating_sub(self.origin_writes);
        100.0 * reads.saturating_sub(self.origin_reads) as f64 / reads.max(1) as f64
    }

    /// Hits of 100 accesses.
    pub(super) fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.accesses.max(1) as f64
    }
}

impl Row for MultiplexRow {
    const FILE: &'static str = "multiplex.csv";
}

/// One row for each VM and period of the first seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MultiplexSizeRow {
    /// What the VMs did.
    pub schedule: String,
    /// The policy of the arbiter.
    pub policy: String,
    /// Which side picked the blocks of shrinks, and how.
    pub pick: String,
    /// Counts from 0.
    pub period: u32,
    /// Number of the VM, from 0.
    pub vm: u32,
    /// Its weight.
    pub weight: u32,
    /// Blocks that it held during the period.
    pub held_blocks: u32,
    /// Blocks that the policy wanted it to hold afterwards.
    pub target_blocks: u32,
    /// Its accesses.
    pub accesses: u64,
    /// Those that hit.
    pub hits: u64,
}

impl Row for MultiplexSizeRow {
    const FILE: &'static str = "multiplex_sizes.csv";
}
