//! Runs the cells of a shard on several threads and records them as they complete.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::folder::SweepFolder;
use super::plan::{Cell, Plan};
use super::progress::SweepProgress;
use crate::experiments::common::swept::{Fields, Runner};

/// How often progress is updated while no cell completes.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Options<'a> {
    /// Number of threads.
    pub jobs: usize,
    /// Whether standard error is a terminal.
    pub is_terminal: bool,
    /// Called before each cell; no further cell starts once it returns true.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Runs the remaining cells. Points with invalid parameters are reported and recorded; the others
/// run.
pub(crate) fn run(
    folder: &mut SweepFolder,
    runner: &dyn Runner,
    options: &Options<'_>,
) -> Result<()> {
    folder.retry_failures()?;
    let to_do = folder.to_do();
    let mut progress = SweepProgress::new(options.is_terminal, to_do.len() as u64);
    let valid = check_points(folder, runner, to_do, &mut progress)?;
    let plan = folder.plan().clone();
    let next = AtomicUsize::new(0);
    let result = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..options.jobs.min(valid.len()) {
            let sender = sender.clone();
            let (plan, next, valid) = (&plan, &next, &valid);
            scope.spawn(move || {
                while !(options.stop)() {
                    let Some(cell) = valid.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let rows = run_cell(plan, *cell, runner);
                    // The stop itself may fail a running cell: it counts as missing.
                    if rows.is_err() && (options.stop)() {
                        return;
                    }
                    // The receiver is gone if recording failed.
                    if sender.send((*cell, rows)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(folder, receiver, &mut progress)
    });
    progress.finish();
    result
}

/// Checks each point once; returns the cells of the valid ones.
fn check_points(
    folder: &mut SweepFolder,
    runner: &dyn Runner,
    to_do: Vec<Cell>,
    progress: &mut SweepProgress,
) -> Result<Vec<Cell>> {
    let mut reasons: BTreeMap<u32, Option<String>> = BTreeMap::new();
    let mut valid = Vec::new();
    for cell in to_do {
        let plan = folder.plan();
        let reason = reasons.entry(cell.point).or_insert_with(|| {
            let error = runner.check(&plan.params(cell.point)).err()?;
            let reason = format!("{error:#}");
            progress.message(&format!(
                "{} is invalid: {reason}",
                plan.describe(cell.point)
            ));
            Some(reason)
        });
        match reason {
            None => valid.push(cell),
            Some(reason) => {
                folder.fail(cell, reason)?;
                progress.step();
            }
        }
    }
    Ok(valid)
}

/// Runs a cell and checks that its rows are complete.
fn run_cell(plan: &Plan, cell: Cell, runner: &dyn Runner) -> Result<Vec<Fields>> {
    let rows = catch_panic(|| runner.run(&plan.params(cell.point), cell.seed))?;
    let kind = plan.kind();
    let mut placed = rows
        .into_iter()
        .map(|row| {
            let place = kind.place(&plan.parts, &row).map_err(anyhow::Error::msg)?;
            Ok((place, row))
        })
        .collect::<Result<Vec<_>>>()?;
    placed.sort_by_key(|(place, _)| place.at);
    let all = placed.len();
    ensure!(
        all > 0
            && placed
                .iter()
                .enumerate()
                .all(|(at, (place, _))| (place.at, place.of) == (at, all)),
        "the experiment returned the wrong rows for the cell"
    );
    Ok(placed.into_iter().map(|(_, row)| row).collect())
}

/// Turns a panic into an error, so that a bug at one point does not stop the others. State that
/// the panic left inconsistent is dropped.
fn catch_panic<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
        bail!("panic: {}", text.unwrap_or_default())
    })
}

/// Records cells until all threads have finished.
fn collect(
    folder: &mut SweepFolder,
    receiver: Receiver<(Cell, Result<Vec<Fields>>)>,
    progress: &mut SweepProgress,
) -> Result<()> {
    loop {
        match receiver.recv_timeout(TICK) {
            Ok((cell, Ok(rows))) => folder.record(cell, rows)?,
            Ok((cell, Err(error))) => {
                let reason = format!("{error:#}");
                let point = folder.plan().describe(cell.point);
                progress.message(&format!("{point} failed with seed {}: {reason}", cell.seed));
                folder.fail(cell, &reason)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                progress.tick();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        progress.step();
    }
}
