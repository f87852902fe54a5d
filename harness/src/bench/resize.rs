//! `harness bench resize`: what moving 16 GiB of 4 KiB blocks costs, whom.
//!
//! Three things are measured: a guest under QEMU that gives up half of its blocks and gets
//! them back; the memory of the backend; and requests of a native client while the
//! hypervisor takes the other half of its device.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use vssd_host::control::Client as Control;
use vssd_host::control::protocol::{Change, PickName, Resize};
use vssd_host::latency::histogram;
use vssd_host::size::{Amount, ByteSize};
use workloads::{Command, Policy};

use super::client::Client;
use super::load::{Load, Pattern};
use super::server::Server;
use crate::progress::Progress;
use crate::testbed::{ResizeOptions, Shape, Talk, Testbed};
use crate::twin::Twin;
use crate::vm_host::VmHost;

/// Blocks of the vSSD, and of the pool that it has for itself: 32 GiB.
pub const BLOCKS: u32 = 8 << 20;

/// Blocks that change hands: 16 GiB.
pub const MOVED: u32 = 4 << 20;

/// Bytes in a block.
const BLOCK: u64 = 4096;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the native client reads while the rest of the device is taken, bytes.
const READ: u64 = 1 << 30;

/// Options of `harness bench resize`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How often each is measured.
    #[arg(long, default_value_t = 15)]
    pub repetitions: u32,
    /// Resizes after which the backend's memory is looked at again.
    #[arg(long, default_value_t = 10_000)]
    pub resizes: u32,
    /// Few repetitions: whether it works, not how fast it is.
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
            options.repetitions = options.repetitions.min(2);
            options.resizes = options.resizes.min(200);
        }
        options
    }
}

/// What the report begins with.
pub const LEAD: &str = "A guest under QEMU gives up half of a vSSD of 32 GiB, 16 GiB in blocks of 4 KiB, and \
    gets them back: every second block, or all in one piece. The pool is a sparse file, every change of \
    ownership a durable commit to its journal. The memory is that of the backend's process, and for many \
    resizes that of a twin's as well, in which guest and device are together. Requests are those of the `blkio` crate's vhost-user driver to the lower half of \
    a vSSD while the hypervisor takes the upper one.";

/// A shrink by 16 GiB and the grow after it, as `bench_resize.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Which blocks the guest gave up: `scattered` or `highest`.
    pub pick: String,
    /// Counts from 0.
    pub repetition: u32,
    /// Blocks that moved.
    pub blocks: u32,
    /// Shrink: from the command to both lists agreed, nanoseconds.
    pub shrink_ns: u64,
    /// Of that, work of the device, its durable commit included.
    pub shrink_device_ns: u64,
    /// Grow, as above.
    pub grow_ns: u64,
    /// Of that, work of the device.
    pub grow_device_ns: u64,
}

/// Memory of the backend.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// With a vSSD of one MiB, bytes.
    pub small: u64,
    /// With one of 32 GiB, bytes.
    pub large: u64,
    /// The same after scattered first writes, bytes.
    pub written: u64,
    /// Blocks that were written then.
    pub written_blocks: u64,
    /// Of a process with guest and device in one, after the first resizes, bytes.
    pub few_resizes: u64,
    /// The same after all of them.
    pub many_resizes: u64,
    /// Of a backend with its journal on a file, after the first resizes, bytes.
    pub few_journaled: u64,
    /// The same after all of them.
    pub many_journaled: u64,
    /// Commits to that journal, and how often it was written anew.
    pub commits: u64,
    /// See `commits`.
    pub compactions: u64,
}

/// Requests without a resize and during one, as `bench_disturbed.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disturbed {
    /// Counts from 0.
    pub repetition: u32,
    /// How long the resize took, nanoseconds.
    pub resize_ns: u64,
    /// Requests no part of which was within it.
    pub quiet_requests: u64,
    /// 99 of 100 of these took no longer, nanoseconds.
    pub quiet_p99_ns: u64,
    /// The others.
    pub during_requests: u64,
    /// 99 of 100 of these took no longer, nanoseconds.
    pub during_p99_ns: u64,
}

