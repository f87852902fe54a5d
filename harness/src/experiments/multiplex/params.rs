//! Parameters, checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_cache::Policy;
use serde::Deserialize;
use vssd_host::arbiter::{Bounds, PolicyName};
use vssd_host::size::ByteSize;
use workloads::{HostPick, Pick};

use super::schedule::Schedule;
use crate::experiments::common::cached::BLOCK;
use crate::experiments::common::params::{
    Parameters, cache_size, different, path, percent, positive, text, within,
};

/// Most VMs, accesses of one in a period, and periods.
const MOST_VMS: u32 = 1_000;
const MOST_ACCESSES: u32 = 500_000;
const MOST_PERIODS: u32 = 2_000;
const MOST_SEEDS: u32 = 10_000;

/// Most blocks of a working set: a scan uses eight times as many.
const MOST_SPAN: u32 = 1 << 28;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "different")]
    pub(super) schedules: Vec<Schedule>,
    #[serde(deserialize_with = "different")]
    pub(super) policies: Vec<PolicyName>,
    pub(super) traces: Vec<PathBuf>,
    #[serde(with = "path")]
    pub(super) population: Option<PathBuf>,
    #[serde(deserialize_with = "positive")]
    pub(super) population_mb: u32,
    #[serde(deserialize_with = "different")]
    pub(super) picks: Vec<Pick>,
    #[serde(deserialize_with = "within::<1, MOST_VMS, _, _>")]
    pub(super) vms: u32,
    #[serde(deserialize_with = "cache_size")]
    pub(super) pool: ByteSize,
    #[serde(deserialize_with = "within::<1, 100_000, _, _>")]
    pub(super) limit_percent: u32,
    #[serde(deserialize_with = "within::<1, 100, _, _>")]
    pub(super) reservation_percent: u32,
    #[serde(deserialize_with = "within::<16, MOST_SPAN, _, _>")]
    pub(super) span: u32,
    #[serde(with = "text")]
    pub(super) evict: Policy,
    #[serde(deserialize_with = "positive")]
    pub(super) sample: u32,
    #[serde(deserialize_with = "within::<0, 99, _, _>")]
    pub(super) memory_percent: u32,
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub(super) changed_percent: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) horizon: u32,
    #[serde(deserialize_with = "within::<2, MOST_PERIODS, _, _>")]
    pub(super) periods: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) counted: u32,
    #[serde(deserialize_with = "within::<20, MOST_ACCESSES, _, _>")]
    pub(super) accesses: u64,
    #[serde(deserialize_with = "percent")]
    pub(super) idle_percent: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) depth: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) deadline_ms: u64,
    #[serde(deserialize_with = "within::<1, MOST_SEEDS, _, _>")]
    pub(super) seeds: u32,
    pub(super) qemu: UnderQemu,
}

/// What is repeated under QEMU. See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnderQemu {
    pub(super) vms: Vec<u32>,
    #[serde(deserialize_with = "different")]
    pub(super) schedules: Vec<Schedule>,
    #[serde(deserialize_with = "different")]
    pub(super) policies: Vec<PolicyName>,
    #[serde(deserialize_with = "within::<2, MOST_PERIODS, _, _>")]
    pub(super) periods: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) counted: u32,
    #[serde(deserialize_with = "within::<20, MOST_ACCESSES, _, _>")]
    pub(super) accesses: u64,
    #[serde(deserialize_with = "within::<1, MOST_SEEDS, _, _>")]
    pub(super) seeds: u32,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        ensure!(
            !self.picks.contains(&Pick::Host(HostPick::Given)),
            "`picks` has `given`, which names its blocks: choose `guest`, or a policy of the hypervisor such as `lru`"
        );
        ensure!(
            self.schedules.contains(&Schedule::Traces) != self.traces.is_empty(),
            "the schedule `traces` and the parameter `traces` go together: \
             --set 'schedules=[\"traces\"]' --set 'traces=[\"one.vscsi\", \"two.lis\"]'"
        );
        ensure!(
            self.schedules.contains(&Schedule::Population) == self.population.is_some(),
            "the schedule `population` and the parameter `population` go together: \
             --set 'schedules=[\"population\"]' --set population=FILE.csv"
        );
        ensure!(
            self.traces.len() <= MOST_VMS as usize,
            "`traces` has {} files: choose {MOST_VMS} at most",
            self.traces.len()
        );
        if let Some(path) = self.traces.iter().find(|path| !path.is_file()) {
            anyhow::bail!("`traces` names {}, where there is no file", path.display());
        }
        ensure!(
            self.limit_percent >= 100,
            "`limit_percent` is {}: choose 100 at least, so that a VM may have its equal part",
            self.limit_percent
        );
        self.check_load()?;
        let made_up = u64::from(self.vms) * u64::from(self.periods) * self.accesses;
        ensure!(
            self.population.is_none() || made_up <= MOST_MADE_UP,
            "the VMs of the population make {made_up} accesses, more than {MOST_MADE_UP}: choose fewer `accesses`, \
             `periods` or `vms`"
        );
        if let Some(bad) = self.qemu.schedules.iter().find(|of| !of.runs_under_qemu()) {
            anyhow::bail!(
                "`qemu.schedules` has `{bad}`, which runs on twins only: choose among mixed, day-night, shifts, bully and \
                 goals"
            );
        }
        for vms in &self.qemu.vms {
            ensure!(
                (1..=MOST_GUESTS).contains(vms),
                "`qemu.vms` has {vms}: choose 1 to {MOST_GUESTS} guests"
            );
            let params = self.under_qemu(*vms);
            params
                .check_load()
                .with_context(|| format!("with {vms} guests under QEMU"))?;
        }
        Ok(())
    }
}

