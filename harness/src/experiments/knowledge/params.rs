//! Parameters, checked.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use guest_cache::Policy;
use lab::testbed::Disks;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use strum::VariantNames as _;
use vssd_host::size::ByteSize;
use workloads::pattern::Pattern;
use workloads::{HostPick, Workload};

use super::rows::Condition;
use crate::experiments::common::cached::{BLOCK, disks};
use crate::experiments::common::params::{
    Parameters, blocks, cache_size, check_file, check_workload, different, disk_size, each, once,
    parse, path, percent, positive, text, within,
};

/// Most pages of memory, so that a guest under QEMU has room for them.
const MOST_PAGES: u32 = (80 << 20) / BLOCK as u32;

/// Most accesses before a shrink, or after it, so that an interrupt ends a run soon.
const MOST_ACCESSES: u32 = 500_000;
/// Most seeds.
const MOST_SEEDS: u32 = 10_000;

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "conditions")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "percents")]
    pub(super) memory_percent: Vec<u32>,
    #[serde(deserialize_with = "different")]
    pub(super) policies: Vec<Policy>,
    #[serde(deserialize_with = "percents")]
    pub(super) temporary_percent: Vec<u32>,
    #[serde(deserialize_with = "positive")]
    pub(super) lifetime: u32,
    #[serde(deserialize_with = "percents")]
    pub(super) deleted_percent: Vec<u32>,
    #[serde(deserialize_with = "percents")]
    pub(super) scanned_percent: Vec<u32>,
    #[serde(deserialize_with = "percents")]
    pub(super) ended_percent: Vec<u32>,
    #[serde(deserialize_with = "percents")]
    pub(super) announced_percent: Vec<u32>,
    #[serde(deserialize_with = "percents")]
    pub(super) written_percent: Vec<u32>,
    #[serde(with = "text")]
    pub(super) evict: Policy,
    #[serde(deserialize_with = "host_picks")]
    pub(super) host: Vec<HostPick>,
    #[serde(deserialize_with = "cache_size")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "within::<1, 99, _, _>")]
    pub(super) keep_percent: u64,
    #[serde(deserialize_with = "disk_size")]
    pub(super) origin: ByteSize,
    #[serde(deserialize_with = "blocks")]
    pub(super) span: u32,
    #[serde(with = "text")]
    pub(super) workload: Workload,
    #[serde(with = "path")]
    pub(super) trace: Option<PathBuf>,
    #[serde(deserialize_with = "percent")]
    pub(super) writes_percent: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) depth: u32,
    #[serde(deserialize_with = "within::<1, MOST_ACCESSES, _, _>")]
    pub(super) warmup: u64,
    #[serde(deserialize_with = "within::<1, MOST_ACCESSES, _, _>")]
    pub(super) after: u64,
    #[serde(deserialize_with = "positive")]
    pub(super) window: u64,
    #[serde(deserialize_with = "within::<1, MOST_SEEDS, _, _>")]
    pub(super) tuning_seeds: u32,
    #[serde(deserialize_with = "within::<1, MOST_SEEDS, _, _>")]
    pub(super) seeds: u32,
}

/// A list, or a single value of one, so that a sweep can vary it.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

fn one_or_more<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    expected: &str,
) -> Result<Vec<T>, D::Error> {
    let values = match OneOrMore::deserialize(from) {
        Ok(OneOrMore::One(value)) => vec![value],
        Ok(OneOrMore::More(values)) => values,
        Err(_) => Vec::new(),
    };
    if values.is_empty() {
        return Err(D::Error::custom(format!(
            "invalid value; expected {expected}"
        )));
    }
    Ok(values)
}

fn conditions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Condition>, D::Error> {
    let names = Condition::VARIANTS.join(", ");
    let values = one_or_more(from, &format!("a list of: {names}"))?;
    once(values, Condition::to_string)
}

/// Percentages in ascending order.
fn percents<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    let expected = "whole percentages from 0 to 100 in ascending order, at least one";
    let values: Vec<u32> = one_or_more(from, expected)?;
    if values.is_sorted_by(|a, b| a < b) && values.iter().all(|value| *value <= 100) {
        return Ok(values);
    }
    let message = format!("invalid list {values:?}; expected {expected}");
    Err(D::Error::custom(message))
}

