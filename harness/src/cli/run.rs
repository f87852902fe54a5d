//! Runs experiments and prints their verdicts.

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
use terminal::output::Output;

use super::options::{GuestArgs, JsonArg, OutArgs, RunArgs, TransportChoice};
use crate::bench::{Bench, BenchArgs};
use crate::experiments::common::lab::{Joined, Lab};
use crate::experiments::common::params::{Form, resolve};
use crate::experiments::experiment::{Entry, Needs};
use crate::experiments::sim::rows::MethodRow;
use crate::report;
use crate::runs::{self, Order};
use crate::sim::SimArgs;
use crate::sweep::cli::Ended;

/// Chooses between QEMU and twins; returns the reason too.
fn choose_transport(options: &GuestArgs) -> Result<(Joined, String)> {
    let requested = "requested".to_owned();
    let program = &options.qemu.program;
    if options.transport == TransportChoice::Twin {
        return Ok((Joined::Twin, requested));
    }
    // --qemu implies --transport qemu.
    let is_required = options.transport == TransportChoice::Qemu || program.qemu.is_some();
    let qemu = match Qemu::find(program.qemu.as_deref()) {
        Ok(qemu) => qemu,
        Err(error) if is_required => return Err(error),
        Err(error) => return Ok((Joined::Twin, format!("{error:#}"))),
    };
    let (accel, accel_reason) = accel::choose(program.accel)?;
    let reason = if is_required {
        requested
    } else {
        "QEMU is installed".to_owned()
    };
    let vm_host = VmHost {
        qemu,
        machine: options.qemu.machine,
        accel,
        accel_reason,
        program: env::current_exe().context("find the harness executable")?,
    };
    Ok((Joined::Qemu(vm_host), reason))
}

/// The first line of a run: what guests run on.
fn describe(joined: &Joined, reason: &str) -> String {
    match joined {
        Joined::Qemu(vm_host) => format!(
            "{} on {}, {} ({})",
            vm_host.qemu.version, vm_host.machine, vm_host.accel, vm_host.accel_reason
        ),
        Joined::Alone => format!("no QEMU: {reason}"),
        Joined::Twin => {
            format!("in-process twins: the same counts as under QEMU, but no times ({reason})")
        }
    }
}

/// Runs experiments; true if all claims hold.
pub(super) fn run(
    experiments: &[&'static dyn Entry],
    options: &RunArgs,
    stdout: &mut Output,
) -> Result<bool> {
    let started = Instant::now();
    let RunArgs { params, out, guest } = options;
    let overrides = params.overrides();
    // All parameters are checked before the first experiment starts.
    let orders = experiments
        .iter()
        .map(|experiment| {
            let table = resolve(experiment.defaults(), &overrides)?;
            experiment.check(&table)?;
            Ok(Order {
                experiment: *experiment,
                params: table,
                full: params.form() == Some(Form::Full),
                reproduce: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let verdicts = run_orders(&orders, Some(guest), out, stdout)?;
    let holds = show(&verdicts, out.json, stdout)?;
    if !out.json.json {
        let elapsed_s = started.elapsed().as_secs_f64();
        stdout.line(format_args!("total time: {elapsed_s:.0} s"));
    }
    Ok(holds)
}

/// Runs and judges experiments in order. Commands whose experiments have no guests pass no
/// `guest`.
fn run_orders(
    orders: &[Order],
    guest: Option<&GuestArgs>,
    options: &OutArgs,
    stdout: &mut Output,
) -> Result<Vec<(PathBuf, Verdict)>> {
    let needs_guest = orders
        .iter()
        .any(|order| order.experiment.needs() != Needs::Nothing);
    let (joined, reason) = match guest {
        Some(guest) if needs_guest => choose_transport(guest)?,
        _ => (
            Joined::Alone,
            "the experiment has no guest under QEMU".to_owned(),
        ),
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
    let prints_progress = !options.json.json && guest.is_some();
    if prints_progress {
        stdout.line(describe(&lab.joined, &reason));
    }
    let mut verdicts = Vec::new();
    for order in orders {
        let experiment = order.experiment;
        let folder = match orders {
            [_] => out.clone(),
            _ => out.join(experiment.name()),
        };
        if prints_progress {
            stdout.line(format_args!(
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

/// Compares with peers; false if `--check` is set and a requirement does not hold.
pub(super) fn bench(what: &Bench, stdout: &mut Output) -> Result<bool> {
    let BenchArgs { check, out, .. } = what.args();
    let guest = what.qemu().map(|qemu| GuestArgs {
        transport: TransportChoice::Qemu,
        qemu: qemu.clone(),
    });
    let verdicts = run_orders(&[what.order()?], guest.as_ref(), out, stdout)?;
    let holds = show(&verdicts, out.json, stdout)?;
    Ok(holds || !check)
}

/// Simulates a cache; true if all claims hold.
pub(super) fn simulate(args: &SimArgs, out: &OutArgs, stdout: &mut Output) -> Result<bool> {
    let verdicts = run_orders(&[args.order(out.seed)?], None, out, stdout)?;
    if !out.json.json {
        return show(&verdicts, out.json, stdout);
    }
    for (folder, verdict) in &verdicts {
        let curves: Vec<MethodRow> = read(folder)?;
        stdout.line(json!({ "folder": folder, "verdict": verdict, "curves": curves }));
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}

/// Judges a sweep and prints the verdict; true if all claims hold and no cell lacks its rows.
pub(super) fn show_sweep(ended: &Ended, json: JsonArg, stdout: &mut Output) -> Result<bool> {
    if ended.counts.done == 0 {
        return Ok(ended.is_complete());
    }
    let verdict = report::format(&ended.folder)?;
    let holds = show(&[(ended.folder.clone(), verdict)], json, stdout)?;
    Ok(holds && ended.is_complete())
}

/// Prints verdicts; true if all claims hold.
pub(super) fn show(
    verdicts: &[(PathBuf, Verdict)],
    json: JsonArg,
    stdout: &mut Output,
) -> Result<bool> {
    for (folder, verdict) in verdicts {
        if json.json {
            stdout.line(json!({ "folder": folder, "verdict": verdict }));
        } else {
            stdout.text(summary(verdict, std::io::stdout().is_terminal()));
            let report = folder.join("report.html");
            stdout.line(format_args!("  report: {}", report.display()));
        }
    }
    Ok(verdicts.iter().all(|(_, verdict)| verdict.holds()))
}
