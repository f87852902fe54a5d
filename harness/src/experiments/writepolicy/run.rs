//! Runs the writepolicy experiment.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use guest_cache::WritePolicy;
use lab::native::client::Client;
use lab::testbed::GuestChannel;
use lab::vm_host::VmTestbed;
use results::store::RunFolder;
use terminal::interrupt;
use workloads::pattern::derive_seed;
use workloads::report::CacheSample;
use workloads::{Report, Stamp};

use super::params::{DISK, Params};
use super::recovery::without_vssd;
use super::rows::{WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow};
use crate::experiments::common::boot;
use crate::experiments::common::cached::{
    BLOCK, CacheLoad, PATIENCE, Replayed, bench_on_written, stamps, write_back,
};
use crate::experiments::common::evidence::{BAD, Writes, examine};
use crate::experiments::common::lab::Lab;

/// More writes than a guest can make between its last report and its death.
const UNKNOWN_WRITES: usize = 100_000;

/// From the death of a guest until its requests have completed or been dropped by the backends.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let runs = params.policies.len() as u64 * (1 + u64::from(params.crashes));
    let bar = lab.progress.bar("writepolicy", runs);
    for &policy in &params.policies {
        interrupt::check()?;
        load(params, lab, policy, folder).with_context(|| format!("a load by {policy}"))?;
        bar.inc(1);
    }
    for crash in 0..params.crashes {
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

/// A load with a policy, and the write-back after it.
fn load(params: &Params, lab: &Lab, policy: WritePolicy, folder: &mut RunFolder) -> Result<()> {
    let mut bench = bench_on_written(lab, params.disks(), params.span, folder)?;
    let cache = params.cache(policy, params.dirty_percent, true);
    let opened = cache.open(&mut bench.guest)?;
    let load = params.load(derive_seed(lab.seed, 0));
    let replayed = Replayed::run(&mut bench.guest, &load)?;
    let began = Instant::now();
    let written_back_blocks = write_back(&mut bench.guest)?.blocks;
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

/// A guest that is killed during its writes.
struct Crash<'a> {
    params: &'a Params,
    lab: &'a Lab,
    policy: WritePolicy,
    crash: u32,
    load: CacheLoad,
}

impl Crash<'_> {
    fn run(&self, folder: &mut RunFolder) -> Result<()> {
        let vm_host = self.lab.vm_host()?;
        let params = self.params;
        let mut bench = self.lab.bench(params.disks(), folder)?;
        let dirty = params.crash_dirty_percent;
        params
            .cache(self.policy, dirty, true)
            .open(&mut bench.guest)?;
        let last = self.write_until(&mut bench)?;
        let origin = bench
            .backends
            .origin
            .as_ref()
            .context("there is an origin disk")?;
        let socket = origin.socket(0);
        let mut image = Vec::new();
        bench = bench.kill_guest_and(vm_host, || {
            thread::sleep(SETTLE);
            let mut client = Client::vhost_user(&socket, params.origin.0)?;
            image = client.read_all()?;
            Ok(())
        })?;
        boot::record(folder, vm_host, &bench.guest)?;
        let most = last.acknowledged as usize + UNKNOWN_WRITES;
        let row = Row {
            crash: self,
            last,
            writes: self.load.writes(most)?,
        };
        let alone = self.numbers(&image);
        row.record(WritePolicyCrashRow::ORIGIN, &alone, (0, 0), folder)?;
        if self.policy == WritePolicy::Journaled {
            let image = without_vssd(image, self.policy)?;
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

    /// Lets the guest write until it has reported enough writes; returns its last sample.
    fn write_until(&self, bench: &mut VmTestbed) -> Result<CacheSample> {
        let guest = &mut bench.guest;
        guest.start(&self.load.command(true))?;
        let until = guest.until(PATIENCE);
        loop {
            let report = guest.next_report(until, "replay")?;
            match report {
                Report::CacheSample(sample) if sample.accesses >= self.params.crash_writes => {
                    return Ok(sample);
                }
                _ => {}
            }
        }
    }

    /// The number of the write that each block of the load carries in an image of the disk.
    fn numbers(&self, image: &[u8]) -> Vec<u64> {
        let stamp = Stamp::of_guests();
        let blocks = image.chunks_exact(BLOCK as usize);
        (0..self.params.span)
            .zip(blocks)
            .map(|(block, bytes)| stamp.read(block, bytes).unwrap_or(BAD))
            .collect()
    }
}

/// What is known of a crash when its disks are read.
struct Row<'a> {
    crash: &'a Crash<'a>,
    last: CacheSample,
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
        let found = examine(writes, numbers);
        folder.append(&WritePolicyCrashRow {
            policy: self.crash.policy.to_string(),
            crash: self.crash.crash,
            place: place.to_owned(),
            depth: self.crash.load.depth,
            acknowledged: self.last.acknowledged,
            flushed: self.last.flushed,
            blocks: numbers.len() as u32,
            bad_blocks: found.bad_blocks,
            lost_blocks: found.lost_blocks,
            newest: found.newest,
            missing: found.missing,
            missing_flushed: found.missing_flushed,
            stale_blocks: found.stale_blocks,
            is_prefix: found.is_prefix,
            restored,
            restored_dirty,
        })
    }
}
