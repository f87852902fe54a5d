//! The command line.

use std::env;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lab::accel::{self, AccelChoice};
use lab::qemu::{self, Machine, Qemu};
use lab::vm_host::VmHost;
use results::store::read;
use results::verdict::{Verdict, summary};
use serde_json::json;
use terminal::interrupt;
use terminal::progress::Progress;
use terminal::talk::Talk;
use vssd_host::output::{exit_code, warn};

use crate::bench::Bench;
use crate::experiments::common::lab::{Joined, Lab};
use crate::experiments::common::params::{Overrides, resolve};
use crate::experiments::experiment::{Entry, Needs};
use crate::experiments::sim::rows::MethodRow;
use crate::experiments::{ALL, OF_2017, by_name};
use crate::runs::{self, Order};
use crate::sim::SimArgs;
use crate::sweep::cli::{Common, Ended, MergeArgs, SweepArgs};
use crate::trace_cli::TraceCommand;
use crate::{doctor, report, sweep, trace_cli};

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
#[command(name = "harness", version, verbatim_doc_comment)]
struct Cli {
    #[command(flatten)]
    run: RunOptions,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments.
    Run {
        /// Which one.
        #[arg(value_parser = experiment_names())]
        experiment: String,
    },
    /// Show the experiments and their parameters.
    List,
    /// Check what the experiments need on this machine.
    Doctor,
    /// Draw the figures of a run again, from its recorded data.
    Plot {
        /// The run's folder.
        folder: PathBuf,
    },
    /// Judge a run again and write its report and figures, from its recorded data.
    Report {
        /// The run's folder.
        folder: PathBuf,
    },
    /// Run an experiment on twins over lists and ranges of its parameters, or go on with a
    /// sweep that was stopped.
    Sweep(SweepArgs),
    /// Join the shards of a sweep in the folder --out.
    Merge(MergeArgs),
    /// Measure the backend alone, beside its peers.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
    /// Simulate the guest's block cache on a trace or a workload: misses by policy and
    /// size, and the miss-ratio curve of LRU.
    Sim(SimArgs),
    /// Say what is in a recorded block trace, or make a disk of it that a guest replays.
    Trace {
        /// What to do with it.
        #[command(subcommand)]
        what: TraceCommand,
    },
    /// Say where the guest image is, to boot it by hand.
    Image {
        /// Copy it there.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TransportChoice {
    /// QEMU where it is installed, else twins.
    #[default]
    Auto,
    /// Guests under QEMU, on a backend process.
    Qemu,
    /// Guests in this process: the same counts in less time, and no times.
    Twin,
}

/// Chooses what guests run on, and says why.
fn join(options: &RunOptions) -> Result<(Joined, String)> {
    let asked = "asked for".to_owned();
    let qemu = match options.transport {
        TransportChoice::Twin => return Ok((Joined::Twin, asked)),
        _ => Qemu::find(options.qemu.as_deref()),
    };
    // A QEMU that was named is wanted.
    let wanted = options.transport == TransportChoice::Qemu || options.qemu.is_some();
    let qemu = match qemu {
        Ok(qemu) => qemu,
        Err(error) if wanted => return Err(error),
        Err(error) => return Ok((Joined::Twin, format!("{error:#}"))),
    };
    let (accel, accel_reason) = accel::choose(options.accel)?;
    let reason = match wanted {
        true => asked,
        false => "QEMU is installed".to_owned(),
    };
    let vm_host = VmHost {
        qemu,
        machine: options.machine,
        accel,
        accel_reason,
        program: env::current_exe().context("find this program, which is the backend as well")?,
    };
    Ok((Joined::Qemu(vm_host), reason))
}

/// What a run is on, for its first line.
fn introduce(joined: &Joined, reason: &str) -> String {
    match joined {
        Joined::Qemu(vm_host) => format!(
            "{} on {}, {} ({})",
            vm_host.qemu.version, vm_host.machine, vm_host.accel, vm_host.accel_reason
        ),
        Joined::Alone => format!("no QEMU: {reason}"),
        Joined::Twin => format!(
            "twins of guests, in this process: the same counts as under QEMU, and no times ({reason})"
        ),
    }
}

#[derive(Clone, Debug, Args)]
struct RunOptions {
    /// The full form: more steps, sizes and repetitions.
    #[arg(long, global = true)]
    full: bool,
    /// Where all randomness comes from.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Folder for the results; must not hold any yet, but of the same sweep.
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How guests and devices are joined.
    #[arg(long, global = true, value_enum, default_value_t)]
    transport: TransportChoice,
    /// How QEMU runs guests.
    #[arg(long, global = true, value_enum, default_value_t)]
    accel: AccelChoice,
    /// QEMU's machine type.
    #[arg(long, global = true, value_enum, default_value_t)]
    machine: Machine,
    /// The QEMU to use.
    #[arg(long, global = true, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// Parameters from a TOML file, over the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    params: Option<PathBuf>,
    /// One parameter, over all else: key=value. Repeatable.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl RunOptions {
    /// Bars for a person, and none beside JSON or where nobody sees them.
    fn progress(&self) -> Progress {
        Progress {
            shown: !self.json && std::io::stderr().is_terminal(),
        }
    }

