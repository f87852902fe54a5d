//! A guest with a block cache, as the experiments about caches talk to it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_cache::Policy;
use guest_cache::Share;
use guest_cache::WritePolicy;
use lab::backend::Backend;
use lab::native::client::Client;
use lab::testbed::{Disks, GuestChannel, OriginShape, Shape};
use lab::vm_host::VmTestbed;
use results::store::RunFolder;
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::command::Discard;
use workloads::latency::{Bucket, merged, quantile_ns, total};
use workloads::replay::{Access, AccessKind, Replay};
use workloads::report::{CacheOpened, CacheSample, WrittenBack};
use workloads::{Command, Name, Report, Workload, command, report};

use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports::all;

/// Bytes in a block of the cache, and of the disks that it is about.
pub(crate) const BLOCK: u64 = 4096;

/// How long a guest may take for a command.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The name of a load that is no workload.
const TRACE: &str = "trace";

/// How a cache is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache {
    /// The eviction policy.
    pub evict: Policy,
    /// The write policy.
    pub write: WritePolicy,
    /// Dirty blocks in a hundred slots, from which on they are written back.
    pub dirty_percent: u8,
    /// Whether a shrink takes clean blocks before dirty ones.
    pub clean_first: bool,
    /// Whether it is to forget what an earlier one left.
    pub fresh: bool,
    /// Pages of memory above it.
    pub memory: u32,
    /// What these share with it.
    pub share: Share,
    /// Blocks sampled to report the demand; 0 for none.
    pub sample: u32,
}

impl Cache {
    /// A fresh one without memory above it.
    pub(crate) fn new(evict: Policy, write: WritePolicy) -> Self {
        Self {
            evict,
            write,
            dirty_percent: 50,
            clean_first: false,
            fresh: true,
            memory: 0,
            share: Share::Nothing,
            sample: 0,
        }
    }

    /// Has the guest open it.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn open(self, guest: &mut dyn GuestChannel) -> Result<CacheOpened> {
        let command = Command::Cache(command::Cache {
            evict: Name::of(self.evict.name()),
            write: Name::of(self.write.name()),
            promote: 1,
            bypass: 0,
            dirty: self.dirty_percent,
            clean_first: self.clean_first,
            fresh: self.fresh,
            memory: self.memory,
            share: Name::of(self.share.name()),
            sample: self.sample,
        });
        let reports = guest.run(&command, PATIENCE)?;
        let opened: Option<&CacheOpened> = all(&reports).next();
        let opened = opened.context("the guest did not say what cache it has opened");
        opened.cloned()
    }
}

/// A load: accesses to a part of the origin disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheLoad {
    /// Where they go; `None` for those of the trace disk.
    pub workload: Option<Workload>,
    /// The first block of the origin disk that it uses.
    pub first: u32,
    /// Blocks of the origin disk from there on; 0 for all of them.
    pub span: u32,
    /// Its seed.
    pub seed: u64,
    /// Number of the first access.
    pub start: u64,
    /// Number of accesses.
    pub count: u64,
    /// Writes in a hundred; a trace has its own.
    pub writes_percent: u32,
    /// Accesses under way at a time.
    pub depth: u32,
    /// What is done with the blocks of deleted files.
    pub discard: Discard,
    /// A flush after so many writes; 0 for none.
    pub flush: u32,
    /// A sample after so many accesses; 0 for none.
    pub every: u64,
    /// Whether what is read is checked against what was written last.
    pub check: bool,
}

/// A vSSD of this size that caches an origin disk.
pub(crate) fn disks(size: ByteSize, origin: ByteSize, media: Option<MediaKind>) -> Disks {
    Disks {
        vssd: Shape {
            size,
            block_size: ByteSize(BLOCK),
            written: size,
        },
        origin: Some(OriginShape {
            size: origin,
            media,
        }),
        trace: None,
    }
}

