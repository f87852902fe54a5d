//! The command line.

pub(crate) mod options;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use lab::qemu;
use results::document::page;
use serde_json::json;
use terminal::interrupt;
use terminal::output::Output;
use vssd_host::output::{exit_code, warn};

use self::options::{JsonArg, OutArgs, ParamArgs, ProgramArgs, RunArgs};
use self::run::{bench, run, show, show_sweep, simulate};
use crate::bench::Bench;
use crate::experiments::experiment::Entry;
use crate::experiments::{ALL, OF_2017, by_name};
use crate::sim::SimArgs;
use crate::sweep::cli::{MergeArgs, SweepArgs};
use crate::trace_cli::TraceCommand;
use crate::{doctor, reference, report, sweep, trace_cli};

/// Exit code if everything ran, but a claim or requirement does not hold.
const EXIT_DOES_NOT_HOLD: u8 = 3;

/// Runs the vSSD experiments on QEMU guests or on in-process twins, judges their claims and
/// writes reports.
///
/// Without a command: runs the three experiments of 2017 in their quick form.
///
/// Exit code: 0 all claims hold, 1 error, 2 usage error, 3 a claim does not hold or cells of a
/// sweep failed or are missing, 130 interrupted.
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
    /// Run an experiment, or the three of 2017.
    Run {
        /// Experiment to run.
        #[arg(value_parser = experiment_names())]
        experiment: String,
        #[command(flatten)]
        options: RunArgs,
    },
    /// List the experiments and their parameters.
    List(JsonArg),
    /// Check whether this machine meets the requirements of the experiments.
    Doctor {
        #[command(flatten)]
        program: ProgramArgs,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Redraw the figures of a run or sweep from its recorded rows.
    Plot {
        /// Results folder.
        folder: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Rewrite the report and figures of a run or sweep from its recorded rows.
    Report {
        /// Results folder.
        folder: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Run or resume a sweep: an experiment on twins, over lists and ranges of its parameters.
    Sweep {
        #[command(flatten)]
        args: SweepArgs,
        #[command(flatten)]
        params: ParamArgs,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Merge the shards of a sweep into the folder --out.
    Merge {
        #[command(flatten)]
        args: MergeArgs,
        /// Folder for the whole sweep; must be empty or missing, or contain the same sweep.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Compare the backend and the guest's cache with peers.
    Bench {
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
    /// Describe a recorded block trace, or convert it to a trace disk for a guest.
    Trace {
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
    /// Print a shell completion script.
    Completions { shell: Shell },
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
    /// Run as the backend, which experiments start.
    #[command(hide = true)]
    Backend(vssd_host::daemon::Args),
}

/// Runs the three experiments of 2017.
const ALL_OF_2017: &str = "all";

fn experiment_names() -> PossibleValuesParser {
    let names = ALL.iter().map(|of| PossibleValue::new(of.name()));
    let all = PossibleValue::new(ALL_OF_2017).help("The three experiments of 2017");
    PossibleValuesParser::new(names.chain([all]))
}

fn named(name: &str) -> Vec<&'static dyn Entry> {
    match by_name(name) {
        Some(one) => vec![one],
        None => OF_2017.to_vec(),
    }
}

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
    let mut stdout = Output::default();
    let result = interrupt::watch().and_then(|()| dispatch(&cli, &mut stdout));
    if interrupt::is_requested() {
        match &cli.command {
            Some(Command::Trace { .. }) => warn("harness: interrupted"),
            _ => warn("harness: interrupted; the rows recorded so far are kept"),
        }
        return ExitCode::from(interrupt::EXIT_INTERRUPTED);
    }
    // A closed pipe at standard output does not change the exit code.
    let code = result.and_then(|holds| {
        stdout.finish()?;
        Ok(if holds {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_DOES_NOT_HOLD)
        })
    });
    exit_code("harness", code)
}

/// Runs a command; true if all claims hold.
fn dispatch(cli: &Cli, stdout: &mut Output) -> Result<bool> {
    let Some(command) = &cli.command else {
        return run(&OF_2017, &cli.run, stdout);
    };
    match command {
        Command::Run {
            experiment,
            options,
        } => return run(&named(experiment), options, stdout),
        Command::Bench { what } => return bench(what, stdout),
        Command::Sim { args, out } => return simulate(args, out, stdout),
        Command::Sweep { args, params, out } => {
            let common = params.for_sweep(out);
            let ended = sweep::cli::run(args, &common, stdout)?;
            return ended.map_or(Ok(true), |ended| show_sweep(&ended, out.json, stdout));
        }
        Command::Merge { args, out, json } => {
            let ended = sweep::cli::merge(args, out.as_deref(), json.json, stdout)?;
            return show_sweep(&ended, *json, stdout);
        }
        Command::Report { folder, json } => {
            let verdict = report::format(folder)?;
            return show(&[(folder.clone(), verdict)], *json, stdout);
        }
        Command::Doctor { program, json } => {
            let checks = doctor::examine(program.qemu.as_deref(), program.accel);
            if json.json {
                stdout.line(serde_json::to_string_pretty(&checks)?);
            } else {
                stdout.text(doctor::describe(&checks));
            }
            return Ok(checks.iter().all(|check| check.is_fine()));
        }
        Command::Plot { folder, json } => plot(folder, *json, stdout)?,
        Command::List(json) => list(*json, stdout)?,
        Command::Trace { what } => trace_cli::run(what, stdout)?,
        Command::Image { out, json } => {
            let image = qemu::guest_image(out.as_deref())?;
            if json.json {
                stdout.line(json!({ "image": image }));
            } else {
                stdout.line(image.display());
            }
        }
        Command::Completions { shell } => {
            stdout.text(reference::completions(&mut Cli::command(), *shell));
        }
        Command::Man { dir } => reference::write_man(Cli::command(), dir)?,
        Command::Docs { dir } => reference::write_pages(Cli::command(), dir)?,
        Command::Backend(_) => unreachable!("main() runs the backend"),
    }
    Ok(true)
}

/// Redraws figures and prints their file names.
fn plot(folder: &Path, json: JsonArg, stdout: &mut Output) -> Result<()> {
    let files = report::plot(folder)?;
    if json.json {
        stdout.line(json!({ "folder": folder, "files": files }));
    } else {
        for file in files {
            stdout.line(file.display());
        }
    }
    Ok(())
}

fn list(json: JsonArg, stdout: &mut Output) -> Result<()> {
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
        stdout.line(serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for experiment in ALL {
        stdout.line(format_args!(
            "{}: {}\n",
            experiment.name(),
            experiment.purpose()
        ));
        for line in experiment.defaults().lines() {
            stdout.line(format_args!("    {line}"));
        }
        stdout.line("");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
