//! Runs the bench-io experiment.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::native::client::Client;
use lab::native::load::{Load, Pattern, Slice};
use lab::native::server::Server;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use results::store::RunFolder;
use vssd_host::pool::Shape;

use super::params::Params;
use super::rows::{IoRow, On, Placement, Side};
use crate::experiments::common::lab::Lab;

/// Bytes in a block.
const BLOCK: u64 = 4096;

/// Bytes of the probed file, and slices of a probe, to find the fastest processor.
const PROBED: u64 = 64 << 20;
const PROBES: u64 = 4;

/// Blocks with which each side proves at the end that its writes reach the medium.
const PROVED: u64 = 1000;

/// A side with its client and, if it has one, its server.
struct Contender {
    who: Side,
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
            Side::Limit => load.deep(),
            _ => load,
        };
        let before = cpu(&self.server)?;
        let slice = self
            .client
            .run(load, at_least, seed)
            .with_context(|| format!("{load} on {}", self.who))?;
        let after = cpu(&self.server)?;
        Ok((slice, before.zip(after).map(|(a, b)| b - a)))
    }
}

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    folder.fact("beside", Server::peer_version()?)?;
    let place = match &params.dir {
        Some(dir) => tempfile::Builder::new().prefix("vssd-").tempdir_in(dir),
        None => tempfile::Builder::new().prefix("vssd-").tempdir(),
    };
    let place = place.context("make a folder for the measured file")?;
    let mut run = Run {
        params,
        lab,
        folder,
        place: place.path(),
    };
    let processor = run.on_disk()?;
    for medium in [On::Memory, On::Nowhere] {
        run.off_disk(medium, processor)?;
    }
    Ok(())
}

struct Run<'a> {
    params: &'a Params,
    lab: &'a Lab,
    folder: &'a mut RunFolder,
    /// Where files and sockets go.
    place: &'a Path,
}

