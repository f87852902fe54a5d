//! One shrink, and the accesses after it.

use anyhow::{Result, ensure};
use lab::testbed::{ResizeOptions, Testbed};
use vssd_host::control::protocol::Resized;
use workloads::pattern::derive_seed;
use workloads::report::CacheSample;
use workloads::{Command, Pick};

use super::input::Input;
use super::params::Params;
use super::rows::{KnowledgeRow, KnowledgeTimingRow, Stage};
use super::setting::{Picker, Setting, Step};
use crate::experiments::common::cached::{PATIENCE, Replayed, write_back};

/// Use of randomness beside the loads.
const FOR_HOST_PICKS: u64 = 10;

/// How much more than an average window one may miss whose cache has recovered, in percent.
const RECOVERED_PERCENT: u64 = 110;

/// A shrink: how, with which accesses, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) setting: Setting,
    pub(super) picker: Picker,
    pub(super) seed: u64,
    pub(super) stage: Stage,
}

impl Trial {
    pub(super) fn run(
        self,
        params: &Params,
        input: &Input,
        testbed: &mut dyn Testbed,
    ) -> Result<(KnowledgeRow, KnowledgeTimingRow)> {
        let Self {
            setting,
            picker,
            seed,
            stage,
        } = self;
        if let Picker::Host(pick, _) = picker
            && pick.needs_tracker()
        {
            testbed.observe(pick)?;
        }
        let cache = params.cache(setting, picker, input.working_set(params));
        cache.open(testbed.guest())?;
        let from = input.start(params, seed);
        let script = params.script(setting, picker, seed, from);
        let mut before = Replayed::default();
        for step in &script.before {
            match step {
                Step::Load(load) => before = Replayed::run(testbed.guest(), load)?,
                Step::Command(command) => drop(testbed.guest().run(command, PATIENCE)?),
            }
        }
        let resized = shrink(params, picker, seed, testbed)?;
        let mut row = KnowledgeRow {
            transport: testbed.transport().to_string(),
            stage,
            condition: setting.condition,
            value: setting.value(),
            side: picker.side(),
            pick: picker.name(),
            seed,
            from_blocks: resized.from,
            held_blocks: resized.held,
            ..KnowledgeRow::default()
        };
        let mut last = Replayed::default();
        for load in &script.after {
            last = Replayed::run(testbed.guest(), load)?;
            // The last load decides when the cache has recovered.
            row.recovery_accesses = row.accesses + recovery(&last.samples, load.every);
            add(&mut row, load.count, &last);
        }
        row.origin_reads = last.origin_reads - before.origin_reads;
        row.origin_writes = write_back(testbed.guest())?.origin_writes - before.origin_writes;
        let timing = KnowledgeTimingRow {
            condition: setting.condition,
            value: setting.value(),
            side: picker.side(),
            pick: picker.name(),
            memory_p50_ns: last.from_memory.p50_ns,
            vssd_p50_ns: last.hits.p50_ns,
            origin_p50_ns: last.misses.p50_ns,
            shrink_ns: resized.elapsed_ns,
            backend_ns: resized.device_ns,
            message_bytes: resized.message_bytes,
        };
        Ok((row, timing))
    }
}

/// Adds what became of accesses after the shrink.
fn add(row: &mut KnowledgeRow, accesses: u64, replayed: &Replayed) {
    row.accesses += accesses;
    row.memory_hits += replayed.memory_hits;
    row.hits += replayed.read_hits + replayed.write_hits;
    row.misses += replayed.read_misses + replayed.write_misses;
    row.discards += replayed.discards;
    row.failed += replayed.failed + replayed.beyond;
}

fn shrink(
    params: &Params,
    picker: Picker,
    seed: u64,
    testbed: &mut dyn Testbed,
) -> Result<Resized> {
    let pick = match picker {
        Picker::Guest(_) => Pick::Guest,
        Picker::Host(pick, _) => Pick::Host(pick),
    };
    let options = ResizeOptions {
        pick,
        deadline: PATIENCE,
        seed: derive_seed(seed, FOR_HOST_PICKS),
    };
    let resized = testbed.resize_to(params.keep(), options)?;
    ensure!(
        resized.is_complete() && resized.agreed,
        "the shrink ended as {} with {} of {} blocks held",
        resized.end,
        resized.held,
        params.keep()
    );
    // When the guest answers this, it has applied the resize.
    testbed.guest().run(&Command::Info, PATIENCE)?;
    Ok(resized)
}

/// Accesses until a window misses about as often as those of the last half do.
fn recovery(samples: &[CacheSample], window: u64) -> u64 {
    let misses = |sample: &CacheSample| sample.read_misses + sample.write_misses;
    let misses: Vec<u64> = samples.iter().map(misses).collect();
    let last_half = &misses[misses.len() / 2..];
    let sum: u64 = last_half.iter().sum();
    let recovered = |misses: &u64| misses * 100 * last_half.len() as u64 <= sum * RECOVERED_PERCENT;
    let at = misses.iter().position(recovered).unwrap_or(misses.len());
    at as u64 * window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_recovered_when_it_misses_as_often_as_later() {
        let sample = |misses: u64| CacheSample {
            accesses: 0,
            at_ns: 0,
            memory_hits: 0,
            read_hits: 100 - misses,
            read_misses: misses,
            write_hits: 0,
            write_misses: 0,
            slots: 0,
            cached: 0,
            dirty: 0,
            stale_ns: 0,
            acknowledged: 0,
            flushed: 0,
        };
        let of = |misses: &[u64]| {
            let samples: Vec<CacheSample> = misses.iter().map(|of| sample(*of)).collect();
            recovery(&samples, 100)
        };
        assert_eq!(of(&[50, 30, 22, 20, 20, 20]), 200);
        assert_eq!(of(&[20, 20, 20, 20]), 0);
        assert_eq!(of(&[0, 0, 0, 0]), 0);
    }
}
