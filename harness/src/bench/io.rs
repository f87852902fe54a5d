//! `harness bench io`: requests of our backend beside those of
//! `qemu-storage-daemon` and of plain io_uring, on the same blocks of the same file.
//!
//! One file holds our pool, written in full. The peer and the plain client work on
//! the part of it that holds the vSSD's blocks, which lie there in order. Slices of all three follow each
//! other in an order that changes, so that a slower minute of the machine hits
//! all of them; what counts are ratios within one such round. A fourth slice asks what
//! the disk gives at most, which no bar can go beyond.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use vssd_host::pool::Shape;
use vssd_host::size::ByteSize;

use super::client::Client;
use super::load::{Load, Pattern, Slice};
use super::server::Server;
use crate::progress::Progress;

/// Bytes in a block.
const BLOCK: u64 = 4096;

/// Bytes of the file, and slices, by which the quickest processor is found.
const PROBED: u64 = 64 << 20;
const PROBES: u64 = 4;

/// Blocks of which everybody proves in the end that writes reach them.
const PROVED: u64 = 1000;

/// Options of `harness bench io`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Bytes of the device on the disk.
    #[arg(long, default_value = "2GiB")]
    pub size: ByteSize,
    /// How long one slice of one load lasts, milliseconds.
    #[arg(long, default_value_t = 1000)]
    pub slice_ms: u64,
    /// Rounds; each has one slice of each load for each server.
    #[arg(long, default_value_t = 7)]
    pub rounds: u32,
    /// Folder for the file that is measured on; it says which disk.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Few and short slices: whether it works, not how fast it is.
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
            options.size = options.size.min(ByteSize(256 << 20));
            options.slice_ms = options.slice_ms.min(100);
            options.rounds = options.rounds.min(2);
        }
        options
    }
}

/// What the report begins with.
pub const LEAD: &str = "Requests of the `blkio` crate's virtio-blk-vhost-user driver to our backend \
    and to `qemu-storage-daemon`, and of its io_uring driver to the file, on the same blocks of one \
    file, past the page cache. Each 4 KiB that is read is checked to be the one asked for, and in the end \
    everybody overwrites a thousand of them with something else and finds it there. A round has a slice of each load for each \
    server, in random order; a ratio is the median of those within each round. One more slice has plain io_uring keep so many requests \
    under way that it shows what the disk gives at most. What is judged was measured with client and server on the processor on which plain \
    io_uring is quickest; the same loads follow with both wherever the scheduler has them.";

/// Who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Our backend.
    Ours,
    /// `qemu-storage-daemon`.
    Peer,
    /// Plain io_uring.
    Raw,
    /// Plain io_uring with [more](Load::deep) requests under way than the load has: the
    /// disk's limit.
    Limit,
}

impl Who {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ours => "vssd-host",
            Self::Peer => "qemu-storage-daemon",
            Self::Raw => "raw io_uring",
            Self::Limit => "raw io_uring, deep",
        }
    }
}

/// Where the bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// A file, past the page cache.
    Disk,
    /// Memory: of our backend, and for the peer a file in memory.
    Memory,
    /// Nowhere: neither moves any data.
    Nowhere,
}

impl On {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Nowhere => "nowhere",
        }
    }
}

/// Where client and server run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Both on one processor, so that neither waits for another one to wake up.
    OneProcessor,
    /// Wherever the scheduler has them.
    Anywhere,
}

/// A slice, as `bench_io.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Where the bytes went.
    pub medium: On,
    /// Where client and server ran.
    pub placement: Placement,
    /// How requests followed each other.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests under way; [`Who::Limit`] has more.
    pub depth: u16,
    /// The round; ratios are made within one.
    pub round: u32,
    /// Who was measured.
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Length of the slice, nanoseconds.
    pub elapsed_ns: u64,
    /// Half of the requests took no longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, nanoseconds.
    pub p99_ns: u64,
    /// Processor time of the server, nanoseconds; none for plain io_uring.
    pub server_cpu_ns: Option<u64>,
}

impl Row {
    pub(super) fn load(&self) -> Load {
        Load {
            pattern: self.pattern,
            bytes: self.bytes,
            depth: self.depth,
        }
    }

    pub(super) fn iops(&self) -> f64 {
        self.requests as f64 * 1e9 / self.elapsed_ns as f64
    }

    pub(super) fn cpu_ns(&self) -> Option<f64> {
        let cpu = self.server_cpu_ns?;
        Some(cpu as f64 / self.requests as f64)
    }
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Slices.
    pub rows: Vec<Row>,
    /// Processor on which plain io_uring was quickest, where [`Placement::OneProcessor`] was.
    pub processor: usize,
    /// Share of a processor that our backend took while nothing was asked of
    /// it, right after a load.
    pub idle_share: f64,
}

/// Somebody to measure.
struct Contender {
    who: Who,
    client: Client,
    server: Option<Server>,
}

