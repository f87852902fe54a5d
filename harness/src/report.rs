//! Judgement, figures and reports of a results folder, from what was recorded in it.

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
            "the manifest names the experiment `{}`, which this harness does not know; it knows {}",
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
    let manifest = Manifest::read(folder)?;
    let figures = experiment_of(&manifest)?.draw(folder, &manifest)?;
    let files = figures.iter().map(Figure::file);
    Ok(files.map(|file| folder.join(file)).collect())
}

/// Judges a run or a sweep, draws its figures, writes its reports and notes in
/// a run's manifest what does not hold.
pub(crate) fn format(folder: &Path) -> Result<Verdict> {
    if sweep::report::is_one(folder) {
        return sweep::report::format(folder);
    }
    let mut manifest = Manifest::read(folder)?;
    let experiment = experiment_of(&manifest)?;
    let verdict = experiment.judge(folder, &manifest)?;
    let figures = experiment.draw(folder, &manifest)?;
    manifest.missed = verdict.missed();
    manifest.write(folder)?;
    let document = Document::of_run(&manifest, experiment.lead(), verdict.clone(), figures);
    report::write(folder, &document)?;
    html::write(folder, &document)?;
    Ok(verdict)
}
