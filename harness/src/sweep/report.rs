//! The report of a sweep: verdict, figures and pages from the rows in its folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use results::chart::{self, Figure};
use results::document::{Document, Fact, further, outcome};
use results::manifest::State;
use results::verdict::Verdict;
use results::{html, report};

use crate::experiments::common::params::Overrides;
use crate::sweep::BUILT_IN;
use crate::sweep::file::Sweep;
use crate::sweep::folder::{Recorded, read};
use crate::sweep::manifest::{FILE, SweepManifest};
use crate::sweep::plan::Plan;

/// Whether a folder is that of a sweep.
pub(crate) fn is_one(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Draws a sweep's figures; returns the files.
pub(crate) fn plot(folder: &Path) -> Result<Vec<PathBuf>> {
    let recorded = read(folder)?;
    let figures = draw(&recorded, folder)?;
    let files = figures.iter().map(Figure::file);
    Ok(files.map(|file| folder.join(file)).collect())
}

/// Judges a sweep, draws its figures and writes its report. Damaged rows are listed in it and
/// count as missing.
pub(crate) fn format(folder: &Path) -> Result<Verdict> {
    let recorded = read(folder)?;
    let plan = &recorded.manifest.plan;
    let shard = recorded.manifest.shard;
    let cells = (0..plan.cells()).filter(|cell| shard.has(*cell)).count();
    let (done, failed) = (recorded.rows.len(), recorded.failures.len());
    let missing = cells.saturating_sub(done + failed);
    let mut verdict = plan
        .kind()
        .judge(&plan.title, &recorded.table(), missing, failed);
    for damage in &recorded.damage {
        verdict
            .findings
            .push(format!("Left out of all numbers: {damage}."));
    }
    let figures = draw(&recorded, folder)?;
    let document = compose(&recorded.manifest, &verdict, figures, (done, cells));
    report::write(folder, &document)?;
    html::write(folder, &document)?;
    Ok(verdict)
}

fn draw(recorded: &Recorded, folder: &Path) -> Result<Vec<Figure>> {
    let plan = &recorded.manifest.plan;
    let drawings = plan.kind().draw(&plan.title, &recorded.table());
    chart::write(drawings.context("draw the figures")?, folder)
}

/// The command that repeats the sweep.
fn reproduce(plan: &Plan) -> String {
    let built_in = BUILT_IN.iter().find(|(_, text)| {
        let same =
            Sweep::parse(text).and_then(|sweep| Plan::new(sweep, &Overrides::default(), plan.seed));
        same.is_ok_and(|same| same == *plan)
    });
    match built_in {
        Some((name, _)) => format!(
            "cargo run --bin harness -- sweep {name} --seed {}",
            plan.seed
        ),
        None => "cargo run --bin harness -- sweep --like FOLDER_OF_THIS_REPORT --out NEW_FOLDER"
            .to_owned(),
    }
}

fn compose(
    manifest: &SweepManifest,
    verdict: &Verdict,
    figures: Vec<Figure>,
    (done, cells): (usize, usize),
) -> Document {
    let plan = &manifest.plan;
    let mut conditions: Vec<Fact> = vec![
        (
            "time".to_owned(),
            format!("from {} to {}", manifest.started, manifest.ended),
        ),
        (
            "seeds".to_owned(),
            format!("{} at each point, from {} on", plan.repetitions, plan.seed),
        ),
        (
            "cells".to_owned(),
            format!("{done} of {cells}, shard {}", manifest.shard),
        ),
        (
            "transport".to_owned(),
            "twin: a sweep needs counts, not times".to_owned(),
        ),
    ];
    conditions.extend(manifest.made_by.iter().map(|maker| {
        let host = &maker.host;
        let made_by = format!(
            "revision {}, harness {}, on {} processors ({}), Linux {}",
            maker.git_revision,
            manifest.harness_version,
            host.cpus,
            host.cpu_model,
            host.host_kernel
        );
        ("made by".to_owned(), made_by)
    }));
    let axes = plan.axes.iter().map(|axis| {
        let values: Vec<String> = axis.values.iter().map(ToString::to_string).collect();
        (axis.name.clone(), values.join(", "))
    });
    let fixed = plan.parameters.iter();
    let fixed = fixed.map(|(name, value)| (name.clone(), value.to_string()));
    Document {
        title: verdict.title.clone(),
        lead: format!(
            "A sweep of the experiment `{}` over {}.",
            plan.experiment,
            plan.axes
                .iter()
                .map(|axis| format!("`{}`", axis.name))
                .collect::<Vec<_>>()
                .join(" and ")
        ),
        result: outcome(verdict, manifest.status == State::Complete),
        holds: verdict.holds(),
        claims: verdict.claims.clone(),
        findings: verdict.findings.clone(),
        figures,
        tables: verdict.tables.clone(),
        conditions,
        parameters: axes.chain(fixed).collect(),
        reproduce: reproduce(plan),
        further: further("sweeps"),
    }
}
