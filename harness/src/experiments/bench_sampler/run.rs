//! Runs the bench-sampler experiment.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lab::testbed::{Disks, OriginShape, Shape, Testbed};
use lab::vm_host::VmTestbed;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use results::store::RunFolder;
use terminal::interrupt;
use vssd_host::size::ByteSize;
use workloads::Report;
use workloads::report::{CacheOpened, Replayed, SamplerTimed};

use super::{Params, SamplerAloneRow, SamplerRow, Side};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports;

/// Blocks whose accesses are sampled, as the book recommends.
const SAMPLE: u32 = 2048;

/// The vSSD and the origin disk: 16,384 blocks of cache for 65,536.
const CACHE: ByteSize = ByteSize(64 << 20);
const ORIGIN: ByteSize = ByteSize(256 << 20);

/// Requests of the replays of each load that fill the caches, before its pairs.
const WARM_UP: u32 = 20_000;

/// Times that the sampler runs alone, and its accesses.
const REPETITIONS: u32 = 11;
const ALONE: u32 = 100_000;

const PATIENCE: Duration = Duration::from_secs(300);

/// A name, a workload, and writes in a hundred accesses. The first has more blocks than are sampled, the second fewer, so that
/// every access is in the sample; both hit. The third misses and writes too.
const LOADS: [(&str, &str, u32); 3] = [
    ("hits", "workload=uniform span=12000", 0),
    ("hits, all sampled", "workload=uniform span=2000", 0),
    ("zipf, a tenth writes", "workload=zipf:0.9 span=60000", 10),
];

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let mut plain = guest(lab, folder, 0)?;
    let mut sampled = guest(lab, folder, SAMPLE)?;
    let mut rng = SmallRng::seed_from_u64(lab.seed);
    let pairs = LOADS.len() as u64 * u64::from(params.pairs);
    let bar = lab.progress.bar("pairs", pairs);
    for (load, workload, writes) in LOADS {
        let line = |pair: u32, requests: u32| {
            let seed = lab.seed.wrapping_add(pair.into());
            format!(
                "replay {workload} writes={writes} seed={seed} count={requests} depth=16 check=false"
            )
        };
        for guest in [&mut plain, &mut sampled] {
            replay(guest, &line(params.pairs, WARM_UP))?;
        }
        for pair in 0..params.pairs {
            interrupt::check()?;
            let line = line(pair, params.requests);
            let mut sides = [(Side::Plain, &mut plain), (Side::Sampled, &mut sampled)];
            sides.shuffle(&mut rng);
            for (side, guest) in sides {
                let (hits, elapsed_ns) = replay(guest, &line)?;
                folder.append(&SamplerRow {
                    load: load.to_owned(),
                    pair,
                    side,
                    requests: params.requests.into(),
                    hits,
                    elapsed_ns,
                })?;
            }
            bar.inc(1);
        }
        let line = format!(
            "time-sampler {workload} seed={} sample={SAMPLE} count={ALONE}",
            lab.seed
        );
        for repetition in 0..REPETITIONS {
            let timed: SamplerTimed = run_line(&mut plain, &line)?;
            folder.append(&SamplerAloneRow {
                load: load.to_owned(),
                repetition,
                accesses: timed.accesses,
                elapsed_ns: timed.elapsed_ns,
            })?;
        }
    }
    bar.finish_and_clear();
    plain.shut_down()?;
    sampled.shut_down()
}

/// A guest whose cache samples so many blocks.
fn guest(lab: &Lab, folder: &mut RunFolder, sample: u32) -> Result<VmTestbed> {
    let disks = Disks {
        vssd: Shape {
            size: CACHE,
            block_size: ByteSize(4096),
            written: CACHE,
        },
        origin: Some(OriginShape {
            size: ORIGIN,
            media: None,
        }),
        trace: None,
    };
    let mut testbed = lab.bench(disks, folder)?;
    let open = format!("cache write=write-through sample={sample}");
    run_line::<CacheOpened>(&mut testbed, &open)?;
    Ok(testbed)
}

/// Hits of a replay, and how long it took by the guest's clock.
fn replay(testbed: &mut VmTestbed, line: &str) -> Result<(u64, u64)> {
    let replayed: Replayed = run_line(testbed, line)?;
    ensure!(
        replayed.errors == 0,
        "{} accesses failed in `{line}`",
        replayed.errors
    );
    let hits = replayed.read_hits + replayed.write_hits;
    Ok((hits, replayed.elapsed_ns))
}

/// Has a guest carry out a command, and returns its answer.
fn run_line<T: Clone>(testbed: &mut VmTestbed, line: &str) -> Result<T>
where
    for<'a> &'a T: TryFrom<&'a Report>,
{
    let command = line.parse();
    let command = command.map_err(|error| anyhow!("`{line}`: {error}"))?;
    let reports = testbed.guest().run(&command, PATIENCE)?;
    let answer = reports::all::<T>(&reports).next().cloned();
    answer.with_context(|| format!("the guest did not answer `{line}`"))
}
