//! `harness sim`: simulates, judges, and leaves rows, figures and a report.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use workloads::Workload;
use workloads::pattern::NotAPattern;

use super::curves::{self, Method, Summary};
use super::input::Input;
use super::replay::{self, Contender};
use super::size::CacheSize;
use super::verdict::{Simulated, judge};
use crate::present::document::{Document, Fact, outcome};
use crate::present::manifest::now_utc;
use crate::present::plain::{conditions, ensure_fresh, write_report, write_rows};
use crate::present::{Verdict, figures};
use crate::progress::Progress;
use crate::trace::advice::{Purpose, advise};
use crate::trace::options::ReadArgs;

/// What the report begins with.
const LEAD: &str = "The policies of the guest's block cache see the accesses of";

/// Arguments of `harness sim`.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// A block trace: vscsi, oracle-general, spc, msr or csv, also compressed (gz, zst, bz2, xz).
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub trace: Option<PathBuf>,
    /// How to read that trace.
    #[command(flatten)]
    pub read: ReadArgs,
    /// A made-up workload instead of a trace: zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential,
    /// hotspot:BLOCKS,SHARE,SPEED.
    #[arg(long, value_name = "WORKLOAD", value_parser = parse_workload)]
    pub workload: Option<Workload>,
    /// Blocks that the workload is on.
    #[arg(long, default_value_t = 1 << 20, requires = "workload")]
    pub blocks: u32,
    /// Reads of the workload.
    #[arg(long, default_value_t = 4_000_000, requires = "workload")]
    pub requests: u64,
    /// Policies, by name: all, or several with commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "NAMES"
    )]
    pub policy: Vec<String>,
    /// Sizes of the cache: blocks, bytes with a unit, or a share of the different blocks accessed.
    #[arg(
        long = "size",
        value_delimiter = ',',
        default_value = "0.1%,0.3%,1%,3%,10%,20%,40%,80%",
        value_name = "SIZES"
    )]
    pub sizes: Vec<CacheSize>,
    /// Share of the accesses that warm the caches up and do not count, such as 10%.
    #[arg(long, default_value = "0%", value_parser = parse_share, value_name = "SHARE")]
    pub warmup: f64,
    /// Miss-ratio curves of LRU: exact, shards:RATE, fixed:BLOCKS; none for none.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "exact,shards:0.01,fixed:8192",
        value_name = "METHODS"
    )]
    pub mrc: Vec<String>,
}

/// Reads a workload, or says which there are.
pub(crate) fn parse_workload(text: &str) -> Result<Workload, String> {
    text.parse().map_err(|NotAPattern| {
        format!("invalid workload `{text}`; expected zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential, hotspot:BLOCKS,SHARE,SPEED")
    })
}

fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(str::parse::<f64>);
    match number {
        Some(Ok(percent)) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!(
            "invalid share `{text}`; expected 0% to less than 100%"
        )),
    }
}

impl SimArgs {
    fn contenders(&self) -> Result<Vec<Contender>> {
        if self.policy.iter().any(|name| name == "all") {
            return Ok(Contender::all().collect());
        }
        let mut all: Vec<Contender> = Vec::new();
        for name in &self.policy {
            let contender = name.parse().map_err(|error| anyhow!("--policy: {error}"))?;
            if !all.contains(&contender) {
                all.push(contender);
            }
        }
        Ok(all)
    }

    fn methods(&self) -> Result<Vec<Method>> {
        let names = self.mrc.iter().filter(|name| *name != "none");
        names
            .map(|name| name.parse().map_err(|error| anyhow!("--mrc: {error}")))
            .collect()
    }

    fn input(&self, seed: u64, progress: Progress) -> Result<Input> {
        match (&self.trace, self.workload) {
            (Some(path), _) => Input::from_trace(path, self.read.options()?, progress)
                .map_err(|error| advise(error, path, &self.read, Purpose::Count, progress)),
            (None, Some(workload)) => {
                Input::from_workload(workload, self.blocks, self.requests, seed)
            }
            (None, None) => Err(anyhow!(
                "nothing to simulate: give a --trace FILE, or a --workload such as zipf:0.99"
            )),
        }
    }

