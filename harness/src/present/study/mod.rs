//! Which claims hold, judged from recorded rows alone.
//!
//! The claims are those of the 2017 defence, in our words, and the numbers
//! that this project set itself. Rows that are missing never make a claim hold.

pub mod block_cache;
pub mod correctness;
pub mod direct_io;
pub mod eviction;
pub mod latency;
pub mod media;
pub mod overhead;
pub mod pickers;
pub mod sharing;
pub mod shrink_cache;
pub mod sweep;
pub mod write_policy;

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::manifest::{Manifest, State};
use super::store::Reader;
use crate::experiment::Experiment;
use crate::record::{BootRow, EvictionBlockRow};
use crate::testbed::Transport;

/// A statement beside what was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What is claimed or required.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
    /// What was measured, in a sentence.
    pub measured: String,
    /// Whether that bears the claim out.
    pub holds: bool,
}

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The thesis defence of 2017.
    Defence2017,
    /// A number that this project set itself.
    Requirement,
}

/// A table for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns, with units.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// All that was judged of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The experiment, as a heading.
    pub title: String,
    /// The claims.
    pub claims: Vec<Claim>,
    /// What else the numbers say, in sentences.
    pub findings: Vec<String>,
    /// The numbers behind them.
    #[serde(skip)]
    pub tables: Vec<Table>,
}

impl Verdict {
    /// True when every claim holds.
    pub fn holds(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.holds)
    }

    /// What does not hold, with what was measured.
    pub fn missed(&self) -> Vec<String> {
        self.claims
            .iter()
            .filter(|claim| !claim.holds)
            .map(|claim| format!("{} Measured: {}", claim.text, claim.measured))
            .collect()
    }

    fn claim(&mut self, source: Source, text: &str, holds: bool, measured: String) {
        self.claims.push(Claim {
            text: text.to_owned(),
            source,
            measured,
            holds,
        });
    }
}

