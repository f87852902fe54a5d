//! How it runs.

use anyhow::{Context, Result, ensure};
use guest_cache::Admission;
use guest_cache::WritePolicy;
use lab::testbed::{ResizeOptions, Testbed};
use results::store::RunFolder;
use terminal::interrupt;
use workloads::pattern::derive_seed;
use workloads::report::CacheOpened;
use workloads::{Command, HostPick, Pick, Report};

use super::params::Params;
use super::rows::{
    ALWAYS_SMALL, DROP_ALL, HOST_LRU, NEVER_SHRUNK, PHASES, SURRENDER, ShrinkCacheLossRow,
    ShrinkCacheResizeRow, ShrinkCacheRow, UNIFORM,
};
use crate::experiments::common::cached::{PATIENCE, Replayed, stamps, told_lost};
use crate::experiments::common::evidence::{LOST, Writes, examine};
use crate::experiments::common::lab::Lab;

const FOR_HOST_PICKS: u64 = 11;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let bar = lab
        .progress
        .bar("shrinkcache", 2 * params.ways.len() as u64 + 2);
    let mut opened = None;
    for &way in &params.ways {
        let mut run = Run::start(params, lab, way, params.write, folder)?;
        opened = Some(run.opened.clone());
        run.hits(folder)
            .with_context(|| format!("the cache is shrunk by {way}"))?;
        run.testbed.shut_down()?;
        bar.inc(1);
    }
    let opened = opened.context("`ways` is empty")?;
    let small = params.keep().saturating_sub(opened.metadata_blocks);
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
    opened: CacheOpened,
}

impl<'a> Run<'a> {
    fn start(
        params: &'a Params,
        lab: &Lab,
        way: &'static str,
        write: WritePolicy,
        folder: &mut RunFolder,
    ) -> Result<Self> {
        let mut testbed = lab.testbed(params.disks(), folder)?;
        if way == HOST_LRU {
            testbed.observe(HostPick::Lru)?;
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
                "grown" => drop(self.resize("grow", self.capacity, Pick::Guest, folder)?),
                _ => {}
            }
            let replayed = Replayed::run(self.testbed.guest(), &load)?;
            ensure!(
                replayed.samples.len() as u64 == load.count / load.every,
                "the guest told of {} windows, not of {}",
                replayed.samples.len(),
                load.count / load.every
            );
            // Failures are counted per phase: they stand in its last window.
            let last = replayed.samples.len() - 1;
            for (place, sample) in replayed.samples.iter().enumerate() {
                accesses += load.every;
                folder.append(&ShrinkCacheRow {
                    way: self.way.to_owned(),
                    phase: phase.to_owned(),
                    accesses,
                    window: load.every,
                    hits: sample.read_hits + sample.write_hits,
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
        let writes = Writes {
            blocks: &writes,
            acknowledged,
            flushed: 0,
        };
        let found = examine(writes, &numbers);
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
        let keep = self.params.keep();
        let pick = match self.way {
            SURRENDER => Pick::Guest,
            HOST_LRU => Pick::Host(HostPick::Lru),
            UNIFORM => Pick::Host(HostPick::Uniform),
            DROP_ALL => {
                let mut reports =
                    self.resize("shrink", 0, Pick::Host(HostPick::Uniform), folder)?;
                reports.extend(self.resize("refill", keep, Pick::Guest, folder)?);
                return Ok(reports);
            }
            other => unreachable!("{other} is no way"),
        };
        self.resize("shrink", keep, pick, folder)
    }

    fn resize(
        &mut self,
        step: &str,
        target: u32,
        pick: Pick,
        folder: &mut RunFolder,
    ) -> Result<Vec<Report>> {
        let options = ResizeOptions {
            pick,
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
