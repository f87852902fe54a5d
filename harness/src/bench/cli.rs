//! `harness bench …`: measures, judges, and leaves rows and a report.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use lab::native::server::Server;
use lab::vm_host::VmHost;
use results::document::{Document, Fact, outcome};
use results::file::ensure_fresh;
use results::host::now_utc;
use results::plain::{conditions, write_report, write_rows};
use results::verdict::Verdict;
use terminal::progress::Progress;

use super::{cache, cache_verdict, io, resize, resize_verdict, verdict};

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// Requests, natively, beside qemu-storage-daemon and plain io_uring.
    Io(io::Options),
    /// Resizes by 16 GiB: their time, the backend's memory, and what requests feel.
    Resize(resize::Options),
    /// The eviction policies of the guest's cache, beside libCacheSim's.
    Cache(cache::Options),
}

impl Bench {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Resize(_) => "resize",
            Self::Cache(_) => "cache",
        }
    }

    /// The arguments that measure the same again.
    fn arguments(&self, seed: u64) -> String {
        match self {
            Self::Io(options) => {
                let io::Options {
                    size,
                    slice_ms,
                    rounds,
                    dir,
                    ..
                } = options.effective();
                // Which folder it was is of no use elsewhere.
                let dir = dir.map_or("", |_| " --dir DIR");
                format!(
                    "bench io --size {size} --slice-ms {slice_ms} --rounds {rounds} --seed {seed}{dir}"
                )
            }
            Self::Resize(options) => {
                let resize::Options {
                    repetitions,
                    resizes,
                    ..
                } = options.effective();
                format!(
                    "bench resize --repetitions {repetitions} --resizes {resizes} --seed {seed}"
                )
            }
            Self::Cache(options) => {
                let cache::Options {
                    workload,
                    blocks,
                    requests,
                    capacity,
                    rounds,
                    ..
                } = options.effective();
                format!(
                    "bench cache --workload {workload} --blocks {blocks} --requests {requests} --capacity {capacity} \
                     --rounds {rounds} --seed {seed}"
                )
            }
        }
    }

    /// Whether it boots guests under QEMU.
    pub fn needs_qemu(&self) -> bool {
        matches!(self, Self::Resize(_))
    }

    /// Whether a missed bar is a failure.
    pub fn checks(&self) -> bool {
        match self {
            Self::Io(options) => options.check,
            Self::Resize(options) => options.check,
            Self::Cache(options) => options.check,
        }
    }
}

/// Measures into `folder`, which must not hold results yet.
///
/// # Errors
/// When something could not be measured.
pub fn run(
    bench: &Bench,
    vm_host: Option<&VmHost>,
    folder: &Path,
    seed: u64,
    progress: Progress,
) -> Result<Verdict> {
    ensure_fresh(folder)?;
    let started = now_utc();
    let (verdict, lead, parameters, peers) = match bench {
        Bench::Io(options) => {
            let peer = Server::peer_version()?;
            let measured = io::measure(options, seed, progress)?;
            write_rows(folder, "bench_io.csv", &measured.rows)?;
            (
                verdict::judge(&measured),
                io::LEAD,
                io_parameters(options, measured.processor),
                peer,
            )
        }
        Bench::Resize(options) => {
            let vm_host = vm_host.context("resizes are measured with a guest under QEMU")?;
            let measured = resize::measure(options, vm_host, seed, progress)?;
            write_rows(folder, "bench_resize.csv", &measured.rows)?;
            write_rows(folder, "bench_memory.csv", &[measured.memory])?;
            write_rows(folder, "bench_disturbed.csv", &measured.disturbed)?;
            (
                resize_verdict::judge(&measured),
                resize::LEAD,
                resize_parameters(options),
                format!("{}, {}", vm_host.qemu.version, vm_host.accel),
            )
        }
        Bench::Cache(options) => {
            let measured = cache::measure(options, seed, progress)?;
            write_rows(folder, "bench_cache.csv", &measured.rows)?;
            write_rows(folder, "bench_surrender.csv", &measured.surrenders)?;
            (
                cache_verdict::judge(&measured),
                cache::LEAD,
                cache_parameters(options),
                format!(
                    "libCacheSim by the Python package libcachesim {}",
                    measured.version
                ),
            )
        }
    };
    let document = Document {
        title: verdict.title.clone(),
        lead: lead.to_owned(),
        result: outcome(&verdict, true),
        holds: verdict.holds(),
        claims: verdict.claims.clone(),
        findings: verdict.findings.clone(),
        figures: Vec::new(),
        tables: verdict.tables.clone(),
        conditions: conditions(&started, seed, Some(&peers)),
        parameters,
        reproduce: format!(
            "cargo run --release --bin harness -- {}",
            bench.arguments(seed)
        ),
    };
    write_report(folder, &document)?;
    Ok(verdict)
}

/// Where results go that nobody said a folder for.
pub fn default_folder(bench: &Bench) -> PathBuf {
    let time = now_utc().replace([':', '-'], "");
    Path::new("results").join(format!("bench-{}-{time}", bench.name()))
}

fn io_parameters(options: &io::Options, processor: usize) -> Vec<Fact> {
    let options = options.effective();
    vec![
        ("processor".to_owned(), processor.to_string()),
        ("size".to_owned(), options.size.to_string()),
        ("slice_ms".to_owned(), options.slice_ms.to_string()),
        ("rounds".to_owned(), options.rounds.to_string()),
        (
            "dir".to_owned(),
            match options.dir {
                Some(_) => "given",
                None => "where the system keeps temporary files",
            }
            .to_owned(),
        ),
    ]
}

fn resize_parameters(options: &resize::Options) -> Vec<Fact> {
    let options = options.effective();
    vec![
        ("repetitions".to_owned(), options.repetitions.to_string()),
        ("resizes".to_owned(), options.resizes.to_string()),
    ]
}

fn cache_parameters(options: &cache::Options) -> Vec<Fact> {
    let options = options.effective();
    [
        ("workload", options.workload.to_string()),
        ("blocks", options.blocks.to_string()),
        ("requests", options.requests.to_string()),
        ("capacity", options.capacity.to_string()),
        ("rounds", options.rounds.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
