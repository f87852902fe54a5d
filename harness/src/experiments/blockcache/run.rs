//! How it runs.

use std::path::Path;

use anyhow::{Context, Result};
use guest_cache::Policy;
use guest_cache::WritePolicy;
use lab::testbed::{Disks, Testbed};
use results::store::RunFolder;
use simulate::input::Input;
use simulate::replay::{Contender, on_slots};
use simulate::trace::image::Converted;
use simulate::trace::pass;
use simulate::trace::survey::Survey;
use terminal::interrupt;
use terminal::progress::Progress;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::pattern::derive_seed;
use workloads::replay::AccessKind;
use workloads::report::CacheOpened;
use workloads::trace::{Op, Options};

use super::claims::NO_MEDIUM;
use super::params::Params;
use super::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow, BlockCacheTraceRow};
use crate::experiments::common::cached::{
    Cache, CacheLoad, Replayed, bench_on_written, close, disks, write_back,
};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::recorded::Recorded;

/// A fresh cache, of which a write goes no further for the time being.
fn cache(evict: Policy) -> Cache {
    Cache::new(evict, WritePolicy::WriteBack)
}

/// All that go to every cache, each with its accesses for the cache's code alone.
fn loads(params: &Params, lab: &Lab, trace: Option<&Path>) -> Result<Vec<(CacheLoad, Input)>> {
    let mut loads = Vec::new();
    for (number, workload) in (0..).zip(&params.workloads) {
        let load = params.load(*workload, derive_seed(lab.seed, number));
        loads.push((load, of_workload(&load)?));
    }
    if let Some(path) = trace {
        let input = of_trace(path, lab.progress)?;
        let load = CacheLoad {
            workload: None,
            span: 0,
            count: input.len() as u64,
            ..params.load(params.disk_workload, 0)
        };
        loads.push((load, input));
    }
    Ok(loads)
}

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let timed = lab.is_timed();
    let trace = params.trace.as_deref().map(|path| -> Result<Recorded> {
        let disk_bytes = Some(params.origin.0);
        let (trace, made) = Recorded::read("trace", path, disk_bytes, lab.progress)?;
        let apart = apart(params, path, &made, lab.progress)?;
        folder.append(&trace_row(path, &made, apart))?;
        Ok(trace)
    });
    let trace: Option<Recorded> = trace.transpose()?;
    let image = trace.as_ref().map(Recorded::image);
    let loads = loads(params, lab, image)?;
    let mut cells = params.sizes.len() * loads.len() * params.policies.len();
    if timed {
        cells += params.disk_sizes.len() * params.disk_policies.len();
    }
    let bar = lab.progress.bar("blockcache", cells as u64);
    for &size in &params.sizes {
        let disks = Disks {
            trace: image.map(Path::to_owned),
            ..disks(size, params.origin, None)
        };
        let mut testbed = lab.testbed(disks, folder)?;
        for (load, input) in &loads {
            let mut seen = None;
            for &policy in &params.policies {
                interrupt::check()?;
                let cell = Cell::run(testbed.as_mut(), policy, load)
                    .with_context(|| format!("{policy} on {size}, {}", load.name()))?;
                cell.record(NO_MEDIUM, timed, folder)?;
                alone(&cell, input, Contender::Policy(policy), folder)?;
                seen = Some(cell);
                bar.inc(1);
            }
            if let Some(cell) = seen {
                alone(&cell, input, Contender::Belady, folder)?;
            }
        }
        testbed.shut_down()?;
    }
    if timed {
        for &size in &params.disk_sizes {
            in_front_of_a_disk(params, lab, size, folder, || bar.inc(1))?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What to do about volumes that lie so far apart that the origin disk has not all of them.
///
/// # Errors
/// When the run is to stop.
fn apart(
    params: &Params,
    path: &Path,
    made: &Converted,
    progress: Progress,
) -> Result<Option<String>> {
    let counts = made.summary.counts;
    if counts.volumes < 2 || counts.beyond_disk == 0 {
        return Ok(None);
    }
    let Some(survey) = Survey::of(path, &Options::default(), None, progress)? else {
        return Ok(None);
    };
    let Some(volume) = survey.volume_bytes() else {
        return Ok(None);
    };
    let all = volume.saturating_mul(survey.volumes);
    let path = path.display();
    let larger = if all > params.origin.0 {
        format!(" --set origin={}", ByteSize(all))
    } else {
        String::new()
    };
    Ok(Some(format!(
        "Its {} volumes are too far apart for the `origin` of {}: `harness trace convert {path} OUT \
         --volume {}` lays them out closer, and `--set trace=OUT{larger}` replays all of them.",
        survey.volumes,
        params.origin,
        ByteSize(volume),
    )))
}

fn trace_row(path: &Path, made: &Converted, apart: Option<String>) -> BlockCacheTraceRow {
    let Converted {
        summary, distinct, ..
    } = made;
    let notes: Vec<String> = summary.notes().into_iter().chain(apart).collect();
    BlockCacheTraceRow {
        trace: path.display().to_string(),
        format: summary.format.name().to_owned(),
        requests: summary.requests(),
        accesses: summary.accesses(),
        distinct_blocks: distinct.blocks,
        beyond_disk: summary.counts.beyond_disk,
        assumed: summary.assumptions.join(" "),
        notes: notes.join(" "),
    }
}

/// A few cells with an origin disk that is as slow as a disk, one access at a time.
fn in_front_of_a_disk(
    params: &Params,
    lab: &Lab,
    size: ByteSize,
    folder: &mut RunFolder,
    done: impl Fn(),
) -> Result<()> {
    let disk = MediaKind::Hdd;
    let disks = disks(size, params.origin, Some(disk));
    let mut bench = bench_on_written(lab, disks, params.span, folder)?;
    for &policy in &params.disk_policies {
        interrupt::check()?;
        let load = CacheLoad {
            count: params.disk_accesses,
            writes_percent: 0,
            depth: 1,
            ..params.load(params.disk_workload, derive_seed(lab.seed, u64::MAX))
        };
        let cell = Cell::run(&mut bench, policy, &load)?;
        cell.record_timing(&disk.to_string(), folder)?;
        done();
    }
    bench.shut_down()
}

/// What a guest's cache did with a load.
struct Cell {
    load: CacheLoad,
    policy: Policy,
    capacity: u32,
    opened: CacheOpened,
    replayed: Replayed,
}

impl Cell {
    fn run(testbed: &mut dyn Testbed, policy: Policy, load: &CacheLoad) -> Result<Self> {
        let capacity = testbed.capacity();
        let guest = testbed.guest();
        let opened = cache(policy).open(guest)?;
        let replayed = Replayed::run(guest, load)?;
        // The next cache begins empty: what is dirty in this one would be lost.
        write_back(guest)?;
        close(guest)?;
        Ok(Self {
            load: *load,
            policy,
            capacity,
            opened,
            replayed,
        })
    }

    fn record(&self, medium: &str, timed: bool, folder: &mut RunFolder) -> Result<()> {
        let of = &self.replayed;
        folder.append(&BlockCacheRow {
            workload: self.load.name(),
            policy: self.policy.to_string(),
            capacity_blocks: self.capacity,
            metadata_blocks: self.opened.metadata_blocks,
            slots: self.opened.slots,
            origin_blocks: self.opened.origin_blocks,
            reads: of.read_hits + of.read_misses,
            read_misses: of.read_misses,
            writes: of.write_hits + of.write_misses,
            write_misses: of.write_misses,
            beyond: of.beyond,
            failed: of.failed,
            memory_bytes_per_1000: self.opened.memory_bytes_per_1000,
        })?;
        if timed {
            self.record_timing(medium, folder)
        } else {
            Ok(())
        }
    }

    fn record_timing(&self, medium: &str, folder: &mut RunFolder) -> Result<()> {
        let of = &self.replayed;
        folder.append(&BlockCacheTimingRow {
            medium: medium.to_owned(),
            workload: self.load.name(),
            policy: self.policy.to_string(),
            slots: self.opened.slots,
            depth: self.load.depth,
            accesses: self.load.count,
            failed: of.failed,
            elapsed_ns: of.elapsed_ns,
            hits: of.hits.count,
            hit_p50_ns: of.hits.p50_ns,
            hit_p99_ns: of.hits.p99_ns,
            misses: of.misses.count,
            miss_p50_ns: of.misses.p50_ns,
            miss_p99_ns: of.misses.p99_ns,
        })
    }
}

/// The accesses of a load for the cache's code alone. Blocks keep their numbers: some
/// policies go by hashes of these.
fn of_workload(load: &CacheLoad) -> Result<Input> {
    let mut input = Input::default();
    for access in load.accesses()?.take(load.count as usize) {
        // The guest's cache does not see these either.
        if access.kind != AccessKind::Discard {
            input.blocks.push(access.block);
            input.writes.push(access.kind == AccessKind::Write);
        }
    }
    Ok(input)
}

/// Those of a trace, out of the disk that guests replay.
fn of_trace(image: &Path, progress: Progress) -> Result<Input> {
    let mut input = Input::default();
    pass(image, Options::default(), progress, "reading", |record| {
        for block in record.blocks() {
            input.blocks.push(u32::try_from(block)?);
            input.writes.push(record.op() == Op::Write);
        }
        Ok(())
    })?;
    Ok(input)
}

/// The accesses of a cell through the cache's code alone, with the slots that the
/// guest's cache had.
fn alone(cell: &Cell, input: &Input, contender: Contender, folder: &mut RunFolder) -> Result<()> {
    let first = cell.capacity - cell.opened.slots;
    let row = on_slots(input, contender, cell.capacity, first..cell.capacity, 0)?;
    folder.append(&BlockCacheSimRow {
        workload: cell.load.name(),
        policy: row.policy,
        slots: row.cache_blocks,
        reads: row.reads,
        read_misses: row.read_misses,
        writes: row.writes,
        write_misses: row.write_misses,
    })
}
