//! The guest's block cache through a shrink and the grow back, by who chooses what goes.
//!
//! ```text
//!  each way:  a fresh guest ─▶ warm-up ─▶ before ─▶ shrink ─▶ shrunk ─▶ grow ─▶ grown
//!  and:       a fresh guest, write-back ─▶ a load ─▶ shrink ─▶ read every block
//! ```
//!
//! Nothing is under way while blocks move, so that what is counted does not depend on how
//! fast they do. Beside the guests go two caches without guest or device: one that keeps its
//! size, and one that always had what the shrink leaves.

use anyhow::{Context, Result, ensure};
use guest_cache::WritePolicy;
use guest_cache::{Admission, Policy};
use serde::Deserialize;
use vssd_host::control::protocol::{PickName, TrackerName};
use vssd_host::size::ByteSize;
use workloads::pattern::derive_seed;
use workloads::{Command, Report, Workload};

use super::cached::{BLOCK, Cache, Load, Opened, PATIENCE, Replayed, stamps, told_lost};
use super::write_policy::evidence::{LOST, Writes, examine};
use super::{Experiment, Lab, params};
use crate::interrupt;
use crate::present::store::RunFolder;
use crate::present::study::shrink_cache::{
    ALWAYS_SMALL, DROP_ALL, HOST_LRU, NEVER_SHRUNK, PHASES, SURRENDER, UNIFORM, WAYS,
};
use crate::record::{ShrinkCacheLossRow, ShrinkCacheResizeRow, ShrinkCacheRow};
use crate::testbed::{Disks, OriginShape, ResizeOptions, Shape, Testbed};

/// Uses of randomness: the warm-up and the phases after it, in order, then these.
const FOR_LOSSES: u64 = 10;
const FOR_HOST_PICKS: u64 = 11;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    ways: Vec<String>,
    size: String,
    keep_percent: u32,
    origin: String,
    span: String,
    evict: String,
    write: String,
    workload: String,
    writes_percent: u32,
    depth: u32,
    warmup: u64,
    before: u64,
    shrunk: u64,
    grown: u64,
    window: u64,
    loss_write: String,
    loss_writes_percent: u32,
    loss_dirty_percent: u32,
    loss_accesses: u64,
}

/// Checked parameters; see `experiments/shrinkcache.toml`.
#[derive(Clone, Debug)]
pub struct Params {
    ways: Vec<&'static str>,
    size: ByteSize,
    /// Blocks that are left after the shrink.
    keep: u32,
    origin: ByteSize,
    span: u32,
    evict: Policy,
    write: WritePolicy,
    loss_write: WritePolicy,
    workload: Workload,
    raw: Raw,
}

fn way(key: &str, name: &str) -> Result<&'static str> {
    let way = WAYS.into_iter().find(|way| *way == name);
    way.with_context(|| format!("`{key}` has `{name}`: choose of {}", WAYS.join(", ")))
}

impl Params {
    /// Checks a table.
    ///
    /// # Errors
    /// The parameter that is wrong.
    pub fn from_table(table: &toml::Table) -> Result<Self> {
        let raw: Raw = params::typed(table)?;
        let span = params::blocks("span", &raw.span)?;
        let origin = params::size("origin", &raw.origin)?;
        ensure!(
            u64::from(span) * BLOCK <= origin.0,
            "`span` of {} is more than the `origin` of {origin} has",
            raw.span
        );
        ensure!(
            (1..100).contains(&raw.keep_percent),
            "`keep_percent` is {}: choose 1 to 99",
            raw.keep_percent
        );
        for (key, percent) in [
            ("writes_percent", raw.writes_percent),
            ("loss_writes_percent", raw.loss_writes_percent),
            ("loss_dirty_percent", raw.loss_dirty_percent),
        ] {
            params::percent(key, percent)?;
        }
        ensure!(
            raw.loss_writes_percent > 0 && raw.loss_accesses > 0,
            "`loss_writes_percent` and `loss_accesses` count from 1"
        );
        ensure!(
            raw.depth > 0 && raw.window > 0,
            "`depth` and `window` count from 1"
        );
        for (key, accesses) in [
            ("before", raw.before),
            ("shrunk", raw.shrunk),
            ("grown", raw.grown),
        ] {
            ensure!(
                accesses >= raw.window && accesses.is_multiple_of(raw.window),
                "`{key}` is {accesses}: choose a multiple of the `window` of {}",
                raw.window
            );
        }
        let size = params::cache_size("size", &raw.size)?;
        let capacity = params::blocks("size", &raw.size)?;
        let write = params::write_policy("write", &raw.write)?;
        ensure!(
            !write.keeps_dirty(),
            "`write` is {write}, which loses what the hypervisor takes: `loss_write` is for that"
        );
        let loss_write = params::write_policy("loss_write", &raw.loss_write)?;
        ensure!(
            loss_write.keeps_dirty(),
            "`loss_write` is {loss_write}, which has nothing to lose"
        );
        Ok(Self {
            ways: params::each("ways", &raw.ways, way)?,
            size,
            keep: (u64::from(capacity) * u64::from(raw.keep_percent) / 100) as u32,
            origin,
            span,
            evict: params::policy("evict", &raw.evict)?,
            write,
            loss_write,
            workload: params::workload("workload", &raw.workload, span)?,
            raw,
        })
    }