impl Contender {
    fn measure(
        &mut self,
        load: Load,
        at_least: Duration,
        seed: u64,
    ) -> Result<(Slice, Option<u64>)> {
        let cpu = |server: &Option<Server>| server.as_ref().map(Server::cpu_ns).transpose();
        let load = match self.who {
            Who::Limit => load.deep(),
            _ => load,
        };
        let before = cpu(&self.server)?;
        let slice = self
            .client
            .run(load, at_least, seed)
            .with_context(|| format!("{load} on {}", self.who.label()))?;
        let after = cpu(&self.server)?;
        Ok((slice, before.zip(after).map(|(a, b)| b - a)))
    }
}

/// Measures everything.
///
/// # Errors
/// When a server does not start, a request fails, or reads what does not belong there.
pub fn measure(options: &Options, seed: u64, progress: Progress) -> Result<Measured> {
    let options = options.effective();
    ensure!(
        options.size.0 >= 64 << 20 && options.size.0.is_multiple_of(1 << 20),
        "--size {} is no whole number of MiB from 64MiB on",
        options.size
    );
    let folder = match &options.dir {
        Some(dir) => tempfile::Builder::new().prefix("vssd-").tempdir_in(dir),
        None => tempfile::Builder::new().prefix("vssd-").tempdir(),
    };
    let folder = folder.context("make a folder for the file that is measured on")?;
    let mut measured = Measured::default();
    on_disk(&options, seed, progress, folder.path(), &mut measured)?;
    for medium in [On::Memory, On::Nowhere] {
        off_disk(
            medium,
            &options,
            seed,
            progress,
            folder.path(),
            &mut measured,
        )?;
    }
    Ok(measured)
}

fn on_disk(
    options: &Options,
    seed: u64,
    progress: Progress,
    folder: &Path,
    measured: &mut Measured,
) -> Result<()> {
    let size = options.size.0;
    measured.processor = quickest_processor(folder, options, seed)?;
    let pinned = OneProcessor::pin(measured.processor)?;
    let file = folder.join("pool.img");
    let path = file.to_str().context("the folder's name is no text")?;
    let server = Server::ours(folder, path, size, &[])?;
    let mut ours = Client::vhost_user(&server.socket, size)?;
    ours.fill().context("write the device in full")?;
    let shape = Shape {
        block_size: BLOCK as u32,
        physical_blocks: (size / BLOCK) as u32,
        overcommit_permille: 1000,
    };
    let base = shape.backing_len() - size;
    let blockdev = format!(
        "driver=raw,node-name=disk,offset={base},size={size},file.driver=file,\
         file.filename={path},file.locking=off,file.aio=io_uring,file.cache.direct=on"
    );
    let peer = Server::peer(folder, &blockdev)?;
    let mut contenders = vec![
        Contender {
            who: Who::Ours,
            client: ours,
            server: Some(server),
        },
        Contender {
            who: Who::Peer,
            client: Client::vhost_user(&peer.socket, size)?,
            server: Some(peer),
        },
    ];
    for who in [Who::Raw, Who::Limit] {
        contenders.push(Contender {
            who,
            client: Client::file(&file, base, size)?,
            server: None,
        });
    }
    let loads = Load::all();
    let one = (On::Disk, Placement::OneProcessor);
    rounds(
        options,
        seed,
        progress,
        one,
        &loads,
        &mut contenders,
        measured,
    )?;
    measured.idle_share = idle(&mut contenders[0], options, seed)?;
    let everywhere = pinned.0;
    drop(pinned);
    for server in contenders.iter().filter_map(|c| c.server.as_ref()) {
        server.run_on(&everywhere)?;
    }
    let anywhere = (On::Disk, Placement::Anywhere);
    rounds(
        options,
        seed,
        progress,
        anywhere,
        &loads,
        &mut contenders,
        measured,
    )
}

/// The processor on which plain io_uring reads most one by one: mostly the one that the
/// disk interrupts. Sides that share it have the disk's shortest way.
fn quickest_processor(folder: &Path, options: &Options, seed: u64) -> Result<usize> {
    let file = tempfile::NamedTempFile::new_in(folder).context("make a file to read")?;
    // What was never written a file system gives without asking the disk.
    let content: Vec<u8> = (0..PROBED).map(|at| (at / BLOCK) as u8 | 1).collect();
    fs::write(file.path(), content).context("fill the file to read")?;
    file.as_file().sync_all().context("fill the file to read")?;
    let mut client = Client::file(file.path(), 0, PROBED)?;
    client.trust();
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 1,
    };
    let slice = Duration::from_millis(options.slice_ms / PROBES);
    let mut read: Vec<(u64, usize)> = allowed()?.into_iter().map(|cpu| (0, cpu)).collect();
    for _ in 0..PROBES {
        for (requests, cpu) in &mut read {
            let _pinned = OneProcessor::pin(*cpu)?;
            *requests += client.run(load, slice, seed)?.requests;
        }
    }
    let most = read.into_iter().max();
    Ok(most.context("there is no processor")?.1)
}

