//! Runs what a command asks for, and prints the verdicts.

use std::env;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use lab::accel;
use lab::qemu::Qemu;
use lab::vm_host::VmHost;
use results::store::read;
use results::verdict::{Verdict, summary};
use serde_json::json;
use terminal::talk::Talk;

use super::options::{GuestArgs, JsonArg, OutArgs, RunArgs, TransportChoice};
use crate::bench::Bench;
use crate::experiments::common::lab::{Joined, Lab};
use crate::experiments::common::params::resolve;
use crate::experiments::experiment::{Entry, Needs};
use crate::experiments::sim::rows::MethodRow;
use crate::report;
use crate::runs::{self, Order};
use crate::sim::SimArgs;
use crate::sweep::cli::Ended;

/// Chooses what guests run on, and says why.
fn join(options: &GuestArgs) -> Result<(Joined, String)> {
    let asked = "asked for".to_owned();
    let program = &options.qemu.program;
    let qemu = match options.transport {
        TransportChoice::Twin => return Ok((Joined::Twin, asked)),
        _ => Qemu::find(program.qemu.as_deref()),
    };
    // A QEMU that was named is wanted.
    let wanted = options.transport == TransportChoice::Qemu || program.qemu.is_some();
    let qemu = match qemu {
        Ok(qemu) => qemu,
        Err(error) if wanted => return Err(error),
        Err(error) => return Ok((Joined::Twin, format!("{error:#}"))),
    };
    let (accel, accel_reason) = accel::choose(program.accel)?;
    let reason = match wanted {
        true => asked,
        false => "QEMU is installed".to_owned(),
    };
    let vm_host = VmHost {
        qemu,
        machine: options.qemu.machine,
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

/// Runs experiments with parameters by name; true when every claim holds.
pub(super) fn run(
    experiments: &[&'static dyn Entry],
    options: &RunArgs,
    talk: &mut Talk,
) -> Result<bool> {
    let started = Instant::now();
    let RunArgs { params, out, guest } = options;
    let overrides = params.overrides();
    // Everything that can be wrong with the command line is found before
    // anything starts.
    let orders = experiments
        .iter()
        .map(|experiment| {
            let table = resolve(experiment.defaults(), &overrides)?;
            experiment.check(&table)?;
            Ok(Order {
                experiment: *experiment,
                params: table,
                full: params.full,
                again: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let verdicts = carry_out(&orders, Some(guest), out, talk)?;
    let holds = show(&verdicts, out.json, talk)?;
    if !out.json.json {
        let elapsed_s = started.elapsed().as_secs_f64();
        talk.line(format_args!("took {elapsed_s:.0} s in all"));
    }
    Ok(holds)
}

/// Runs experiments one after the other, and judges each. `guest` is what guests run on; a
/// command whose experiments have none passes `None`.
fn carry_out(
    orders: &[Order],
    guest: Option<&GuestArgs>,
    options: &OutArgs,
    talk: &mut Talk,
) -> Result<Vec<(PathBuf, Verdict)>> {
    let alone = orders
        .iter()
        .all(|order| order.experiment.needs() == Needs::Nothing);
    let (joined, reason) = match guest {
        Some(guest) if !alone => join(guest)?,
        _ => (Joined::Alone, "no guest takes part".to_owned()),
    };
    let lab = Lab {
        joined,
        seed: options.seed,
        progress: options.json.progress(),
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
    // What needs no guest has nothing to introduce.
    let introduced = !options.json.json && guest.is_some();
    if introduced {
        talk.line(introduce(&lab.joined, &reason));
    }
    let mut verdicts = Vec::new();
    for order in orders {
        let experiment = order.experiment;
        let folder = match orders {
            [_] => out.clone(),
            _ => out.join(experiment.name()),
        };
        if introduced {
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
pub(super) fn bench(what: &Bench, talk: &mut Talk) -> Result<bool> {
    let out = what.out();
    let guest = what.qemu().map(|qemu| GuestArgs {
        transport: TransportChoice::Qemu,
        qemu: qemu.clone(),
    });
    let verdicts = carry_out(&[what.order()?], guest.as_ref(), out, talk)?;
    let holds = show(&verdicts, out.json, talk)?;
    Ok(holds || !what.checks())
}

/// Simulates a cache; true when every claim holds.
pub(super) fn simulate(args: &SimArgs, out: &OutArgs, talk: &mut Talk) -> Result<bool> {
    let verdicts = carry_out(&[args.order(out.seed)?], None, out, talk)?;
    if !out.json.json {
        return show(&verdicts, out.json, talk);
    }
    for (folder, verdict) in &verdicts {
        let curves: Vec<MethodRow> = read(folder)?;
        talk.line(json!({ "folder": folder, "verdict": verdict, "curves": curves }));
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}

/// Judges and presents a sweep; true when every cell has its rows.
pub(super) fn show_sweep(ended: &Ended, json: JsonArg, talk: &mut Talk) -> Result<bool> {
    if ended.counts.done == 0 {
        return Ok(ended.is_complete());
    }
    let verdict = report::format(&ended.folder)?;
    let holds = show(&[(ended.folder.clone(), verdict)], json, talk)?;
    Ok(holds && ended.is_complete())
}

/// Prints verdicts; true when every claim holds.
pub(super) fn show(
    verdicts: &[(PathBuf, Verdict)],
    json: JsonArg,
    talk: &mut Talk,
) -> Result<bool> {
    for (folder, verdict) in verdicts {
        if json.json {
            talk.line(json!({ "folder": folder, "verdict": verdict }));
        } else {
            talk.say(summary(verdict, std::io::stdout().is_terminal()));
            let report = folder.join("report.html");
            talk.line(format_args!("  report: {}", report.display()));
        }
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}
