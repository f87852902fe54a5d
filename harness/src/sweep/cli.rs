//! `harness sweep` and `harness merge`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;
use clap::Args;
use results::manifest::State;
use serde_json::json;
use terminal::interrupt;
use terminal::talk::Talk;
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

/// What `harness sweep` takes besides the options of all runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct SweepArgs {
    /// A built-in sweep, or a TOML file; without one, the built-in sweeps are listed.
    #[arg(value_name = "NAME|FILE")]
    pub sweep: Option<String>,
    /// Take the whole plan, with seed and all, from the folder of another sweep.
    #[arg(long, value_name = "DIR", conflicts_with = "sweep")]
    pub like: Option<PathBuf>,
    /// Threads; as many as there are processors when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Run part i of n only, such as 2/8; see `harness merge`.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
}

/// What `harness merge` takes besides the options of all runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct MergeArgs {
    /// Folders of the shards.
    #[arg(required = true, value_name = "DIR")]
    pub parts: Vec<PathBuf>,
}

/// The options of all runs that sweeps heed.
#[derive(Clone, Debug)]
pub(crate) struct Common<'a> {
    /// Where to put the sweep, if anywhere else than by its name.
    pub out: Option<&'a Path>,
    /// Seed of the first repetition.
    pub seed: u64,
    /// Parameters over the defaults.
    pub overrides: Overrides<'a>,
    /// Whether to print JSON.
    pub json: bool,
}

/// A sweep's folder after a command, for whoever presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The folder.
    pub folder: PathBuf,
    /// Its cells.
    pub counts: Counts,
}

impl Ended {
    /// True when every cell has its rows.
    pub(crate) fn is_complete(&self) -> bool {
        self.counts.done == self.counts.all
    }
}

/// Lists the built-in sweeps.
fn list(json: bool, talk: &mut Talk) -> Result<()> {
    for (name, text) in BUILT_IN {
        let Sweep { title, axes, .. } = Sweep::parse(text)?;
        match json {
            true => talk.line(json!({ "sweep": name, "title": title, "axes": axes })),
            false => {
                let axes = axes
                    .iter()
                    .map(|axis| format!("{} ({} values)", axis.name, axis.values.len()));
                let axes = axes.collect::<Vec<_>>().join(" x ");
                talk.line(format_args!("{name}: {title}\n    {axes}\n"));
            }
        }
    }
    Ok(())
}

/// Default folder of a sweep: the same each time, so that the
/// same command goes on with it.
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

fn tell(ended: &Ended, json: bool, talk: &mut Talk) {
    let Ended { folder, counts } = ended;
    if json {
        talk.line(json!({ "folder": folder, "cells": counts }));
        return;
    }
    talk.line(format_args!(
        "{} of {} cells done, {} impossible or failed, {} missing: {}",
        counts.done,
        counts.all,
        counts.failed,
        counts.missing(),
        folder.display()
    ));
}

/// Runs a sweep, or goes on with it; nothing when the sweeps were listed only.
pub(crate) fn run(args: &SweepArgs, common: &Common<'_>, talk: &mut Talk) -> Result<Option<Ended>> {
    let (name, plan) = match (&args.sweep, &args.like) {
        (Some(name), _) => {
            let sweep = Sweep::load(name)?;
            let plan = Plan::new(sweep, &common.overrides, common.seed)?;
            (name.clone(), plan)
        }
        (None, Some(folder)) => {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            (format!("{name}-again"), SweepManifest::read(folder)?.plan)
        }
        (None, None) => return list(common.json, talk).map(|()| None),
    };
    let path = match common.out {
        Some(out) => out.to_owned(),
        None => default_folder(&name, args.shard),
    };
    let mut folder = SweepFolder::open(&path, plan, args.shard)?;
    warn(folder.damage(), "left out, its cell is run again");
    let before = folder.counts();
    if !common.json {
        talk.line(format_args!(
            "{}: {} points, {} cells in shard {}, {} of them done already",
            folder.plan().title,
            folder.plan().points(),
            before.all,
            args.shard,
            before.done
        ));
    }
    if before.done < before.all {
        folder.manifest_mut().sign();
    }
    if let Some(sentence) = folder.manifest().mixture() {
        output::warn(format_args!("harness: {sentence}"));
    }
    let jobs = args.jobs.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let kind = folder.plan().kind();
    let options = Options {
        jobs,
        terminal: std::io::stderr().is_terminal(),
        stop: &interrupt::requested,
    };
    let result = engine::run(&mut folder, kind, &options);
    let missing = folder.counts().missing();
    let status = match &result {
        Err(error) => State::Failed(format!("{error:#}")),
        Ok(()) if missing > 0 => State::Failed(format!("{missing} cells are still to be run")),
        Ok(()) => State::Complete,
    };
    let closed = folder.close(status);
    if result.is_err() || missing > 0 {
        output::warn(format_args!(
            "harness: {missing} cells are still to be run; the same command with --out {} goes on",
            path.display()
        ));
    }
    result?;
    let ended = Ended {
        folder: path,
        counts: closed?,
    };
    tell(&ended, common.json, talk);
    Ok(Some(ended))
}

/// Joins the parts of a sweep.
pub(crate) fn merge(args: &MergeArgs, common: &Common<'_>, talk: &mut Talk) -> Result<Ended> {
    let out = common
        .out
        .ok_or_else(|| anyhow::anyhow!("name the folder for the whole sweep with --out"))?;
    let merged = merge::merge(out, &args.parts)?;
    warn(&merged.damage, "left out, its cell counts as missing");
    for sentence in merged.mixture.iter().chain(&merged.missing) {
        output::warn(format_args!("harness: {sentence}"));
    }
    let ended = Ended {
        folder: out.to_owned(),
        counts: merged.counts,
    };
    tell(&ended, common.json, talk);
    Ok(ended)
}