/// To the scheduler.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Where files are in memory, on every Linux with shared memory.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Where only what software does counts.
fn off_disk(
    medium: On,
    options: &Options,
    seed: u64,
    progress: Progress,
    folder: &Path,
    measured: &mut Measured,
) -> Result<()> {
    let size = 256 << 20;
    // Who works on which processor would decide more than what it does there.
    let _pinned = OneProcessor::pin(measured.processor)?;
    let folder = folder.join(medium.label());
    fs::create_dir(&folder).context("make a folder for sockets")?;
    let file = tempfile::NamedTempFile::new_in(MEMORY_FOLDER)
        .with_context(|| format!("make a file in {MEMORY_FOLDER}"))?;
    let (backing, blockdev) = match medium {
        On::Nowhere => (
            "null",
            format!("driver=null-co,node-name=disk,size={size},read-zeroes=off"),
        ),
        _ => {
            file.as_file().set_len(size).context("size a file")?;
            let path = file.path().to_str().context("the file's name is no text")?;
            let blockdev = format!(
                "driver=raw,node-name=disk,file.driver=file,file.filename={path},\
                 file.aio=io_uring"
            );
            ("memory", blockdev)
        }
    };
    let ours = Server::ours(&folder, backing, size, &[])?;
    let peer = Server::peer(&folder, &blockdev)?;
    let mut contenders = Vec::new();
    for (who, server) in [(Who::Ours, ours), (Who::Peer, peer)] {
        let mut client = Client::vhost_user(&server.socket, size)?;
        client.fill().context("write the device in full")?;
        if medium == On::Nowhere {
            client.trust();
        }
        contenders.push(Contender {
            who,
            client,
            server: Some(server),
        });
    }
    let loads = Load::all().into_iter().filter(|l| l.pattern.is_random());
    let loads: Vec<_> = loads.collect();
    rounds(
        options,
        seed,
        progress,
        (medium, Placement::OneProcessor),
        &loads,
        &mut contenders,
        measured,
    )
}

/// Processors that this thread may use.
fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD).context("ask for this thread's processors")?;
    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu) == Ok(true))
        .collect())
}

/// Keeps this thread, and what it starts meanwhile, on one processor.
struct OneProcessor(CpuSet);

impl OneProcessor {
    fn pin(cpu: usize) -> Result<Self> {
        let pin = || {
            let before = sched_getaffinity(THIS_THREAD)?;
            let mut one = CpuSet::new();
            one.set(cpu)?;
            sched_setaffinity(THIS_THREAD, &one)?;
            nix::Result::Ok(Self(before))
        };
        pin().context("stay on one processor")
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(THIS_THREAD, &self.0);
    }
}

/// Slices of all contenders, load by load, round by round.
fn rounds(
    options: &Options,
    seed: u64,
    progress: Progress,
    (medium, placement): (On, Placement),
    loads: &[Load],
    contenders: &mut [Contender],
    measured: &mut Measured,
) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let slice = Duration::from_millis(options.slice_ms);
    let len = u64::from(options.rounds) * (loads.len() * contenders.len()) as u64;
    let bar = progress.bar(medium.label(), len);
    for round in 0..options.rounds {
        for &load in loads {
            let seed = rng.random();
            let mut order: Vec<usize> = (0..contenders.len()).collect();
            order.shuffle(&mut rng);
            for index in order {
                let contender = &mut contenders[index];
                let (slice, server_cpu_ns) = contender.measure(load, slice, seed)?;
                measured.rows.push(Row {
                    medium,
                    placement,
                    pattern: load.pattern,
                    bytes: load.bytes,
                    depth: load.depth,
                    round,
                    who: contender.who,
                    requests: slice.requests,
                    elapsed_ns: slice.elapsed.as_nanos() as u64,
                    p50_ns: slice.latency.value_at_quantile(0.5),
                    p99_ns: slice.latency.value_at_quantile(0.99),
                    server_cpu_ns,
                });
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    if medium != On::Nowhere {
        for contender in contenders {
            let proved = contender.client.prove_writes(PROVED, seed);
            proved.with_context(|| format!("write by {}", contender.who.label()))?;
        }
    }
    Ok(())
}

/// What our backend takes of a processor when nothing is asked of it, from a
/// moment after a load on.
fn idle(ours: &mut Contender, options: &Options, seed: u64) -> Result<f64> {
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 8,
    };
    ours.measure(load, Duration::from_millis(options.slice_ms), seed)?;
    let server = ours.server.as_ref().context("it has a server")?;
    // The scheduler brings the account of a running thread up to date by its tick.
    std::thread::sleep(Duration::from_millis(50));
    let rest = Duration::from_millis(options.slice_ms.max(200) * 2);
    let (began, before) = (Instant::now(), server.cpu_ns()?);
    std::thread::sleep(rest);
    let took = server.cpu_ns()? - before;
    Ok(took as f64 / began.elapsed().as_nanos() as f64)
}
