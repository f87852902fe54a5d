//! From recorded rows to judgements, figures and reports.
//!
//! - [`manifest`], [`store`]: the files of a run
//! - [`study`]: which claims hold, from the rows
//! - [`figures`]: pictures, from the rows
//! - [`report`]: `report.md`, from all of these
//! - [`doctor`]: whether this machine has what runs need
//!
//! Nothing here runs an experiment: everything can be made again from a run's
//! folder.

pub mod doctor;
pub mod figures;
pub mod manifest;
pub mod report;
pub mod store;
pub mod study;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::experiment::Experiment;
use manifest::Manifest;
pub use study::{Claim, Verdict};

fn experiment_of(manifest: &Manifest) -> Result<Experiment> {
    Experiment::from_name(&manifest.experiment).with_context(|| {
        format!(
            "the manifest names the experiment `{}`, which this harness does not know",
            manifest.experiment
        )
    })
}

/// Draws a run's figures; returns the files.
pub fn plot(folder: &Path) -> Result<Vec<PathBuf>> {
    let manifest = Manifest::read(folder)?;
    let figures = figures::draw(experiment_of(&manifest)?, folder)?;
    let files = figures.iter().flat_map(figures::Figure::files);
    Ok(files.map(|file| folder.join(file)).collect())
}

/// Judges a run, draws its figures, writes its report and notes in the
/// manifest what does not hold.
pub fn format(folder: &Path) -> Result<Verdict> {
    let mut manifest = Manifest::read(folder)?;
    let experiment = experiment_of(&manifest)?;
    let verdict = study::judge(experiment, folder, &manifest)?;
    let figures = figures::draw(experiment, folder)?;
    manifest.missed = verdict.missed();
    manifest.write(folder)?;
    report::write(folder, &manifest, &verdict, &figures)?;
    Ok(verdict)
}

/// A verdict for the terminal.
pub fn summary(verdict: &Verdict, colours: bool) -> String {
    let mut text = format!("\n{}\n", verdict.title);
    for claim in &verdict.claims {
        let (word, colour) = match claim.holds {
            true => ("holds", "32"),
            false => ("DOES NOT HOLD", "31"),
        };
        let mark = match colours {
            true => format!("\x1b[{colour}m{word}\x1b[0m"),
            false => word.to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {mark}: {}\n      {}", claim.text, claim.measured);
    }
    text
}