fn host_picks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HostPick>, D::Error> {
    let picks = each(from, |name| {
        let pick = parse(name)?;
        if pick == HostPick::Given {
            return Err("`given` names its blocks, which no policy does".to_owned());
        }
        Ok(pick)
    })?;
    once(picks, HostPick::to_string)
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        ensure!(
            self.after >= 2 * self.window && self.after.is_multiple_of(self.window),
            "`after` is {}: choose a multiple of the `window` of {}, two at least",
            self.after,
            self.window
        );
        let turns = |percent: &&u32| !(self.window * u64::from(**percent)).is_multiple_of(100);
        let has_turns = self.conditions.contains(&Condition::Phase);
        if let Some(percent) = self.ended_percent.iter().find(turns).filter(|_| has_turns) {
            anyhow::bail!(
                "`window` is {}, of which {percent} % of `ended_percent` are no whole accesses: choose a multiple of 100",
                self.window
            );
        }
        ensure!(
            self.warmup >= self.window,
            "`warmup` is {}: choose the `window` of {} at least",
            self.warmup,
            self.window
        );
        match &self.trace {
            Some(path) => {
                check_file("trace", path)?;
                self.check_trace_conditions()?;
            }
            None => {
                self.check_room()?;
                check_workload("workload", &self.workload, self.span)?;
            }
        }
        for percent in &self.temporary_percent {
            let files = Workload::from(Pattern::Files {
                share: f64::from(*percent) / 100.0,
                lifetime: self.lifetime,
            });
            check_workload("lifetime", &files, self.span)?;
        }
        let announced = self.announced_percent.last().copied().unwrap_or(0);
        let blocks = u64::from(share_of(self.blocks(), announced));
        ensure!(
            blocks < self.after || !self.conditions.contains(&Condition::Pinned),
            "`announced_percent` of {announced} is {blocks} blocks, for which as many of the {} accesses `after` the \
             shrink are: choose more of these",
            self.after
        );
        ensure!(
            self.keep() > 0,
            "`keep_percent` of {} leaves no block of a `size` of {}: choose a larger one",
            self.keep_percent,
            self.size
        );
        self.check_pages(self.span)
    }
}

impl Params {
    /// Blocks that are announced or deleted, and those of a second application, follow those of the
    /// workload.
    fn check_room(&self) -> Result<()> {
        let lists = [
            &self.deleted_percent,
            &self.scanned_percent,
            &self.announced_percent,
        ];
        let most = lists.iter().filter_map(|list| list.last()).max();
        let others = share_of(self.blocks(), most.copied().unwrap_or(0)).max(self.span);
        let needed = ByteSize((u64::from(self.span) + u64::from(others)) * BLOCK);
        ensure!(
            needed <= self.origin,
            "the `origin` of {} is too small: a `span` of {} and the blocks of a second application, or those that are \
             announced or deleted, need {needed}",
            self.origin,
            ByteSize(u64::from(self.span) * BLOCK)
        );
        Ok(())
    }

    /// A trace has accesses of its own, and no deletions.
    fn check_trace_conditions(&self) -> Result<()> {
        for condition in &self.conditions {
            let missing = match condition {
                Condition::Memory | Condition::Policy => continue,
                Condition::Files
                | Condition::FilesTold
                | Condition::Death
                | Condition::DeathTold => "deletions",
                Condition::Scan | Condition::Phase | Condition::Pinned => "announcements",
                Condition::Dirty => "a share of writes that can be set",
            };
            anyhow::bail!(
                "the condition `{condition}` needs {missing}, which a trace does not have: with `trace`, \
                 use --set 'conditions=[\"memory\", \"policy\"]'"
            );
        }
        Ok(())
    }

    /// Makes sure that the guest has room for the pages of a working set of so many blocks.
    pub(super) fn check_pages(&self, working_set: u32) -> Result<()> {
        let most = self.memory_percent.last().copied().unwrap_or(0);
        let pages = share_of(working_set, most);
        ensure!(
            pages <= MOST_PAGES || !self.conditions.contains(&Condition::Memory),
            "`memory_percent` of {most} is {pages} pages, more than the {MOST_PAGES} that the guest's memory has room \
             for: choose a smaller one, such as --set memory_percent=[0,5], or without a trace a smaller `span`"
        );
        Ok(())
    }

    pub(super) fn disks(&self) -> Disks {
        disks(self.size, self.origin, None)
    }

    /// Blocks of the vSSD.
    pub(super) fn blocks(&self) -> u32 {
        (self.size.0 / BLOCK) as u32
    }

    /// Blocks that are left after the shrink.
    pub(super) fn keep(&self) -> u32 {
        (self.size.0 / BLOCK * self.keep_percent / 100) as u32
    }
}

/// So many percent of some blocks.
pub(super) fn share_of(blocks: u32, percent: u32) -> u32 {
    (u64::from(blocks) * u64::from(percent) / 100) as u32
}