    fn disks(&self) -> Disks {
        Disks {
            vssd: Shape {
                size: self.size,
                block_size: ByteSize(BLOCK),
                written: self.size,
            },
            origin: Some(OriginShape {
                size: self.origin,
                media: None,
            }),
            trace: None,
        }
    }

    fn cache(&self, write: WritePolicy) -> Cache {
        Cache {
            evict: self.evict,
            write,
            dirty_percent: self.raw.loss_dirty_percent as u8,
            fresh: true,
        }
    }

    /// The warm-up and the three phases. Each draws from a seed of its own.
    fn loads(&self, seed: u64) -> [Load; 4] {
        let raw = &self.raw;
        let mut start = 0;
        let mut place = 0;
        [raw.warmup, raw.before, raw.shrunk, raw.grown].map(|count| {
            let load = Load {
                workload: Some(self.workload),
                span: self.span,
                seed: derive_seed(seed, place),
                start,
                count,
                writes_percent: raw.writes_percent,
                depth: raw.depth,
                flush: 0,
                every: if place == 0 { 0 } else { raw.window },
            };
            start += count;
            place += 1;
            load
        })
    }

    /// The load of a cache that is then made smaller with dirty blocks in it.
    fn loss_load(&self, seed: u64) -> Load {
        Load {
            workload: Some(self.workload),
            span: self.span,
            seed: derive_seed(seed, FOR_LOSSES),
            start: 0,
            count: self.raw.loss_accesses,
            writes_percent: self.raw.loss_writes_percent,
            depth: self.raw.depth,
            flush: 0,
            every: self.raw.loss_accesses,
        }
    }
}

/// Runs the experiment.
///
/// # Errors
/// When a guest or a backend fails.
pub fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let bar = lab
        .progress
        .bar("shrinkcache", 2 * params.ways.len() as u64 + 2);
    let mut opened = None;
    for &way in &params.ways {
        let mut run = Run::start(params, lab, way, params.write, folder)?;
        opened = Some(run.opened);
        run.hits(folder)
            .with_context(|| format!("the cache is shrunk by {way}"))?;
        run.testbed.shut_down()?;
        bar.inc(1);
    }
    let opened = opened.context("`ways` is empty")?;
    let small = params.keep.saturating_sub(opened.metadata_blocks);
    for (name, slots) in [(NEVER_SHRUNK, opened.slots), (ALWAYS_SMALL, small)] {
        alone(params, lab, name, slots, folder)?;
        bar.inc(1);
    }
    for &way in &params.ways {
        let mut run = Run::start(params, lab, way, params.loss_write, folder)?;
        run.losses(folder)
            .with_context(|| format!("a cache with dirty blocks is shrunk by {way}"))?;
        run.testbed.shut_down()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A guest with a cache that is made smaller in some way.
struct Run<'a> {
    params: &'a Params,
    seed: u64,
    way: &'static str,
    write: WritePolicy,
    testbed: Box<dyn Testbed>,
    capacity: u32,
    opened: Opened,
}

impl<'a> Run<'a> {
    fn start(
        params: &'a Params,
        lab: &Lab,
        way: &'static str,
        write: WritePolicy,
        folder: &mut RunFolder,
    ) -> Result<Self> {
        let mut testbed = lab.testbed(Experiment::ShrinkCache, params.disks(), folder)?;
        if way == HOST_LRU {
            testbed.observe(TrackerName::Lru)?;
        }
        let opened = params.cache(write).open(testbed.guest())?;
        Ok(Self {
            params,
            seed: lab.seed,
            way,
            write,
            capacity: testbed.capacity(),
            testbed,
            opened,
        })
    }

    /// The phases with their windows, and the resizes between them.
    fn hits(&mut self, folder: &mut RunFolder) -> Result<()> {
        let [warmup, phases @ ..] = self.params.loads(self.seed);
        if warmup.count > 0 {
            Replayed::run(self.testbed.guest(), &warmup)?;
        }
        let mut accesses = 0;
        for (phase, load) in PHASES.into_iter().zip(phases) {
            interrupt::check()?;
            match phase {
                "shrunk" => drop(self.shrink(folder)?),
                "grown" => drop(self.resize("grow", self.capacity, PickName::Guest, folder)?),
                _ => {}
            }
            let replayed = Replayed::run(self.testbed.guest(), &load)?;
            ensure!(
                replayed.samples.len() as u64 == load.count / load.every,
                "the guest told of {} windows, not of {}",
                replayed.samples.len(),
                load.count / load.every
            );
            // Failures are told for the whole phase: they stand in its last window.
            let last = replayed.samples.len() - 1;
            for (place, sample) in replayed.samples.iter().enumerate() {
                accesses += load.every;
                folder.append(&ShrinkCacheRow {
                    way: self.way.to_owned(),
                    phase: phase.to_owned(),
                    accesses,
                    window: load.every,
                    hits: sample.hits,
                    failed: if place == last { replayed.failed } else { 0 },
                    slots: sample.slots,
                })?;
            }
        }
        Ok(())
    }