impl Run<'_> {
    fn on_disk(&mut self) -> Result<usize> {
        let (params, folder) = (self.params, self.place);
        let size = params.size.0;
        let processor = fastest_processor(folder, params, self.lab.seed)?;
        self.folder.fact("processor", processor)?;
        let pinned = OneProcessor::pin(processor)?;
        let file = folder.join("pool.img");
        let path = file
            .to_str()
            .context("the path of the folder is not UTF-8")?;
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
        let peer = Server::peer(folder, &blockdev, 1)?;
        let mut contenders = vec![
            Contender {
                who: Side::Ours,
                client: ours,
                server: Some(server),
            },
            Contender {
                who: Side::Peer,
                client: Client::vhost_user(&peer.socket, size)?,
                server: Some(peer),
            },
        ];
        for who in [Side::Raw, Side::Limit] {
            contenders.push(Contender {
                who,
                client: Client::file(&file, base, size)?,
                server: None,
            });
        }
        let loads = Load::all();
        let one = (On::Disk, Placement::OneProcessor);
        self.rounds(one, &loads, &mut contenders)?;
        let share = idle(&mut contenders[0], params, self.lab.seed)?;
        self.folder.fact("idle_share", share)?;
        let everywhere = pinned.0;
        drop(pinned);
        for server in contenders.iter().filter_map(|c| c.server.as_ref()) {
            server.run_on(&everywhere)?;
        }
        let anywhere = (On::Disk, Placement::Anywhere);
        self.rounds(anywhere, &loads, &mut contenders)?;
        Ok(processor)
    }

    /// Measures the software alone.
    fn off_disk(&mut self, medium: On, processor: usize) -> Result<()> {
        let size = 256 << 20;
        // The choice of processors would decide more than the code.
        let _pinned = OneProcessor::pin(processor)?;
        let folder = self.place.join(medium.to_string());
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
                let path = file
                    .path()
                    .to_str()
                    .context("the path of the file is not UTF-8")?;
                let blockdev = format!(
                    "driver=raw,node-name=disk,file.driver=file,file.filename={path},\
                     file.aio=io_uring"
                );
                ("memory", blockdev)
            }
        };
        let ours = Server::ours(&folder, backing, size, &[])?;
        let peer = Server::peer(&folder, &blockdev, 1)?;
        let mut contenders = Vec::new();
        for (who, server) in [(Side::Ours, ours), (Side::Peer, peer)] {
            let mut client = Client::vhost_user(&server.socket, size)?;
            client.fill().context("write the device in full")?;
            if medium == On::Nowhere {
                client.disable_checks();
            }
            contenders.push(Contender {
                who,
                client,
                server: Some(server),
            });
        }
        let loads = Load::all().into_iter().filter(|l| l.pattern.is_random());
        let loads: Vec<_> = loads.collect();
        self.rounds((medium, Placement::OneProcessor), &loads, &mut contenders)
    }

    /// Slices of all contenders, load by load, round by round.
    fn rounds(
        &mut self,
        (medium, placement): (On, Placement),
        loads: &[Load],
        contenders: &mut [Contender],
    ) -> Result<()> {
        let (params, seed) = (self.params, self.lab.seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let slice = Duration::from_millis(params.slice_ms);
        let len = u64::from(params.rounds) * (loads.len() * contenders.len()) as u64;
        let bar = self.lab.progress.bar(&medium.to_string(), len);
        for round in 0..params.rounds {
            for &load in loads {
                let seed = rng.random();
                let mut order: Vec<usize> = (0..contenders.len()).collect();
                order.shuffle(&mut rng);
                for index in order {
                    let contender = &mut contenders[index];
                    let (slice, server_cpu_ns) = contender.measure(load, slice, seed)?;
                    self.folder.append(&IoRow {
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
                    })?;
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        if medium != On::Nowhere {
            for contender in contenders {
                let proved = contender.client.prove_writes(PROVED, seed);
                proved.with_context(|| format!("write by {}", contender.who))?;
            }
        }
        Ok(())
    }
}

/// The processor on which plain io_uring reads most at depth 1: usually the one that gets the
/// disk's interrupts, so that client and server on it have the shortest path.
fn fastest_processor(folder: &Path, params: &Params, seed: u64) -> Result<usize> {
    let file = tempfile::NamedTempFile::new_in(folder).context("make a file to read")?;
    // A file system serves unwritten ranges without the disk.
    let content: Vec<u8> = (0..PROBED).map(|at| (at / BLOCK) as u8 | 1).collect();
    fs::write(file.path(), content).context("fill the file to read")?;
    file.as_file().sync_all().context("fill the file to read")?;
    let mut client = Client::file(file.path(), 0, PROBED)?;
    client.disable_checks();
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 1,
    };
    let slice = Duration::from_millis(params.slice_ms / PROBES);
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

/// For the scheduler.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// A file system in memory, on every Linux with shared memory.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Processors that this thread may use.
fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD).context("query the CPU affinity of this thread")?;
    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu) == Ok(true))
        .collect())
}

/// Keeps this thread, and the threads that it starts meanwhile, on one processor.
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

/// The share of a processor that our backend takes without requests, shortly after a load.
fn idle(ours: &mut Contender, params: &Params, seed: u64) -> Result<f64> {
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 8,
    };
    ours.measure(load, Duration::from_millis(params.slice_ms), seed)?;
    let server = ours.server.as_ref().context("our side has no server")?;
    // The scheduler updates the CPU time of a running thread at its tick.
    std::thread::sleep(Duration::from_millis(50));
    let rest = Duration::from_millis(params.slice_ms.max(200) * 2);
    let (began, before) = (Instant::now(), server.cpu_ns()?);
    std::thread::sleep(rest);
    let took = server.cpu_ns()? - before;
    Ok(took as f64 / began.elapsed().as_nanos() as f64)
}
