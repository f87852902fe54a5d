//! The write policies of the guest's block cache: what they cost, by how much the origin
//! disk is behind, and what a crash loses.
//!
//! ```text
//!  load:   a fresh guest ─▶ reads and writes ─▶ write back what is dirty
//!  crash:  a fresh guest ─▶ writes, one at a time ─▶ kill -9 of its QEMU
//!            ─▶ read the origin disk, without any guest
//!            ─▶ journaled: apply its journal, in memory, without the vSSD
//!            ─▶ boot a guest on both disks, open the cache, read through it
//! ```

pub mod evidence;
mod recovery;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use guest_cache::Policy;
use guest_cache::WritePolicy;
use serde::Deserialize;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::pattern::derive_seed;
use workloads::{Stamp, Workload};

use super::cached::{
    BLOCK, Cache, Load, PATIENCE, Replayed, Sample, bench_on_written, stamps, write_back,
};
use super::{Experiment, Lab, boot_row, params};
use crate::bench::client::Client;
use crate::interrupt;
use crate::present::store::RunFolder;
use crate::record::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};
use crate::testbed::{Disks, OriginShape, Shape, Talk};
use crate::vm_host::Bench;
use evidence::{Evidence, Writes, examine};

/// The disk behind the cache.
const DISK: MediaKind = MediaKind::Hdd;

/// The most crashes by each policy.
const CRASHES_MAX: u32 = 1000;

/// The most accesses of a load.
const ACCESSES_MAX: u64 = 10_000_000;

/// So many writes more than the last one known a guest cannot have made before it died.
const UNKNOWN_WRITES: usize = 100_000;

/// From the death of a guest until what it had asked its disks for has ended there, or
/// will not be done.
const SETTLE: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    policies: Vec<String>,
    evict: String,
    size: String,
    origin: String,
    span: String,
    workload: String,
    dirty_percent: u32,
    accesses: u64,
    writes_percent: u32,
    depth: u32,
    flush: u32,
    sample: u64,
    crashes: u32,
    crash_dirty_percent: u32,
    crash_writes: u64,
    crash_flush: u32,
}

/// Checked parameters; see `experiments/writepolicy.toml`.
#[derive(Clone, Debug)]
pub struct Params {
    policies: Vec<WritePolicy>,
    evict: Policy,
    size: ByteSize,
    origin: ByteSize,
    span: u32,
    workload: Workload,
    raw: Raw,
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
            origin.0.is_multiple_of(BLOCK) && u64::from(span) * BLOCK <= origin.0,
            "`origin` is {origin}: choose a number of blocks that has room for the `span` of {}",
            raw.span
        );
        for (key, percent) in [
            ("dirty_percent", raw.dirty_percent),
            ("writes_percent", raw.writes_percent),
            ("crash_dirty_percent", raw.crash_dirty_percent),
        ] {
            params::percent(key, percent)?;
        }
        for (key, accesses) in [
            ("accesses", raw.accesses),
            ("crash_writes", raw.crash_writes),
        ] {
            ensure!(
                (1..=ACCESSES_MAX).contains(&accesses),
                "`{key}` is {accesses}: choose 1 to {ACCESSES_MAX}"
            );
        }
        ensure!(
            (1..=CRASHES_MAX).contains(&raw.crashes),
            "`crashes` is {}: choose 1 to {CRASHES_MAX}",
            raw.crashes
        );
        ensure!(
            raw.depth > 0 && raw.sample > 0,
            "`depth` and `sample` count from 1"
        );
        Ok(Self {
            policies: params::each("policies", &raw.policies, params::write_policy)?,
            evict: params::policy("evict", &raw.evict)?,
            size: params::cache_size("size", &raw.size)?,
            origin,
            span,
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
                media: Some(DISK),
            }),
            trace: None,
        }
    }

    fn cache(&self, write: WritePolicy, dirty_percent: u32, fresh: bool) -> Cache {
        Cache {
            evict: self.evict,
            write,
            dirty_percent: dirty_percent as u8,
            fresh,
        }
    }

    /// The load that is measured.
    fn load(&self, seed: u64) -> Load {
        Load {
            workload: Some(self.workload),
            span: self.span,
            seed,
            start: 0,
            count: self.raw.accesses,
            writes_percent: self.raw.writes_percent,
            depth: self.raw.depth,
            flush: self.raw.flush,
            every: self.raw.sample,
        }
    }

    /// The one in the midst of which the guest is killed: writes, one after the other, so
    /// that there is no doubt in which order they were made.
    fn crash_load(&self, seed: u64) -> Load {
        Load {
            writes_percent: 100,
            depth: 1,
            flush: self.raw.crash_flush,
            every: (self.raw.crash_writes / 20).max(1),
            ..self.load(seed)
        }
    }
}

