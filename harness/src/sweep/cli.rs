//! `harness sweep` and `harness merge`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use clap::Args;
use results::manifest::State;
use serde_json::json;
use terminal::interrupt;
use terminal::output::Output;
use vssd_host::output;

use super::engine::{self, Options};
use super::file::Sweep;
use super::folder::SweepFolder;
use super::manifest::{Counts, SweepManifest};
use super::plan::Plan;
use super::rows::Damage;
use super::shard::Shard;
use super::{BUILT_IN, merge};
use crate::experiments::common::params::Overrides;

/// Arguments of `harness sweep`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SweepArgs {
    /// Built-in sweep, or TOML file of a sweep. Without it, lists the built-in sweeps.
    #[arg(value_name = "NAME|FILE")]
    pub sweep: Option<String>,
    /// Repeat the sweep in this folder: same plan, same seeds.
    #[arg(long, value_name = "DIR", conflicts_with = "sweep")]
    pub like: Option<PathBuf>,
    /// Number of threads. Default: the number of processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Run only shard I of N, e.g. 2/8; see `harness merge`.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
}

/// Arguments of `harness merge`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MergeArgs {
    /// Results folders of the shards.
    #[arg(required = true, value_name = "DIR")]
    pub parts: Vec<PathBuf>,
}

/// The general options that sweeps use.
#[derive(Clone, Debug)]
pub(crate) struct Common<'a> {
    /// Results folder; `None` for the default.
    pub out: Option<&'a Path>,
    /// Seed of the first repetition.
    pub seed: u64,
    pub overrides: Overrides<'a>,
    pub json: bool,
}

/// The result of a sweep or merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub folder: PathBuf,
    pub counts: Counts,
}

impl Ended {
    /// Whether all cells have their rows.
    pub(crate) fn is_complete(&self) -> bool {
        self.counts.done == self.counts.all
    }
}

/// Lists the built-in sweeps.
fn list(json: bool, stdout: &mut Output) -> Result<()> {
    for (name, text) in BUILT_IN {
        let Sweep { title, axes, .. } = Sweep::parse(text)?;
        if json {
            stdout.line(json!({ "sweep": name, "title": title, "axes": axes }));
        } else {
            let axes = axes
                .iter()
                .map(|axis| format!("{} ({} values)", axis.name, axis.values.len()));
            let axes = axes.collect::<Vec<_>>().join(" x ");
            stdout.line(format_args!("{name}: {title}\n    {axes}\n"));
        }
    }
    Ok(())
}

/// The default folder depends on the sweep only, so that repeating the command resumes it.
fn default_folder(sweep: &str, shard: Shard) -> PathBuf {
    let name = Path::new(sweep).file_stem().unwrap_or_default();
    let mut folder = format!("sweep-{}", name.to_string_lossy());
    if shard != Shard::WHOLE {
        folder.push_str(&format!("-{}-of-{}", shard.index(), shard.of()));
    }
    Path::new("results").join(folder)
}

fn warn(damage: &[Damage], consequence: &str) {
    for damage in damage {
        output::warn(format_args!("harness: {damage}; {consequence}"));
    }
}

fn print_counts(ended: &Ended, json: bool, stdout: &mut Output) {
    let Ended { folder, counts } = ended;
    if json {
        stdout.line(json!({ "folder": folder, "cells": counts }));
        return;
    }
    stdout.line(format_args!(
        "{} of {} cells done, {} failed, {} missing: {}",
        counts.done,
        counts.all,
        counts.failed,
        counts.missing(),
        folder.display()
    ));
}

/// The name and plan of the requested sweep, if any.
fn plan_of(args: &SweepArgs, common: &Common<'_>) -> Result<Option<(String, Plan)>> {
    Ok(match (&args.sweep, &args.like) {
        (Some(name), _) => {
            let plan = Plan::new(Sweep::load(name)?, &common.overrides, common.seed)?;
            Some((name.clone(), plan))
        }
        (None, Some(folder)) => {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            Some((format!("{name}-again"), SweepManifest::read(folder)?.plan))
        }
        (None, None) => None,
    })
}

/// Runs or resumes a sweep; `None` if it only listed the built-in ones.
pub(crate) fn run(
    args: &SweepArgs,
    common: &Common<'_>,
    stdout: &mut Output,
) -> Result<Option<Ended>> {
    let Some((name, plan)) = plan_of(args, common)? else {
        return list(common.json, stdout).map(|()| None);
    };
    let path = match common.out {
        Some(out) => out.to_owned(),
        None => default_folder(&name, args.shard),
    };
    let mut folder = SweepFolder::open(&path, plan, args.shard)?;
    warn(folder.damage(), "ignored, its cell runs again");
    let before = folder.counts();
    if !common.json {
        stdout.line(format_args!(
            "{}: {} points, {} cells in shard {}, {} of them already done",
            folder.plan().title,
            folder.plan().points(),
            before.all,
            args.shard,
            before.done
        ));
    }
    if before.done < before.all {
        folder.manifest_mut().add_this_maker();
    }
    if let Some(sentence) = folder.manifest().mixed_revisions() {
        output::warn(format_args!("harness: {sentence}"));
    }
    let jobs = args.jobs.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let kind = folder.plan().kind();
    let options = Options {
        jobs,
        is_terminal: std::io::stderr().is_terminal(),
        stop: &interrupt::is_requested,
    };
    let result = engine::run(&mut folder, kind, &options);
    let missing = folder.counts().missing();
    let status = match &result {
        Err(error) => State::Failed(format!("{error:#}")),
        Ok(()) if missing > 0 => State::Failed(format!("{missing} cells are missing")),
        Ok(()) => State::Complete,
    };
    let closed = folder.close(status);
    if result.is_err() || missing > 0 {
        output::warn(format_args!(
            "harness: {missing} cells are missing; to resume, repeat the command with --out {}",
            path.display()
        ));
    }
    result?;
    let ended = Ended {
        folder: path,
        counts: closed?,
    };
    print_counts(&ended, common.json, stdout);
    Ok(Some(ended))
}

/// Merges the shards of a sweep.
pub(crate) fn merge(
    args: &MergeArgs,
    out: Option<&Path>,
    json: bool,
    stdout: &mut Output,
) -> Result<Ended> {
    let out = out.context("set the folder for the whole sweep with --out")?;
    let merged = merge::merge(out, &args.parts)?;
    warn(&merged.damage, "ignored, its cell counts as missing");
    for sentence in merged.mixed_revisions.iter().chain(&merged.missing) {
        output::warn(format_args!("harness: {sentence}"));
    }
    let ended = Ended {
        folder: out.to_owned(),
        counts: merged.counts,
    };
    print_counts(&ended, json, stdout);
    Ok(ended)
}
