//! Merges the folders of a sweep's shards into one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use results::manifest::State;

use super::folder::{self, Recorded, SweepFolder};
use super::manifest::{self, Counts};
use super::rows::{Damage, Failures, Rows};
use super::shard::Shard;
use crate::experiments::common::swept::Fields;

/// How many missing cells of a shard a message lists.
const MAX_NAMED: usize = 10;

/// The result of a merge.
#[derive(Debug)]
pub(crate) struct Merged {
    /// Cells of the whole sweep.
    pub counts: Counts,
    /// Invalid lines of the parts.
    pub damage: Vec<Damage>,
    /// A sentence per shard with missing cells.
    pub missing: Vec<String>,
    /// A warning if different revisions produced the rows.
    pub mixed_revisions: Option<String>,
}

/// Merges `parts` into the folder `out`. If `out` already contains the same sweep, for example from
/// an earlier merge, the parts are added to it.
///
/// # Errors
/// When the parts are of different sweeps, or contradict each other; `out` is then unchanged.
pub(crate) fn merge(out: &Path, parts: &[PathBuf]) -> Result<Merged> {
    ensure!(!parts.is_empty(), "no folders to merge");
    let parts = parts
        .iter()
        .map(|path| Ok((path.as_path(), folder::read(path)?)))
        .collect::<Result<Vec<_>>>()?;
    compare(&parts)?;
    let (rows, failures) = join(&parts)?;
    let (_, first) = &parts[0];
    agree_with_earlier(out, &parts)?;
    let mut folder = SweepFolder::open(out, first.manifest.plan.clone(), Shard::WHOLE)?;
    for (_, part) in &parts {
        let makers = part.manifest.made_by.iter().cloned();
        makers.for_each(|maker| folder.manifest_mut().add_maker(maker));
    }
    folder.adopt(rows, failures);
    let missing = missing(&folder, first.manifest.shard.of());
    let mut damage = folder.damage().to_vec();
    damage.extend(parts.iter().flat_map(|(_, part)| part.damage.clone()));
    let status = if missing.is_empty() {
        State::Complete
    } else {
        State::Failed(missing.join("; "))
    };
    let mixed_revisions = folder.manifest().mixed_revisions();
    let counts = folder.close(status)?;
    Ok(Merged {
        counts,
        damage,
        missing,
        mixed_revisions,
    })
}

/// Rejects parts of different sweeps.
fn compare(parts: &[(&Path, Recorded)]) -> Result<()> {
    let (first_path, first) = &parts[0];
    for (path, part) in &parts[1..] {
        let (ours, theirs) = (&first.manifest, &part.manifest);
        let shards = (ours.shard.of(), theirs.shard.of());
        let difference = ours.difference(theirs).or_else(|| {
            let differ = shards.0 != shards.1;
            differ.then(|| {
                let name = "number of shards".to_owned();
                (name, shards.0.to_string(), shards.1.to_string())
            })
        });
        if let Some((key, ours, theirs)) = difference {
            bail!(
                "{} and {} are of different sweeps: `{key}` is {ours} in the first, {theirs} in the \
                 second",
                first_path.display(),
                path.display()
            );
        }
    }
    Ok(())
}

/// Rejects two folders with different rows for a cell.
fn agree(cell: u32, one: (&Path, &[Fields]), other: (&Path, &[Fields])) -> Result<()> {
    ensure!(
        one.1 == other.1,
        "{} and {} have different rows for cell {cell}, although its parameters and seed are the \
         same: remove the wrong folder from the merge",
        one.0.display(),
        other.0.display()
    );
    Ok(())
}

/// Rejects parts that contradict an earlier merge in `out`. [`SweepFolder::open`] rejects another
/// sweep there.
fn agree_with_earlier(out: &Path, parts: &[(&Path, Recorded)]) -> Result<()> {
    if !out.join(manifest::FILE).exists() {
        return Ok(());
    }
    let earlier = folder::read(out)?;
    for (path, part) in parts {
        if earlier.manifest.difference(&part.manifest).is_some() {
            return Ok(());
        }
        for (cell, outcomes) in &part.rows {
            if let Some(known) = earlier.rows.get(cell) {
                agree(*cell, (out, known), (path, outcomes))?;
            }
        }
    }
    Ok(())
}

fn join(parts: &[(&Path, Recorded)]) -> Result<(Rows, Failures)> {
    let mut rows = Rows::new();
    let mut failures = Failures::new();
    let mut origin: BTreeMap<u32, &Path> = BTreeMap::new();
    for (path, part) in parts {
        for (cell, outcomes) in &part.rows {
            match rows.get(cell) {
                Some(known) => agree(*cell, (origin[cell], known), (path, outcomes))?,
                None => {
                    origin.insert(*cell, path);
                    rows.insert(*cell, outcomes.clone());
                }
            }
        }
        failures.extend(part.failures.clone());
    }
    Ok((rows, failures))
}

/// A sentence per shard with missing cells.
fn missing(folder: &SweepFolder, of: u32) -> Vec<String> {
    let mut by_shard: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for cell in folder.to_do() {
        by_shard
            .entry(cell.index % of)
            .or_default()
            .push(cell.index);
    }
    let sentence = |(shard, cells): (u32, Vec<u32>)| {
        let named: Vec<String> = cells.iter().take(MAX_NAMED).map(u32::to_string).collect();
        let more = if cells.len() > MAX_NAMED { ", …" } else { "" };
        format!(
            "shard {}/{of}: {} cells missing: {}{more}",
            shard + 1,
            cells.len(),
            named.join(", ")
        )
    };
    by_shard.into_iter().map(sentence).collect()
}