    /// The arguments that simulate the same again.
    fn arguments(&self, seed: u64) -> String {
        let list = |items: Vec<String>| items.join(",");
        let what = match (&self.trace, self.workload) {
            (Some(path), _) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                format!("--trace {}{}", name.display(), self.read.arguments())
            }
            (None, Some(workload)) => format!(
                "--workload {workload} --blocks {} --requests {} --seed {seed}",
                self.blocks, self.requests
            ),
            (None, None) => String::new(),
        };
        format!(
            "sim {what} --policy {} --size {} --warmup {}% --mrc {}",
            self.policy.join(","),
            list(self.sizes.iter().map(CacheSize::to_string).collect()),
            100.0 * self.warmup,
            self.mrc.join(",")
        )
    }
}

/// Simulates into `folder`, which must not hold anything yet. What comes back are the
/// judgement, and how the curves were counted.
///
/// # Errors
/// When the input cannot be read or makes no sense, or the results cannot be written.
pub fn run(
    args: &SimArgs,
    folder: &Path,
    seed: u64,
    progress: Progress,
) -> Result<(Verdict, Vec<Summary>)> {
    ensure_fresh(folder)?;
    let started = now_utc();
    let (contenders, methods) = (args.contenders()?, args.methods()?);
    let input = args.input(seed, progress)?;
    let blocks = args.sizes.iter().map(|size| size.blocks(input.distinct));
    let mut sizes = blocks
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!(error))?;
    sizes.sort_unstable();
    sizes.dedup();
    let warmup = (args.warmup * input.len() as f64) as usize;

    let bar = progress.bar(
        "simulating",
        (contenders.len() * sizes.len() + methods.len()) as u64,
    );
    let rows = replay::run(&input, &contenders, &sizes, warmup, &bar)?;
    let mut counted = Vec::new();
    for method in methods {
        counted.push(curves::count(&input, method, seed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (steps, summaries) = curves::record(&counted, input.distinct);

    write_rows(folder, "sim.csv", &rows)?;
    write_rows(folder, "mrc.csv", &steps)?;
    write_rows(folder, "mrc_methods.csv", &summaries)?;
    let verdict = judge(Simulated {
        input: &input,
        warmup,
        rows: &rows,
        curves: &counted,
        summaries: &summaries,
    });
    let document = Document {
        title: verdict.title.clone(),
        lead: format!(
            "{LEAD} {}: {} accesses to {} different blocks of 4 KiB. No guest and no device takes part.",
            input.what,
            input.len(),
            input.distinct
        ),
        result: outcome(&verdict, true),
        holds: verdict.holds(),
        claims: verdict.claims.clone(),
        findings: verdict.findings.clone(),
        figures: figures::draw_sim(&input.what, &rows, &steps, folder)?,
        tables: verdict.tables.clone(),
        conditions: conditions(&started, seed, None),
        parameters: parameters(args, &sizes),
        reproduce: format!(
            "cargo run --release --bin harness -- {}",
            args.arguments(seed)
        ),
    };
    write_report(folder, &document)?;
    Ok((verdict, summaries))
}

fn parameters(args: &SimArgs, sizes: &[u32]) -> Vec<Fact> {
    let sizes: Vec<String> = sizes.iter().map(u32::to_string).collect();
    vec![
        ("policy".to_owned(), args.policy.join(", ")),
        ("size".to_owned(), format!("{} blocks", sizes.join(", "))),
        ("warmup".to_owned(), format!("{} %", 100.0 * args.warmup)),
        ("mrc".to_owned(), args.mrc.join(", ")),
    ]
}

/// Default output directory.
pub fn default_folder() -> PathBuf {
    let time = now_utc().replace([':', '-'], "");
    Path::new("results").join(format!("sim-{time}"))
}
