//! `harness bench`: the experiments that compare the backend and the guest's cache with peers,
//! with their own command-line options.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use vssd_host::size::ByteSize;
use workloads::Workload;

use crate::cli::options::{OutArgs, QemuArgs};
use crate::experiments::{bench_cache, bench_io, bench_resize, bench_sampler};
use crate::runs::Order;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Bench {
    /// Compare requests without a guest: vssd-host, qemu-storage-daemon and plain io_uring.
    Io(IoOptions),
    /// Measure resizes of 16 GiB: their time, the backend's memory, and request latency during
    /// a resize.
    Resize(ResizeOptions),
    /// Compare the eviction policies of the guest's cache with libCacheSim.
    Cache(CacheOptions),
    /// Measure what it costs a guest to sample its accesses for its reports to the arbiter.
    Sampler(SamplerOptions),
}

/// Options of all benchmarks.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// Run few and short measurements: a functional test whose numbers mean nothing.
    #[arg(long)]
    quick: bool,
    /// Exit with code 3 if a requirement does not hold.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

impl BenchArgs {
    /// `value`, but with `--quick` at most `quick_max`.
    fn limit<T: Ord>(&self, value: T, quick_max: T) -> T {
        if self.quick {
            value.min(quick_max)
        } else {
            value
        }
    }
}

/// Options of `harness bench io`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IoOptions {
    /// Size of the device on the disk.
    #[arg(long, default_value = "2GiB")]
    size: ByteSize,
    /// Duration of a slice of a load, milliseconds.
    #[arg(long, default_value_t = 1000)]
    slice_ms: u64,
    /// Number of rounds; a round has one slice per load and server.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Folder for the backing file, on the disk to measure.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `harness bench resize`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ResizeOptions {
    /// Number of repetitions of each measurement.
    #[arg(long, default_value_t = 15)]
    repetitions: u32,
    /// Number of resizes between two measurements of the backend's memory.
    #[arg(long, default_value_t = 10_000)]
    resizes: u32,
    #[command(flatten)]
    bench: BenchArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

/// Options of `harness bench cache`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheOptions {
    /// Workload: zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential,
    /// hotspot:BLOCKS,SHARE,SPEED or files:TEMP_SHARE[,LIFETIME].
    #[arg(long, default_value = "zipf:0.99")]
    workload: Workload,
    /// Number of blocks of the workload's disk.
    #[arg(long, default_value_t = 1 << 20)]
    blocks: u32,
    /// Number of requests.
    #[arg(long, default_value_t = 4_000_000)]
    requests: u64,
    /// Capacity of the cache, blocks.
    #[arg(long, default_value_t = 128 << 10)]
    capacity: u32,
    /// Number of rounds; a round has one pass per policy and implementation.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Python interpreter with the package libcachesim.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Options of `harness bench sampler`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SamplerOptions {
    /// Number of requests of a replay.
    #[arg(long, default_value_t = 2000)]
    requests: u32,
    /// Number of pairs of replays per load.
    #[arg(long, default_value_t = 301)]
    pairs: u32,
    #[command(flatten)]
    bench: BenchArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

impl Bench {
    pub(crate) fn args(&self) -> &BenchArgs {
        match self {
            Self::Io(options) => &options.bench,
            Self::Resize(options) => &options.bench,
            Self::Cache(options) => &options.bench,
            Self::Sampler(options) => &options.bench,
        }
    }

    /// The QEMU options; `None` without guests.
    pub(crate) fn qemu(&self) -> Option<&QemuArgs> {
        match self {
            Self::Resize(options) => Some(&options.qemu),
            Self::Sampler(options) => Some(&options.qemu),
            Self::Io(_) | Self::Cache(_) => None,
        }
    }

    /// The experiment with these options as its parameters.
    pub(crate) fn order(&self) -> Result<Order> {
        match self {
            Self::Io(options) => options.order(),
            Self::Resize(options) => options.order(),
            Self::Cache(options) => options.order(),
            Self::Sampler(options) => options.order(),
        }
    }
}

impl IoOptions {
    fn order(&self) -> Result<Order> {
        let Self { dir, bench, .. } = self;
        let size = bench.limit(self.size, ByteSize(256 << 20));
        let slice_ms = bench.limit(self.slice_ms, 100);
        let rounds = bench.limit(self.rounds, 2);
        let seed = bench.out.seed;
        // The path is meaningless on other machines.
        let placed = dir.as_ref().map_or("", |_| " --dir DIR");
        let reproduce = format!(
            "bench io --size {size} --slice-ms {slice_ms} --rounds {rounds} --seed {seed}{placed}"
        );
        let params = bench_io::params::Params {
            size,
            slice_ms,
            rounds,
            dir: dir.clone(),
        };
        Order::new(&bench_io::BenchIo, &params, !bench.quick, reproduce)
    }
}

impl ResizeOptions {
    fn order(&self) -> Result<Order> {
        let bench = &self.bench;
        let repetitions = bench.limit(self.repetitions, 2);
        let resizes = bench.limit(self.resizes, 200);
        let seed = bench.out.seed;
        let reproduce =
            format!("bench resize --repetitions {repetitions} --resizes {resizes} --seed {seed}");
        let params = bench_resize::params::Params {
            repetitions,
            resizes,
        };
        Order::new(&bench_resize::BenchResize, &params, !bench.quick, reproduce)
    }
}

impl CacheOptions {
    fn order(&self) -> Result<Order> {
        let Self {
            workload,
            blocks,
            capacity,
            python,
            bench,
            ..
        } = self;
        let requests = bench.limit(self.requests, 400_000);
        let rounds = bench.limit(self.rounds, 2);
        let seed = bench.out.seed;
        let reproduce = format!(
            "bench cache --workload {workload} --blocks {blocks} --requests {requests} --capacity {capacity} \
             --rounds {rounds} --seed {seed}"
        );
        let params = bench_cache::params::Params {
            workload: *workload,
            blocks: *blocks,
            requests,
            capacity: *capacity,
            rounds,
            python: python.clone(),
        };
        Order::new(&bench_cache::BenchCache, &params, !bench.quick, reproduce)
    }
}

impl SamplerOptions {
    fn order(&self) -> Result<Order> {
        let bench = &self.bench;
        let requests = bench.limit(self.requests, 200);
        let pairs = bench.limit(self.pairs, 2);
        let seed = bench.out.seed;
        let reproduce =
            format!("bench sampler --requests {requests} --pairs {pairs} --seed {seed}");
        let params = bench_sampler::Params { requests, pairs };
        Order::new(
            &bench_sampler::BenchSampler,
            &params,
            !bench.quick,
            reproduce,
        )
    }
}