    /// A write-back cache that is made smaller with dirty blocks in it.
    fn losses(&mut self, folder: &mut RunFolder) -> Result<()> {
        let load = self.params.loss_load(self.seed);
        let replayed = Replayed::run(self.testbed.guest(), &load)?;
        let last = replayed
            .samples
            .last()
            .context("the guest sent no sample")?;
        let (dirty_blocks, acknowledged) = (last.dirty, last.acknowledged);
        let mut told_blocks = told_lost(&self.shrink(folder)?);
        // What was on its way to the origin disk at the time is lost later, if it is.
        let guest = self.testbed.guest();
        let (numbers, told) = stamps(guest, self.params.span)?;
        told_blocks += told + told_lost(&guest.run(&Command::Info, PATIENCE)?);
        // Every write has come back, so each block is from the last one to it.
        let writes = load.writes(acknowledged as usize)?;
        let lost = |number: &&u64| **number == LOST;
        let lost_blocks = numbers.iter().filter(lost).count() as u32;
        let found = examine(
            Writes {
                blocks: &writes,
                acknowledged,
                flushed: 0,
            },
            &numbers,
        );
        folder.append(&ShrinkCacheLossRow {
            way: self.way.to_owned(),
            write: self.write.to_string(),
            dirty_blocks,
            told_blocks,
            blocks: numbers.len() as u32,
            lost_blocks,
            // A lost block is a stale one too.
            wrong_blocks: found.bad_blocks + found.stale_blocks.saturating_sub(lost_blocks),
        })
    }

    /// Makes the cache smaller; returns what the guest said meanwhile.
    fn shrink(&mut self, folder: &mut RunFolder) -> Result<Vec<Report>> {
        let keep = self.params.keep;
        let evict = match self.way {
            SURRENDER => PickName::Guest,
            HOST_LRU => PickName::Lru,
            UNIFORM => PickName::Uniform,
            DROP_ALL => {
                let mut reports = self.resize("shrink", 0, PickName::Uniform, folder)?;
                reports.extend(self.resize("refill", keep, PickName::Guest, folder)?);
                return Ok(reports);
            }
            other => unreachable!("{other} is no way"),
        };
        self.resize("shrink", keep, evict, folder)
    }

    fn resize(
        &mut self,
        step: &str,
        target: u32,
        evict: PickName,
        folder: &mut RunFolder,
    ) -> Result<Vec<Report>> {
        let options = ResizeOptions {
            evict,
            deadline: PATIENCE,
            seed: derive_seed(self.seed, FOR_HOST_PICKS),
        };
        let resized = self.testbed.resize_to(target, options)?;
        folder.append(&ShrinkCacheResizeRow {
            way: self.way.to_owned(),
            write: self.write.to_string(),
            step: step.to_owned(),
            from_blocks: resized.from,
            held_blocks: resized.held,
            revoked_blocks: resized.revoked,
            agreed: resized.is_complete() && resized.agreed && resized.held == target,
        })?;
        // When it answers this it has said what it had to say of the resize.
        self.testbed.guest().run(&Command::Info, PATIENCE)
    }
}

/// The same accesses through a cache of so many slots, without guest or device.
fn alone(params: &Params, lab: &Lab, name: &str, slots: u32, folder: &mut RunFolder) -> Result<()> {
    let mut cache = params.evict.cache(slots);
    cache.grow(0..slots);
    let mut is_hit = |block| {
        let hit = cache.access(block).is_some();
        if !hit {
            let _: Admission = cache.admit(block);
        }
        hit
    };
    let [warmup, phases @ ..] = params.loads(lab.seed);
    for access in warmup.accesses()?.take(warmup.count as usize) {
        is_hit(access.block);
    }
    let mut accesses = 0;
    for (phase, load) in PHASES.into_iter().zip(phases) {
        interrupt::check()?;
        let mut all = load.accesses()?;
        for _ in 0..load.count / load.every {
            let window = all.by_ref().take(load.every as usize);
            let hits = window.filter(|access| is_hit(access.block)).count() as u64;
            accesses += load.every;
            folder.append(&ShrinkCacheRow {
                way: name.to_owned(),
                phase: phase.to_owned(),
                accesses,
                window: load.every,
                hits,
                failed: 0,
                slots,
            })?;
        }
    }
    Ok(())
}
