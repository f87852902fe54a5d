//! One shrink, and the accesses after it.

use anyhow::{Result, ensure};
use guest_cache::Share;
use lab::testbed::{ResizeOptions, Testbed};
use workloads::pattern::derive_seed;
use workloads::{Command, Pick};

use super::params::{Params, Picker, Setting};
use super::rows::{KnowledgeRow, KnowledgeTimingRow, Side};
use crate::experiments::common::cached::{PATIENCE, Replayed, Sample};

/// Use of randomness beside the loads.
const FOR_HOST_PICKS: u64 = 10;

/// How much more than an average window one may miss whose cache has recovered, in percent.
const RECOVERED_PERCENT: u64 = 110;

pub(super) fn run(
    params: &Params,
    setting: Setting,
    picker: Picker,
    seed: u64,
    testbed: &mut dyn Testbed,
) -> Result<(KnowledgeRow, KnowledgeTimingRow)> {
    if let Picker::Host(pick, _) = picker
        && pick.needs_tracker()
    {
        testbed.observe(pick)?;
    }
    params.cache(setting, picker).open(testbed.guest())?;
    let [warmup, after] = params.loads(setting, seed);
    Replayed::run(testbed.guest(), &warmup)?;
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
    let replayed = Replayed::run(testbed.guest(), &after)?;
    let hits = replayed.read_hits + replayed.write_hits;
    let misses = replayed.read_misses + replayed.write_misses;
    let (side, name) = match picker {
        Picker::Guest(share) => (Side::Guest, share.to_string()),
        Picker::Host(pick, Share::Nothing) => (Side::Host, pick.to_string()),
        Picker::Host(pick, share) => (Side::Host, format!("{pick}, {share}")),
    };
    let timing = KnowledgeTimingRow {
        condition: setting.condition,
        value: setting.value(),
        side,
        pick: name.clone(),
        memory_p50_ns: replayed.from_memory.p50_ns,
        vssd_p50_ns: replayed.hits.p50_ns,
        origin_p50_ns: replayed.misses.p50_ns,
        shrink_ns: resized.elapsed_ns,
    };
    let row = KnowledgeRow {
        transport: testbed.transport().to_string(),
        condition: setting.condition,
        value: setting.value(),
        side,
        pick: name,
        seed,
        from_blocks: resized.from,
        held_blocks: resized.held,
        accesses: after.count,
        memory_hits: replayed.memory_hits,
        hits,
        misses,
        discards: replayed.discards,
        failed: replayed.failed + replayed.beyond,
        recovery_accesses: recovery(&replayed.samples, after.every),
    };
    Ok((row, timing))
}

/// Accesses until a window misses about as often as those of the last half do.
fn recovery(samples: &[Sample], window: u64) -> u64 {
    let misses: Vec<u64> = samples.iter().map(|sample| sample.misses).collect();
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
        let sample = |misses: u64| Sample {
            accesses: 0,
            at_ns: 0,
            hits: 100 - misses,
            misses,
            slots: 0,
            dirty: 0,
            stale_ns: 0,
            acknowledged: 0,
            flushed: 0,
        };
        let of = |misses: &[u64]| {
            let samples: Vec<Sample> = misses.iter().map(|of| sample(*of)).collect();
            recovery(&samples, 100)
        };
        assert_eq!(of(&[50, 30, 22, 20, 20, 20]), 200);
        assert_eq!(of(&[20, 20, 20, 20]), 0);
        assert_eq!(of(&[0, 0, 0, 0]), 0);
    }
}
