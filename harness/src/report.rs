//! Verdict, figures and reports of a results folder, from its recorded rows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use results::chart::Figure;
use results::document::Document;
use results::manifest::Manifest;
use results::verdict::Verdict;
use results::{html, report};

use crate::experiments::experiment::Entry;
use crate::experiments::{ALL, by_name};
use crate::sweep;

fn experiment_of(manifest: &Manifest) -> Result<&'static dyn Entry> {
    by_name(&manifest.experiment).with_context(|| {
        let names: Vec<_> = ALL.iter().map(|of| of.name()).collect();
        format!(
            "unknown experiment `{}` in the manifest; expected one of {}",
            manifest.experiment,
            names.join(", ")
        )
    })
}

/// Draws the figures of a run or a sweep; returns the files.
pub(crate) fn plot(folder: &Path) -> Result<Vec<PathBuf>> {
    if sweep::report::is_one(folder) {
        return sweep::report::plot(folder);
    }
    plot_as(experiment_of(&Manifest::read(folder)?)?, folder)
}

/// Draws the figures of a run of this experiment; returns the files.
pub fn plot_as(experiment: &dyn Entry, folder: &Path) -> Result<Vec<PathBuf>> {
    let figures = experiment.draw(folder, &Manifest::read(folder)?)?;
    let files = figures.iter().map(Figure::file);
    Ok(files.map(|file| folder.join(file)).collect())
}

/// Judges a run or a sweep, draws its figures, writes its reports, and records in a run's
/// manifest which claims do not hold.
pub(crate) fn format(folder: &Path) -> Result<Verdict> {
    if sweep::report::is_one(folder) {
        return sweep::report::format(folder);
    }
    format_as(experiment_of(&Manifest::read(folder)?)?, folder)
}

/// Like [`format()`], for a run of this experiment.
pub fn format_as(experiment: &dyn Entry, folder: &Path) -> Result<Verdict> {
    let mut manifest = Manifest::read(folder)?;
    let verdict = experiment.judge(folder, &manifest)?;
    let figures = experiment.draw(folder, &manifest)?;
    manifest.missed = verdict.missed();
    manifest.write(folder)?;
    let document = Document::of_run(&manifest, experiment.lead(), verdict.clone(), figures);
    report::write(folder, &document)?;
    html::write(folder, &document)?;
    Ok(verdict)
}