/// Judges the run in `folder`.
pub fn judge(experiment: Experiment, folder: &Path, manifest: &Manifest) -> Result<Verdict> {
    let reader = Reader::new(folder);
    let timed = manifest.transport != Transport::Twin.to_string();
    let mut verdict = match experiment {
        Experiment::Correctness => correctness::judge(&reader.rows()?, &reader.rows()?),
        Experiment::Eviction => {
            let pickers = reader.rows()?;
            let mut verdict = eviction::judge(&reader.rows()?, &reader.rows()?, &pickers);
            pickers::judge(&mut verdict, &pickers, &reader.rows()?);
            reader.rows::<EvictionBlockRow>()?;
            verdict
        }
        Experiment::Overhead => overhead::judge(&reader.rows()?, &reader.rows()?, timed),
        Experiment::Latency => latency::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?),
        Experiment::Sharing => sharing::judge(&reader.rows()?, &reader.rows()?),
        Experiment::DirectIo => direct_io::judge(&reader.rows()?),
        Experiment::Media => media::judge(&reader.rows()?, &reader.rows()?),
        Experiment::BlockCache => {
            let (rows, sims, paces) = (reader.rows()?, reader.rows()?, reader.rows()?);
            let mut verdict = block_cache::judge(&rows, &sims, &paces, timed);
            verdict
                .findings
                .extend(block_cache::of_trace(&reader.rows()?));
            verdict
        }
        Experiment::WritePolicy => {
            write_policy::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
        Experiment::ShrinkCache => {
            shrink_cache::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
    };
    let boots: Vec<BootRow> = reader.rows()?;
    verdict.tables.push(boot_table(&boots));
    let (complete, measured) = completeness(&reader, manifest);
    verdict.claim(
        Source::Requirement,
        "The run measures all that it sets out to, and all rows that it recorded are there and sound.",
        complete,
        measured,
    );
    Ok(verdict)
}

/// Damaged rows that are named; there may be any number.
const DAMAGE_NAMED: usize = 10;

/// Whether the run ended well and its files hold what it put into them, in a
/// word and in a sentence.
fn completeness(reader: &Reader<'_>, manifest: &Manifest) -> (bool, String) {
    let damage = reader.damage();
    if !damage.is_empty() {
        let more = damage.len().saturating_sub(DAMAGE_NAMED);
        let mut measured = format!(
            "Damaged, and left out of all numbers and figures: {}",
            damage[..damage.len() - more].join("; ")
        );
        if more > 0 {
            measured.push_str(&format!("; and {more} more"));
        }
        return (false, measured + ".");
    }
    match &manifest.status {
        State::Complete => {}
        State::Running => return (false, "It is still running, or was killed.".to_owned()),
        State::Failed(reason) => return (false, format!("It stopped early: {reason}.")),
    }
    for (file, recorded) in &manifest.rows {
        let found = reader.sound(file).unwrap_or(0);
        if found != *recorded {
            let measured = format!("It recorded {recorded} rows in {file}; there are {found}.");
            return (false, measured);
        }
    }
    let rows: u64 = manifest.rows.values().sum();
    (
        rows > 0,
        format!("It recorded {rows} rows, and all are there."),
    )
}

fn boot_table(boots: &[BootRow]) -> Table {
    Table {
        title: "Guest power-on".to_owned(),
        head: [
            "machine",
            "accelerator",
            "QEMU started to guest ready (ms)",
            "guest clock started to first I/O done (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: boots
            .iter()
            .map(|boot| {
                vec![
                    boot.machine.clone(),
                    boot.accelerator.clone(),
                    millis(boot.ready_ns),
                    millis(boot.first_io_guest_ns),
                ]
            })
            .collect(),
    }
}

/// Milliseconds with two decimals.
pub(super) fn millis(ns: u64) -> String {
    format!("{:.2}", ns as f64 / 1e6)
}

/// Each name once, in the order in which they come first.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// The median; of an even number, the mean of the middle two. `None` of none.
pub fn median(values: impl IntoIterator<Item = u64>) -> Option<f64> {
    let mut values: Vec<u64> = values.into_iter().collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle] as f64),
        _ => Some((values[middle - 1] as f64 + values[middle] as f64) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::present::manifest::example;
    use crate::present::store::RunFolder;
    use crate::record::Row;

    fn boot() -> BootRow {
        BootRow {
            experiment: "correctness".to_owned(),
            machine: "q35".to_owned(),
            accelerator: "tcg".to_owned(),
            ready_ns: 1,
            first_io_guest_ns: 1,
        }
    }

    /// Whether the claim that a run is complete holds of what is in `folder`.
    fn is_complete(folder: &Path) -> bool {
        let manifest = Manifest::read(folder).unwrap();
        let verdict = judge(Experiment::Correctness, folder, &manifest).unwrap();
        verdict.claims.last().unwrap().holds
    }

    #[test]
    fn only_a_run_that_ended_and_kept_its_rows_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        run.append(&boot()).unwrap();
        run.append(&boot()).unwrap();
        assert!(!is_complete(folder.path()), "it still runs");
        run.complete().unwrap();
        assert!(is_complete(folder.path()));
        let path = folder.path().join(BootRow::FILE);
        let text = fs::read_to_string(&path).unwrap();
        let shorter: Vec<&str> = text.lines().take(2).collect();
        fs::write(&path, shorter.join("\n")).unwrap();
        assert!(!is_complete(folder.path()), "a row is gone");
        fs::remove_file(&path).unwrap();
        assert!(!is_complete(folder.path()), "a file is gone");

        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        run.append(&boot()).unwrap();
        run.fail("interrupted").unwrap();
        assert!(!is_complete(folder.path()), "it failed");

        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path(), example()).unwrap();
        run.complete().unwrap();
        assert!(!is_complete(folder.path()), "nothing was recorded");
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([5]), Some(5.0));
        assert_eq!(median([9, 1, 5]), Some(5.0));
        assert_eq!(median([4, 1, 2, 9]), Some(3.0));
    }
}
