//! From recorded rows to judgements, figures and reports.
//!
//! - [`manifest`], [`store`]: the files of a run
//! - [`study`]: which claims hold, from the rows
//! - [`stats`]: how sure a mean is, and how large a difference
//! - [`figures`]: pictures, from the rows
//! - [`document`]: what a report says; [`report`] and [`html`] write it as
//!   Markdown and as a page
//! - [`sweep`]: all of that for the folder of a sweep
//! - [`plain`]: rows and a report of what is no run of an experiment
//! - [`doctor`]: whether this machine has what runs need
//!
//! Nothing here runs an experiment: everything can be made again from a run's
//! folder.

pub mod doctor;
pub mod document;
pub mod figures;
pub mod html;
pub mod manifest;
pub mod plain;
pub mod report;
pub mod stats;
pub mod store;
pub mod study;
pub mod sweep;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::experiment::Experiment;
use document::Document;
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

/// Draws the figures of a run or a sweep; returns the files.
pub fn plot(folder: &Path) -> Result<Vec<PathBuf>> {
    if sweep::is_one(folder) {
        return sweep::plot(folder);
    }
    let manifest = Manifest::read(folder)?;
    let figures = figures::draw(experiment_of(&manifest)?, folder)?;
    let files = figures.iter().flat_map(figures::Figure::files);
    Ok(files.map(|file| folder.join(file)).collect())
}

/// Judges a run or a sweep, draws its figures, writes its reports and notes in
/// a run's manifest what does not hold.
pub fn format(folder: &Path) -> Result<Verdict> {
    if sweep::is_one(folder) {
        return sweep::format(folder);
    }
    let mut manifest = Manifest::read(folder)?;
    let experiment = experiment_of(&manifest)?;
    let verdict = study::judge(experiment, folder, &manifest)?;
    let figures = figures::draw(experiment, folder)?;
    manifest.missed = verdict.missed();
    manifest.write(folder)?;
    let document = Document::of_run(&manifest, verdict.clone(), figures);
    report::write(folder, &document)?;
    html::write(folder, &document)?;
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
    for finding in &verdict.findings {
        let _ = writeln!(text, "  - {}", finding.replace('`', ""));
    }
    text
}