impl CacheLoad {
    /// Reads, one at a time, of a workload on the first `span` blocks. They are checked.
    pub(crate) fn new(workload: Workload, span: u32, seed: u64, count: u64) -> Self {
        Self {
            workload: Some(workload),
            first: 0,
            span,
            seed,
            start: 0,
            count,
            writes_percent: 0,
            depth: 1,
            discard: Discard::None,
            flush: 0,
            every: 0,
            check: true,
        }
    }

    /// The command to a guest; one that has no end is stopped by the next command.
    pub(crate) fn command(&self, endless: bool) -> Command {
        Command::Replay(command::Replay {
            workload: self.workload,
            seed: self.seed,
            start: self.start,
            count: if endless { 0 } else { self.count },
            depth: self.depth,
            first: self.first,
            span: self.span,
            writes: self.writes_percent,
            discard: self.discard,
            flush: self.flush,
            every: self.every,
            check: self.check,
        })
    }

    /// Where the accesses go, as a word.
    pub(crate) fn name(&self) -> String {
        self.workload
            .map_or_else(|| TRACE.to_owned(), |workload| workload.to_string())
    }

    /// The accesses of a workload, without end; their blocks count from `first`.
    ///
    /// # Errors
    /// When the workload has none, or is a trace.
    pub(crate) fn accesses(&self) -> Result<impl Iterator<Item = Access> + use<>> {
        let workload = self.workload.context("the load is a trace")?;
        let replay = Replay::new(
            workload,
            self.span,
            self.seed,
            self.start,
            self.writes_percent,
        );
        let mut replay = replay.with_context(|| format!("the workload {workload}"))?;
        Ok(std::iter::repeat_with(move || replay.next_access()))
    }

    /// Where the first `count` writes go, counted from `first`, of as many accesses as that takes.
    ///
    /// # Errors
    /// When the workload has no accesses, or no writes.
    pub(crate) fn writes(&self, count: usize) -> Result<Vec<u32>> {
        ensure!(self.writes_percent > 0, "a load without writes");
        let writes = self
            .accesses()?
            .filter(|access| access.kind == AccessKind::Write);
        Ok(writes.take(count).map(|access| access.block).collect())
    }
}

/// How long accesses of one kind took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of a hundred took no longer.
    pub p99_ns: u64,
}

impl Times {
    fn of(buckets: &[Bucket]) -> Self {
        Self {
            count: total(buckets),
            p50_ns: quantile_ns(buckets, 500),
            p99_ns: quantile_ns(buckets, 990),
        }
    }
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    /// Reads that found a page of memory.
    pub memory_hits: u64,
    /// Reads that hit.
    pub read_hits: u64,
    /// Reads that missed.
    pub read_misses: u64,
    /// Writes that hit.
    pub write_hits: u64,
    /// Writes that missed.
    pub write_misses: u64,
    /// Blocks of deleted files.
    pub discards: u64,
    /// Accesses to blocks that the origin disk does not have.
    pub beyond: u64,
    /// Accesses that failed, were refused, or read other data than were written last.
    pub failed: u64,
    /// Blocks read from the origin disk since the cache was opened.
    pub origin_reads: u64,
    /// Blocks written to it since then, beside those of its journal.
    pub origin_writes: u64,
    /// From the first to the last.
    pub elapsed_ns: u64,
    /// The longest that the origin disk was behind.
    pub stale_ns_max: u64,
    /// The most blocks by which it was behind.
    pub dirty_max: u32,
    /// Reads from memory.
    pub from_memory: Times,
    /// Reads from the vSSD.
    pub hits: Times,
    /// Reads from the origin disk.
    pub misses: Times,
    /// Writes.
    pub writes: Times,
    /// Accesses of all kinds by how long they took.
    pub buckets: Vec<Bucket>,
    /// What the guest said meanwhile.
    pub samples: Vec<CacheSample>,
}