/// Runs the experiment.
///
/// # Errors
/// When a guest or a backend fails.
pub fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let runs = params.policies.len() as u64 * (1 + u64::from(params.raw.crashes));
    let bar = lab.progress.bar("writepolicy", runs);
    for &policy in &params.policies {
        interrupt::check()?;
        load(params, lab, policy, folder).with_context(|| format!("a load by {policy}"))?;
        bar.inc(1);
    }
    for crash in 0..params.raw.crashes {
        for &policy in &params.policies {
            interrupt::check()?;
            let run = Crash {
                params,
                lab,
                policy,
                crash,
                load: params.crash_load(derive_seed(lab.seed, 1 + u64::from(crash))),
            };
            run.run(folder)
                .with_context(|| format!("a crash by {policy}"))?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A load by a policy, and what is written back after it.
fn load(params: &Params, lab: &Lab, policy: WritePolicy, folder: &mut RunFolder) -> Result<()> {
    let (experiment, disks) = (Experiment::WritePolicy, params.disks());
    let mut bench = bench_on_written(lab, experiment, disks, params.span, folder)?;
    let cache = params.cache(policy, params.raw.dirty_percent, true);
    let opened = cache.open(&mut bench.guest)?;
    let load = params.load(derive_seed(lab.seed, 0));
    let replayed = Replayed::run(&mut bench.guest, &load)?;
    let began = Instant::now();
    let written_back_blocks = write_back(&mut bench.guest)?;
    let write_back_ns = began.elapsed().as_nanos() as u64;
    bench.shut_down()?;
    for sample in &replayed.samples {
        folder.append(&WritePolicySampleRow {
            policy: policy.to_string(),
            accesses: sample.accesses,
            at_ns: sample.at_ns,
            dirty_blocks: sample.dirty,
            stale_ns: sample.stale_ns,
        })?;
    }
    folder.append(&WritePolicyRow {
        policy: policy.to_string(),
        medium: DISK.to_string(),
        depth: load.depth,
        slots: opened.slots,
        reads: replayed.read_hits + replayed.read_misses,
        read_hits: replayed.read_hits,
        writes: replayed.write_hits + replayed.write_misses,
        failed: replayed.failed + replayed.beyond,
        elapsed_ns: replayed.elapsed_ns,
        hit_p50_ns: replayed.hits.p50_ns,
        miss_p50_ns: replayed.misses.p50_ns,
        write_p50_ns: replayed.writes.p50_ns,
        write_p99_ns: replayed.writes.p99_ns,
        stale_ns_max: replayed.stale_ns_max,
        dirty_max_blocks: replayed.dirty_max,
        written_back_blocks,
        write_back_ns,
    })
}

/// A guest that is killed in the middle of its writes.
struct Crash<'a> {
    params: &'a Params,
    lab: &'a Lab,
    policy: WritePolicy,
    crash: u32,
    load: Load,
}

impl Crash<'_> {
    fn run(&self, folder: &mut RunFolder) -> Result<()> {
        let vm_host = self.lab.vm_host(Experiment::WritePolicy)?;
        let params = self.params;
        let mut bench = self
            .lab
            .bench(Experiment::WritePolicy, params.disks(), folder)?;
        let dirty = params.raw.crash_dirty_percent;
        params
            .cache(self.policy, dirty, true)
            .open(&mut bench.guest)?;
        let last = self.write_until(&mut bench)?;
        let origin = bench.origin.as_ref().context("there is an origin disk")?;
        let socket = origin.socket(0);
        let mut image = Vec::new();
        bench = bench.kill_guest_and(vm_host, || {
            thread::sleep(SETTLE);
            let mut client = Client::vhost_user(&socket, params.origin.0)?;
            image = client.read_all()?;
            Ok(())
        })?;
        folder.append(&boot_row(Experiment::WritePolicy, vm_host, &bench.guest))?;
        let row = Row {
            crash: self,
            last,
            writes: self
                .load
                .writes(last.acknowledged as usize + UNKNOWN_WRITES)?,
        };
        let alone = self.numbers(&image);
        row.record(WritePolicyCrashRow::ORIGIN, &alone, (0, 0), folder)?;
        if self.policy == WritePolicy::Journaled {
            let image = recovery::without_vssd(image, self.policy)?;
            let alone = self.numbers(&image);
            row.record(WritePolicyCrashRow::RECOVERED, &alone, (0, 0), folder)?;
        }
        let opened = params
            .cache(self.policy, dirty, false)
            .open(&mut bench.guest)?;
        let (through, _) = stamps(&mut bench.guest, params.span)?;
        let restored = (opened.restored, opened.restored_dirty);
        row.record(WritePolicyCrashRow::WARM, &through, restored, folder)?;
        bench.shut_down()
    }

    /// Has the guest write until it has told of enough writes; returns its last word.
    fn write_until(&self, bench: &mut Bench) -> Result<Sample> {
        let guest = &mut bench.guest;
        guest.start(&self.load.command(true))?;
        let until = guest.until(PATIENCE);
        loop {
            let report = guest.hear(until, "write until it is killed")?;
            match Sample::of(&report) {
                Some(sample) if sample.accesses >= self.params.raw.crash_writes => {
                    return Ok(sample);
                }
                _ => {}
            }
        }
    }

    /// From which write each block of the load is, by what is in an image of the disk.
    fn numbers(&self, image: &[u8]) -> Vec<u64> {
        let stamp = Stamp::of_guests();
        let blocks = image.chunks_exact(BLOCK as usize);
        (0..self.params.span)
            .zip(blocks)
            .map(|(block, bytes)| stamp.read(block, bytes).unwrap_or(evidence::BAD))
            .collect()
    }
}

/// What is known of a crash when its disks are looked at.
struct Row<'a> {
    crash: &'a Crash<'a>,
    last: Sample,
    writes: Vec<u32>,
}

impl Row<'_> {
    fn record(
        &self,
        place: &str,
        numbers: &[u64],
        (restored, restored_dirty): (u32, u32),
        folder: &mut RunFolder,
    ) -> Result<()> {
        let writes = Writes {
            blocks: &self.writes,
            acknowledged: self.last.acknowledged,
            flushed: self.last.flushed,
        };
        let Evidence {
            bad_blocks,
            lost_blocks,
            newest,
            missing,
            missing_flushed,
            stale_blocks,
            is_prefix,
        } = examine(writes, numbers);
        folder.append(&WritePolicyCrashRow {
            policy: self.crash.policy.to_string(),
            crash: self.crash.crash,
            place: place.to_owned(),
            depth: self.crash.load.depth,
            acknowledged: self.last.acknowledged,
            flushed: self.last.flushed,
            blocks: numbers.len() as u32,
            bad_blocks,
            lost_blocks,
            newest,
            missing,
            missing_flushed,
            stale_blocks,
            is_prefix,
            restored,
            restored_dirty,
        })
    }
}
