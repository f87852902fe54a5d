//! How it runs: every schedule under every policy and pick, with every seed.

use anyhow::{Context, Result};
use results::store::RunFolder;
use terminal::interrupt;
use workloads::pattern::derive_seed;

use super::params::Params;
use super::traces::Traces;
use super::trial::Trial;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::parallel;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let traces = Traces::read(params, lab)?;
    let mut trials = Vec::new();
    for schedule in &params.schedules {
        for policy in &params.policies {
            for pick in &params.picks {
                trials.extend((0..params.seeds).map(|number| Trial {
                    schedule: *schedule,
                    policy: *policy,
                    pick: *pick,
                    seed: derive_seed(lab.seed, number.into()),
                    is_detailed: number == 0,
                }));
            }
        }
    }
    let bar = lab.progress.bar("multiplex", trials.len() as u64);
    let rows = parallel::each(&trials, &bar, |trial| {
        let Trial {
            schedule,
            policy,
            pick,
            seed,
            ..
        } = *trial;
        let row = trial.run(params, &traces);
        row.with_context(|| format!("{schedule}, {policy}, {pick}, seed {seed}"))
    });
    for row in rows {
        let (row, sizes) = row?;
        folder.append(&row)?;
        for size in sizes {
            folder.append(&size)?;
        }
    }
    interrupt::check()?;
    bar.finish_and_clear();
    Ok(())
}
