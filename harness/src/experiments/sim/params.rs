//! Parameters, checked.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use serde::{Deserialize, Serialize};
use simulate::curves::Method;
use simulate::input::Input;
use simulate::replay::Contender;
use simulate::size::CacheSize;
use simulate::trace::advice::{Purpose, advise};
use simulate::trace::options::ReadArgs;
use terminal::progress::Progress;
use workloads::Workload;

/// Every policy and the optimum.
const ALL: &str = "all";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) trace: PathBuf,
    pub(crate) read: String,
    pub(crate) workload: String,
    pub(crate) blocks: u32,
    pub(crate) requests: u64,
    pub(crate) policy: Vec<String>,
    pub(crate) size: Vec<String>,
    pub(crate) warmup: String,
    pub(crate) mrc: Vec<String>,
}

/// How to read a trace, as on the command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Reading {
    trace: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// Source of the accesses.
#[derive(Clone, Debug)]
enum Source {
    Trace {
        path: PathBuf,
        read: ReadArgs,
    },
    Workload {
        workload: Workload,
        blocks: u32,
        requests: u64,
    },
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    source: Source,
    pub(super) contenders: Vec<Contender>,
    sizes: Vec<CacheSize>,
    warmup: f64,
    pub(super) methods: Vec<Method>,
}

/// Parses a workload; the error lists the kinds.
pub(crate) fn parse_workload(text: &str) -> Result<Workload, String> {
    text.parse().map_err(|_| {
        format!("invalid workload `{text}`; expected zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential, hotspot:BLOCKS,SHARE,SPEED, files:TEMP_SHARE[,LIFETIME]")
    })
}

/// Parses a share in percent.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(str::parse::<f64>);
    match number {
        Some(Ok(percent)) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!(
            "invalid share `{text}`; expected 0% to less than 100%"
        )),
    }
}

fn contenders(names: &[String]) -> Result<Vec<Contender>> {
    if names.iter().any(|name| name == ALL) {
        return Ok(Contender::all().collect());
    }
    let mut all = Vec::new();
    for name in names {
        let contender = name.parse().map_err(|error| anyhow!("--policy: {error}"))?;
        if !all.contains(&contender) {
            all.push(contender);
        }
    }
    Ok(all)
}

fn methods(names: &[String]) -> Result<Vec<Method>> {
    let names = names.iter().filter(|name| *name != "none");
    names
        .map(|name| name.parse().map_err(|error| anyhow!("--mrc: {error}")))
        .collect()
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let source = match (raw.trace.as_os_str().is_empty(), raw.workload.as_str()) {
            (true, "") => {
                bail!("nothing to simulate: give a --trace FILE, or a --workload such as zipf:0.99")
            }
            (true, workload) => Source::Workload {
                workload: parse_workload(workload).map_err(anyhow::Error::msg)?,
                blocks: raw.blocks,
                requests: raw.requests,
            },
            (false, "") => {
                let words = ["trace"].into_iter().chain(raw.read.split_whitespace());
                let reading = Reading::try_parse_from(words)
                    .with_context(|| format!("`read` is `{}`", raw.read))?;
                // Invalid combinations fail before the run.
                reading.read.options()?;
                Source::Trace {
                    path: raw.trace,
                    read: reading.read,
                }
            }
            (false, workload) => bail!(
                "`trace` is {} and `workload` is {workload}: choose one",
                raw.trace.display()
            ),
        };
        let sizes = raw.size.iter().map(|text| text.parse());
        let sizes: Vec<CacheSize> = sizes
            .collect::<Result<_, String>>()
            .map_err(|error| anyhow!("--size: {error}"))?;
        ensure!(!sizes.is_empty(), "`size` is empty");
        Ok(Self {
            source,
            contenders: contenders(&raw.policy)?,
            sizes,
            warmup: parse_share(&raw.warmup).map_err(|error| anyhow!("--warmup: {error}"))?,
            methods: methods(&raw.mrc)?,
        })
    }
}

impl Params {
    /// The accesses.
    pub(super) fn input(&self, seed: u64, progress: Progress) -> Result<Input> {
        match &self.source {
            Source::Trace { path, read } => Input::from_trace(path, read.options()?, progress)
                .map_err(|error| advise(error, path, read, Purpose::Count, progress)),
            Source::Workload {
                workload,
                blocks,
                requests,
            } => Input::from_workload(*workload, *blocks, *requests, seed),
        }
    }

    /// The sizes in blocks, ascending, each once.
    pub(super) fn sizes(&self, distinct: u32) -> Result<Vec<u32>> {
        let blocks = self.sizes.iter().map(|size| size.blocks(distinct));
        let mut blocks = blocks
            .collect::<Result<Vec<_>, _>>()
            .map_err(anyhow::Error::msg)?;
        blocks.sort_unstable();
        blocks.dedup();
        Ok(blocks)
    }

    /// Leading accesses that are not counted.
    pub(super) fn warmup(&self, accesses: usize) -> usize {
        (self.warmup * accesses as f64) as usize
    }
}