/// Most guests under QEMU at a time.
const MOST_GUESTS: u32 = 64;

/// Blocks of a part of the pool, so that a cache has room for more than its records.
const LEAST_PART: u32 = 64;

/// Accesses of a population, which are in memory together, and half as many more: 2.4 GB.
const MOST_MADE_UP: u64 = 200_000_000;

/// Accesses of all VMs in a period, which are in memory together.
const MOST_IN_A_PERIOD: u64 = 20_000_000;

impl Params {
    /// Checks what VMs do, and whether the pool has room for them.
    fn check_load(&self) -> Result<()> {
        ensure!(
            self.counted < self.periods,
            "`counted` is {}, of {} `periods`: leave one at least in which caches warm up",
            self.counted,
            self.periods
        );
        for schedule in &self.schedules {
            let vms = self.vms_of(*schedule);
            let part = self.part(vms);
            ensure!(
                part >= LEAST_PART,
                "under `{schedule}`, a `pool` of {} is {part} blocks for each of {vms} VMs: choose a larger one, so \
                 that each has {LEAST_PART}",
                self.pool
            );
        }
        let most = self.schedules.iter().map(|of| self.vms_of(*of)).max();
        ensure!(
            u64::from(most.unwrap_or(1)) * self.accesses <= MOST_IN_A_PERIOD,
            "`accesses` of {} for each VM are more than {MOST_IN_A_PERIOD} in a period: choose fewer, or fewer `vms`",
            self.accesses
        );
        Ok(())
    }

    /// The parameters of so many guests under QEMU, each with the part of the pool that VMs have here.
    pub(super) fn under_qemu(&self, vms: u32) -> Self {
        let UnderQemu {
            schedules,
            policies,
            periods,
            counted,
            accesses,
            seeds,
            ..
        } = self.qemu.clone();
        Self {
            schedules,
            policies,
            traces: Vec::new(),
            picks: vec![Pick::Guest],
            vms,
            pool: ByteSize(self.pool.0 / u64::from(self.vms) * u64::from(vms)),
            periods,
            counted,
            accesses,
            seeds,
            ..self.clone()
        }
    }

    /// How long a guest may take to give up blocks.
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Blocks of the pool.
    pub(super) fn pool_blocks(&self) -> u32 {
        (self.pool.0 / BLOCK) as u32
    }

    /// VMs that are there at a time.
    pub(super) fn vms_of(&self, schedule: Schedule) -> u32 {
        schedule.vms(self.vms, self.traces.len() as u32)
    }

    /// Blocks of an equal part of the pool.
    pub(super) fn part(&self, vms: u32) -> u32 {
        self.pool_blocks() / vms
    }

    /// What one of so many VMs may have.
    pub(super) fn bounds(&self, vms: u32, weight: u32) -> Result<Bounds> {
        let of_part = |percent: u32| {
            let blocks = u64::from(self.part(vms)) * u64::from(percent) / 100;
            blocks.min(self.pool_blocks().into()) as u32
        };
        let reservation = of_part(self.reservation_percent);
        let limit = of_part(self.limit_percent).max(reservation);
        Ok(Bounds::new(reservation, limit, weight)?)
    }
}
