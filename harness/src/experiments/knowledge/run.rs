//! How it runs: all ways to pick with the tuning seeds, then with others the best of each side, by each
//! measure.

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use lab::twin::Twin;
use results::store::RunFolder;
use terminal::{interrupt, parallel};
use workloads::HostPick;
use workloads::pattern::derive_seed;

use super::input::Input;
use super::params::Params;
use super::rows::{KnowledgeRow, KnowledgeTrackerRow, Side, Stage};
use super::setting::{Picker, Setting};
use super::trial::Trial;
use super::worth::{Measure, best};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::observers::{self, ObserverRow};

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let input = Input::read(params, lab)?;
    let settings = params.settings();
    let tuning = trials(params, lab, &settings);
    let repetitions = if lab.is_timed() {
        repetitions(params, lab, &settings)
    } else {
        Vec::new()
    };
    // Which ways are compared, two at least under each setting, the tuning decides.
    let compared = settings.len() * 2 * params.seeds as usize;
    let total = tuning.len() + repetitions.len() + compared;
    let bar = lab.progress.bar("knowledge", total as u64);
    for trial in repetitions {
        let mut testbed = lab.testbed(input.disks(params), folder)?;
        let (row, timing) = trial.run(params, &input, &mut *testbed)?;
        testbed.shut_down()?;
        folder.append(&row)?;
        folder.append(&timing)?;
        bar.inc(1);
    }
    if lab.is_timed() {
        for cost in tracking(params, lab)? {
            folder.append(&KnowledgeTrackerRow(cost))?;
        }
    }
    let rows = on_twins(params, &input, &tuning, folder, &bar)?;
    let comparisons = comparisons(params, lab, &tuning, &rows);
    bar.set_length(bar.position() + comparisons.len() as u64);
    on_twins(params, &input, &comparisons, folder, &bar)?;
    bar.finish_and_clear();
    Ok(())
}

/// What it costs the backend to track as many requests as there are before the shrink.
fn tracking(params: &Params, lab: &Lab) -> Result<Vec<ObserverRow>> {
    let (workload, blocks) = (&params.workload, params.blocks());
    let requests = observers::requests(workload, blocks, lab.seed, 0, params.warmup)?;
    let picks: Vec<HostPick> = HostPick::tracked().collect();
    observers::measure(&picks, blocks, &requests)
}

/// All ways to pick, with each tuning seed.
fn trials(params: &Params, lab: &Lab, settings: &[Setting]) -> Vec<Trial> {
    let of_setting = |setting: &Setting| {
        let setting = *setting;
        let pickers = params.pickers(setting).into_iter();
        pickers.flat_map(move |picker| {
            (0..params.tuning_seeds).map(move |number| Trial {
                setting,
                picker,
                seed: derive_seed(lab.seed, number.into()),
                stage: Stage::Tuning,
            })
        })
    };
    settings.iter().flat_map(of_setting).collect()
}

/// The best ways of each side under each setting, by each measure, with the other seeds. `rows` are
/// those of the `tuning`.
fn comparisons(params: &Params, lab: &Lab, tuning: &[Trial], rows: &[KnowledgeRow]) -> Vec<Trial> {
    let mut ways: Vec<(Setting, Picker)> = Vec::new();
    for part in tuning.chunk_by(|a, b| a.setting == b.setting) {
        let setting = part[0].setting;
        let (condition, value) = (setting.condition, setting.value());
        let of_setting = |row: &&KnowledgeRow| row.condition == condition && row.value == value;
        let of_setting: Vec<_> = rows.iter().filter(of_setting).collect();
        for side in [Side::Guest, Side::Host] {
            let best = Measure::ALL.map(|measure| best(&of_setting, side, measure));
            let is_best =
                |picker: &Picker| picker.side() == side && best.contains(&Some(picker.name()));
            let pickers = part.chunk_by(|a, b| a.picker == b.picker);
            let pickers = pickers.map(|trials| trials[0].picker).filter(is_best);
            ways.extend(pickers.map(|picker| (setting, picker)));
        }
    }
    let (first, count) = (u64::from(params.tuning_seeds), u64::from(params.seeds));
    let with_seeds = |(setting, picker): (Setting, Picker)| {
        (first..first + count).map(move |number| Trial {
            setting,
            picker,
            seed: derive_seed(lab.seed, number),
            stage: Stage::Comparison,
        })
    };
    ways.into_iter().flat_map(with_seeds).collect()
}

/// Runs trials on twins, several at a time, and records their rows in the same order; those that have
/// ended also when it is interrupted.
fn on_twins(
    params: &Params,
    input: &Input,
    trials: &[Trial],
    folder: &mut RunFolder,
    bar: &ProgressBar,
) -> Result<Vec<KnowledgeRow>> {
    let rows = parallel::each(trials, bar, |trial| on_twin(params, input, *trial));
    let mut recorded = Vec::with_capacity(trials.len());
    for row in rows {
        let row = row?;
        folder.append(&row)?;
        recorded.push(row);
    }
    interrupt::check()?;
    Ok(recorded)
}

/// What is counted on a twin, whose times mean nothing.
fn on_twin(params: &Params, input: &Input, trial: Trial) -> Result<KnowledgeRow> {
    let mut twin = Twin::start(input.disks(params))?;
    let row = trial.run(params, input, &mut twin);
    let (row, _) = row.with_context(|| {
        let Trial {
            setting,
            picker,
            seed,
            ..
        } = trial;
        let (condition, value) = (setting.condition, setting.value());
        format!("{condition} {value}, {picker:?}, seed {seed}")
    })?;
    Ok(row)
}

/// What is repeated under QEMU: the last value of each condition, with the last way of the guest to
/// pick, and of each other condition with the last one of the host too.
fn repetitions(params: &Params, lab: &Lab, settings: &[Setting]) -> Vec<Trial> {
    let last = |condition| settings.iter().rfind(|of| of.condition == condition);
    let last = params.conditions.iter().filter_map(|of| last(*of));
    last.enumerate()
        .flat_map(|(place, setting)| {
            let pickers = params.pickers(*setting);
            let of_guest = |picker: &&Picker| picker.side() == Side::Guest;
            let guest = pickers.iter().rfind(of_guest).copied();
            let host = pickers.last().copied().filter(|_| place % 2 == 0);
            guest.into_iter().chain(host).map(|picker| Trial {
                setting: *setting,
                picker,
                seed: derive_seed(lab.seed, 0),
                stage: Stage::Repetition,
            })
        })
        .collect()
}