impl Replayed {
    /// From the reports of a guest.
    ///
    /// # Errors
    /// When they do not say what became of it.
    pub(crate) fn of(reports: &[Report]) -> Result<Self> {
        let replayed: Option<&report::Replayed> = all(reports).next();
        let of = replayed.context("the guest did not say what became of its accesses")?;
        let buckets = [
            &of.memory_buckets,
            &of.hit_buckets,
            &of.miss_buckets,
            &of.write_buckets,
        ];
        Ok(Self {
            memory_hits: of.memory_hits,
            read_hits: of.read_hits,
            read_misses: of.read_misses,
            write_hits: of.write_hits,
            write_misses: of.write_misses,
            discards: of.discards,
            beyond: of.beyond,
            failed: of.lost + of.errors + of.corrupt,
            origin_reads: of.origin_reads,
            origin_writes: of.origin_writes,
            elapsed_ns: of.elapsed_ns,
            stale_ns_max: of.stale_ns_max,
            dirty_max: of.dirty_max,
            from_memory: Times::of(&of.memory_buckets),
            hits: Times::of(&of.hit_buckets),
            misses: Times::of(&of.miss_buckets),
            writes: Times::of(&of.write_buckets),
            buckets: merged(buckets.map(Vec::as_slice)),
            samples: all(reports).cloned().collect(),
        })
    }

    /// Has a guest make the accesses of a load.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn run(guest: &mut dyn GuestChannel, load: &CacheLoad) -> Result<Self> {
        Self::of(&guest.run(&load.command(false), PATIENCE)?)
    }
}

/// Blocks that a guest reports as lost, in some of its reports.
pub(crate) fn told_lost(reports: &[Report]) -> u64 {
    let lost = all(reports).map(|lost: &report::DirtyLost| u64::from(lost.blocks));
    lost.sum()
}

/// Reads through the cache of a guest from which write each of the first `span` blocks of
/// the origin disk is; and how many blocks it reports as lost meanwhile.
///
/// # Errors
/// When the guest cannot, or reports other blocks.
pub(crate) fn stamps(guest: &mut dyn GuestChannel, span: u32) -> Result<(Vec<u64>, u64)> {
    let mut found = Vec::with_capacity(span as usize);
    let reports = guest.run(&Command::Stamps(command::Stamps { span }), PATIENCE)?;
    let told = told_lost(&reports);
    for report in reports {
        if let Report::Stamps(report::Stamps { first, numbers }) = report {
            ensure!(
                first as usize == found.len(),
                "the guest told of the stamps from block {first} on after those of {}",
                found.len()
            );
            found.extend(numbers);
        }
    }
    ensure!(
        found.len() == span as usize,
        "the guest told the stamps of {} blocks, not of {span}",
        found.len()
    );
    Ok((found, told))
}

/// A guest under QEMU on an origin disk whose first `span` blocks were written before, as
/// zeros. A pool has no place for what never was, and asks no medium for it.
///
/// # Errors
/// When the guest or a backend does not start.
pub(crate) fn bench_on_written(
    lab: &Lab,
    disks: Disks,
    span: u32,
    folder: &mut RunFolder,
) -> Result<VmTestbed> {
    let size = disks.origin.map_or(0, |origin| origin.size.0);
    let prepare = |origin: &Backend| {
        let mut client = Client::vhost_user(&origin.socket(0), size)?;
        let zeros = client.zero_first(u64::from(span) * BLOCK);
        zeros.context("write the origin disk before the guest boots")
    };
    lab.bench_with(disks, prepare, folder)
}

/// Has a guest write everything dirty back.
///
/// # Errors
/// When a disk failed it.
pub(crate) fn write_back(guest: &mut dyn GuestChannel) -> Result<WrittenBack> {
    end(guest, &Command::WriteBack)
}

/// Has a guest close its cache.
///
/// # Errors
/// When a disk failed it.
pub(crate) fn close(guest: &mut dyn GuestChannel) -> Result<WrittenBack> {
    end(guest, &Command::Close)
}

fn end(guest: &mut dyn GuestChannel, command: &Command) -> Result<WrittenBack> {
    let reports = guest.run(command, PATIENCE)?;
    let report: Option<&WrittenBack> = all(&reports).next();
    let report = report.context("the guest did not say what it wrote back")?;
    let errors = report.errors;
    ensure!(errors == 0, "{errors} blocks could not be written back");
    Ok(report.clone())
}