    fn overrides(&self) -> Overrides<'_> {
        Overrides {
            full: self.full,
            file: self.params.as_deref(),
            sets: &self.sets,
        }
    }

    fn for_sweeps(&self) -> Common<'_> {
        Common {
            out: self.out.as_deref(),
            seed: self.seed,
            overrides: self.overrides(),
            json: self.json,
        }
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
    // How it ended is in the exit code, even where nobody read what was said.
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
    let options = &cli.run;
    match &cli.command {
        None => run(&OF_2017, options, talk),
        Some(Command::Run { experiment }) => run(&named(experiment), options, talk),
        Some(Command::List) => list(options, talk).map(|()| true),
        Some(Command::Doctor) => {
            let checks = doctor::examine(options.qemu.as_deref(), options.accel);
            match options.json {
                true => talk.line(serde_json::to_string_pretty(&checks)?),
                false => talk.say(doctor::describe(&checks)),
            }
            Ok(checks.iter().all(|check| check.is_fine()))
        }
        Some(Command::Plot { folder }) => {
            for file in report::plot(folder)? {
                talk.line(file.display());
            }
            Ok(true)
        }
        Some(Command::Report { folder }) => {
            let verdict = report::format(folder)?;
            show(&[(folder.clone(), verdict)], options, talk)
        }
        Some(Command::Sweep(args)) => match sweep::cli::run(args, &options.for_sweeps(), talk)? {
            Some(ended) => show_sweep(&ended, options, talk),
            None => Ok(true),
        },
        Some(Command::Bench { what }) => bench(what, options, talk),
        Some(Command::Sim(args)) => simulate(args, options, talk),
        Some(Command::Trace { what }) => {
            trace_cli::run(what, options.progress(), options.json, talk).map(|()| true)
        }
        Some(Command::Merge(args)) => {
            let ended = sweep::cli::merge(args, &options.for_sweeps(), talk)?;
            show_sweep(&ended, options, talk)
        }
        Some(Command::Image { out }) => {
            talk.line(qemu::guest_image(out.as_deref())?.display());
            Ok(true)
        }
        Some(Command::Backend(_)) => bail!("the backend was started already"),
    }
}