impl Disturbed {
    /// How many times the p99 was that without.
    pub fn ratio(&self) -> f64 {
        self.during_p99_ns as f64 / self.quiet_p99_ns as f64
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// With a guest.
    pub rows: Vec<Row>,
    /// Memory.
    pub memory: Memory,
    /// Requests, resize by resize.
    pub disturbed: Vec<Disturbed>,
}

/// Measures everything.
///
/// # Errors
/// When a guest or a backend does not do what it is asked.
pub fn measure(
    options: &Options,
    vm_host: &VmHost,
    seed: u64,
    progress: Progress,
) -> Result<Measured> {
    let options = options.effective();
    let bar = progress.bar("resize", u64::from(3 * options.repetitions) + 12);
    let mut rows = Vec::new();
    with_guest(&options, vm_host, seed, &mut rows, || bar.inc(1))?;
    let folder = tempfile::Builder::new().prefix("vssd-").tempdir();
    let folder = folder.context("make a folder for the pool")?;
    let mut memory = backend_memory(folder.path(), seed)?;
    bar.inc(1);
    (memory.few_resizes, memory.many_resizes) = twin_memory(options.resizes, seed)?;
    bar.inc(1);
    let tenth = || bar.inc(1);
    journal_memory(vm_host, options.resizes, seed, &mut memory, tenth)?;
    let mut disturbed = Vec::new();
    for repetition in 0..options.repetitions {
        let folder = tempfile::Builder::new().prefix("vssd-").tempdir();
        let folder = folder.context("make a folder for the pool")?;
        disturbed.push(disturb(folder.path(), seed, repetition)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Measured {
        rows,
        memory,
        disturbed,
    })
}

fn with_guest(
    options: &Options,
    vm_host: &VmHost,
    seed: u64,
    rows: &mut Vec<Row>,
    mut measured: impl FnMut(),
) -> Result<()> {
    let mut bench = vm_host.start(Shape {
        size: ByteSize(u64::from(BLOCKS) * BLOCK),
        block_size: ByteSize(BLOCK),
        written: ByteSize(0),
    })?;
    for repetition in 0..options.repetitions {
        for policy in [Policy::Scattered, Policy::Highest] {
            let command = Command::Policy { policy, seed };
            bench.guest().run(&command, PATIENCE)?;
            let (shrink_ns, shrink_device_ns) = timed(&mut bench, BLOCKS - MOVED)?;
            let (grow_ns, grow_device_ns) = timed(&mut bench, BLOCKS)?;
            rows.push(Row {
                pick: policy.to_string(),
                repetition,
                blocks: MOVED,
                shrink_ns,
                shrink_device_ns,
                grow_ns,
                grow_device_ns,
            });
            measured();
        }
    }
    bench.shut_down()
}

/// Time from the command to both lists agreed, and of that the device's.
fn timed(testbed: &mut dyn Testbed, target: u32) -> Result<(u64, u64)> {
    let options = ResizeOptions {
        evict: PickName::Guest,
        deadline: PATIENCE,
        seed: 0,
    };
    let began = Instant::now();
    let resized = testbed.resize_to(target, options)?;
    let elapsed_ns = began.elapsed().as_nanos() as u64;
    testbed.guest().await_resized(target, PATIENCE)?;
    ensure!(
        resized.is_complete() && resized.agreed && resized.revoked == 0,
        "a resize to {target} blocks ended as {resized:?}"
    );
    Ok((elapsed_ns, resized.device_ns))
}

fn start(folder: &Path, name: &str, blocks: u64) -> Result<Server> {
    let path = folder.join(name);
    let path = path.to_str().context("the folder's name is no text")?;
    Server::ours(folder, path, blocks * BLOCK, &[])
}

fn backend_memory(folder: &Path, seed: u64) -> Result<Memory> {
    let mut memory = Memory::default();
    {
        let server = start(folder, "small.img", 256)?;
        // What a connection takes is not the vSSD's.
        let _client = Client::vhost_user(&server.socket, 256 * BLOCK)?;
        memory.small = server.memory()?;
    }
    let server = start(folder, "large.img", BLOCKS.into())?;
    let len = u64::from(BLOCKS) * BLOCK;
    let mut client = Client::vhost_user(&server.socket, len)?;
    memory.large = server.memory()?;
    let load = Load {
        pattern: Pattern::RandomWrite,
        bytes: BLOCK as u32,
        depth: 32,
    };
    memory.written_blocks = client.run(load, Duration::from_secs(2), seed)?.requests;
    memory.written = server.memory()?;
    Ok(memory)
}

/// Memory of this process with a guest and its device in it, after a tenth of
/// the resizes and after all of them.
fn twin_memory(resizes: u32, seed: u64) -> Result<(u64, u64)> {
    let mut twin = Twin::start(Shape {
        size: ByteSize(1 << 30),
        block_size: ByteSize(BLOCK),
        written: ByteSize(0),
    })?;
    let capacity = Testbed::capacity(&twin);
    let policy = Policy::Scattered;
    twin.run(&Command::Policy { policy, seed }, PATIENCE)?;
    let mut few = 0;
    for resize in 0..resizes {
        let target = match resize % 2 {
            0 => capacity / 2,
            _ => capacity,
        };
        timed(&mut twin, target)?;
        if resize == resizes / 10 {
            few = super::server::memory_of("self")?;
        }
    }
    let many = super::server::memory_of("self")?;
    Ok((few, many))
}

/// Memory of a backend on a file, whose guest gives up scattered blocks and gets them
/// back, after a tenth of the resizes and after all of them. What came back is written now
/// and then, so that there are places to take away.
fn journal_memory(
    vm_host: &VmHost,
    resizes: u32,
    seed: u64,
    memory: &mut Memory,
    mut measured: impl FnMut(),
) -> Result<()> {
    let mut bench = vm_host.start(Shape {
        size: ByteSize(256 << 20),
        block_size: ByteSize(BLOCK),
        written: ByteSize(256 << 20),
    })?;
    let process = bench.backend.pid().to_string();
    let capacity = Testbed::capacity(&bench);
    let policy = Policy::Scattered;
    bench
        .guest()
        .run(&Command::Policy { policy, seed }, PATIENCE)?;
    for resize in 0..resizes {
        let target = match resize % 2 {
            0 => capacity / 2,
            _ => capacity,
        };
        timed(&mut bench, target)?;
        if resize % 64 == 1 {
            let writes = Command::Stress {
                count: 1000,
                seed: seed + u64::from(resize),
                depth: 32,
                writes: 100,
                latency: false,
            };
            bench.guest().run(&writes, PATIENCE)?;
        }
        if resize == resizes / 10 {
            memory.few_journaled = super::server::memory_of(&process)?;
        }
        if resize % (resizes / 10).max(1) == 0 {
            measured();
        }
    }
    memory.many_journaled = super::server::memory_of(&process)?;
    let pool = bench.backend.client(Some(PATIENCE))?.status()?.pool;
    (memory.commits, memory.compactions) = (pool.commits, pool.compactions);
    bench.shut_down()
}

/// One resize under a load of reads: 16 GiB are taken, the upper half, while a
/// client reads in the lower.
fn disturb(folder: &Path, seed: u64, repetition: u32) -> Result<Disturbed> {
    let server = start(folder, "pool.img", BLOCKS.into())?;
    let mut client = Client::vhost_user(&server.socket, u64::from(BLOCKS) * BLOCK)?;
    client.fill_first(READ)?;
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 8,
    };
    let control = folder.join("control.sock");
    let mut times = Vec::new();
    let resize = thread::scope(|scope| {
        let resizer = scope.spawn(move || {
            let mut control = Control::connect(&control, Some(PATIENCE))?;
            thread::sleep(Duration::from_millis(150));
            let mut resize =
                Resize::new("vm1", Change::To(Amount::Blocks((BLOCKS - MOVED).into())));
            resize.evict = PickName::Sequential;
            // The client is no vSSD driver.
            resize.force = true;
            let began = Instant::now();
            let resized = control.resize(resize)?;
            ensure!(resized.held == BLOCKS - MOVED, "it ended as {resized:?}");
            Ok((began, Instant::now()))
        });
        let each = |began, ended| times.push((began, ended));
        let seed = seed + u64::from(repetition);
        client.run_within(load, READ, Duration::from_millis(300), seed, each)?;
        match resizer.join() {
            Ok(resize) => resize,
            Err(_) => bail!("the thread that resizes panicked"),
        }
    });
    let (from, to) = resize?;
    let (mut quiet, mut during) = (histogram(), histogram());
    for (began, ended) in times {
        let into = match began < to && ended > from {
            true => &mut during,
            false => &mut quiet,
        };
        into.saturating_record((ended - began).as_nanos() as u64);
    }
    Ok(Disturbed {
        repetition,
        resize_ns: (to - from).as_nanos() as u64,
        quiet_requests: quiet.len(),
        quiet_p99_ns: quiet.value_at_quantile(0.99),
        during_requests: during.len(),
        during_p99_ns: during.value_at_quantile(0.99),
    })
}
