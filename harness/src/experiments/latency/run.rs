//! How it runs.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::testbed::{GuestChannel, ResizeOptions, Shape, Testbed, fill};
use lab::vm_host::VmTestbed;
use results::store::RunFolder;
use vssd_host::control::protocol::{EncodingName, LatencyStatus, Resized};
use vssd_host::latency::{Activity, Bucket, Histogram, add, buckets, histogram};
use workloads::report::PhaseKind;
use workloads::{Pick, Report, report};

use super::params::Params;
use super::rows::{
    LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, LatencyYardstickRow, Side,
};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports::{all, stressed};

/// How long one resize may take, or the guest to tell what it measured.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one side measured of one phase of one cycle.
struct Measured {
    phase: LatencyPhase,
    side: Side,
    buckets: Vec<Bucket>,
    longest_stall_ns: u64,
    phase_ns: u64,
}

/// What was measured in one cycle.
struct Cycle {
    measured: Vec<Measured>,
    shrink: Resized,
    grow: Resized,
    requests: u64,
    failed: u64,
}

/// The phases as the guest lived through them.
fn by_the_guest(reports: &[Report]) -> Result<Vec<Measured>> {
    let mut kinds = Vec::new();
    let mut measured = Vec::new();
    for of in all::<report::Latency>(reports) {
        kinds.push(of.phase);
        // More phases than expected are refused below.
        let at = measured.len().min(LatencyPhase::ALL.len() - 1);
        measured.push(Measured {
            phase: LatencyPhase::ALL[at],
            side: Side::Guest,
            buckets: of.buckets.clone(),
            longest_stall_ns: of.longest_stall_ns,
            phase_ns: of.phase_ns,
        });
    }
    use PhaseKind::{Grow, Quiet, Shrink};
    ensure!(
        kinds == [Quiet, Shrink, Quiet, Grow, Quiet],
        "the guest lived through {kinds:?} where one shrink and one grow were asked for"
    );
    Ok(measured)
}

/// Requests that the stress made, and those that did not end well.
fn ends(reports: &[Report]) -> Result<(u64, u64)> {
    let load = stressed(reports)?;
    let failed = load.lost_race + load.errors + load.corrupt;
    Ok((load.reads + load.writes + failed, failed))
}

/// One phase as the backend saw it.
fn by_the_backend(
    status: &LatencyStatus,
    activity: Activity,
    phase: LatencyPhase,
    phase_ns: u64,
) -> Result<Measured> {
    let of = status.activities.iter().find(|of| of.activity == activity);
    let of = of.context("the backend did not tell what it measured")?;
    Ok(Measured {
        phase,
        side: Side::Backend,
        buckets: buckets(&of.service()),
        longest_stall_ns: of.longest_stall_ns,
        phase_ns,
    })
}

fn resize(bench: &mut VmTestbed, target: u32) -> Result<Resized> {
    let options = ResizeOptions {
        pick: Pick::Guest,
        deadline: PATIENCE,
        seed: 0,
    };
    let resized = bench.resize_to(target, options)?;
    if !resized.is_complete() || resized.revoked > 0 {
        bail!(
            "a resize to {target} blocks ended as {} with {} held and {} revoked",
            resized.end,
            resized.held,
            resized.revoked
        );
    }
    Ok(resized)
}

/// A shrink by so many blocks and the grow that takes it back, under load.
fn cycle(params: &Params, blocks: u32, bench: &mut VmTestbed, seed: u64) -> Result<Cycle> {
    let capacity = bench.guest.ready.capacity;
    bench.guest.start(&params.load(0, seed))?;
    // What the backend measured between two of these looks: quiet time, and
    // at most one resize.
    bench.backends.vssd.latency(true)?;
    let mut looked = Instant::now();
    let mut look = |bench: &VmTestbed, resized_ns: u64| -> Result<(LatencyStatus, u64)> {
        thread::sleep(params.wait());
        let status = bench.backends.vssd.latency(true)?;
        let quiet_ns = (looked.elapsed().as_nanos() as u64).saturating_sub(resized_ns);
        looked = Instant::now();
        Ok((status, quiet_ns))
    };
    let (first, before_ns) = look(bench, 0)?;
    let shrink = resize(bench, capacity - blocks)?;
    let (second, between_ns) = look(bench, shrink.elapsed_ns)?;
    let grow = resize(bench, capacity)?;
    let (third, after_ns) = look(bench, grow.elapsed_ns)?;
    let reports = bench.guest.stop(PATIENCE)?;

    let (requests, failed) = ends(&reports)?;
    let mut measured = by_the_guest(&reports)?;
    use LatencyPhase as Phase;
    for (status, activity, phase, phase_ns) in [
        (&first, Activity::Quiet, Phase::Before, before_ns),
        (&second, Activity::Shrink, Phase::Shrink, shrink.elapsed_ns),
        (&second, Activity::Quiet, Phase::Between, between_ns),
        (&third, Activity::Grow, Phase::Grow, grow.elapsed_ns),
        (&third, Activity::Quiet, Phase::After, after_ns),
    ] {
        measured.push(by_the_backend(status, activity, phase, phase_ns)?);
    }
    Ok(Cycle {
        measured,
        shrink,
        grow,
        requests,
        failed,
    })
}

