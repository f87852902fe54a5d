//! Parameters, checked.

use anyhow::{Result, ensure};
use guest_cache::{Policy, Share, WritePolicy};
use lab::testbed::Disks;
use serde::{Deserialize, Deserializer};
use vssd_host::size::ByteSize;
use workloads::command::Discard;
use workloads::pattern::{Pattern, derive_seed};
use workloads::{HostPick, Workload};

use super::rows::Condition;
use crate::experiments::common::cached::{BLOCK, Cache, CacheLoad, disks};
use crate::experiments::common::params::{
    Parameters, blocks, cache_size, check_span, check_workload, disk_size, each, parse, percent,
    positive, some, text, texts, within,
};

/// Most pages of memory, so that a guest under QEMU has room for them.
const MOST_PAGES: u32 = (80 << 20) / BLOCK as u32;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "some")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "percents")]
    memory_percent: Vec<u32>,
    #[serde(deserialize_with = "texts")]
    policies: Vec<Policy>,
    #[serde(deserialize_with = "percents")]
    temporary_percent: Vec<u32>,
    #[serde(deserialize_with = "positive")]
    lifetime: u32,
    #[serde(with = "text")]
    evict: Policy,
    #[serde(deserialize_with = "host_picks")]
    host: Vec<HostPick>,
    #[serde(deserialize_with = "cache_size")]
    size: ByteSize,
    #[serde(deserialize_with = "within::<1, 99, _, _>")]
    keep_percent: u64,
    #[serde(deserialize_with = "disk_size")]
    origin: ByteSize,
    #[serde(deserialize_with = "blocks")]
    span: u32,
    #[serde(with = "text")]
    workload: Workload,
    #[serde(deserialize_with = "percent")]
    writes_percent: u32,
    #[serde(deserialize_with = "positive")]
    depth: u32,
    warmup: u64,
    after: u64,
    #[serde(deserialize_with = "positive")]
    window: u64,
    #[serde(deserialize_with = "positive")]
    pub(super) tuning_seeds: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) seeds: u32,
}

/// Percentages in ascending order.
fn percents<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    use serde::de::Error as _;
    let values = Vec::<u32>::deserialize(from)?;
    let is_valid = values.is_sorted_by(|a, b| a < b) && values.iter().all(|value| *value <= 100);
    if is_valid && !values.is_empty() {
        return Ok(values);
    }
    let message = format!("invalid list {values:?}; expected percentages in ascending order");
    Err(D::Error::custom(message))
}

fn host_picks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HostPick>, D::Error> {
    each(from, |name| {
        let pick = parse(name)?;
        if pick == HostPick::Given {
            return Err("`given` names its blocks, which no policy does".to_owned());
        }
        Ok(pick)
    })
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        check_span(self.span, self.origin)?;
        check_workload("workload", &self.workload, self.span)?;
        ensure!(
            self.after >= 2 * self.window && self.after.is_multiple_of(self.window),
            "`after` is {}: choose a multiple of the `window` of {}, two at least",
            self.after,
            self.window
        );
        for setting in self.settings() {
            check_workload("lifetime", &self.workload(setting), self.span)?;
        }
        let most = self.memory_percent.last().copied().unwrap_or(0);
        let pages = self.pages(most);
        ensure!(
            pages <= MOST_PAGES,
            "`memory_percent` of {most} is {pages} pages, more than the {MOST_PAGES} that the guest's memory has room \
             for: choose a smaller one, or a smaller `span`"
        );
        Ok(())
    }
}

/// How the blocks of a shrink are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picker {
    /// By the guest's cache, with which its memory shares this.
    Guest(Share),
    /// By the hypervisor; the guest's memory shares this with its cache all the same.
    Host(HostPick, Share),
}

/// What a shrink is measured under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) condition: Condition,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    MemoryPercent(u32),
    Policy(Policy),
    TemporaryPercent(u32),
}

impl Setting {
    /// The value, as rows have it.
    pub(super) fn value(self) -> String {
        match self.value {
            Value::MemoryPercent(percent) | Value::TemporaryPercent(percent) => percent.to_string(),
            Value::Policy(policy) => policy.to_string(),
        }
    }

