//! `harness sim`: the experiment `sim` with its own command-line options.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use simulate::size::CacheSize;
use simulate::trace::options::ReadArgs;
use workloads::Workload;

use crate::experiments::sim::Sim;
use crate::experiments::sim::params::parse_share;
use crate::runs::Order;

/// Arguments of `harness sim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimArgs {
    /// Block trace: vscsi, oracle-general, spc, msr, lis or csv; may be compressed (gz, zst, bz2,
    /// xz).
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// Synthetic workload instead of a trace: zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential,
    /// hotspot:BLOCKS,SHARE,SPEED or files:TEMP_SHARE[,LIFETIME].
    #[arg(long, value_name = "WORKLOAD")]
    workload: Option<Workload>,
    /// Number of blocks of the workload's disk.
    #[arg(long, default_value_t = 1 << 20, requires = "workload")]
    blocks: u32,
    /// Number of reads of the workload.
    #[arg(long, default_value_t = 4_000_000, requires = "workload")]
    requests: u64,
    /// Eviction policies: all, or a comma-separated list of names.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "NAMES"
    )]
    policy: Vec<String>,
    /// Cache sizes, comma-separated: blocks, bytes with a unit, or a share of the distinct blocks
    /// accessed.
    #[arg(
        long = "size",
        value_delimiter = ',',
        default_value = "0.1%,0.3%,1%,3%,10%,20%,40%,80%",
        value_name = "SIZES"
    )]
    sizes: Vec<CacheSize>,
    /// Share of the accesses that warm up the caches and are not counted, e.g. 10%.
    #[arg(long, default_value = "0%", value_parser = parse_share, value_name = "SHARE")]
    warmup: f64,
    /// Methods for the miss-ratio curve of LRU, comma-separated: exact, shards:RATE, fixed:BLOCKS;
    /// or none.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "exact,shards:0.01,fixed:8192",
        value_name = "METHODS"
    )]
    mrc: Vec<String>,
}

impl SimArgs {
    /// The experiment with these options as its parameters.
    pub(crate) fn order(&self, seed: u64) -> Result<Order> {
        let sizes: Vec<_> = self.sizes.iter().map(CacheSize::to_string).collect();
        let workload = self.workload.map_or(String::new(), |of| of.to_string());
        let warmup = format!("{}%", 100.0 * self.warmup);
        let trace = self.trace.as_deref().unwrap_or(Path::new(""));
        let params = json!({
            "trace": trace.to_str().context("the path of a trace has to be UTF-8")?,
            "read": self.read.arguments().trim_start(),
            "workload": workload,
            "blocks": self.blocks,
            "requests": self.requests,
            "policy": self.policy,
            "size": sizes,
            "warmup": warmup,
            "mrc": self.mrc,
        });
        let what = match &self.trace {
            Some(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                format!("--trace {}{}", name.display(), self.read.arguments())
            }
            None => format!(
                "--workload {} --blocks {} --requests {} --seed {seed}",
                workload, self.blocks, self.requests
            ),
        };
        let reproduce = format!(
            "sim {what} --policy {} --size {} --warmup {} --mrc {}",
            self.policy.join(","),
            sizes.join(","),
            warmup,
            self.mrc.join(",")
        );
        Order::new(&Sim, &params, true, reproduce)
    }
}
