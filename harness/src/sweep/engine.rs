//! Runs the cells of a shard on several threads and records them as they end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::folder::SweepFolder;
use super::pace::Pace;
use super::plan::{Cell, Plan};
use crate::experiments::common::swept::{Fields, Runner};

/// How often the pace is looked after while no cell ends.
const TICK: Duration = Duration::from_secs(1);

/// How cells are run.
pub(crate) struct Options<'a> {
    /// Threads.
    pub jobs: usize,
    /// Whether standard error is a terminal.
    pub terminal: bool,
    /// Asked before each cell; when true, no further one starts.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Runs whatever is still to be run. What a point asks for and cannot have is
/// said, recorded, and does not keep others from running.
pub(crate) fn run(
    folder: &mut SweepFolder,
    runner: &dyn Runner,
    options: &Options<'_>,
) -> Result<()> {
    folder.retry_failures()?;
    let to_do = folder.to_do();
    let mut pace = Pace::new(options.terminal, to_do.len() as u64);
    let possible = check_points(folder, runner, to_do, &mut pace)?;
    let plan = folder.plan().clone();
    let next = AtomicUsize::new(0);
    let result = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..options.jobs.min(possible.len()) {
            let sender = sender.clone();
            let (plan, next, possible) = (&plan, &next, &possible);
            scope.spawn(move || {
                while !(options.stop)() {
                    let Some(cell) = possible.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let rows = run_cell(plan, *cell, runner);
                    // A cell in hand may fail for the stop itself: it is to be run yet.
                    if rows.is_err() && (options.stop)() {
                        return;
                    }
                    // Nobody listens any more when recording failed.
                    if sender.send((*cell, rows)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(folder, receiver, &mut pace)
    });
    pace.finish();
    result
}

/// Checks the points of all cells, each once; returns the cells that can be run.
fn check_points(
    folder: &mut SweepFolder,
    runner: &dyn Runner,
    to_do: Vec<Cell>,
    pace: &mut Pace,
) -> Result<Vec<Cell>> {
    let mut reasons: BTreeMap<u32, Option<String>> = BTreeMap::new();
    let mut possible = Vec::new();
    for cell in to_do {
        let plan = folder.plan();
        let reason = reasons.entry(cell.point).or_insert_with(|| {
            let error = runner.check(&plan.params(cell.point)).err()?;
            let reason = format!("{error:#}");
            pace.say(&format!(
                "{} is impossible: {reason}",
                plan.describe(cell.point)
            ));
            Some(reason)
        });
        match reason {
            None => possible.push(cell),
            Some(reason) => {
                folder.fail(cell, reason)?;
                pace.step();
            }
        }
    }
    Ok(possible)
}

/// Runs a cell and checks what came of it.
fn run_cell(plan: &Plan, cell: Cell, runner: &dyn Runner) -> Result<Vec<Fields>> {
    let rows = guarded(|| runner.run(&plan.params(cell.point), cell.seed))?;
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
        "the experiment gave other rows than it was asked for"
    );
    Ok(placed.into_iter().map(|(_, row)| row).collect())
}

/// Turns a panic into an error: a bug that one point brings to light is to be
/// seen, and not to keep all others from running. What the panic left half done
/// is dropped with it.
fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
        bail!("a panic: {}", text.unwrap_or_default())
    })
}

/// Records cells until all threads have ended.
fn collect(
    folder: &mut SweepFolder,
    receiver: Receiver<(Cell, Result<Vec<Fields>>)>,
    pace: &mut Pace,
) -> Result<()> {
    loop {
        match receiver.recv_timeout(TICK) {
            Ok((cell, Ok(rows))) => folder.record(cell, rows)?,
            Ok((cell, Err(error))) => {
                let reason = format!("{error:#}");
                let point = folder.plan().describe(cell.point);
                pace.say(&format!("{point} failed with seed {}: {reason}", cell.seed));
                folder.fail(cell, &reason)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                pace.tick();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        pace.step();
    }
}