/// The yardstick: a shrink by one block and the grow that takes it back, under the same load.
fn one_block(bench: &mut VmTestbed, params: &Params, seed: u64) -> Result<LatencyYardstickRow> {
    let cycle = cycle(params, 1, bench, seed)?;
    let is_resize = |of: &&Measured| {
        let is_guest = of.side == Side::Guest;
        is_guest && matches!(of.phase, LatencyPhase::Shrink | LatencyPhase::Grow)
    };
    let resizes = cycle.measured.iter().filter(is_resize);
    Ok(LatencyYardstickRow {
        cycle: 0,
        requests: cycle.requests,
        failed: cycle.failed,
        shrink_ns: cycle.shrink.elapsed_ns,
        grow_ns: cycle.grow.elapsed_ns,
        longest_stall_ns: resizes.map(|of| of.longest_stall_ns).max().unwrap_or(0),
        agreed: cycle.shrink.agreed && cycle.grow.agreed,
    })
}

/// Histograms over all cycles, one for each phase.
type Sums = BTreeMap<(EncodingName, Side), [Histogram; LatencyPhase::ALL.len()]>;

/// Records a cycle and adds it to the sums.
fn record(
    params: &Params,
    (encoding, number): (EncodingName, u32),
    cycle: &Cycle,
    sums: &mut Sums,
    folder: &mut RunFolder,
) -> Result<()> {
    for of in &cycle.measured {
        let mut latencies = histogram();
        add(&mut latencies, &of.buckets);
        folder.append(&LatencyRow {
            encoding: encoding.to_string(),
            cycle: number,
            side: of.side,
            phase: of.phase,
            requests: latencies.len(),
            p50_ns: latencies.value_at_quantile(0.5),
            p99_ns: latencies.value_at_quantile(0.99),
            p999_ns: latencies.value_at_quantile(0.999),
            max_ns: latencies.max(),
            longest_stall_ns: of.longest_stall_ns,
            phase_ns: of.phase_ns,
        })?;
        let phases = sums
            .entry((encoding, of.side))
            .or_insert_with(|| LatencyPhase::ALL.map(|_| histogram()));
        add(&mut phases[of.phase as usize], &of.buckets);
    }
    folder.append(&LatencyCycleRow {
        encoding: encoding.to_string(),
        cycle: number,
        pick: params.pick.to_string(),
        filled: params.fill,
        block_size_bytes: params.block_size.0 as u32,
        blocks: params.shrink_blocks(),
        depth: params.depth,
        requests: cycle.requests,
        failed: cycle.failed,
        shrink_ns: cycle.shrink.elapsed_ns,
        shrink_exchanges: cycle.shrink.exchanges,
        grow_ns: cycle.grow.elapsed_ns,
        grow_exchanges: cycle.grow.exchanges,
        agreed: cycle.shrink.agreed && cycle.grow.agreed,
    })
}

/// Records the sums: a row for each bucket in which any phase has a request.
fn record_sums(sums: &Sums, folder: &mut RunFolder) -> Result<()> {
    for ((encoding, side), phases) in sums {
        let mut rows: BTreeMap<u64, [u64; LatencyPhase::ALL.len()]> = BTreeMap::new();
        for (place, phase) in phases.iter().enumerate() {
            for (value_ns, count) in buckets(phase) {
                rows.entry(value_ns).or_default()[place] = count;
            }
        }
        for (value_ns, [before, shrink, between, grow, after]) in rows {
            folder.append(&LatencyBucketRow {
                encoding: encoding.to_string(),
                side: *side,
                value_ns,
                before,
                shrink,
                between,
                grow,
                after,
            })?;
        }
    }
    Ok(())
}

/// A fresh device and guest, ready for the load.
fn prepare(
    params: &Params,
    lab: &Lab,
    encoding: EncodingName,
    seed: u64,
    folder: &mut RunFolder,
) -> Result<VmTestbed> {
    let shape = Shape {
        size: params.size,
        block_size: params.block_size,
        written: params.size,
    };
    let mut bench = lab.bench(shape, folder)?;
    bench.set_encoding(encoding)?;
    bench.guest.set_pick(params.pick, seed, PATIENCE)?;
    if params.fill {
        fill(&mut bench, seed)?;
    }
    if params.warmup_requests > 0 {
        let warmup = params.load(params.warmup_requests, !seed);
        bench.guest.run(&warmup, PATIENCE)?;
    }
    Ok(bench)
}

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let cycles = params.encodings.iter().map(|of| params.cycles_of(*of));
    let cycles = cycles.chain([params.block_cycles]);
    let bar = lab.progress.bar("latency", cycles.map(u64::from).sum());
    let mut sums = Sums::new();
    for number in 0..params.cycles {
        // The encodings take turns, so that a slow moment of the machine does
        // not fall on one of them alone. Each gets a fresh device, so that
        // none has to free what another's load wrote, and the same load.
        for &encoding in &params.encodings {
            if number >= params.cycles_of(encoding) {
                continue;
            }
            let seed = lab.seed.wrapping_add(number.into());
            let mut bench = prepare(params, lab, encoding, seed, folder)?;
            let measured = cycle(params, params.shrink_blocks(), &mut bench, seed)?;
            bench.shut_down()?;
            record(params, (encoding, number), &measured, &mut sums, folder)?;
            bar.inc(1);
        }
        if number < params.block_cycles {
            let seed = lab.seed.wrapping_add(number.into());
            let mut bench = prepare(params, lab, EncodingName::Compact, seed, folder)?;
            let measured = one_block(&mut bench, params, seed)?;
            bench.shut_down()?;
            folder.append(&LatencyYardstickRow {
                cycle: number,
                ..measured
            })?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    record_sums(&sums, folder)
}
