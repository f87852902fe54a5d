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
pub mod figures;
pub mod study;
pub mod sweep;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use results::document::Document;
use results::manifest::Manifest;
use results::verdict::Verdict;
use results::{html, report};

use crate::experiment::Experiment;

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
    let files = figures.iter().flat_map(results::chart::Figure::files);
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
    let document = Document::of_run(&manifest, experiment.purpose(), verdict.clone(), figures);
    report::write(folder, &document)?;
    html::write(folder, &document)?;
    Ok(verdict)
}
