//! The command line.

mod options;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use lab::qemu;
use results::document::page;
use serde_json::json;
use terminal::interrupt;
use terminal::talk::Talk;
use vssd_host::output::{exit_code, warn};

pub(crate) use self::options::{JsonArg, OutArgs, QemuArgs};
use self::options::{ParamArgs, ProgramArgs, RunArgs};
use self::run::{bench, run, show, show_sweep, simulate};
use crate::bench::Bench;
use crate::experiments::common::params::Overrides;
use crate::experiments::experiment::Entry;
use crate::experiments::{ALL, OF_2017, by_name};
use crate::sim::SimArgs;
use crate::sweep::cli::{Common, MergeArgs, SweepArgs};
use crate::trace_cli::TraceCommand;
use crate::{doctor, reference, report, sweep, trace_cli};

/// Exit code when everything ran, but a claim or requirement does not hold.
const EXIT_DOES_NOT_HOLD: u8 = 3;

/// Runs the vSSD experiments on QEMU guests, or on twins of them in this process,
/// and reports what they show.
///
/// Without a command: the three experiments of 2017 in their quick form.
///
/// Exit code: 0 every claim holds, 1 something failed, 2 usage, 3 a claim does
/// not hold or cells of a sweep are impossible or missing, 130 interrupted.
///
/// Examples:
///   harness
///   harness run eviction --full --seed 7
///   harness run correctness --transport twin
///   harness run overhead --set 'sizes=["1GiB"]' --out /tmp/overhead
///   harness report results/reference/eviction
///   harness sweep spread --shard 2/8
///   harness sim --trace disk.vscsi --policy lru,arc,belady --size 1GiB,10%
///   harness trace convert disk.vscsi disk.trace
#[derive(Debug, Parser)]
#[command(
    name = "harness",
    version,
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    run: RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments.
    Run {
        /// Experiment to run.
        #[arg(value_parser = experiment_names())]
        experiment: String,
        #[command(flatten)]
        options: RunArgs,
    },
    /// Show the experiments and their parameters.
    List(JsonArg),
    /// Check what the experiments need on this machine.
    Doctor {
        #[command(flatten)]
        program: ProgramArgs,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Draw the figures of a run again, from its recorded data.
    Plot {
        /// The run's folder.
        folder: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Judge a run again and write its report and figures, from its recorded data.
    Report {
        /// The run's folder.
        folder: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Run an experiment on twins over lists and ranges of its parameters, or resume a
    /// sweep that was stopped.
    Sweep {
        #[command(flatten)]
        args: SweepArgs,
        #[command(flatten)]
        params: ParamArgs,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Join the shards of a sweep in the folder --out.
    Merge {
        #[command(flatten)]
        args: MergeArgs,
        /// Folder for the whole sweep; must be empty, or hold the same sweep.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Measure the backend alone, beside its peers.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
    /// Simulate the guest's block cache on a trace or a workload: misses by policy and
    /// size, and the miss-ratio curve of LRU.
    Sim {
        #[command(flatten)]
        args: SimArgs,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Describe a recorded block trace, or make a disk of it that a guest replays.
    Trace {
        /// What to do with it.
        #[command(subcommand)]
        what: TraceCommand,
    },
    /// Print the path of the guest image, to boot it by hand.
    Image {
        /// Copy the image to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages of harness, vssd-host and vssdctl.
    Man {
        /// Folder for the pages.
        dir: PathBuf,
    },
    /// Write the reference pages of the book.
    #[command(hide = true)]
    Docs {
        /// Folder for the pages.
        dir: PathBuf,
    },
    /// Be the backend; what experiments start.
    #[command(hide = true)]
    Backend(vssd_host::daemon::Args),
}

/// The three of 2017, as one.
const ALL_OF_2017: &str = "all";

/// Reads the name of an experiment.
fn experiment_names() -> PossibleValuesParser {
    let names = ALL.iter().map(|of| PossibleValue::new(of.name()));
    let all = PossibleValue::new(ALL_OF_2017).help("The three of 2017");
    PossibleValuesParser::new(names.chain([all]))
}

/// The experiments of that name.
fn named(name: &str) -> Vec<&'static dyn Entry> {
    match by_name(name) {
        Some(one) => vec![one],
        None => OF_2017.to_vec(),
    }
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Backend(args)) = &cli.command {
        return match vssd_host::daemon::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                warn(format_args!("{error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let mut talk = Talk::default();
    let result = interrupt::watch().and_then(|()| dispatch(&cli, &mut talk));
    if interrupt::requested() {
        match &cli.command {
            Some(Command::Trace { .. }) => warn("harness: interrupted"),
            _ => warn("harness: interrupted; what was recorded so far is kept"),
        }
        return ExitCode::from(interrupt::EXIT_INTERRUPTED);
    }
    // How it ended is in the exit code, even if its output was not read.
    let code = result.and_then(|holds| {
        talk.end()?;
        Ok(match holds {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_DOES_NOT_HOLD),
        })
    });
    exit_code("harness", code)
}

/// Carries a command out; true when every claim holds.
fn dispatch(cli: &Cli, talk: &mut Talk) -> Result<bool> {
    let Some(command) = &cli.command else {
        return run(&OF_2017, &cli.run, talk);
    };
    match command {
        Command::Run {
            experiment,
            options,
        } => return run(&named(experiment), options, talk),
        Command::Bench { what } => return bench(what, talk),
        Command::Sim { args, out } => return simulate(args, out, talk),
        Command::Sweep { args, params, out } => {
            let common = params.for_sweep(out);
            let ended = sweep::cli::run(args, &common, talk)?;
            return ended.map_or(Ok(true), |ended| show_sweep(&ended, out.json, talk));
        }
        Command::Merge { args, out, json } => {
            let common = Common {
                out: out.as_deref(),
                seed: 0,
                overrides: Overrides::default(),
                json: json.json,
            };
            let ended = sweep::cli::merge(args, &common, talk)?;
            return show_sweep(&ended, *json, talk);
        }
        Command::Report { folder, json } => {
            let verdict = report::format(folder)?;
            return show(&[(folder.clone(), verdict)], *json, talk);
        }
        Command::Doctor { program, json } => {
            let checks = doctor::examine(program.qemu.as_deref(), program.accel);
            match json.json {
                true => talk.line(serde_json::to_string_pretty(&checks)?),
                false => talk.say(doctor::describe(&checks)),
            }
            return Ok(checks.iter().all(|check| check.is_fine()));
        }
        Command::Plot { folder, json } => plot(folder, *json, talk)?,
        Command::List(json) => list(*json, talk)?,
        Command::Trace { what } => trace_cli::run(what, talk)?,
        Command::Image { out, json } => {
            let image = qemu::guest_image(out.as_deref())?;
            match json.json {
                true => talk.line(json!({ "image": image })),
                false => talk.line(image.display()),
            }
        }
        Command::Completions { shell } => {
            talk.say(reference::completions(&mut Cli::command(), *shell));
        }
        Command::Man { dir } => reference::write_man(Cli::command(), dir)?,
        Command::Docs { dir } => reference::write_pages(Cli::command(), dir)?,
        Command::Backend(_) => bail!("the backend was started already"),
    }
    Ok(true)
}

/// Draws figures again, and prints the names of their files.
fn plot(folder: &Path, json: JsonArg, talk: &mut Talk) -> Result<()> {
    let files = report::plot(folder)?;
    if json.json {
        talk.line(json!({ "folder": folder, "files": files }));
    } else {
        for file in files {
            talk.line(file.display());
        }
    }
    Ok(())
}

fn list(json: JsonArg, talk: &mut Talk) -> Result<()> {
    if json.json {
        let all: Vec<_> = ALL
            .iter()
            .map(|experiment| {
                let params: toml::Table = experiment.defaults().parse()?;
                Ok(json!({
                    "experiment": experiment.name(),
                    "purpose": experiment.purpose(),
                    "method": page(experiment.name()),
                    "parameters": params,
                }))
            })
            .collect::<Result<_>>()?;
        talk.line(serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for experiment in ALL {
        talk.line(format_args!(
            "{}: {}\n",
            experiment.name(),
            experiment.purpose()
        ));
        for line in experiment.defaults().lines() {
            talk.line(format_args!("    {line}"));
        }
        talk.line("");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
