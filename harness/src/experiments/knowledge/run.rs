//! How it runs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use lab::twin::Twin;
use results::store::RunFolder;
use terminal::interrupt;

use super::params::{Params, Picker, Setting};
use super::rows::KnowledgeRow;
use super::trial;
use crate::experiments::common::lab::Lab;

/// A trial: where, how, and with which accesses.
type Trial = (Setting, Picker, u64);

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let settings = params.settings();
    let seeds = u64::from(params.tuning_seeds) + u64::from(params.seeds);
    let trials: Vec<Trial> = settings
        .iter()
        .flat_map(|setting| {
            let pickers = params.pickers(*setting).into_iter();
            pickers.flat_map(move |picker| {
                (0..seeds).map(move |i| (*setting, picker, lab.seed.wrapping_add(i)))
            })
        })
        .collect();
    let repeated = if lab.is_timed() {
        repeated(params, &settings)
    } else {
        Vec::new()
    };
    let total = trials.len() + repeated.len();
    let bar = lab.progress.bar("knowledge", total as u64);
    for (setting, picker) in repeated {
        let mut testbed = lab.testbed(params.disks(), folder)?;
        let (row, timing) = trial::run(params, setting, picker, lab.seed, &mut *testbed)?;
        testbed.shut_down()?;
        folder.append(&row)?;
        folder.append(&timing)?;
        bar.inc(1);
    }
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !interrupt::is_requested() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(index) else {
                        return;
                    };
                    let row = on_twin(params, *trial);
                    if row.is_err() {
                        next.store(trials.len(), Ordering::Relaxed);
                    }
                    rows.lock().expect("no holder panics").insert(index, row);
                    bar.inc(1);
                }
            });
        }
    });
    for row in rows.into_inner().expect("no holder panicked").into_values() {
        folder.append(&row?)?;
    }
    bar.finish_and_clear();
    interrupt::check()
}

/// What is counted on a twin, whose times mean nothing.
fn on_twin(params: &Params, (setting, picker, seed): Trial) -> Result<KnowledgeRow> {
    let mut twin = Twin::start(params.disks())?;
    let row = trial::run(params, setting, picker, seed, &mut twin);
    let (row, _) = row.with_context(|| {
        let (condition, value) = (setting.condition, setting.value());
        format!("{condition} {value}, {picker:?}, seed {seed}")
    })?;
    Ok(row)
}

/// What is repeated under QEMU: the last value of each condition, with the last way of each side
/// to pick.
fn repeated(params: &Params, settings: &[Setting]) -> Vec<(Setting, Picker)> {
    let last = |condition| settings.iter().rfind(|of| of.condition == condition);
    let last = params.conditions.iter().filter_map(|of| last(*of));
    last.flat_map(|setting| {
        let pickers = params.pickers(*setting);
        let of_guest = |picker: &&Picker| matches!(picker, Picker::Guest(_));
        let guest = pickers.iter().rfind(of_guest).copied();
        let host = pickers.last().copied();
        [guest, host]
            .into_iter()
            .flatten()
            .map(|picker| (*setting, picker))
    })
    .collect()
}
