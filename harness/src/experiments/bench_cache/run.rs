//! Runs the bench-cache experiment.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use guest_cache::Policy;
use lab::process::Process;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use results::store::RunFolder;
use simulate::input::Input;
use terminal::interrupt;

use super::params::Params;
use super::rows::{PassRow, Side, SurrenderRow, WalkRow};
use super::walk::Walk;
use crate::experiments::common::lab::Lab;

/// The program that runs libCacheSim.
const SCRIPT: &str = include_str!("libcachesim.py");

/// The version with which the tests of the cache agree.
const VERSION: &str = "0.3.5";

/// Timeout of a pass.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of a record of oracleGeneral: time (u32), object (u64), size (u32), time of the
/// object's next request (i64), little-endian.
const RECORD: usize = 24;

/// Slots of the cache that gives up blocks, and how many it gives up.
const SLOTS: u32 = 256 << 10;
const GIVEN_UP: u32 = 64 << 10;

/// Cache lines of the walk: as much memory as the table of that cache, 16 bytes a slot.
const LINES: u32 = SLOTS / 4;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let seed = lab.seed;
    let input = Input::from_workload(params.workload, params.blocks, params.requests, seed)?;
    let place = tempfile::Builder::new().prefix("vssd-").tempdir();
    let place = place.context("make a folder for the trace")?;
    let trace = oracle_general(&input.blocks);
    let mut peer = Peer::start(params, place.path(), &trace)?;
    let peer_is = format!(
        "libCacheSim by the Python package libcachesim {}",
        peer.version
    );
    folder.fact("beside", peer_is)?;
    let policies = Policy::ALL.len() as u64;
    let bar = lab
        .progress
        .bar("passes", u64::from(params.rounds) * policies * 3);
    let mut rng = SmallRng::seed_from_u64(seed);
    let walk = Walk::new(LINES, &mut rng);
    for round in 0..params.rounds {
        let mut order = Policy::ALL.to_vec();
        order.shuffle(&mut rng);
        for policy in order {
            let mut sides = [Side::Ours, Side::Peer];
            sides.shuffle(&mut rng);
            for who in sides {
                interrupt::check()?;
                let (misses, elapsed_ns) = match who {
                    Side::Ours => pass(policy, params.capacity, &trace),
                    Side::Peer => peer.pass(policy, params.requests)?,
                };
                folder.append(&PassRow {
                    policy: policy.to_string(),
                    round,
                    who,
                    requests: params.requests,
                    misses,
                    elapsed_ns,
                })?;
                bar.inc(1);
            }
            folder.append(&surrender(policy, round, &mut rng))?;
            folder.append(&WalkRow {
                round,
                policy: policy.to_string(),
                memory_bytes: walk.bytes(),
                steps: GIVEN_UP,
                elapsed_ns: walk.time(GIVEN_UP).as_nanos() as u64,
            })?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The requests in libCacheSim's format oracleGeneral.
fn oracle_general(blocks: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD * blocks.len());
    for (time, block) in (1u32..).zip(blocks) {
        bytes.extend(time.to_le_bytes());
        // Object ids start at 1.
        bytes.extend((u64::from(*block) + 1).to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend((-1i64).to_le_bytes());
    }
    bytes
}

/// One pass of ours: misses and nanoseconds.
fn pass(policy: Policy, capacity: u32, trace: &[u8]) -> (u64, u64) {
    let mut cache = policy.cache(capacity);
    cache.grow(0..capacity);
    let began = Instant::now();
    let mut misses = 0;
    for record in trace.chunks_exact(RECORD) {
        let block = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        if cache.access(block).is_none() {
            black_box(cache.admit(block));
            misses += 1;
        }
    }
    (misses, began.elapsed().as_nanos() as u64)
}

/// Fills a cache in random order and lets it give up a quarter.
fn surrender(policy: Policy, round: u32, rng: &mut SmallRng) -> SurrenderRow {
    let mut cache = policy.cache(SLOTS);
    cache.grow(0..SLOTS);
    while cache.len() < SLOTS {
        let block = rng.random_range(0..8 * SLOTS);
        if cache.access(block).is_none() {
            cache.admit(block);
        }
    }
    let mut given_up = 0;
    let began = Instant::now();
    cache.surrender(GIVEN_UP, |slot, cached| {
        given_up += u32::from(black_box((slot, cached)).1.is_some());
    });
    SurrenderRow {
        policy: policy.to_string(),
        round,
        slots: SLOTS,
        given_up,
        elapsed_ns: began.elapsed().as_nanos() as u64,
    }
}

/// libCacheSim in its own process.
struct Peer {
    _process: Process,
    input: ChildStdin,
    output: Receiver<String>,
    version: String,
}

impl Peer {
    fn start(params: &Params, folder: &Path, trace: &[u8]) -> Result<Self> {
        let (script, file) = (
            folder.join("libcachesim.py"),
            folder.join("trace.oracleGeneral"),
        );
        fs::write(&script, SCRIPT).context("write the peer's program")?;
        fs::write(&file, trace).context("write the trace")?;
        let mut command = Command::new(&params.python);
        command
            // No import from the folder of the script.
            .args(["-P".as_ref(), script.as_os_str(), file.as_os_str()])
            .arg(params.capacity.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (sender, output) = mpsc::channel();
        let (give, take) = mpsc::channel();
        let process = Process::spawn(
            command,
            move |child: &mut std::process::Child| {
                // The receiver waits below.
                let _ = give.send(child.stdin.take());
                let stdout = child.stdout.take();
                thread::spawn(move || {
                    let lines = stdout.map(BufReader::new).into_iter();
                    for line in lines.flat_map(BufRead::lines).map_while(Result::ok) {
                        // The receiver is gone after the last pass.
                        let _ = sender.send(line);
                    }
                });
            },
            |_| {},
        );
        let missing = || {
            format!(
                "{} cannot import libcachesim: `pip install libcachesim=={VERSION}` for it, or name another --python",
                params.python.display()
            )
        };
        let process = process.with_context(missing)?;
        let version = output.recv_timeout(PATIENCE).ok().with_context(missing)?;
        Ok(Self {
            _process: process,
            input: take
                .recv()
                .ok()
                .flatten()
                .context("the peer has no standard input")?,
            output,
            version,
        })
    }

    /// One pass of libCacheSim: misses and nanoseconds.
    fn pass(&mut self, policy: Policy, requests: u64) -> Result<(u64, u64)> {
        writeln!(self.input, "{policy}").context("send a policy to libCacheSim")?;
        let Ok(line) = self.output.recv_timeout(PATIENCE) else {
            bail!("libCacheSim did not answer for {policy}");
        };
        let parsed = line.split_once(' ').and_then(|(seconds, ratio)| {
            let (seconds, ratio): (f64, f64) = (seconds.parse().ok()?, ratio.parse().ok()?);
            Some((
                (ratio * requests as f64).round() as u64,
                (seconds * 1e9) as u64,
            ))
        });
        parsed.with_context(|| format!("libCacheSim answered `{line}`"))
    }
}