fn list(options: &RunOptions, talk: &mut Talk) -> Result<()> {
    if options.json {
        let all: Vec<_> = ALL
            .iter()
            .map(|experiment| {
                let params: toml::Table = experiment.defaults().parse()?;
                Ok(serde_json::json!({
                    "experiment": experiment.name(),
                    "purpose": experiment.purpose(),
                    "method": experiment.method(),
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

/// Runs what `harness run` names.
fn run(experiments: &[&'static dyn Entry], options: &RunOptions, talk: &mut Talk) -> Result<bool> {
    let started = Instant::now();
    let overrides = options.overrides();
    // Everything that can be wrong with the command line is found before
    // anything starts.
    let orders = experiments
        .iter()
        .map(|experiment| {
            let params = resolve(experiment.defaults(), &overrides)?;
            experiment.check(&params)?;
            Ok(Order {
                experiment: *experiment,
                params,
                full: options.full,
                again: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let verdicts = carry_out(&orders, options, talk)?;
    let holds = show(&verdicts, options, talk)?;
    if !options.json {
        let elapsed_s = started.elapsed().as_secs_f64();
        talk.line(format_args!("took {elapsed_s:.0} s in all"));
    }
    Ok(holds)
}

/// Runs experiments one after the other, and judges each.
fn carry_out(
    orders: &[Order],
    options: &RunOptions,
    talk: &mut Talk,
) -> Result<Vec<(PathBuf, Verdict)>> {
    let alone = orders
        .iter()
        .all(|order| order.experiment.needs() == Needs::Nothing);
    let (joined, reason) = match alone {
        true => (Joined::Alone, "no guest takes part".to_owned()),
        false => join(options)?,
    };
    let lab = Lab {
        joined,
        seed: options.seed,
        progress: options.progress(),
    };
    orders
        .iter()
        .try_for_each(|order| order.experiment.check_lab(&lab))?;
    let name = match orders {
        [one] => one.experiment.name(),
        _ => "all",
    };
    let out = match &options.out {
        Some(out) => out.clone(),
        None => runs::fresh_folder(name)?,
    };
    if !options.json {
        talk.line(introduce(&lab.joined, &reason));
    }
    let mut verdicts = Vec::new();
    for order in orders {
        let experiment = order.experiment;
        let folder = match orders {
            [_] => out.clone(),
            _ => out.join(experiment.name()),
        };
        if !options.json {
            talk.line(format_args!(
                "running {}: {}",
                experiment.name(),
                experiment.purpose()
            ));
        }
        let verdict = order.run(&lab, &reason, &folder)?;
        verdicts.push((folder, verdict));
    }
    Ok(verdicts)
}

/// Measures beside peers; true unless a bar was missed and that counts.
fn bench(what: &Bench, options: &RunOptions, talk: &mut Talk) -> Result<bool> {
    let verdicts = carry_out(&[what.order(options.seed)?], options, talk)?;
    let holds = show(&verdicts, options, talk)?;
    Ok(holds || !what.checks())
}

/// Simulates a cache; true when every claim holds.
fn simulate(args: &SimArgs, options: &RunOptions, talk: &mut Talk) -> Result<bool> {
    let verdicts = carry_out(&[args.order(options.seed)?], options, talk)?;
    if !options.json {
        return show(&verdicts, options, talk);
    }
    for (folder, verdict) in &verdicts {
        let curves: Vec<MethodRow> = read(folder)?;
        talk.line(json!({ "folder": folder, "verdict": verdict, "curves": curves }));
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}

/// Judges and presents a sweep; true when every cell has its rows.
fn show_sweep(ended: &Ended, options: &RunOptions, talk: &mut Talk) -> Result<bool> {
    if ended.counts.done == 0 {
        return Ok(ended.is_complete());
    }
    let verdict = report::format(&ended.folder)?;
    let holds = show(&[(ended.folder.clone(), verdict)], options, talk)?;
    Ok(holds && ended.is_complete())
}

/// Prints verdicts; true when every claim holds.
fn show(verdicts: &[(PathBuf, Verdict)], options: &RunOptions, talk: &mut Talk) -> Result<bool> {
    if options.json {
        for (folder, verdict) in verdicts {
            let line = serde_json::json!({ "folder": folder, "verdict": verdict });
            talk.line(line);
        }
    } else {
        for (folder, verdict) in verdicts {
            talk.say(summary(verdict, std::io::stdout().is_terminal()));
            let report = folder.join("report.html");
            talk.line(format_args!("  report: {}", report.display()));
        }
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