    fn memory_percent(self) -> u32 {
        match self.value {
            Value::MemoryPercent(percent) => percent,
            Value::Policy(_) | Value::TemporaryPercent(_) => 0,
        }
    }

    /// What a deletion does: the guest's cache always frees the blocks.
    fn discard(self) -> Discard {
        match self.condition {
            Condition::Memory | Condition::Policy | Condition::Death => Discard::Cache,
            Condition::DeathTold => Discard::Device,
        }
    }
}

impl Params {
    /// All settings: each condition with each of its values.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let of = |condition: &Condition| -> Vec<Setting> {
            let values: Vec<Value> = match condition {
                Condition::Memory => {
                    let percents = self.memory_percent.iter();
                    percents.map(|of| Value::MemoryPercent(*of)).collect()
                }
                Condition::Policy => self.policies.iter().map(|of| Value::Policy(*of)).collect(),
                Condition::Death | Condition::DeathTold => {
                    let percents = self.temporary_percent.iter();
                    percents.map(|of| Value::TemporaryPercent(*of)).collect()
                }
            };
            let setting = |value| Setting {
                condition: *condition,
                value,
            };
            values.into_iter().map(setting).collect()
        };
        self.conditions.iter().flat_map(of).collect()
    }

    fn evict(&self, setting: Setting) -> Policy {
        match setting.value {
            Value::Policy(policy) => policy,
            Value::MemoryPercent(_) | Value::TemporaryPercent(_) => self.evict,
        }
    }

    /// The ways to pick that are compared: of the host, the parameter and the policy of the guest's
    /// cache; and of both, what the guest's memory can share with its cache.
    pub(super) fn pickers(&self, setting: Setting) -> Vec<Picker> {
        let shares: &[Share] = match setting.memory_percent() {
            0 => &[Share::Nothing],
            _ => &Share::ALL,
        };
        let mut picks = self.host.clone();
        // Every policy of the cache is one by which the hypervisor can pick.
        let same = self.evict(setting).name().parse();
        picks.extend(same.ok().filter(|pick| !self.host.contains(pick)));
        let guest = shares.iter().map(|share| Picker::Guest(*share));
        // Which blocks have a page matters to a cache that picks, only.
        let shares = shares.iter().filter(|share| **share != Share::Pages);
        let host = shares.flat_map(|share| picks.iter().map(|pick| Picker::Host(*pick, *share)));
        guest.chain(host).collect()
    }

    pub(super) fn cache(&self, setting: Setting, picker: Picker) -> Cache {
        let share = match picker {
            Picker::Guest(share) | Picker::Host(_, share) => share,
        };
        Cache {
            memory: self.pages(setting.memory_percent()),
            share,
            ..Cache::new(self.evict(setting), WritePolicy::WriteThrough)
        }
    }

    fn pages(&self, percent: u32) -> u32 {
        (u64::from(self.span) * u64::from(percent) / 100) as u32
    }

    /// Blocks that are left after the shrink.
    pub(super) fn keep(&self) -> u32 {
        (self.size.0 / BLOCK * self.keep_percent / 100) as u32
    }

    pub(super) fn disks(&self) -> Disks {
        disks(self.size, self.origin, None)
    }

    fn workload(&self, setting: Setting) -> Workload {
        match setting.value {
            Value::TemporaryPercent(percent) => Workload::from(Pattern::Files {
                share: f64::from(percent) / 100.0,
                lifetime: self.lifetime,
            }),
            Value::MemoryPercent(_) | Value::Policy(_) => self.workload,
        }
    }

    /// The accesses before the shrink, and those after it. Files have one history; other workloads
    /// draw anew.
    pub(super) fn loads(&self, setting: Setting, seed: u64) -> [CacheLoad; 2] {
        let workload = self.workload(setting);
        let later = match workload.pattern {
            Pattern::Files { .. } => 0,
            _ => 1,
        };
        let load = |place, start, count, every| CacheLoad {
            workload: Some(workload),
            first: 0,
            span: self.span,
            seed: derive_seed(seed, place),
            start,
            count,
            writes_percent: self.writes_percent,
            depth: self.depth,
            discard: setting.discard(),
            flush: 0,
            every,
        };
        [
            load(0, 0, self.warmup, 0),
            load(later, self.warmup, self.after, self.window),
        ]
    }
}
