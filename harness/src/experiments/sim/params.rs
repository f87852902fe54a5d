//! Parameters, checked.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Parser;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use simulate::curves::Method;
use simulate::input::Input;
use simulate::replay::Contender;
use simulate::size::CacheSize;
use simulate::trace::advice::{Purpose, advise};
use simulate::trace::options::ReadArgs;
use terminal::progress::Progress;
use workloads::Workload;

use crate::experiments::common::params::{Parameters, parse, path, texts};

/// Every policy and the optimum.
const ALL: &str = "all";

/// How to read a trace, as on the command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Reading {
    trace: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// Source of the accesses.
enum Source<'a> {
    Trace(&'a Path),
    Workload(Workload),
}

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "path")]
    trace: Option<PathBuf>,
    #[serde(deserialize_with = "reading")]
    read: ReadArgs,
    #[serde(deserialize_with = "workload")]
    workload: Option<Workload>,
    blocks: u32,
    requests: u64,
    #[serde(rename = "policy", deserialize_with = "contenders")]
    pub(super) contenders: Vec<Contender>,
    #[serde(rename = "size", deserialize_with = "texts")]
    sizes: Vec<CacheSize>,
    #[serde(deserialize_with = "share")]
    warmup: f64,
    #[serde(rename = "mrc", deserialize_with = "methods")]
    pub(super) methods: Vec<Method>,
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

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    parse_share(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn reading<'de, D: Deserializer<'de>>(from: D) -> Result<ReadArgs, D::Error> {
    let text = String::deserialize(from)?;
    let words = ["trace"].into_iter().chain(text.split_whitespace());
    let reading = Reading::try_parse_from(words).map_err(D::Error::custom)?;
    Ok(reading.read)
}

/// A workload; none if the text is empty.
fn workload<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Workload>, D::Error> {
    let text = String::deserialize(from)?;
    let workload = (!text.is_empty()).then(|| parse(&text));
    workload.transpose().map_err(D::Error::custom)
}

fn contenders<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Contender>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.iter().any(|name| name == ALL) {
        return Ok(Contender::all().collect());
    }
    let mut all = Vec::new();
    for name in names {
        let contender = parse(&name).map_err(D::Error::custom)?;
        if !all.contains(&contender) {
            all.push(contender);
        }
    }
    Ok(all)
}

fn methods<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Method>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let names = names.iter().filter(|name| *name != "none");
    let methods = names.map(|name| parse(name).map_err(D::Error::custom));
    methods.collect()
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        if let Source::Trace(_) = self.source()? {
            self.read.options()?;
        }
        Ok(())
    }
}

impl Params {
    fn source(&self) -> Result<Source<'_>> {
        match (&self.trace, self.workload) {
            (None, None) => {
                bail!("nothing to simulate: give a --trace FILE, or a --workload such as zipf:0.99")
            }
            (None, Some(workload)) => Ok(Source::Workload(workload)),
            (Some(path), None) => Ok(Source::Trace(path)),
            (Some(path), Some(workload)) => bail!(
                "`trace` is {} and `workload` is {workload}: choose one",
                path.display()
            ),
        }
    }

    /// The accesses.
    pub(super) fn input(&self, seed: u64, progress: Progress) -> Result<Input> {
        match self.source()? {
            Source::Trace(path) => Input::from_trace(path, self.read.options()?, progress)
                .map_err(|error| advise(error, path, &self.read, Purpose::Count, progress)),
            Source::Workload(workload) => {
                Input::from_workload(workload, self.blocks, self.requests, seed)
            }
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
