//! One trial: a guest uses its vSSD, the vSSD shrinks, the guest reads on.
//!
//! ```text
//!  access  0            warmup - staleness     warmup          warmup + reads
//!          │ … the sample ──┤                     │                  │
//!          ├──── what pickers by recency ─────────┤ shrink           │
//!          │     and by counts see                ├── hits, misses ──┤
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::testbed::{ResizeOptions, Shape, Testbed, fill};
use vssd_host::control::protocol::Resized;
use workloads::pattern::derive_seed;
use workloads::{Command, GuestPick, HostPick, Pick, Report, command, report};

use super::params::Params;
use super::picker::Picker;

/// How long the fill, the resize or the reads may take.
const PATIENCE: Duration = Duration::from_secs(600);

// What the seed of a trial is used for: every use draws from a seed of its own.
const FOR_READS: u64 = 0;
const FOR_WARMUP: u64 = 1;
const FOR_SAMPLE: u64 = 2;
const FOR_GUEST_PICKS: u64 = 3;
const FOR_HOST_PICKS: u64 = 4;

/// What of a trial is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Data are moved and checked, and hits and misses counted for each block.
    EachBlock,
    /// Hits and misses are counted in all, and no data are moved where they
    /// need not be.
    Totals,
}

/// How a trial went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Blocks in the device.
    pub capacity: u32,
    /// Blocks held while reading.
    pub held: u32,
    /// Blocks of the shrink that the guest picked.
    pub surrendered: u32,
    /// Blocks of the shrink that the hypervisor picked.
    pub revoked: u32,
    /// Reads of blocks held.
    pub hits: u64,
    /// Reads of blocks not held, or held without their contents.
    pub misses: u64,
    /// Reads that failed or returned wrong data.
    pub errors: u64,
    /// Block, hits, misses, in ascending order; empty for totals.
    pub blocks: Vec<(u32, u32, u32)>,
    /// The shrink, by the backend's clock.
    pub shrink_ns: u64,
    /// The reads, by the guest's clock.
    pub read_guest_ns: u64,
}

/// The testbed that a trial needs.
pub fn shape(params: &Params, detail: Detail) -> Shape {
    Shape {
        size: params.size,
        block_size: params.block_size,
        written: match detail {
            Detail::EachBlock => params.size,
            Detail::Totals => vssd_host::size::ByteSize(0),
        },
    }
}

/// Reads of the workload: the accesses before the shrink, or those after it.
fn read(params: &Params, seed: u64, is_after: bool, detail: Detail) -> Command {
    let each_block = detail == Detail::EachBlock;
    let (purpose, start, count) = if is_after {
        (FOR_READS, params.warmup, params.reads)
    } else {
        (FOR_WARMUP, 0, params.warmup)
    };
    Command::Read(command::Read {
        workload: params.workload(),
        seed: derive_seed(seed, purpose),
        start,
        count,
        depth: params.depth,
        per_block: is_after && each_block,
        check: each_block,
    })
}

/// Gives the picker the knowledge that it uses.
fn prepare(
    params: &Params,
    picker: Picker,
    seed: u64,
    detail: Detail,
    testbed: &mut dyn Testbed,
) -> Result<()> {
    let hint = |purpose, start, count| {
        Command::Hint(command::Hint {
            workload: params.workload(),
            seed: derive_seed(seed, purpose),
            start,
            count,
        })
    };
    let (pick, hint) = match picker {
        Picker::Guest(GuestPick::Sample) => {
            let start = params.warmup - params.staleness - params.sample;
            let sample = hint(FOR_SAMPLE, start, params.sample);
            (Some(GuestPick::Sample), Some(sample))
        }
        Picker::GuestOracle => {
            let future = hint(FOR_READS, params.warmup, params.reads);
            (Some(GuestPick::Sample), Some(future))
        }
        Picker::Guest(pick) => (Some(pick), None),
        Picker::Host(_) | Picker::HostDropAll => (None, None),
    };
    let tracked = match picker {
        Picker::Host(pick) => Some(pick).filter(|pick| pick.needs_tracker()),
        _ => None,
    };
    let needs_history = hint.is_none() && (pick.is_some() || tracked.is_some());
    if let Some(hint) = hint {
        testbed.guest().run(&hint, PATIENCE)?;
    }
    if let Some(pick) = pick {
        let seed = derive_seed(seed, FOR_GUEST_PICKS);
        testbed.guest().set_pick(pick, seed, PATIENCE)?;
    }
    if let Some(tracked) = tracked {
        testbed.observe(tracked)?;
    }
    if needs_history {
        let warmup = read(params, seed, false, detail);
        testbed.guest().run(&warmup, PATIENCE)?;
    }
    Ok(())
}

/// Resizes to `target` and waits until the guest has followed.
fn resize(testbed: &mut dyn Testbed, target: u32, pick: Pick, seed: u64) -> Result<Resized> {
    let options = ResizeOptions {
        pick,
        deadline: PATIENCE,
        seed: derive_seed(seed, FOR_HOST_PICKS),
    };
    let resized = testbed.resize_to(target, options)?;
    ensure!(
        resized.is_complete() && resized.agreed,
        "the resize ended as {} with {} of {target} blocks held",
        resized.end,
        resized.held
    );
    if resized.from != resized.held {
        testbed.guest().await_resized(target, PATIENCE)?;
    }
    Ok(resized)
}

/// Runs a trial on a testbed of [`shape`] that has done nothing before.
pub fn run(
    params: &Params,
    picker: Picker,
    seed: u64,
    detail: Detail,
    testbed: &mut dyn Testbed,
) -> Result<Outcome> {
    if detail == Detail::EachBlock {
        fill(testbed, seed)?;
    }
    prepare(params, picker, seed, detail, testbed)?;
    let pick = match picker {
        Picker::Guest(_) | Picker::GuestOracle => Pick::Guest,
        Picker::Host(pick) => Pick::Host(pick),
        Picker::HostDropAll => Pick::Host(HostPick::Uniform),
    };
    let capacity = testbed.capacity();
    let shrunk = match picker {
        // Everything goes, and as much as is to be kept comes back empty.
        Picker::HostDropAll if params.target() < capacity => {
            let dropped = resize(testbed, 0, pick, seed)?;
            resize(testbed, params.target(), pick, seed)?;
            dropped
        }
        _ => resize(testbed, params.target(), pick, seed)?,
    };
    let reads = read(params, seed, true, detail);
    let mut blocks = Vec::new();
    let mut totals = None;
    for report in testbed.guest().run(&reads, PATIENCE)? {
        match report {
            Report::Counts(report::Counts { counts }) => blocks.extend(counts),
            Report::Read(report::Read {
                hits,
                misses,
                errors,
                elapsed_ns,
            }) => totals = Some((hits, misses, errors, elapsed_ns)),
            _ => {}
        }
    }
    let (hits, misses, errors, read_guest_ns) =
        totals.context("the guest did not say how its reads went")?;
    Ok(Outcome {
        capacity,
        held: params.target(),
        surrendered: shrunk.from - shrunk.held - shrunk.revoked,
        revoked: shrunk.revoked,
        hits,
        misses,
        errors,
        blocks,
        shrink_ns: shrunk.elapsed_ns,
        read_guest_ns,
    })
}
