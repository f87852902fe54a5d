//! Rows of the multiplex experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pick with which policies are compared, as rows have it.
pub(super) const GUEST: &str = "guest";

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
    /// The most that a VM held less than its reservation, relative to it, from its second period on; millionths.
    pub reservation_short_ppm: u64,
    /// The most that a VM's hit ratio over all periods was below what it was promised, relative to that;
    /// millionths.
    pub goal_short_ppm: u64,
    /// Under `harvest`, shrinks of VMs that held more than they own, in all periods.
    pub reclaims: u64,
    /// Of these, those that the guest did not complete by its deadline.
    pub late_reclaims: u64,
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

/// One row for each run of guests under QEMU: the sums over all of them and the periods that count, beside
/// those of their twins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MultiplexQemuRow {
    /// What the VMs did.
    pub schedule: String,
    /// The policy of the arbiter.
    pub policy: String,
    /// Seed of the accesses.
    pub seed: u64,
    /// Guests.
    pub vms: u32,
    /// Blocks of the pool.
    pub pool_blocks: u32,
    /// Accesses.
    pub accesses: u64,
    /// Accesses served by the vSSDs.
    pub hits: u64,
    /// Blocks read from and written to the origin disks.
    pub origin_blocks: u64,
    /// Blocks written to the vSSDs.
    pub ssd_writes: u64,
    /// Resizes that the arbiter decided, in all periods.
    pub resizes: u64,
    /// Of these, shrinks that were incomplete or revoked blocks.
    pub late: u64,
    /// Blocks that shrinks took.
    pub moved_blocks: u64,
    /// Blocks that can have been of use, as part of the pool; millionths.
    pub used_ppm: u64,
    /// Whether every count equals that of twins with the same parameters and seed.
    pub equals_twins: bool,
    /// Half of the accesses took no longer, guest clock.
    pub p50_ns: u64,
    /// 99 % of the accesses took no longer.
    pub p99_ns: u64,
    /// The longest resize.
    pub resize_ns: u64,
    /// Of all periods, with the boots.
    pub elapsed_ns: u64,
}

impl Row for MultiplexQemuRow {
    const FILE: &'static str = "multiplex_qemu.csv";
}

/// One row for each count of VMs: what twins on one pool cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MultiplexScaleRow {
    /// Twins that share the pool.
    pub vms: u32,
    /// Threads that ran them.
    pub threads: u32,
    /// Memory of this process that each added: guest, cache, queues and vSSD, bytes.
    pub memory_bytes_per_vm: u64,
    /// Boot of all, with their caches.
    pub boot_ns: u64,
    /// Accesses of all.
    pub accesses: u64,
    /// Time for these.
    pub accesses_ns: u64,
    /// Time for a report of each guest.
    pub reports_ns: u64,
    /// Time for one decision of `mrc` about all of them.
    pub decision_ns: u64,
}

impl Row for MultiplexScaleRow {
    const FILE: &'static str = "multiplex_scale.csv";
}

/// One row for each VM of a population: what it is drawn from, and how well its accesses match that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MultiplexPopulationRow {
    /// Number of the VM, from 0.
    pub vm: u32,
    /// The VM of the file that it is like.
    pub workload: String,
    /// Blocks with which it has half of the hits that it can have.
    pub half_blocks: u32,
    /// Blocks with which it has all of them.
    pub all_blocks: u32,
    /// Writes, as part of its accesses; millionths.
    pub writes_ppm: u64,
    /// Accesses to blocks that were never accessed, as part of all; millionths.
    pub cold_ppm: u64,
    /// The mean difference between the miss ratios of its accesses and those of the file, at ten sizes;
    /// millionths.
    pub error_ppm: u64,
}

impl Row for MultiplexPopulationRow {
    const FILE: &'static str = "multiplex_population.csv";
}
