//! `harness bench cache`: how fast the eviction policies of the guest's cache are on one
//! processor, beside libCacheSim's own, and how fast a cache gives blocks up.
//!
//! Both take the same trace from memory, 24 bytes a request, from an empty cache on, in
//! turns: a round is one pass of each for each policy.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use guest_cache::Policy;
use lab::process::Process;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use simulate::input::Input;
use terminal::interrupt;
use terminal::progress::Progress;
use workloads::Workload;

use crate::sim::cli::parse_workload;

/// The program that runs libCacheSim.
const SCRIPT: &str = include_str!("libcachesim.py");

/// The version whose counts the tests of the cache have.
const VERSION: &str = "0.3.5";

/// How long a pass may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of a record of oracleGeneral: time (u32), object (u64), size (u32), time of the
/// object's next request (i64), little-endian.
const RECORD: usize = 24;

/// Slots of the cache that gives some up, and how many.
const SLOTS: u32 = 256 << 10;
const GIVEN_UP: u32 = 64 << 10;

/// What the report begins with.
pub const LEAD: &str = "The eviction policies of the guest's block cache and libCacheSim's of the same names see the \
    same requests in the same order, each in one thread, from an empty cache on. Then a full cache of 256 Ki blocks \
    gives up 64 Ki of them.";

/// Options of `harness bench cache`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The requests: zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential or
    /// hotspot:BLOCKS,SHARE,SPEED.
    #[arg(long, default_value = "zipf:0.99", value_parser = parse_workload)]
    pub workload: Workload,
    /// Blocks that they are for.
    #[arg(long, default_value_t = 1 << 20)]
    pub blocks: u32,
    /// How many requests.
    #[arg(long, default_value_t = 4_000_000)]
    pub requests: u64,
    /// Blocks of the cache.
    #[arg(long, default_value_t = 128 << 10)]
    pub capacity: u32,
    /// Rounds; each has one pass of each policy by each side.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// The Python that has libcachesim.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    pub python: PathBuf,
    /// Few requests and rounds: whether it works, not how fast it is.
    #[arg(long)]
    pub quick: bool,
    /// Exit with 3 when a bar is missed.
    #[arg(long)]
    pub check: bool,
}

impl Options {
    /// As they are when the quick form has its say.
    pub fn effective(&self) -> Self {
        let mut options = self.clone();
        if options.quick {
            options.requests = options.requests.min(400_000);
            options.rounds = options.rounds.min(2);
        }
        options
    }
}

/// Who made a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The guest's cache.
    Ours,
    /// libCacheSim.
    Peer,
}

/// A pass over all requests, as `bench_cache.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The policy.
    pub policy: String,
    /// Counts from 0.
    pub round: u32,
    /// Who made it.
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Of these, of blocks that were not cached.
    pub misses: u64,
    /// How long it took, nanoseconds.
    pub elapsed_ns: u64,
}

/// A full cache that gave up a quarter of its slots, as `bench_surrender.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Surrender {
    /// The policy.
    pub policy: String,
    /// Counts from 0.
    pub round: u32,
    /// Slots that it had.
    pub slots: u32,
    /// Slots that it gave up, all with a block in them.
    pub given_up: u32,
    /// How long it took, nanoseconds.
    pub elapsed_ns: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Version of the peer.
    pub version: String,
    /// Passes.
    pub rows: Vec<Row>,
    /// Slots given up.
    pub surrenders: Vec<Surrender>,
}

/// Measures everything.
///
/// # Errors
/// When the peer is missing, or anything does not do what it is asked.
pub fn measure(options: &Options, seed: u64, progress: Progress) -> Result<Measured> {
    let options = options.effective();
    ensure!(
        options.capacity > 0 && options.rounds > 0,
        "a --capacity of {} and {} --rounds measure nothing",
        options.capacity,
        options.rounds
    );
    let input = Input::from_workload(options.workload, options.blocks, options.requests, seed)?;
    let folder = tempfile::Builder::new().prefix("vssd-").tempdir();
    let folder = folder.context("make a folder for the trace")?;
    let trace = oracle_general(&input.blocks);
    let mut peer = Peer::start(&options, folder.path(), &trace)?;
    let mut measured = Measured {
        version: peer.version.clone(),
        ..Measured::default()
    };
    let policies = Policy::ALL.len() as u64;
    let bar = progress.bar("passes", u64::from(options.rounds) * policies * 3);
    let mut rng = SmallRng::seed_from_u64(seed);
    for round in 0..options.rounds {
        let mut order = Policy::ALL.to_vec();
        order.shuffle(&mut rng);
        for policy in order {
            let mut sides = [Who::Ours, Who::Peer];
            sides.shuffle(&mut rng);
            for who in sides {
                interrupt::check()?;
                let (misses, elapsed_ns) = match who {
                    Who::Ours => pass(policy, options.capacity, &trace),
                    Who::Peer => peer.pass(policy, options.requests)?,
                };
                measured.rows.push(Row {
                    policy: policy.to_string(),
                    round,
                    who,
                    requests: options.requests,
                    misses,
                    elapsed_ns,
                });
                bar.inc(1);
            }
            measured.surrenders.push(surrender(policy, round, &mut rng));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(measured)
}

/// The requests as libCacheSim reads them.
fn oracle_general(blocks: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD * blocks.len());
    for (time, block) in (1u32..).zip(blocks) {
        bytes.extend(time.to_le_bytes());
        // Object 0 is none.
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

/// Fills a cache in random order, and has it give up a quarter.
fn surrender(policy: Policy, round: u32, rng: &mut SmallRng) -> Surrender {
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
    Surrender {
        policy: policy.to_string(),
        round,
        slots: SLOTS,
        given_up,
        elapsed_ns: began.elapsed().as_nanos() as u64,
    }
}

/// libCacheSim, in a process of its own.
struct Peer {
    _process: Process,
    input: ChildStdin,
    output: Receiver<String>,
    version: String,
}

impl Peer {
    fn start(options: &Options, folder: &Path, trace: &[u8]) -> Result<Self> {
        let (script, file) = (
            folder.join("libcachesim.py"),
            folder.join("trace.oracleGeneral"),
        );
        fs::write(&script, SCRIPT).context("write the peer's program")?;
        fs::write(&file, trace).context("write the trace")?;
        let mut command = Command::new(&options.python);
        command
            // Nothing beside the script is a module.
            .args(["-P".as_ref(), script.as_os_str(), file.as_os_str()])
            .arg(options.capacity.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (sender, output) = mpsc::channel();
        let (give, take) = mpsc::channel();
        let process = Process::spawn(
            command,
            move |child: &mut std::process::Child| {
                // It is taken below.
                let _ = give.send(child.stdin.take());
                let stdout = child.stdout.take();
                thread::spawn(move || {
                    let lines = stdout.map(BufReader::new).into_iter();
                    for line in lines.flat_map(BufRead::lines).map_while(Result::ok) {
                        // Nobody listens any more when all is measured.
                        let _ = sender.send(line);
                    }
                });
            },
            |_| {},
        );
        let missing = || {
            format!(
                "{} cannot import libcachesim: `pip install libcachesim=={VERSION}` for it, or name another --python",
                options.python.display()
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

    /// One pass of libCacheSim's: misses and nanoseconds.
    fn pass(&mut self, policy: Policy, requests: u64) -> Result<(u64, u64)> {
        writeln!(self.input, "{policy}").context("ask libCacheSim")?;
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
