//! `harness bench …`: the experiments that measure the backend and the guest's cache beside
//! their peers, by options of their own.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::cli::{OutArgs, QemuArgs};
use crate::experiments::sim::params::parse_workload;
use crate::experiments::{bench_cache, bench_io, bench_resize};
use crate::runs::Order;

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Bench {
    /// Requests, natively, beside qemu-storage-daemon and plain io_uring.
    Io(IoOptions),
    /// Resizes by 16 GiB: their time, the backend's memory, and what requests feel.
    Resize(ResizeOptions),
    /// The eviction policies of the guest's cache, beside libCacheSim's.
    Cache(CacheOptions),
}

/// Options of `harness bench io`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IoOptions {
    /// Bytes of the device on the disk.
    #[arg(long, default_value = "2GiB")]
    size: ByteSize,
    /// How long one slice of one load lasts, milliseconds.
    #[arg(long, default_value_t = 1000)]
    slice_ms: u64,
    /// Rounds; each has one slice of each load for each server.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Folder for the file that is measured on; it says which disk.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Few and short slices: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Exit with 3 when a bar is missed.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    out: OutArgs,
}

impl IoOptions {
    /// As they are when the quick form has its say.
    fn effective(&self) -> Self {
        let mut options = self.clone();
        if options.quick {
            options.size = options.size.min(ByteSize(256 << 20));
            options.slice_ms = options.slice_ms.min(100);
            options.rounds = options.rounds.min(2);
        }
        options
    }
}

/// Options of `harness bench resize`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ResizeOptions {
    /// How often each is measured.
    #[arg(long, default_value_t = 15)]
    repetitions: u32,
    /// Resizes after which the backend's memory is looked at again.
    #[arg(long, default_value_t = 10_000)]
    resizes: u32,
    /// Few repetitions: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Exit with 3 when a bar is missed.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

impl ResizeOptions {
    /// As they are when the quick form has its say.
    fn effective(&self) -> Self {
        let mut options = self.clone();
        if options.quick {
            options.repetitions = options.repetitions.min(2);
            options.resizes = options.resizes.min(200);
        }
        options
    }
}

/// Options of `harness bench cache`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheOptions {
    /// The requests: zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential or
    /// hotspot:BLOCKS,SHARE,SPEED.
    #[arg(long, default_value = "zipf:0.99", value_parser = parse_workload)]
    workload: Workload,
    /// Blocks that they are for.
    #[arg(long, default_value_t = 1 << 20)]
    blocks: u32,
    /// How many requests.
    #[arg(long, default_value_t = 4_000_000)]
    requests: u64,
    /// Blocks of the cache.
    #[arg(long, default_value_t = 128 << 10)]
    capacity: u32,
    /// Rounds; each has one pass of each policy by each side.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The Python that has libcachesim.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// Few requests and rounds: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Exit with 3 when a bar is missed.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    out: OutArgs,
}

impl CacheOptions {
    /// As they are when the quick form has its say.
    fn effective(&self) -> Self {
        let mut options = self.clone();
        if options.quick {
            options.requests = options.requests.min(400_000);
            options.rounds = options.rounds.min(2);
        }
        options
    }
}

impl Bench {
    /// Whether a missed bar is a failure.
    pub(crate) fn checks(&self) -> bool {
        match self {
            Self::Io(options) => options.check,
            Self::Resize(options) => options.check,
            Self::Cache(options) => options.check,
        }
    }

    /// Where results go.
    pub(crate) fn out(&self) -> &OutArgs {
        match self {
            Self::Io(options) => &options.out,
            Self::Resize(options) => &options.out,
            Self::Cache(options) => &options.out,
        }
    }

    /// What its guests run under; `None` when it has none.
    pub(crate) fn qemu(&self) -> Option<&QemuArgs> {
        match self {
            Self::Resize(options) => Some(&options.qemu),
            Self::Io(_) | Self::Cache(_) => None,
        }
    }

    /// The experiment with these options as its parameters.
    pub(crate) fn order(&self) -> Result<Order> {
        match self {
            Self::Io(options) => options.order(),
            Self::Resize(options) => options.order(),
            Self::Cache(options) => options.order(),
        }
    }
}

impl IoOptions {
    fn order(&self) -> Result<Order> {
        let seed = self.out.seed;
        let Self {
            size,
            slice_ms,
            rounds,
            dir,
            ..
        } = self.effective();
        // Which folder it was is of no use elsewhere.
        let placed = dir.as_ref().map_or("", |_| " --dir DIR");
        let again = format!(
            "bench io --size {size} --slice-ms {slice_ms} --rounds {rounds} --seed {seed}{placed}"
        );
        let params = bench_io::params::Raw {
            size: size.to_string(),
            slice_ms,
            rounds,
            dir: dir.unwrap_or_default(),
        };
        Order::new(&bench_io::BenchIo, &params, !self.quick, again)
    }
}

impl ResizeOptions {
    fn order(&self) -> Result<Order> {
        let seed = self.out.seed;
        let Self {
            repetitions,
            resizes,
            ..
        } = self.effective();
        let again =
            format!("bench resize --repetitions {repetitions} --resizes {resizes} --seed {seed}");
        let params = bench_resize::params::Raw {
            repetitions,
            resizes,
        };
        Order::new(&bench_resize::BenchResize, &params, !self.quick, again)
    }
}

impl CacheOptions {
    fn order(&self) -> Result<Order> {
        let seed = self.out.seed;
        let Self {
            workload,
            blocks,
            requests,
            capacity,
            rounds,
            python,
            ..
        } = self.effective();
        let again = format!(
            "bench cache --workload {workload} --blocks {blocks} --requests {requests} --capacity {capacity} \
             --rounds {rounds} --seed {seed}"
        );
        let params = bench_cache::params::Raw {
            workload: workload.to_string(),
            blocks,
            requests,
            capacity,
            rounds,
            python,
        };
        Order::new(&bench_cache::BenchCache, &params, !self.quick, again)
    }
}
